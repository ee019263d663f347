"""Decompression that proves its end.   (pure)

A decoder is fed the upload's bytes and yields what they stand for in pieces of about a MiB, however small
the input: a bomb never sits in memory as a whole. ``finish`` refuses unless the stream ended with its checked
trailer exactly at the last byte. Concatenated members are legal where the format's own tool accepts them, and so
is zero padding; any other byte after the end is damage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from dropdeploy.releases.refusal import corrupt, truncated

PIECE = 1 << 20
MEMORY = 128 << 20  # what zstd(1) grants by default; `xz -9` needs half of it

_MAGIC = (
    (b"\x1f\x8b", "a gzip stream", ".tar.gz"),
    (b"\xfd7zXZ\x00", "an xz stream", ".tar.xz"),
    (b"BZh", "a bzip2 stream", ".tar.bz2"),
    (b"\x28\xb5\x2f\xfd", "a zstd stream", ".tar.zst"),
    (b"PK\x03\x04", "a zip archive", ".zip"),
)


class Decoder:
    """What every decoder does; itself it passes the bytes through.

    ``is_sealed``: one checksum, or one list of them, covers all that was fed. Members that follow each other are each
    checked by themselves, and the first ones could be another upload's.
    """

    is_sealed = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data``, the next bytes, stands for. The iterator must be run to its end."""
        yield data

    def finish(self) -> None:
        """Refuse, unless the bytes fed so far are a whole."""


class Plain(Decoder):
    """No compression. It is looked at once, for a compressed archive with a tar's name deserves a clear answer."""

    is_sealed = False

    def __init__(self) -> None:
        self._is_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        if not self._is_begun and (other := looks_like(data)):
            raise corrupt(f"it is not a tar archive{other}")
        self._is_begun = True
        yield data


class Members(Decoder, ABC):
    """Streams of members that end by themselves: gzip, xz, bzip2."""

    noun = ""
    magic = b""
    padding = 0  # zeros may follow a member, in multiples of this; 0: they may not
    is_padding_last = True

    def __init__(self) -> None:
        self._open = False
        self._count = 0
        self._zeros = 0

    @abstractmethod
    def start(self) -> None:
        """Begin a member."""

    @abstractmethod
    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Decode ``data``, up to the end of the member."""

    @abstractmethod
    def end(self) -> bytes | None:
        """What follows the member that has just ended; None while it goes on."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        while data:
            if not self._open:
                data = self._between(data)
                if not data:
                    return
                self._open = True
                self.start()
            yield from self.inflate(data)
            rest = self.end()
            if rest is None:
                return
            self._open = False
            self._count += 1
            data = rest

    def _between(self, data: bytes) -> bytes:
        """Pass over padding; what is left begins another member."""
        if self._count == 0:
            if not self.magic.startswith(data[: len(self.magic)]):
                raise corrupt(f"it is not {self.noun}{looks_like(data) or looks_like_tar(data)}")
            return data
        if self.padding:
            rest = data.lstrip(b"\0")
            self._zeros += len(data) - len(rest)
            if rest and self._zeros and (self.is_padding_last or self._zeros % self.padding):
                raise corrupt(f"something follows the end of {self.noun}")
            data = rest
        if data and not self.magic.startswith(data[: len(self.magic)]):
            raise corrupt(f"something follows the end of {self.noun}")
        if data:
            self._zeros = 0
        return data

    def finish(self) -> None:
        """See ``Decoder``."""
        if self._open or not self._count:
            raise truncated(f"it ends in the middle of {self.noun}" if self._open else "it is empty")
        if self.padding and self._zeros % self.padding:
            raise truncated(f"it ends in the middle of the padding of {self.noun}")
        self.is_sealed = self._count == 1


def looks_like(head: bytes) -> str:
    """What the first bytes say that it is, as the end of a sentence about what it is not."""
    for magic, noun, ending in _MAGIC:
        if head.startswith(magic):
            return f" but {noun}: its name should end in {ending}"
    return ""


def looks_like_tar(head: bytes) -> str:
    """As ``looks_like``, for a tar archive, whose sign stands behind its first name."""
    return " but an uncompressed tar archive: its name should end in .tar" if head[257:262] == b"ustar" else ""
