"""Builds to upload: of no use to a compressor, so that half an upload is half of the bytes."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.box.clients.whole import MANIFEST, manifest

NEEDLE = 64


@dataclass(frozen=True)
class Build:
    """What is in one build. ``label`` is its name for the guard, unique in a run."""

    label: str
    files: dict[str, bytes]

    def packed(self) -> bytes:
        """As a .tar.gz, the same bytes each time."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in self.files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return gzip.compress(archive.getvalue(), compresslevel=1, mtime=0)

    def unpack_into(self, directory: Path) -> None:
        """As a tree, below a directory that is there."""
        for name, content in self.files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)


def make_build(label: str, kilobytes: int, count: int) -> Build:
    """A build of about this size, in so many files, whose names are the same in each build."""
    chance = random.Random(label)
    size = kilobytes * 1000 // count
    files = {f"payload/{number}.bin": chance.randbytes(size) for number in range(count)}
    return Build(label, {MANIFEST: manifest(label, files), **files})


@dataclass(frozen=True)
class Cargo:
    """What a client carries: one file, or the files of a tree."""

    label: str
    contents: tuple[bytes, ...]

    def has_arrived(self, directory: Path, share: float) -> bool:
        """Whether so much of it is somewhere below a directory: under whatever name, in whatever state.

        Of a file: the bytes at that place of it. Of a tree: so many of its files to their ends.
        """
        if len(self.contents) == 1:
            offset = int(len(self.contents[0]) * share)
            needle = self.contents[0][offset : offset + NEEDLE]
            return any(_read_at(fd, offset) == needle for fd in _files(directory))
        ends = {content[-NEEDLE:] for content in self.contents}
        arrived = {_read_at(fd, os.fstat(fd).st_size - NEEDLE) for fd in _files(directory)}
        return len(ends & arrived) >= len(ends) * share


def _files(directory: Path) -> Iterator[int]:
    """Each regular file below, open for as long as it is looked at."""
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                fd = os.open(os.path.join(parent, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue  # renamed or removed meanwhile
            try:
                yield fd
            finally:
                os.close(fd)


def _read_at(fd: int, offset: int) -> bytes:
    return os.pread(fd, NEEDLE, max(0, offset))
