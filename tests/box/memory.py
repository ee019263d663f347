"""Memory that is used up for real: a limit on what runs in a unit of the box, at which the kernel ends a process of it.

systemd sets the limit (MemoryMax=) where the box has the memory controller. Where the machine's is of cgroup v1, the
limit is set from outside, by a cgroup of that hierarchy into which the unit's processes are put; systemd in the box
does not learn then that it was the memory.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.box.machine import Box

V1 = Path("/sys/fs/cgroup/memory")


def has_controller(box: Box) -> bool:
    """Whether systemd in the box can limit memory, and learns of its end."""
    return "memory" in (_services(box) / "cgroup.controllers").read_text().split()


def obstacle(box: Box) -> str:
    """Why memory cannot be limited here; "" where it can."""
    return "" if has_controller(box) or V1.is_dir() else "there is no memory controller, of neither version of cgroups"


@contextlib.contextmanager
def memory_of(box: Box, unit: str, limit: str) -> Iterator[None]:
    """While in here, all that runs in a unit may have no more than ``limit`` ("64M") together."""
    if has_controller(box):
        box.run("systemctl", "set-property", "--runtime", unit, f"MemoryMax={limit}", "MemorySwapMax=0")
        try:
            yield
        finally:
            box.run("systemctl", "set-property", "--runtime", unit, "MemoryMax=infinity", "MemorySwapMax=infinity")
        return
    group = V1 / f"{box.name}-{unit}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(limit)
    is_over = threading.Event()
    catcher = threading.Thread(target=_catch, args=(_services(box) / unit, group, is_over))
    catcher.start()
    try:
        yield
    finally:
        is_over.set()
        catcher.join()
        _let_go(group)


def _services(box: Box) -> Path:
    """The cgroup of the box's services, seen from outside."""
    return next(box.cgroup.glob("**/system.slice"))


def _catch(unit: Path, group: Path, is_over: threading.Event) -> None:
    """What the unit starts is put into the group as soon as it is there; what that starts is in it by itself."""
    while not is_over.wait(0.005):
        with contextlib.suppress(OSError):
            inside = set((group / "cgroup.procs").read_text().split())
            for pid in set((unit / "cgroup.procs").read_text().split()) - inside:
                with contextlib.suppress(OSError):  # it has ended
                    (group / "cgroup.procs").write_text(pid)


def _let_go(group: Path) -> None:
    for _ in range(1000):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (V1 / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.02)
    raise TimeoutError(f"{group} cannot be removed")
