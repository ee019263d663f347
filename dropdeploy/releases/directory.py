"""An uploaded directory becomes a release: copied below descriptors, judged by the rules for archives."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import closing

from dropdeploy.releases.copying import copy_data
from dropdeploy.releases.former import Comparison
from dropdeploy.releases.refusal import CHANGED, UNREADABLE, Refusal, show, too_large, unsafe
from dropdeploy.releases.removal import DIRECTORY_FLAGS
from dropdeploy.releases.tree import MAX_DEPTH, Tree, set_time

# O_NONBLOCK, for a name that has become a FIFO would block the opening for ever.
_PIECE = 1 << 20
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_directory(fd: int, tree: Tree) -> int:
    """Copy what the directory ``fd`` holds into ``tree``; returns the bytes of its files together.

    Refuses what changes meanwhile, as far as times and sizes tell: anything in the tree, from the beginning to the end
    of the copy, or it could be half of one build and half of the next. Hard links become files of their own: the
    uploader keeps no way to write into a release.
    """
    before = array("q", (mark for _, mark in _marks(fd, b"", 0)))
    total = _copy_level(fd, b"", tree, 0)
    for place, (path, mark) in enumerate(_marks(fd, b"", 0)):
        # An entry more or less has changed its directory, which comes before it.
        if before[place] != mark:
            raise _changed(path)
    return total


def _marks(fd: int, path: bytes, depth: int) -> Iterator[tuple[bytes, int]]:
    """Every entry with a number that changes when it does; a number each, for there may be many. In order of name."""
    _check_depth(path, depth)
    yield path, _mark(os.fstat(fd))
    for name in _names(fd, path):
        inner = path + b"/" + name if path else name
        try:
            status = os.lstat(name, dir_fd=fd)
            if not stat.S_ISDIR(status.st_mode):
                yield inner, _mark(status)
                continue
            opened = _open(name, fd, inner, DIRECTORY_FLAGS)
        except FileNotFoundError:
            raise _changed(inner) from None
        try:
            yield from _marks(opened, inner, depth + 1)
        finally:
            os.close(opened)


def _mark(status: os.stat_result) -> int:
    return hash((status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _check_depth(path: bytes, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise too_large(f"entry {show(path)} is nested more than {MAX_DEPTH} directories deep", "upload a flatter tree")


def _copy_level(fd: int, path: bytes, tree: Tree, depth: int) -> int:
    _check_depth(path, depth)
    before = os.fstat(fd)
    tree.directory(path or b".", stat.S_IMODE(before.st_mode))
    total = 0
    for name in _names(fd, path):
        inner = path + b"/" + name if path else name
        try:
            kind = stat.S_IFMT(os.lstat(name, dir_fd=fd).st_mode)
            if kind == stat.S_IFLNK:
                tree.symlink(inner, os.readlink(name, dir_fd=fd))
                continue
            if kind not in (stat.S_IFREG, stat.S_IFDIR):
                raise unsafe(
                    f"entry {show(inner)} is a device, FIFO or socket", "upload only files, directories and links"
                )
            opened = _open(name, fd, inner, DIRECTORY_FLAGS if kind == stat.S_IFDIR else _READ_FLAGS)
        except FileNotFoundError:
            raise _changed(inner) from None
        try:
            total += (
                _copy_level(opened, inner, tree, depth + 1) if kind == stat.S_IFDIR else _copy_file(opened, inner, tree)
            )
        finally:
            os.close(opened)
    if _is_changed(before, os.fstat(fd)):
        raise _changed(path)
    return total


def _names(fd: int, path: bytes) -> list[bytes]:
    try:
        with os.scandir(fd) as entries:
            return sorted(os.fsencode(entry.name) for entry in entries)
    except OSError as error:
        raise _unreadable(path, error) from error


def _open(name: bytes, fd: int, path: bytes, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):  # it was a file, and now is something else
            raise _changed(path) from error
        raise _unreadable(path, error) from error


def _copy_file(fd: int, path: bytes, tree: Tree) -> int:
    before = os.fstat(fd)
    if not stat.S_ISREG(before.st_mode):
        raise _changed(path)
    if (compared := tree.compare(path, stat.S_IMODE(before.st_mode), before.st_size)) is not None:
        with closing(compared) as comparison:
            return _compare_file(fd, path, tree, before, comparison)
    target = tree.create(path, stat.S_IMODE(before.st_mode), before.st_size)
    assert target is not None, "nothing is stripped from a directory"
    try:
        copied = copy_data(fd, target, before.st_size)
        if copied != before.st_size or _is_changed(before, os.fstat(fd)):
            raise _changed(path)
        set_time(target, before.st_mtime_ns)
    finally:
        os.close(target)
    return copied


def _compare_file(fd: int, path: bytes, tree: Tree, before: os.stat_result, comparison: Comparison) -> int:
    """As copying it, but for what the former release has."""
    copied = 0
    while piece := os.pread(fd, _PIECE, copied):
        comparison.write(piece)
        copied += len(piece)
    if copied != before.st_size or _is_changed(before, os.fstat(fd)):
        raise _changed(path)
    if tree.conclude(comparison):
        set_time(comparison.new, before.st_mtime_ns)
    return copied


def _is_changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _changed(path: bytes) -> Refusal:
    what = show(path) if path else "the directory"
    return Refusal(CHANGED, f"{what} changed while it was copied", "make the .ready file only when all is uploaded")


def _unreadable(path: bytes, error: OSError) -> Refusal:
    what = show(path) if path else "the directory"
    return Refusal(
        UNREADABLE,
        f"{what} cannot be read ({error.strerror})",
        "upload with modes that the agent's user can read, e.g. with chmod -R g+rX before, or rsync --chmod=D2770,F660",
    )
