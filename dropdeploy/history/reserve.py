"""A little disk space that is kept free for the moment when there is none: a file that can be given up.

A full disk is when somebody may need to roll back, and a rollback must be written down. What is given up is enough for
a few dozen of them; uploads are refused meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

RESERVE_NAME = "reserve"
RESERVE_BYTES = 1024 * 1024
COMFORT_BYTES = 8 * RESERVE_BYTES
"""Only where so much is free is the reserve made (again)."""


class Reserve:
    """The file ``reserve`` in the state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / RESERVE_NAME

    def free_bytes(self) -> int:
        """How much an ordinary user may still write there. Raises OSError."""
        system = os.statvfs(self._directory)
        return system.f_bavail * system.f_frsize

    def fill(self) -> None:
        """See that it is there, if there is room; that it cannot be made is no fault."""
        with contextlib.suppress(OSError):
            if self._is_whole() or self.free_bytes() < COMFORT_BYTES:
                return
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)

    def _is_whole(self) -> bool:
        try:
            return os.stat(self._path).st_size >= RESERVE_BYTES
        except FileNotFoundError:
            return False

    def give_up(self) -> bool:
        """Free it; False when there is none."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        logger.error("the disk of %s is full: the agent writes on its last reserve", self._directory)
        return True
