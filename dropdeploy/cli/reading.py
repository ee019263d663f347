"""Reads what the agent has written into a drop directory, where uploaders may put anything in its place.

A link is not followed, a FIFO not waited for, and no more is read than the agent would write: who reads may be root.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LIMIT_BYTES = 4 * 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Identity = tuple[int, int, int]
"""Inode, size and time of change: another file, or other content."""


def read_file(path: Path | str) -> str | None:
    """The file's text; None when there is none, or something that is no regular file. Raises OSError."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        # ELOOP: a link; ENXIO: a socket.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return file.read(LIMIT_BYTES).decode("utf-8", "replace")
    finally:
        os.close(fd)


def identify(path: Path) -> Identity | None:
    """Which file is there, itself and not what it leads to; None when there is none. Raises OSError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns
