"""An archive's entries become files of a release."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing

from dropdeploy.releases.copying import write_all
from dropdeploy.releases.former import Comparison
from dropdeploy.releases.refusal import corrupt, show
from dropdeploy.releases.tarball import DIRECTORY, FILE, SYMLINK, Entry, TarReader
from dropdeploy.releases.tree import MAX_TARGET, Tree, set_time


def unpack_tar(chunks: Iterable[bytes], tree: Tree) -> None:
    """Unpack the tar archive that ``chunks`` makes up, to its proven end."""
    reader = TarReader(chunks)
    while (entry := reader.next_entry()) is not None:
        kind = entry.kind
        if kind == FILE:
            if entry.extents is None and (compared := tree.compare(entry.name, entry.mode, entry.size)) is not None:
                _compare_file(compared, _pieces(entry, reader), entry.mtime_ns, tree)
                continue
            fd = tree.create(entry.name, entry.mode, entry.size)
            if fd is not None:
                try:
                    _write_file(fd, entry, reader)
                finally:
                    os.close(fd)
        elif kind == DIRECTORY:
            tree.directory(entry.name, entry.mode)
        elif kind == SYMLINK:
            tree.symlink(entry.name, entry.link)
        else:
            tree.hardlink(entry.name, entry.link)


def _pieces(entry: Entry, reader: TarReader) -> Iterator[bytes | memoryview]:
    left = entry.size
    while left:
        piece = reader.read(left)
        left -= len(piece)
        yield piece


def _compare_file(comparison: Comparison, pieces: Iterable[bytes | memoryview], mtime_ns: int, tree: Tree) -> None:
    """As writing it, but for what the former release has."""
    with closing(comparison):
        for piece in pieces:
            comparison.write(piece)
        if tree.conclude(comparison):
            set_time(comparison.new, mtime_ns)


def _write_file(fd: int, entry: Entry, reader: TarReader) -> None:
    if entry.extents is None:
        left = entry.size
        while left:
            piece = reader.read(left)
            left -= len(piece)
            write_all(fd, piece)
    else:
        for offset, length in entry.extents:
            os.lseek(fd, offset, os.SEEK_SET)
            left = length
            while left:
                piece = reader.read(left)
                left -= len(piece)
                write_all(fd, piece)
        os.ftruncate(fd, entry.size)
    set_time(fd, entry.mtime_ns)


def unpack_zip(fd: int, size: int, chunks: Iterable[bytes], tree: Tree) -> None:
    """Unpack the zip archive in ``fd``, whose ``size`` bytes ``chunks`` makes up."""
    from dropdeploy.releases.zipball import ZipReader  # noqa: PLC0415 - start-up time; tars do without
    from dropdeploy.releases.zipdir import Directory  # noqa: PLC0415

    reader = ZipReader(Directory(fd, size), chunks)
    for member in reader.members():
        target = None
        if member.kind == stat.S_IFREG:
            if (compared := tree.compare(member.name, member.mode, member.size)) is not None:
                _compare_file(compared, reader.read(member), member.mtime_ns, tree)
                continue
            target = tree.create(member.name, member.mode, member.size)
        elif member.kind == stat.S_IFDIR:
            tree.directory(member.name, member.mode)
        elif member.size > MAX_TARGET:
            raise corrupt(f"the symbolic link {show(member.name)} has a target of {member.size} bytes")
        try:
            data = b""
            for piece in reader.read(member):
                if target is not None:
                    write_all(target, piece)
                elif member.size <= MAX_TARGET:
                    data += piece
            if target is not None:
                set_time(target, member.mtime_ns)
        finally:
            if target is not None:
                os.close(target)
        if member.kind == stat.S_IFLNK:
            tree.symlink(member.name, data)
