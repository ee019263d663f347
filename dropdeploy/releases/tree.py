"""Writing a release: entries by name, below one directory descriptor, and never anywhere else.

Names come from strangers. Each is taken apart, and its directories are opened one by one without following links;
nothing is ever written through a link, whatever the archive did before. All descriptors are relative to the one
given, so that the process can be shut off from the rest of the file system.
"""

from __future__ import annotations

import errno
import os
import stat

from dropdeploy.releases.copying import copy_data
from dropdeploy.releases.former import Comparison, Equal, Former
from dropdeploy.releases.links import find_leaving, is_leaving
from dropdeploy.releases.refusal import Refusal, corrupt, show, show_size, too_large, unsafe
from dropdeploy.releases.removal import DIRECTORY_FLAGS, remove_entry

MAX_DEPTH = 100
MAX_TARGET = 4095  # PATH_MAX without its zero byte
_MAX_PART = 255  # NAME_MAX
_OPEN_DIRECTORIES = 256  # more than twice MAX_DEPTH: two whole paths can be in use at once
_LINKS_MEMORY = 32 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_NAMES = (b"", b".", b"..")
_MAX_TIME_NS = (1 << 33) * 1_000_000_000  # beyond 2200; some file systems refuse what does not fit theirs


def file_mode(mode: int) -> int:
    """What becomes of a file's mode: the executable bit stays; the app, of the file's group, may read what the
    owner may; nobody but the owner may write."""
    mode = mode & 0o755 | 0o600
    return mode | (mode & 0o500) >> 3


def directory_mode(mode: int) -> int:
    """What becomes of a directory's mode; see ``file_mode``."""
    return mode & 0o755 | 0o750


class Tree:
    """A release under construction in the directory ``root``.

    ``strip`` leading components are dropped from each name; what has no more than these is passed over. ``max_*``
    are the limits for all of it. ``at`` is the name of the entry at hand, ``entries`` and ``bytes`` are what was
    made so far. Where ``root`` is set-group-id, so is each directory until ``settle``: all that is
    made inherits the group without a chown(2) for each. With ``former``, what that release holds is not written again.
    """

    def __init__(
        self, root: int, *, strip: int = 0, max_bytes: int, max_entries: int, former: Former | None = None
    ) -> None:
        self.entries = 0
        self.bytes = 0
        self.at = b""
        self.same: list[tuple[bytes, Equal]] = []  # after ``settle``: empty files, and what is to be in their place
        self._root = root
        self._strip = strip
        self._former = former
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._seen = 0
        self._inherit = os.fstat(root).st_mode & stat.S_ISGID
        self._fds: dict[bytes, int] = {}  # by path, the least recently used first
        self._head: bytes | None = None  # names with this before the last slash belong into …
        self._head_fd = -1  # … this directory

    # --- entries ----------------------------------------------------------------------------------------

    def create(self, name: bytes, mode: int, size: int) -> int | None:
        """A descriptor to write a new file of ``size`` bytes to, None if the entry is to be passed over.

        What stands there is replaced, as the last of several entries of a name wins.
        """
        fd = self._create(name, mode, size)
        if self._former is not None and fd is not None:
            self._former.is_written(fd)
        return fd

    def compare(self, name: bytes, mode: int, size: int) -> Comparison | None:
        """As ``create``, where the former release has a file like that: the data goes to the comparison, and at the end
        both to ``conclude``. None where it has none; nothing is made then."""
        if self._former is None or not size:
            return None
        parts = self._parts(name)
        old = self._former.find(parts, file_mode(mode), size) if parts else None
        if old is None:
            return None
        try:
            new = self.create(name, mode, size)
        except BaseException:
            os.close(old)
            raise
        assert new is not None, "it has parts"
        return Comparison(old, new, b"/".join(parts))

    def conclude(self, comparison: Comparison) -> bool:
        """All data of the file has come. Returns whether it is a file of its own, which may have times of its own."""
        assert self._former is not None
        return not comparison.is_equal or self._former.share(comparison.old, comparison.new, comparison.path)

    def _create(self, name: bytes, mode: int, size: int) -> int | None:
        self._admit(name, size)
        head, _, base = name.rpartition(b"/")
        if head == self._head and base not in _NO_NAMES and len(base) <= _MAX_PART:
            parent = self._head_fd
        else:
            parts = self._parts(name)
            if not parts:
                return None
            base = parts[-1]
            parent = self._parent(parts, name)
            self._head, self._head_fd = head, parent
        self.entries += 1
        try:
            return os.open(base, _CREATE, file_mode(mode), dir_fd=parent)
        except FileExistsError:
            self._clear(parent, base)
            return os.open(base, _CREATE, file_mode(mode), dir_fd=parent)

    def directory(self, name: bytes, mode: int) -> None:
        """Make a directory, or set the mode of the one that is there. A file or link there makes way."""
        self._admit(name, 0)
        parts = self._parts(name)
        mode = directory_mode(mode) | self._inherit
        if not parts:
            if not self._strip:
                os.fchmod(self._root, mode)
            return
        self.entries += 1
        parent = self._parent(parts, name)
        try:
            os.mkdir(parts[-1], mode, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(parts[-1], dir_fd=parent).st_mode):
                os.fchmod(self._open(b"/".join(parts), name), mode)
                return
            self._clear(parent, parts[-1])
            os.mkdir(parts[-1], mode, dir_fd=parent)

    def symlink(self, name: bytes, target: bytes) -> None:
        """Make a symbolic link. It may lead to what is not there yet; ``settle`` has the last word."""
        self._admit(name, 0)
        parts = self._parts(name)
        if not parts:
            return
        if not target or len(target) > MAX_TARGET or b"\0" in target or target.count(b"/") > 2 * MAX_DEPTH:
            raise unsafe(f"the symbolic link {show(name)} has a target that is not a valid path")
        if is_leaving(b"/".join(parts[:-1]), target):
            raise _leaving_link(name, target)
        self.entries += 1
        parent = self._parent(parts, name)
        try:
            os.symlink(target, parts[-1], dir_fd=parent)
        except FileExistsError:
            self._clear(parent, parts[-1])
            os.symlink(target, parts[-1], dir_fd=parent)

    def hardlink(self, name: bytes, target: bytes) -> None:
        """Give what ``target``, an entry before this one, made a second name."""
        self._admit(name, 0)
        parts = self._parts(name)
        if not parts:
            return
        source = self._parts(target, f"hard link {show(name)} to {show(target)}")
        if not source:
            raise corrupt(f"the hard link {show(name)} leads to {show(target)}, which `strip` drops")
        parent = self._parent(parts, name)
        above = self._parent(source, target)
        try:
            old = os.lstat(source[-1], dir_fd=above)
        except FileNotFoundError:
            raise corrupt(
                f"the hard link {show(name)} leads to {show(target)}, which no entry before it made"
            ) from None
        if stat.S_ISDIR(old.st_mode):
            raise unsafe(f"the hard link {show(name)} leads to {show(target)}, which is a directory")
        self.entries += 1
        if parts == source:
            return
        self._clear(parent, parts[-1], above)
        try:
            os.link(source[-1], parts[-1], src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise corrupt(f"the hard link {show(name)} takes the place of {show(target)}, to which it leads") from None
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP) or not stat.S_ISREG(old.st_mode):
                raise
            # The file system makes no (more) links: a copy will do.
            reading = os.open(source[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            try:
                self._admit(name, old.st_size)
                _copy(reading, parent, parts[-1], self._former)
            finally:
                os.close(reading)

    @property
    def cloned_bytes(self) -> int:
        """So many bytes share the blocks of the former release."""
        return self._former.cloned_bytes if self._former is not None else 0

    # --- the end ----------------------------------------------------------------------------------------

    def settle(self, beyond: tuple[bytes, ...] = ()) -> None:
        """See that no symbolic link leads out of the release, and take the set-group-id bits off.

        ``beyond``: see ``links.find_leaving``. The links are read back from the file system, so that they are
        the very ones that will be there.
        """
        self._forget()
        links: dict[bytes, bytes] = {}
        # Opened anew: btrfs (Linux 6.5) lists only what was there when the descriptor was opened.
        root = os.open(b".", DIRECTORY_FLAGS, dir_fd=self._root)
        try:
            self._settle(root, b"", links, [0])
        finally:
            os.close(root)
        if (link := find_leaving(links, beyond)) is not None:
            raise _leaving_link(link, links[link])

    def _settle(self, fd: int, path: bytes, links: dict[bytes, bytes], memory: list[int]) -> None:
        equal = self._former.equal if self._former is not None else None
        with os.scandir(fd) as entries:
            directories = []
            for entry in entries:
                if entry.is_symlink():
                    link = path + os.fsencode(entry.name)
                    links[link] = target = os.readlink(os.fsencode(entry.name), dir_fd=fd)
                    memory[0] += len(link) + len(target) + 200
                    if memory[0] > _LINKS_MEMORY:
                        raise too_large(f"there are more than {len(links)} symbolic links", "pack fewer links")
                elif entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
                elif equal is not None and (found := equal.get(entry.inode())) is not None:
                    self.same.append((path + os.fsencode(entry.name), found))
        for name in directories:
            inner = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
            try:
                self._settle(inner, path + name + b"/", links, memory)
            finally:
                os.close(inner)
        if self._inherit:
            os.fchmod(fd, os.fstat(fd).st_mode & 0o777)

    def close(self) -> None:
        """Close what is open. The root's descriptor stays the caller's."""
        self._forget()

    # --- places -----------------------------------------------------------------------------------------

    def _admit(self, name: bytes, size: int) -> None:
        """Count an entry, whether or not it is passed over later: a bomb stops early."""
        self.at = name
        self.bytes += size
        self._count(name)
        if self.bytes > self._max_bytes:
            raise too_large(
                f"unpacked it is larger than {show_size(self._max_bytes)} (max_unpacked): {show(name)} is too much",
                "leave out what the app does not need, or raise max_unpacked in the app's [accept] section",
            )

    def _count(self, name: bytes) -> None:
        self._seen += 1
        if self._seen > self._max_entries:
            raise too_large(
                f"there are more than {self._max_entries} entries (max_entries); {show(name)} is one too many",
                "leave out what the app does not need, or raise max_entries in the app's [accept] section",
            )

    def _parts(self, name: bytes, what: str = "") -> list[bytes]:
        """The components of a name in the release: none for what `strip` drops and for the release itself."""
        parts = [part for part in name.split(b"/") if part and part != b"."]
        if (
            name.startswith(b"/")
            or b".." in parts
            or len(parts) > MAX_DEPTH
            or len(name) > MAX_TARGET
            or b"\0" in name
            or max(map(len, parts), default=0) > _MAX_PART
        ):
            raise _bad_name(name, parts, what or f"entry {show(name)}")
        return parts[self._strip :]

    def _parent(self, parts: list[bytes], name: bytes) -> int:
        return self._open(b"/".join(parts[:-1]), name)

    def _open(self, path: bytes, name: bytes) -> int:
        """The descriptor of the directory ``path``, which is made when missing, on behalf of entry ``name``."""
        if not path:
            return self._root
        fd = self._fds.pop(path, -1)
        if fd == -1:
            above, _, base = path.rpartition(b"/")
            parent = self._open(above, name)
            try:
                fd = os.open(base, DIRECTORY_FLAGS, dir_fd=parent)
            except FileNotFoundError:
                self._count(name)  # a hundred may be made for the sake of one entry
                os.mkdir(base, 0o755 | self._inherit, dir_fd=parent)
                fd = os.open(base, DIRECTORY_FLAGS, dir_fd=parent)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                is_link = stat.S_ISLNK(os.lstat(base, dir_fd=parent).st_mode)
                raise unsafe(
                    f"entry {show(name)} is written through the link {show(path)}"
                    if is_link
                    else f"entry {show(name)} is below {show(path)}, which is a file"
                ) from error
            if len(self._fds) >= _OPEN_DIRECTORIES:
                oldest = next(iter(self._fds))
                self._head = None
                os.close(self._fds.pop(oldest))
        self._fds[path] = fd
        return fd

    def _clear(self, parent: int, base: bytes, other: int = -1) -> None:
        """Remove what stands in a new entry's place. The descriptors ``parent`` and ``other`` stay open."""
        try:
            os.unlink(base, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError:
            remove_entry(parent, base)
            # Descriptors of what was below it would lead into nowhere.
            self._forget({path: fd for path, fd in self._fds.items() if fd in (parent, other)})

    def _forget(self, keep: dict[bytes, int] | None = None) -> None:
        kept = keep or {}
        for path, fd in self._fds.items():
            if path not in kept:
                os.close(fd)
        self._fds = kept
        self._head = None


def _bad_name(name: bytes, parts: list[bytes], what: str) -> Refusal:
    """Why a name is none for a release."""
    if name.startswith(b"/"):
        return unsafe(f"{what} has an absolute name")
    if b".." in parts:
        return unsafe(f"{what} leaves the release" if is_leaving(b"", name) else f"{what} has '..' in its name")
    if len(parts) > MAX_DEPTH:
        return too_large(f"{what} is nested more than {MAX_DEPTH} directories deep", "pack a flatter tree")
    if b"\0" in name:
        return unsafe(f"{what} is not a valid path: it holds a zero byte")
    return unsafe(f"{what} is not a valid path: it is too long", "shorten the name")


def _copy(reading: int, parent: int, base: bytes, former: Former | None) -> None:
    old = os.fstat(reading)
    writing = os.open(base, _CREATE, stat.S_IMODE(old.st_mode), dir_fd=parent)
    try:
        if former is not None:
            former.is_written(writing)
            former.copy_place(reading, writing)
        copy_data(reading, writing, old.st_size)
        set_time(writing, old.st_mtime_ns)
    finally:
        os.close(writing)


def set_time(fd: int, mtime_ns: int) -> None:
    """Set a file's modification time, or the nearest that file systems can keep."""
    if not 0 <= mtime_ns <= _MAX_TIME_NS:
        mtime_ns = 0 if mtime_ns < 0 else _MAX_TIME_NS
    os.utime(fd, ns=(mtime_ns, mtime_ns))


def _leaving_link(name: bytes, target: bytes) -> Refusal:
    kind = "is absolute, so it leaves the release" if target.startswith(b"/") else "leaves the release"
    return unsafe(
        f"the symbolic link {show(name)} -> {show(target)} {kind}",
        "link to what the build itself holds, with a relative target; what lives outside belongs into `shared`",
    )
