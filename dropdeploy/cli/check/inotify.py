"""Whether the kernel lets the agent's user watch as many directories as there are apps (inotify(7))."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, good, poor
from dropdeploy.cli.check.ground import Ground

_LIMITS = Path("/proc/sys")
# Of the machine, and of the user namespace that the agent may be in.
_PLACES = ("fs/inotify/max_user_{}", "user/max_inotify_{}")
_INSTEAD = "directories that cannot be watched are looked into every few seconds"


def check_inotify(ground: Ground) -> Iterator[Finding]:
    """One instance for all, one watch for each."""
    needed = {"instances": 1, "watches": len(ground.config.apps)}
    short = [what for what, number in needed.items() if (limit := _limit(what)) is not None and limit < number]
    if not short and not ground.agent_pid and not _has_instance():
        short = ["instances"]
    if not short:
        yield good("inotify", "the kernel's limits let every drop directory be watched")
    for what in short:
        number = max(needed[what], 128) if what == "instances" else needed[what] + 8192
        mend = f"`echo fs.inotify.max_user_{what}={number} > /etc/sysctl.d/50-dropdeploy.conf && sysctl --system`"
        told = f"fs.inotify.max_user_{what} is too small for {needed[what]} of the agent's: {_INSTEAD}"
        yield poor("inotify", told, mend)


def _limit(what: str) -> int | None:
    limits: list[int] = []
    for place in _PLACES:
        try:
            limits.append(int((_LIMITS / place.format(what)).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits, default=None)


def _has_instance() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd == -1:
        return ctypes.get_errno() not in (errno.EMFILE, errno.ENFILE)
    os.close(fd)
    return True
