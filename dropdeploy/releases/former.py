"""The release before, read while the next one is unpacked: what is equal in both need not be written again.

Bytes are compared as they come; nothing is concluded from sizes, times or digests. Where the file system can, large
files share their blocks (ioctl_ficlone(2)). Else an empty file keeps the place, and the agent, which is not shut off
from the former release as the unpacker is, puts a hard link there (``sharing``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from dropdeploy.releases.copying import FICLONE, UNABLE, write_all
from dropdeploy.releases.removal import DIRECTORY_FLAGS

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORIES = 128
_PIECE = 1 << 20

CLONE_BYTES = 256 << 10
"""From this size on a file is cloned where that is possible. A clone has times of its own, and an inode: in a tree of
80,000 small files these would take a quarter of the tree's size."""


class Equal:
    """A file of the former release that is equal to one of the new one, as it was when it was compared."""

    __slots__ = ("changed_ns", "inode", "path")

    def __init__(self, path: bytes, inode: int, changed_ns: int) -> None:
        self.path = path
        self.inode = inode
        self.changed_ns = changed_ns


class Former:
    """The release in the directory ``root``. ``equal`` are the empty files that keep a place, by their inode."""

    def __init__(self, root: int, gid: int) -> None:
        self.equal: dict[int, Equal] = {}
        self.cloned_bytes = 0
        self._root = root
        self._gid = gid
        self._can_clone = True
        self._fds: dict[bytes, int] = {}

    def find(self, parts: list[bytes], mode: int, size: int) -> int | None:
        """A descriptor of the file of this path, when it may be the one that is coming.

        A hard link has one mode, one owner and one group for all its names; a file of the app's own making is not to
        be shared.
        """
        try:
            fd = os.open(parts[-1], _READ, dir_fd=self._directory(b"/".join(parts[:-1])))
        except OSError:
            return None
        status = os.fstat(fd)
        is_like = (
            stat.S_ISREG(status.st_mode)
            and status.st_size == size
            and stat.S_IMODE(status.st_mode) == mode
            and (status.st_uid, status.st_gid) == (os.geteuid(), self._gid)
        )
        if not is_like:
            os.close(fd)
            return None
        return fd

    def share(self, old: int, new: int, path: bytes) -> bool:
        """Have the empty file ``new`` be the one that ``old`` is; returns whether it has the data already."""
        status = os.fstat(old)
        if self._can_clone and status.st_size >= CLONE_BYTES:
            try:
                fcntl.ioctl(new, FICLONE, old)
                self.cloned_bytes += status.st_size
                return True
            except OSError as error:
                if error.errno not in UNABLE:
                    raise
                self._can_clone = False
        self.equal[os.fstat(new).st_ino] = Equal(path, status.st_ino, status.st_ctime_ns)
        return False

    def is_written(self, fd: int) -> None:
        """``fd`` is a file of its own. An inode's number is given again when a file that kept a place is removed."""
        if self.equal:
            self.equal.pop(os.fstat(fd).st_ino, None)

    def copy_place(self, old: int, new: int) -> None:
        """The empty file ``new`` is a copy of ``old``: where that keeps a place, so does this."""
        if (equal := self.equal.get(os.fstat(old).st_ino)) is not None:
            self.equal[os.fstat(new).st_ino] = equal

    def close(self) -> None:
        """Close what is open. The root's descriptor stays the caller's."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def _directory(self, path: bytes) -> int:
        if not path:
            return self._root
        fd = self._fds.pop(path, -1)
        if fd == -1:
            above, _, base = path.rpartition(b"/")
            fd = os.open(base, DIRECTORY_FLAGS, dir_fd=self._directory(above))
            if len(self._fds) >= _OPEN_DIRECTORIES:
                os.close(self._fds.pop(next(iter(self._fds))))
        self._fds[path] = fd
        return fd


class Comparison:
    """Takes the data of a new file piece by piece, and writes none of it as long as the old file holds the same.

    ``new`` is the file, empty yet; ``close`` closes both. ``path`` is where they are in their releases.
    """

    def __init__(self, old: int, new: int, path: bytes) -> None:
        self.old = old
        self.new = new
        self.path = path
        self._same = 0  # so many bytes were equal
        self.is_equal = True

    def write(self, piece: bytes | memoryview) -> None:
        """The next bytes."""
        if self.is_equal:
            if self._holds(piece):
                self._same += len(piece)
                return
            self.is_equal = False
            _copy_head(self.old, self.new, self._same)
        write_all(self.new, piece)

    def close(self) -> None:
        """Let go of both files."""
        os.close(self.old)
        os.close(self.new)

    def _holds(self, piece: bytes | memoryview) -> bool:
        at, left = self._same, memoryview(piece)
        while left:
            found = os.pread(self.old, len(left), at)
            if not found or left[: len(found)] != found:
                return False
            left, at = left[len(found) :], at + len(found)
        return True


def _copy_head(old: int, new: int, size: int) -> None:
    """The first ``size`` bytes, in the kernel where it can; ``new`` is at its beginning, and moves on."""
    done = 0
    while done < size:
        try:
            count = os.copy_file_range(old, new, size - done, offset_src=done)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            count = 0
        if not count:
            piece = os.pread(old, min(_PIECE, size - done), done)
            if not piece:
                raise OSError(errno.EIO, "the release before became shorter while it was compared")
            write_all(new, piece)
            count = len(piece)
        done += count


def write_list(fd: int, same: list[tuple[bytes, Equal]]) -> None:
    """Tell ``sharing`` in the file ``fd``: places in the new release, and the old file that is to be there."""
    with open(fd, "wb", closefd=False) as file:
        for path, equal in same:
            file.write(b"%s\0%s\0%d %d\0" % (path, equal.path, equal.inode, equal.changed_ns))
