"""Removes a box: its processes, its cgroup, its files.

Run as a program with a box's directory as argument it does so when its standard input ends: that is, when whoever
holds the other end has closed it or is gone, however it went (an interrupt, a crash, SIGKILL).
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

LOCK = "lock"
CGROUP = "cgroup"


def kill_all(cgroup: Path, timeout_s: float = 20.0) -> None:
    """SIGKILL to everything in the cgroup at once (cgroup.kill, Linux 5.14), and wait until all of it is gone."""
    (cgroup / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + timeout_s
    with (cgroup / "cgroup.events").open() as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"processes in {cgroup} are still there {timeout_s:g} s after SIGKILL")
            poller.poll(left_s * 1000)
            events.seek(0)


def remove_cgroup(cgroup: Path) -> None:
    """Remove the cgroup and those below it. They must be empty."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(directory)


def remove(place: Path) -> None:
    """Remove the box that lives in ``place``. Its mounts are in a namespace of its own and go with its processes."""
    note = place / CGROUP
    cgroup = Path(note.read_text()) if note.exists() else None
    if cgroup is not None and cgroup.exists():
        kill_all(cgroup)
        remove_cgroup(cgroup)
    shutil.rmtree(place)


def claim(place: Path) -> int | None:
    """Lock the box's directory; None when somebody has it. The descriptor returned is the lock."""
    lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def sweep(boxes: Path) -> None:
    """Remove the boxes that nobody holds: a keeper was killed too, or the machine was switched off."""
    for place in boxes.iterdir():
        lock = claim(place) if place.is_dir() else None
        if lock is not None:
            remove(place)
            os.close(lock)


if __name__ == "__main__":
    # A terminal's Ctrl-C is for the tests; what they leave is removed all the same.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    remove(Path(sys.argv[1]))
