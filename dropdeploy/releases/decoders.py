"""Decompression that proves its end.   (pure)

A decoder is fed the upload's bytes and yields what they stand for in pieces of about a MiB, however small
the input: a bomb never sits in memory as a whole. ``finish`` refuses unless the stream ended with its checked
trailer exactly at the last byte. Concatenated members are legal where the format's own tool accepts them, and so
is zero padding; any other byte after the end is damage.
"""

from __future__ import annotations

from collections.abc import Iterator

from dropdeploy.releases.deflate import DeflateErrors, deflate
from dropdeploy.releases.refusal import UNSUPPORTED, Refusal, corrupt, show_size, truncated

PIECE = 1 << 20
_XZ_TAIL = 256  # an index of one block and the footer take 40
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


class _Members(Decoder):
    """Streams of members that end by themselves: gzip, xz, bzip2."""

    noun = ""
    magic = b""
    padding = 0  # zeros may follow a member, in multiples of this; 0: they may not
    is_padding_last = True

    def __init__(self) -> None:
        self._open = False
        self._count = 0
        self._zeros = 0

    def start(self) -> None:
        """Begin a member."""
        raise NotImplementedError

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Decode ``data``, up to the end of the member."""
        raise NotImplementedError

    def end(self) -> bytes | None:
        """What follows the member that has just ended; None while it goes on."""
        raise NotImplementedError

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


class Gzip(_Members):
    """RFC 1952. As with gzip(1), zeros may follow the last member (tapes and block devices pad with them)."""

    noun = "a gzip stream"
    magic = b"\x1f\x8b"
    padding = 1

    def start(self) -> None:
        """See ``_Members``."""
        self._member = deflate.decompressobj(wbits=31)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``_Members``."""
        member = self._member
        try:
            while True:
                piece = member.decompress(data, PIECE)
                if piece:
                    yield piece
                data = member.unconsumed_tail
                if member.eof or (not data and len(piece) < PIECE):
                    return
        except DeflateErrors as error:
            raise corrupt(f"the gzip stream is damaged ({error})") from error

    def end(self) -> bytes | None:
        """See ``_Members``."""
        return bytes(self._member.unused_data) if self._member.eof else None


class Xz(_Members):
    """The .xz format, version 1.1: padding between and after streams comes in multiples of four zeros."""

    noun = "an xz stream"
    magic = b"\xfd7zXZ\x00"
    padding = 4
    is_padding_last = False

    def __init__(self) -> None:
        import lzma  # noqa: PLC0415 - start-up time; most uploads need no lzma

        super().__init__()
        self._lzma = lzma
        self._tail = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See ``Decoder``."""
        self._tail = (self._tail + data[-_XZ_TAIL:])[-_XZ_TAIL:]
        return super().feed(data)

    def finish(self) -> None:
        """See ``Decoder``. Blocks are checked one by one, and the index (xz-file-format 1.1, 4) has no sum of them."""
        super().finish()
        is_checked = self._member.check not in (self._lzma.CHECK_NONE, self._lzma.CHECK_UNKNOWN)
        self.is_sealed = self.is_sealed and is_checked and self._has_one_block()

    def _has_one_block(self) -> bool:
        """The stream ends with a footer of 12 bytes, whose second four tell the length of the index before it."""
        stream = self._tail.rstrip(b"\0")  # the footer ends in "YZ", so what is stripped is padding
        start = len(stream) - 12 - 4 * (int.from_bytes(stream[-8:-4], "little") + 1)
        return start >= 0 and stream[start : start + 2] == b"\0\1"

    def start(self) -> None:
        """See ``_Members``."""
        self._member = self._lzma.LZMADecompressor(self._lzma.FORMAT_XZ, memlimit=MEMORY)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``_Members``."""
        member = self._member
        try:
            while True:
                piece = member.decompress(data, PIECE)
                if piece:
                    yield piece
                data = b""
                if member.eof or member.needs_input:
                    return
        except self._lzma.LZMAError as error:
            if "emory" in str(error):
                raise Refusal(
                    UNSUPPORTED,
                    f"the xz stream needs more than {show_size(MEMORY)} of memory to unpack",
                    "pack it with xz -9 or less, which need no larger dictionary",
                ) from error
            raise corrupt(f"the xz stream is damaged ({error})") from error

    def end(self) -> bytes | None:
        """See ``_Members``."""
        return self._member.unused_data if self._member.eof else None


class Bzip2(_Members):
    """bzip2(1): members follow each other without padding."""

    noun = "a bzip2 stream"
    magic = b"BZh"

    def __init__(self) -> None:
        import bz2  # noqa: PLC0415 - start-up time; most uploads need no bz2

        super().__init__()
        self._bz2 = bz2

    def start(self) -> None:
        """See ``_Members``."""
        self._member = self._bz2.BZ2Decompressor()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``_Members``."""
        member = self._member
        try:
            while True:
                piece = member.decompress(data, PIECE)
                if piece:
                    yield piece
                data = b""
                if member.eof or member.needs_input:
                    return
        except (OSError, ValueError) as error:  # bz2's way to say that data is invalid
            raise corrupt("the bzip2 stream is damaged") from error

    def end(self) -> bytes | None:
        """See ``_Members``."""
        return self._member.unused_data if self._member.eof else None


def decoder(format_: str) -> Decoder:
    """The decoder for a value of ``model.Format``."""
    if format_ == ".tar.zst":
        from dropdeploy.releases.zstd import Zstd  # noqa: PLC0415 - it imports zstandard

        return Zstd()
    kinds: dict[str, type[Decoder]] = {
        ".tar": Plain,
        ".tar.gz": Gzip,
        ".tar.xz": Xz,
        ".tar.bz2": Bzip2,
        ".zip": Decoder,  # its members are compressed one by one
    }
    return kinds[format_]()


def looks_like(head: bytes) -> str:
    """What the first bytes say that it is, as the end of a sentence about what it is not."""
    for magic, noun, ending in _MAGIC:
        if head.startswith(magic):
            return f" but {noun}: its name should end in {ending}"
    return ""


def looks_like_tar(head: bytes) -> str:
    """As ``looks_like``, for a tar archive, whose sign stands behind its first name."""
    return " but an uncompressed tar archive: its name should end in .tar" if head[257:262] == b"ustar" else ""
