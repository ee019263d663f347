"""Files of a new release that are files of the one before: the agent's side of ``former``.

The unpacker, which may be in a hostile archive's hands, tells which empty files stand for which old ones. It is
believed as far as it could have written the same itself: both names lie below their releases, no link is followed, and
a file that others than the agent may write is never shared.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.releases import swap
from dropdeploy.releases.copying import UNABLE, copy_data
from dropdeploy.releases.former import Equal
from dropdeploy.releases.group import find_group
from dropdeploy.releases.places import list_releases, open_places
from dropdeploy.releases.refusal import show
from dropdeploy.releases.removal import DIRECTORY_FLAGS

_MAX_LIST = 1 << 30
_PIECE = 1 << 20
_NO_LINKS = (errno.EMLINK, *UNABLE)
_NOT_OURS = stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class Former:
    """The release ``name`` that the next one may share files with. ``same`` is a file for the list of these."""

    name: str
    release: int
    same: int

    def close(self) -> None:
        """Let go of it."""
        os.close(self.release)
        os.close(self.same)


def find_former(root_name: str, staging: int, group: str) -> Former | None:
    """What the new release may share files with; None where there is nothing."""
    with open_places(root_name) as places:
        if os.fstat(staging).st_gid != find_group(group, places.root):
            return None  # its files will be given to another group, all names of them
        live = swap.live_release(places.root)
        if live not in list_releases(places.root):
            return None
        return Former(live, os.open(live, DIRECTORY_FLAGS, dir_fd=places.releases), _unnamed_file(staging))


def _unnamed_file(directory: int) -> int:
    """A file on the same file system that goes when it is closed; in memory where there are no such files."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return os.memfd_create("equal files", os.MFD_CLOEXEC)


def share_files(former: int, staging: int, told: int, release: str) -> int | Fault:
    """Put hard links to files of ``release``, the directory ``former``, in the places that ``told`` lists.

    These are below ``staging``. Returns how many bytes are shared. What the file system makes no (more) links of is
    copied.
    """
    old_places, new_places, shared = _Places(former), _Places(staging), 0
    linked: set[int] = set()  # a new link is a change of the old file, which is ours
    try:
        for path, equal in _read_list(told):
            old_parent, old_name = old_places.find(equal.path)
            old = os.lstat(old_name, dir_fd=old_parent)
            is_same = old.st_ino == equal.inode and (old.st_ctime_ns == equal.changed_ns or old.st_ino in linked)
            if not is_same or not _is_ours(old):
                return _changed(release, os.fsdecode(equal.path))
            parent, name = new_places.find(path)
            linked.add(old.st_ino)
            shared += _share(old_parent, old_name, parent, name, old)
    except (FileNotFoundError, NotADirectoryError) as error:
        return _changed(release, str(error.filename or "a file"))
    finally:
        old_places.close()
        new_places.close()
    return shared


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _NOT_OURS


def _share(old_parent: int, old_name: bytes, parent: int, name: bytes, old: os.stat_result) -> int:
    place = os.lstat(name, dir_fd=parent)
    if (place.st_mode, place.st_gid, place.st_size) != (old.st_mode, old.st_gid, 0):
        raise FileNotFoundError(0, "", os.fsdecode(name))  # the unpacker was not honest
    os.unlink(name, dir_fd=parent)
    try:
        os.link(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(old_parent, old_name, parent, name, old)
        return 0
    return old.st_size


def _copy(old_parent: int, old_name: bytes, parent: int, name: bytes, old: os.stat_result) -> None:
    reading = os.open(old_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=old_parent)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            copy_data(reading, writing, old.st_size)
            os.fchmod(writing, stat.S_IMODE(old.st_mode))
            os.utime(writing, ns=(old.st_mtime_ns, old.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _read_list(fd: int) -> Iterator[tuple[bytes, Equal]]:
    """What ``write_list`` wrote. Raises ValueError when it is not that."""
    if os.fstat(fd).st_size > _MAX_LIST:
        raise ValueError("the list of equal files is too long")
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        rest = b""
        while piece := file.read(_PIECE):
            *fields, rest = (rest + piece).split(b"\0")
            whole = len(fields) - len(fields) % 3
            for at in range(0, whole, 3):
                inode, changed_ns = fields[at + 2].split(b" ")
                yield fields[at], Equal(fields[at + 1], int(inode), int(changed_ns))
            rest = b"\0".join([*fields[whole:], rest])
    if rest:
        raise ValueError("the list of equal files is cut off")


class _Places:
    """Where names are below one directory; the last one is kept open, for the next is often beside it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._path: bytes | None = None
        self._fd = -1

    def find(self, path: bytes) -> tuple[int, bytes]:
        """The directory's descriptor, and the name in it. Raises NotADirectoryError where a link is in between."""
        above, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            raise ValueError("the list of equal files holds what is no name")
        if above != self._path:
            self.close()
            self._fd = self._open(above)
            self._path = above
        return self._fd, name

    def close(self) -> None:
        """Let go of it."""
        if self._path is not None:
            os.close(self._fd)
            self._path = None

    def _open(self, path: bytes) -> int:
        fd = os.dup(self._root)
        for part in path.split(b"/") if path else ():
            if part in (b"", b".", b".."):
                os.close(fd)
                raise ValueError("the list of equal files holds what is no name")
            try:
                inner = os.open(part, DIRECTORY_FLAGS, dir_fd=fd)
            except OSError as error:
                raise NotADirectoryError(error.errno, error.strerror, os.fsdecode(path)) from error
            finally:
                os.close(fd)
            fd = inner
        return fd


def _changed(release: str, path: str) -> Fault:
    return Fault(
        ErrorCode.INTERNAL,
        f"{show(os.fsencode(path))} of release {release} was changed while the upload was compared with it",
        "upload its .ready to try again; whoever changes files of a release changes those that share them",
    )
