"""The decoders of the formats: which there are, and what each one's members are like.   (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from dropdeploy.releases.decoding import MEMORY, PIECE, Decoder, Members, Plain
from dropdeploy.releases.deflate import DeflateErrors, deflate
from dropdeploy.releases.refusal import UNSUPPORTED, Refusal, corrupt, show_size

TYPE_CHECKING = False  # start-up time: most uploads need neither of these, and `typing` is slow to import
if TYPE_CHECKING:
    import bz2
    import lzma

_XZ_TAIL = 256  # an index of one block and the footer take 40


class Gzip(Members):
    """RFC 1952. As with gzip(1), zeros may follow the last member (tapes and block devices pad with them)."""

    noun = "a gzip stream"
    magic = b"\x1f\x8b"
    padding = 1

    def start(self) -> None:
        """See ``Members``."""
        self._member = deflate.decompressobj(wbits=31)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``Members``."""
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
        """See ``Members``."""
        return bytes(self._member.unused_data) if self._member.eof else None


class Xz(Members):
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
        """See ``Members``."""
        self._member = self._lzma.LZMADecompressor(self._lzma.FORMAT_XZ, memlimit=MEMORY)

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``Members``."""
        member = self._member
        try:
            yield from _pieces(member, data)
        except self._lzma.LZMAError as error:
            if "emory" in str(error):
                raise Refusal(
                    UNSUPPORTED,
                    f"the xz stream needs more than {show_size(MEMORY)} of memory to unpack",
                    "pack it with xz -9 or less, which need no larger dictionary",
                ) from error
            raise corrupt(f"the xz stream is damaged ({error})") from error

    def end(self) -> bytes | None:
        """See ``Members``."""
        return self._member.unused_data if self._member.eof else None


class Bzip2(Members):
    """bzip2(1): members follow each other without padding."""

    noun = "a bzip2 stream"
    magic = b"BZh"

    def __init__(self) -> None:
        import bz2  # noqa: PLC0415 - start-up time; most uploads need no bz2

        super().__init__()
        self._bz2 = bz2

    def start(self) -> None:
        """See ``Members``."""
        self._member = self._bz2.BZ2Decompressor()

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """See ``Members``."""
        member = self._member
        try:
            yield from _pieces(member, data)
        except (OSError, ValueError) as error:  # bz2's way to say that data is invalid
            raise corrupt("the bzip2 stream is damaged") from error

    def end(self) -> bytes | None:
        """See ``Members``."""
        return self._member.unused_data if self._member.eof else None


def _pieces(member: lzma.LZMADecompressor | bz2.BZ2Decompressor, data: bytes) -> Iterator[bytes]:
    """What ``data`` stands for, up to the end of the member."""
    while True:
        piece = member.decompress(data, PIECE)
        if piece:
            yield piece
        data = b""
        if member.eof or member.needs_input:
            return


def decoder(format_: str) -> Decoder:
    """The decoder for a value of ``model.request.Format``."""
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
