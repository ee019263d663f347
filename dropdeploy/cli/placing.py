"""Puts files and trees into a directory where others, who are not trusted, may write too.

This may run as root. So nothing is reached by a path once the directory is open: every name is relative to a descriptor
and never followed (openat(2), O_NOFOLLOW), files are new (O_EXCL), and modes are set on what was opened. Whoever can
rename there can at most take away, or put something of his own in the place of, what he may upload anyway.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# For the agent, who must be able to read it; the directory's own mode keeps others out.
_FILE_MODE, _PROGRAM_MODE, _DIRECTORY_MODE = 0o644, 0o755, 0o755


class CopyError(Exception):
    """What was to be copied cannot be read, or is nothing that can be copied: one sentence for each."""

    def __init__(self, reasons: list[str], *, is_denied: bool) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.is_denied = is_denied


class SharedDirectory:
    """A directory that others write to. Its methods raise OSError as the kernel does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[SharedDirectory]:
        """``path`` itself is the administrator's, and may be a link."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield cls(fd)
        finally:
            os.close(fd)

    def names(self) -> list[str]:
        """All that is there."""
        return os.listdir(self._fd)

    def remove(self, name: str) -> None:
        """A file; that it is gone already is no fault."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def put_text(self, text: str, name: str) -> None:
        """A file with this text, in the place of what has the name."""
        with self._temporary() as temporary:
            fd = os.open(temporary, _NEW, 0o600, dir_fd=self._fd)
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(fd, _FILE_MODE)
            self._rename(temporary, name)

    def put_file(self, source: Path, name: str) -> None:
        """A copy of a file: its bytes, and whether it can be executed. Raises CopyError."""
        with self._temporary() as temporary:
            _copy_file(source, temporary, self._fd)
            self._rename(temporary, name)

    def put_tree(self, source: Path, name: str) -> None:
        """A copy of a directory. Raises CopyError with everything that cannot be copied.

        A directory cannot replace one that is not empty: what stands there is moved aside first, then removed.
        """
        with self._temporary() as temporary, self._temporary() as former:
            os.mkdir(temporary, 0o700, dir_fd=self._fd)
            fd = os.open(temporary, _DIRECTORY, dir_fd=self._fd)
            try:
                if os.fstat(fd).st_uid != os.geteuid():
                    raise FileExistsError("somebody has put another directory in its place")
                faults = _copy_entries(source, fd)
                if faults:
                    raise CopyError([str(fault) for fault in faults], is_denied=False)
                os.fchmod(fd, _DIRECTORY_MODE)
            finally:
                os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode):
                    self._rename(name, former)
            self._rename(temporary, name)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[str]:
        """A name that the agent does not see; nothing is left of it afterwards."""
        name = f".dropdeploy-{secrets.token_hex(6)}"
        try:
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.unlink(name, dir_fd=self._fd)
                except (IsADirectoryError, PermissionError):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=self._fd)


def _copy_file(source: Path, name: str, directory: int) -> None:
    try:
        reading = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(source, error) from error
    with open(reading, "rb") as file:
        mode = os.fstat(reading).st_mode
        if not stat.S_ISREG(mode):
            raise CopyError([f"{source}: neither a file nor a directory"], is_denied=False)
        with open(os.open(name, _NEW, 0o600, dir_fd=directory), "wb") as copy:
            shutil.copyfileobj(file, copy, 1024 * 1024)
            os.fchmod(copy.fileno(), _PROGRAM_MODE if mode & 0o100 else _FILE_MODE)


def _copy_entries(source: Path, directory: int) -> list[CopyError]:
    """Everything in ``source``, links as links; returns what could not be read."""
    faults: list[CopyError] = []
    try:
        with os.scandir(source) as found:
            entries = list(found)
    except OSError as error:
        return [_unreadable(source, error)]
    for entry in entries:
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                os.symlink(os.readlink(path), entry.name, dir_fd=directory)
            elif entry.is_dir():
                faults += _copy_directory(path, entry.name, directory)
            else:
                _copy_file(path, entry.name, directory)
        except CopyError as fault:
            faults.append(fault)
    return faults


def _copy_directory(source: Path, name: str, directory: int) -> list[CopyError]:
    os.mkdir(name, 0o700, dir_fd=directory)
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        faults = _copy_entries(source, fd)
        os.fchmod(fd, _DIRECTORY_MODE)
        return faults
    finally:
        os.close(fd)


def _unreadable(path: Path, error: OSError) -> CopyError:
    return CopyError([f"{path}: {error.strerror}"], is_denied=isinstance(error, PermissionError))
