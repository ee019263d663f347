"""Closed? Whether anybody has an upload open for writing, as the kernel knows it.

A read lease (fcntl(2), "Leases") is refused while the file is open for writing anywhere, and while it is held an opener
for writing waits and the holder is told. It needs the file's owner or CAP_LEASE, and a file system that supports it;
where it cannot be had the caller falls back to "unchanged for `settle`".
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from dropdeploy.intake.listing import Closed
from dropdeploy.model.request import Version

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""For files that somebody else may have planted: never through a link, never waiting for a FIFO's writer."""


def version_of(stat: os.stat_result) -> Version:
    """The version that stat(2) describes."""
    return Version(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode)


def take_lease(fd: int) -> Closed:
    """Take a read lease on ``fd``; it lasts until it is dropped or every copy of ``fd`` is closed.

    YES: held. NO: somebody has the file open for writing. UNKNOWN: a lease cannot be had here.
    """
    try:
        # A broken lease is announced by a signal; SIGIO would end the process, SIGURG does nothing (signal(7)).
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Closed.NO if error.errno == errno.EAGAIN else Closed.UNKNOWN
    return Closed.YES


def is_lease_whole(fd: int) -> bool:
    """Nobody has asked to write since the lease was taken."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def drop_lease(fd: int) -> None:
    """Let writers go on."""
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def probe(name: str, directory_fd: int) -> Closed:
    """Whether the file ``name`` in a directory is closed right now. What cannot be opened is UNKNOWN."""
    try:
        fd = os.open(name, OPEN_FLAGS, dir_fd=directory_fd)
    except OSError:
        return Closed.UNKNOWN
    try:
        closed = take_lease(fd)
        if closed is Closed.YES:
            drop_lease(fd)
        return closed
    finally:
        os.close(fd)
