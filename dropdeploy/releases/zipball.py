"""Reading zip archives, strictly, in one pass over their bytes.

The directory at the end (``zipdir``) says what there is. The members are then taken in the order in which they lie in
the file, so that the same pass hashes and unpacks it, and at its end the directory is compared with what was read
first. Python's zipfile is not used: it takes members that overlap, and it loses modes and links.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Generator, Iterable, Iterator

from dropdeploy.releases.cursor import Cursor
from dropdeploy.releases.decoding import PIECE
from dropdeploy.releases.deflate import DeflateErrors, deflate
from dropdeploy.releases.refusal import CHANGED, UNSUPPORTED, Refusal, corrupt, show, unsafe
from dropdeploy.releases.zipdir import Directory, Member

_LOCAL = struct.Struct("<4s5H3I2H")
_WIDE = 0xFFFFFFFF
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_METHODS = {9: "deflate64", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd", 99: "encryption"}
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZES_FOLLOW = 0x0008  # the local header has no sizes, they stand after the data


class ZipReader:
    """The members of the archive with this ``directory``, out of the bytes that ``chunks`` makes up."""

    def __init__(self, directory: Directory, chunks: Iterable[bytes]) -> None:
        self._directory = directory
        self._in = Cursor(chunks)

    def members(self) -> Iterator[Member]:
        """The members in turn. All data of one must be read before the next is asked for."""
        for member in self._directory.members():
            _verify_kind(member)
            if member.offset < self._in.position:
                raise corrupt(f"member {show(member.name)} overlaps another")
            if member.offset >= self._directory.start:
                raise corrupt(f"member {show(member.name)} is not where the zip archive's directory says")
            self._skip_to(member.offset)
            self._verify_header(member)
            yield member
        self._end()

    def read(self, member: Member) -> Iterator[memoryview | bytes]:
        """The data of the member at hand. Its size and checksum are judged when the last piece was taken."""
        pieces = self._stored(member) if member.method == _STORED else self._inflated(member)
        end = self._in.position + member.packed
        crc = done = 0
        for piece in pieces:
            crc = deflate.crc32(piece, crc)
            done += len(piece)
            if done > member.size:
                break
            yield piece
        if done != member.size or crc != member.crc or self._in.position != end:
            raise corrupt(f"member {show(member.name)} is damaged: its size or its checksum is wrong")

    def _stored(self, member: Member) -> Iterator[memoryview | bytes]:
        left = member.packed
        while left and (piece := self._in.piece(left)):
            left -= len(piece)
            yield piece

    def _inflated(self, member: Member) -> Iterator[bytes]:
        inflate = _deflated if member.method == _DEFLATED else _bzipped
        try:
            is_whole = yield from inflate(self._stored(member))
        except (*DeflateErrors, OSError, ValueError, EOFError) as error:
            raise corrupt(f"member {show(member.name)} is damaged ({error})") from error
        if not is_whole:
            raise corrupt(f"member {show(member.name)} is damaged: its data does not end where it should")

    def _verify_header(self, member: Member) -> None:
        """The header before the data must say what the directory says."""
        header = self._in.take(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
            raise corrupt(f"member {show(member.name)} is not where the zip archive's directory says")
        _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(header)
        is_same = self._in.take(name_size) == member.raw_name and method == member.method
        is_same = is_same and not (flags ^ member.flags) & _ENCRYPTED
        if not flags & _SIZES_FOLLOW:
            is_same = is_same and crc == member.crc
            is_same = is_same and packed in (member.packed, _WIDE) and size in (member.size, _WIDE)
        if not is_same:
            raise corrupt(f"the header of member {show(member.name)} differs from the zip archive's directory")
        self._in.skip(extra_size)
        if self._in.position + member.packed > self._directory.start:
            raise corrupt(f"member {show(member.name)} overlaps the zip archive's directory")

    def _skip_to(self, position: int) -> None:
        if self._in.skip(position - self._in.position):
            raise Refusal(CHANGED, "the zip archive became shorter while it was read")

    def _end(self) -> None:
        """See that the rest of the file is still what was read of it in the beginning."""
        self._skip_to(self._directory.start)
        known = memoryview(self._directory.raw)
        while piece := self._in.piece(PIECE):
            if piece != known[: len(piece)]:
                raise Refusal(CHANGED, "the zip archive's directory changed while it was read")
            known = known[len(piece) :]
        if known:
            raise Refusal(CHANGED, "the zip archive became shorter while it was read")


def _verify_kind(member: Member) -> None:
    """Refuse what cannot be unpacked, or must not."""
    name = show(member.name)
    if member.flags & _ENCRYPTED:
        raise Refusal(UNSUPPORTED, f"member {name} is encrypted", "pack the build without a password")
    if member.method not in (_STORED, _DEFLATED, _BZIP2):
        method = _METHODS.get(member.method, f"number {member.method}")
        raise Refusal(UNSUPPORTED, f"member {name} is compressed by a method that is not known ({method})",
                      "pack it with deflate, zip's ordinary method")  # fmt: skip
    if b"\0" in member.name:
        raise unsafe(f"entry {name} is not a valid path: it holds a zero byte")
    if member.kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise unsafe(
            f"entry {name} is a device, FIFO or socket", "leave out everything but files, directories and links"
        )


def _deflated(pieces: Iterator[memoryview | bytes]) -> Generator[bytes, None, bool]:
    """Inflate; the iterator's value is whether the stream ended with the last byte."""
    stream = deflate.decompressobj(wbits=-15)
    for piece in pieces:
        if stream.eof:
            return False
        data: memoryview | bytes = piece
        while True:
            out = stream.decompress(data, PIECE)
            if out:
                yield out
            data = stream.unconsumed_tail
            if stream.eof or (not data and len(out) < PIECE):
                break
    return stream.eof and not stream.unused_data


def _bzipped(pieces: Iterator[memoryview | bytes]) -> Generator[bytes, None, bool]:
    """As ``_deflated``, for bzip2."""
    import bz2  # noqa: PLC0415 - hardly any zip archive needs it

    stream = bz2.BZ2Decompressor()
    for piece in pieces:
        if stream.eof:
            return False
        data: memoryview | bytes = piece
        while True:
            out = stream.decompress(data, PIECE)
            if out:
                yield out
            data = b""
            if stream.eof or stream.needs_input:
                break
    return stream.eof and not stream.unused_data
