"""Removing a tree below a directory descriptor, never through a link.

What is removed may have been written by somebody else (an uploader's build, the app itself), so it may be
unreadable, deep, and change meanwhile. Modes are repaired where they stand in the way.
"""

from __future__ import annotations

import os
import stat

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEP = 100  # directories open at a time; what is deeper is moved up first


def remove_entry(parent: int, name: bytes) -> None:
    """Remove ``name`` in the directory ``parent``: a file, a link, or a directory with all that it holds.

    A name that does not exist is no error. Raises OSError where something cannot be removed; what could be
    removed before is gone then.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # EPERM is POSIX's answer for a directory, EISDIR Linux's
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise
    else:
        return
    moved = _Moved(parent, name)
    _remove_directory(parent, name, 1, moved)
    moved.remove()


class _Moved:
    """Directories that were too deep, moved to the top to be removed there."""

    def __init__(self, parent: int, name: bytes) -> None:
        self._parent = parent
        self._name = name
        self._names: list[bytes] = []
        self._count = 0

    def take(self, directory: int, name: bytes) -> None:
        new = b"%s.deep-%d" % (self._name, self._count)
        os.rename(name, new, src_dir_fd=directory, dst_dir_fd=self._parent)
        self._count += 1
        self._names.append(new)

    def remove(self) -> None:
        while self._names:
            _remove_directory(self._parent, self._names.pop(), 1, self)


def _remove_directory(parent: int, name: bytes, depth: int, moved: _Moved) -> None:
    fd = _open(parent, name)
    try:
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        if found and not _is_writable(fd):
            os.fchmod(fd, 0o700)
        for entry, is_directory in found:
            if not is_directory:
                os.unlink(entry, dir_fd=fd)
            elif depth < _DEEP:
                _remove_directory(fd, entry, depth + 1, moved)
            else:
                moved.take(fd, entry)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _is_writable(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o300 == 0o300


def _open(parent: int, name: bytes) -> int:
    """Open a directory for listing, with its mode repaired if it forbids that."""
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    except PermissionError:
        held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            # Neither fchmod(2) takes an O_PATH descriptor nor fchmodat(2) a flag against links; this is their way.
            os.chmod(f"/proc/self/fd/{held}", 0o700)
        finally:
            os.close(held)
        return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
