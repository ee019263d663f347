"""One agent per state directory: flock(2) on ``<state>/lock``.

The kernel lets go of the lock when the agent ends, however it ends; the file stays and means nothing by itself. It
holds the agent's pid as text, for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "lock"
# `is_held` takes the lock for an instant to learn whether it is free: that must not keep an agent from starting.
_PATIENCE_S = 0.5
_PAUSE_S = 0.02


class AgentRunningError(Exception):
    """Another agent works with this state directory; the message names it and its pid."""


@contextlib.contextmanager
def hold(state: Path) -> Iterator[None]:
    """Be the agent of this state directory, which must exist. Raises AgentRunningError, or OSError as open(2) does."""
    fd = os.open(state / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        if not _take(fd):
            raise AgentRunningError(_describe_holder(fd, state))
        os.fchmod(fd, 0o644)  # whatever the umask says: `dropdeploy status` of other users reads it
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def is_held(state: Path) -> bool:
    """Whether an agent runs on this state directory now. Raises PermissionError where that cannot be known."""
    try:
        fd = os.open(state / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _take(fd: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True


def _describe_holder(fd: int, state: Path) -> str:
    pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    who = f" (pid {pid})" if pid.isdigit() else ""
    return f"another agent{who} is running on {state}: stop it first, or give this one another `state` directory"
