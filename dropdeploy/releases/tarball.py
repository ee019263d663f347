"""Reading tar archives, strictly.   (pure)

ustar (POSIX.1-1988), pax (POSIX.1-2001), GNU tar's extensions and v7's plain headers, with names as bytes. Python's
tarfile is not used because it takes damage for an end (a cut archive, a header with a wrong sum): a release would
be short of files, and nobody would notice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from dropdeploy.releases import sparse
from dropdeploy.releases.cursor import Cursor
from dropdeploy.releases.fields import (
    SECOND,
    Pax,
    is_sum_right,
    parse_decimal,
    parse_name,
    parse_number,
    parse_pax,
    parse_time,
)
from dropdeploy.releases.refusal import UNSUPPORTED, Refusal, corrupt, show, truncated, unsafe
from dropdeploy.releases.sparse import Extents

FILE, DIRECTORY, SYMLINK, HARDLINK = "file", "directory", "symlink", "hardlink"

_BLOCK = 512
_ZERO_BLOCK = bytes(_BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12s").unpack
_MAX_NAME = 4096  # PATH_MAX
_MAX_PAX = 1 << 20
_MAX_TRAILER = 64 << 20  # tar fills up to a whole record; nobody's record is larger

_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE, b"5": DIRECTORY, b"D": DIRECTORY}
_KINDS |= {b"2": SYMLINK, b"1": HARDLINK}
_EXTENSIONS = frozenset((b"L", b"K", b"x", b"g", b"X"))
_IGNORED = frozenset((b"V", b"A", b"E", b"I"))  # a volume's name; Solaris' ACLs, attributes and inode data
_UNSAFE = {b"3": "a character device", b"4": "a block device", b"6": "a FIFO"}


class Entry:
    """One entry. ``size`` is the file's own, which for a sparse one is more than the archive holds of it.

    ``extents`` are the pieces (offset, length) that a sparse file's data goes to, one after the other; else None.
    """

    __slots__ = ("extents", "kind", "link", "mode", "mtime_ns", "name", "size")

    def __init__(  # noqa: PLR0917 - made once for each of 100,000 entries; keywords cost
        self, kind: str, name: bytes, link: bytes, size: int, mode: int, mtime_ns: int, extents: Extents | None
    ) -> None:
        self.kind = kind
        self.name = name
        self.link = link
        self.size = size
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.extents = extents


class TarReader:
    """The entries of the archive that ``chunks`` makes up.

    ``next_entry`` until None, which comes only where the archive has ended as it must: two blocks of zeros, and
    nothing but zeros up to the end of the bytes. In between ``read`` gives the entry's data; what is not read is
    passed over.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._in = Cursor(chunks)
        self._left = 0  # data of the current entry not read yet
        self._padding = 0
        self._name = b""
        self._globals: Pax = {}

    def read(self, most: int) -> memoryview | bytes:
        """At most ``most`` of the next bytes of the entry's data; empty only when ``most`` is 0 or all is read."""
        count = min(most, self._left)
        if not count:
            return b""
        piece = self._in.piece(count)
        if not piece:
            raise truncated(f"the archive ends in the middle of {show(self._name)}")
        self._left -= len(piece)
        return piece

    def next_entry(self) -> Entry | None:
        """The next entry, None at the end of the archive."""
        own: Pax = {}
        long_name = long_link = b""
        is_extended = False
        while True:
            block = self._header()
            if block == _ZERO_BLOCK:
                if is_extended:
                    raise corrupt("the archive ends after an extended header")
                self._end()
                return None
            fields = _FIELDS(block)
            if not is_sum_right(block, fields[6]):
                first = self._in.position == _BLOCK
                raise corrupt("it holds no tar archive" if first else "a header is damaged: its sum is wrong")
            letter = fields[7]
            if letter in _EXTENSIONS:
                data = self._extension(letter, parse_number(fields[4]))
                if letter == b"L":
                    long_name = data.partition(b"\0")[0]
                elif letter == b"K":
                    long_link = data.partition(b"\0")[0]
                elif letter == b"g":
                    self._globals = {**self._globals, **parse_pax(data)}
                    continue
                else:
                    own = {**own, **parse_pax(data)}
                is_extended = True
            elif letter in _IGNORED:
                self._set_data(b"", parse_number(fields[4]))
            else:
                pax = {**self._globals, **own} if self._globals else own
                return self._entry(block, fields, pax, long_name, long_link)

    def _header(self) -> bytes:
        """The next block that should be a header."""
        if (rest := self._left + self._padding) and self._in.skip(rest):
            raise truncated(f"the archive ends in the middle of {show(self._name)}")
        self._left = self._padding = 0
        block = self._in.take(_BLOCK)
        if len(block) < _BLOCK:
            raise truncated("the archive ends without its two blocks of zeros")
        return block

    def _entry(self, block: bytes, fields: tuple[bytes, ...], pax: Pax, long_name: bytes, long_link: bytes) -> Entry:
        """What the header ``block``, with the extended headers before it, describes."""
        letter = fields[7]
        name = long_name or parse_name(fields[0], fields[9], fields[15], fields[16])
        link = long_link or fields[8].partition(b"\0")[0]
        size = parse_number(fields[4])
        mtime_ns = parse_number(fields[5], is_signed=True) * SECOND
        is_sparse = letter == b"S"
        if pax:
            name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
            link = pax.get(b"linkpath") or link
            mtime_ns = parse_time(pax[b"mtime"]) if pax.get(b"mtime") else mtime_ns
            size = parse_decimal(pax[b"size"]) if pax.get(b"size") else size
            is_sparse = is_sparse or sparse.is_sparse(pax)
        kind = _KINDS.get(letter)
        if kind is None or not name or (pax and (b"\0" in name or b"\0" in link)):
            raise _refused(letter, name)
        if kind == FILE and name.endswith(b"/"):  # how v7 writes a directory
            kind = DIRECTORY
        # No data follows links and directories, whatever their size says (POSIX, GNU tar), but for the list of
        # names of a dump directory, which is passed over.
        self._set_data(name, size if kind == FILE or letter == b"D" else 0)
        extents = None
        if kind != FILE:
            size = 0
        elif is_sparse:
            size, extents = self._sparse(block, pax)
        return Entry(kind, name, link, size, parse_number(fields[1]), mtime_ns, extents)

    def _set_data(self, name: bytes, size: int) -> None:
        self._name = name
        self._left = size
        self._padding = -size % _BLOCK

    def _extension(self, letter: bytes, size: int) -> bytes:
        """The data of an extended header."""
        if size > (_MAX_NAME + 1 if letter in (b"L", b"K") else _MAX_PAX):
            raise corrupt(f"an extended header holds {size} bytes")
        data = self._in.take(size + -size % _BLOCK)
        if len(data) % _BLOCK or len(data) < size:
            raise truncated("the archive ends in the middle of an extended header")
        return data[:size]

    def _sparse(self, block: bytes, pax: Pax) -> tuple[int, Extents]:
        """The true size and the map of a sparse file; its data is next."""
        if block[156:157] == b"S":
            extents, size, is_more = sparse.parse_old_header(block)
            while is_more:
                extra = self._in.take(_BLOCK)
                if len(extra) < _BLOCK:
                    raise truncated(f"the archive ends in the middle of {show(self._name)}")
                found, is_more = sparse.parse_old_block(extra)
                extents += found
                sparse.bound(len(extents), self._name)
        else:
            size = sparse.parse_size(pax)
            extents = (
                sparse.pair(self._map_before_data())
                if pax.get(b"GNU.sparse.major") == b"1"
                else sparse.parse_map(pax.get(b"GNU.sparse.map", b""))
            )
        sparse.verify(extents, size, self._left, self._name)
        return size, extents

    def _map_before_data(self) -> list[int]:
        """Form 1.0: the map stands before the data, a number a line, filled up to whole blocks."""
        numbers: list[int] = []
        rest = b""
        while not numbers or len(numbers) <= 2 * numbers[0]:
            block = b""
            while len(block) < _BLOCK and (piece := self.read(_BLOCK - len(block))):
                block += piece
            *lines, rest = (rest + block).split(b"\n")
            numbers += [parse_decimal(line) for line in lines]
            if len(block) < _BLOCK or not numbers:
                raise corrupt(f"the map of the sparse file {show(self._name)} is malformed")
            sparse.bound(numbers[0], self._name)
        return numbers[1 : 1 + 2 * numbers[0]]

    def _end(self) -> None:
        """The first block of zeros was read: see that all that follows is as it must be."""
        block = self._in.take(_BLOCK)
        if len(block) < _BLOCK:
            raise truncated("the archive ends after one block of zeros, and there must be two")
        if block != _ZERO_BLOCK:
            raise corrupt("a single block of zeros stands in the middle of the archive")
        if not self._in.skip_zeros(_MAX_TRAILER):
            raise corrupt("something follows the end of the archive")


def _refused(letter: bytes, name: bytes) -> Refusal:
    """Why there can be no entry of this type and name."""
    if not name:
        return corrupt("an entry has no name")
    if letter in _KINDS:
        return unsafe(f"entry {show(name)} is not a valid path: its name or its target holds a zero byte")
    if letter in _UNSAFE:
        return unsafe(
            f"entry {show(name)} is {_UNSAFE[letter]}", "leave out everything but files, directories and links"
        )
    if letter == b"M":
        return Refusal(UNSUPPORTED, "the archive is one volume of several", "pack the build into one archive")
    return Refusal(
        UNSUPPORTED, f"entry {show(name)} is of a type that is not known ({show(letter)})", "pack it with GNU tar"
    )
