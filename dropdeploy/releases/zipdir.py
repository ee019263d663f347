"""The directory at the end of a zip archive, strictly: PKWARE's APPNOTE 6.3.10, zip64, and Info-ZIP's extra fields."""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator

from dropdeploy.releases.refusal import UNSUPPORTED, Refusal, corrupt, show_size, too_large, truncated

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_MEMBER = struct.Struct("<4s6H3I5H2I")
_NAME_SIZE, _OFFSET = struct.Struct("<3H"), struct.Struct("<I")
_MAX_DIRECTORY = 64 << 20
_WIDE = 0xFFFFFFFF  # "see the zip64 field"
_UTF8 = 0x0800
_FAT, _UNIX, _DARWIN = 0, 3, 19
_ZIP64, _UNIX_TIME, _UNICODE_PATH = 0x0001, 0x5455, 0x7075
_SECOND = 1_000_000_000


class Member:
    """What the directory tells of a member.

    ``name`` is made fit for this system, ``raw_name`` is what stands in the file. ``kind`` is the type in a mode
    (inode(7)), ``offset`` where its local header is, ``packed`` and ``size`` are its data's before and after unpacking.
    """

    __slots__ = ("crc", "flags", "kind", "method", "mode", "mtime_ns", "name", "offset", "packed", "raw_name", "size")

    def __init__(self, raw: bytes, place: int) -> None:
        (_, made_by, _, self.flags, self.method, clock, date, self.crc, packed, size, name_size, extra_size, _, disk, _,
         attributes, offset) = _MEMBER.unpack_from(raw, place)  # fmt: skip
        start = place + _MEMBER.size
        extra = _extra_fields(raw[start + name_size : start + name_size + extra_size])
        if _WIDE in (size, packed, offset):
            size, packed, offset = _widened((size, packed, offset), extra.get(_ZIP64, b""))
        if disk not in (0, 0xFFFF):
            raise _split()
        self.size, self.packed, self.offset = size, packed, offset
        self.raw_name = raw[start : start + name_size]
        self.name = _decoded(self.raw_name, self.flags, made_by >> 8, extra)
        self.kind, self.mode = _type_and_mode(self.name, made_by >> 8, attributes)
        self.mtime_ns = _time(clock, date, extra.get(_UNIX_TIME, b""))


class Directory:
    """The directory of the zip archive in the first ``size`` bytes of ``fd``; it refuses what has none that fits.

    ``start`` is where it begins; ``raw`` all bytes from there to the end of the file.
    """

    def __init__(self, fd: int, size: int) -> None:
        tail_size = min(size, _END.size + 0xFFFF + _LOCATOR64.size)
        tail = os.pread(fd, tail_size, size - tail_size)
        end = _find_end(tail)
        if end < 0:
            head = os.pread(fd, 2, 0)
            if b"PK".startswith(head):
                raise truncated("the zip archive ends without its directory" if head else "it is empty")
            raise corrupt("it is not a zip archive")
        self.start, self._length, self._count = _locate(fd, tail, end, size - tail_size + end)
        self.raw = os.pread(fd, size - self.start, self.start)
        if len(self.raw) != size - self.start:
            raise truncated("the zip archive became shorter while it was read")

    def members(self) -> Iterator[Member]:
        """The members, in the order of their bytes in the file."""
        places = sorted(self._places())
        if len(places) != self._count:
            raise corrupt("the zip archive's directory does not hold as many entries as its end says")
        for place in places:
            yield Member(self.raw, place & _WIDE)

    def unpacked_size(self) -> int:
        """What the members will be together, if they are what the directory says."""
        return sum(Member(self.raw, place & _WIDE).size for place in self._places())

    def _places(self) -> Iterator[int]:
        """For each member where its local header is and, in the lower 32 bits, its place in ``raw``.

        One number for each, because objects for half a million of them would take hundreds of MB.
        """
        place = 0
        while place < self._length:
            if self._length - place < _MEMBER.size or self.raw[place : place + 4] != b"PK\x01\x02":
                raise corrupt("the zip archive's directory is damaged")
            (offset,) = _OFFSET.unpack_from(self.raw, place + 42)
            following = place + _MEMBER.size + sum(_NAME_SIZE.unpack_from(self.raw, place + 28))
            if following > self._length:
                raise corrupt("the zip archive's directory is damaged")
            yield (Member(self.raw, place).offset if offset == _WIDE else offset) << 32 | place
            place = following


def _find_end(tail: bytes) -> int:
    """Where in ``tail`` the record is whose comment ends exactly where the file does; -1 if there is none."""
    end = tail.rfind(b"PK\x05\x06")
    while end >= 0:
        if len(tail) - end >= _END.size and _END.unpack_from(tail, end)[7] == len(tail) - end - _END.size:
            return end
        end = tail.rfind(b"PK\x05\x06", 0, end)
    return -1


def _locate(fd: int, tail: bytes, end: int, position: int) -> tuple[int, int, int]:
    """Start, length and number of entries of the directory. What the records say must agree with where they are."""
    _, disk, first, here, count, length, start, _ = _END.unpack_from(tail, end)
    locator = end - _LOCATOR64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        _, _, at, _ = _LOCATOR64.unpack_from(tail, locator)
        record = os.pread(fd, _END64.size, at) if at < position else b""
        if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
            raise corrupt("the zip64 record at the zip archive's end is damaged")
        _, record_size, _, _, disk, first, here, count, length, start = _END64.unpack(record)
        if at + 12 + record_size != position - _LOCATOR64.size:
            raise corrupt("the zip64 record at the zip archive's end is damaged")
        position = at
    if disk or first or here != count:
        raise _split()
    if start + length != position:
        raise corrupt("the zip archive's directory is not where its end says")
    if length > _MAX_DIRECTORY:
        raise too_large(f"the zip archive's directory takes {show_size(length)}", "pack it as .tar.gz")
    return start, length, count


def _split() -> Refusal:
    return Refusal(UNSUPPORTED, "the zip archive is one part of several", "pack the build into one archive")


def _extra_fields(data: bytes) -> dict[int, bytes]:
    """The extra fields by their ids. Some archivers leave odd bytes at the end; they mean nothing."""
    fields: dict[int, bytes] = {}
    while len(data) >= 4:
        kind, size = struct.unpack_from("<2H", data)
        fields[kind] = data[4 : 4 + size]
        data = data[4 + size :]
    return fields


def _widened(values: tuple[int, int, int], field: bytes) -> Iterator[int]:
    """Size, packed size and offset, where those that did not fit stand in the zip64 field, in this order."""
    for value in values:
        if value != _WIDE:
            yield value
        elif len(field) < 8:
            raise corrupt("the zip archive's directory is damaged (a zip64 field is too short)")
        else:
            yield int.from_bytes(field[:8], "little")
            field = field[8:]


def _decoded(raw: bytes, flags: int, system: int, extra: dict[int, bytes]) -> bytes:
    """The name as a path of this system, in UTF-8 where its encoding can be told."""
    name = raw
    path = extra.get(_UNICODE_PATH, b"")
    if len(path) > 5 and int.from_bytes(path[1:5], "little") == zlib.crc32(raw):
        name = path[5:]
    elif system == _FAT and not flags & _UTF8 and not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            name = raw.decode("cp437").encode()
    # .NET before 4.6.1, and with it older PowerShells, writes backslashes; unzip(1) reads them so, too.
    if system == _FAT and b"/" not in name:
        name = name.replace(b"\\", b"/")
    return name


def _type_and_mode(name: bytes, system: int, attributes: int) -> tuple[int, int]:
    """Unix keeps its mode in the upper half of the attributes, and so do some archivers elsewhere; DOS has a bit
    for directories."""
    mode = attributes >> 16
    kind = stat.S_IFMT(mode)
    if system not in (_UNIX, _DARWIN) and kind not in (stat.S_IFREG, stat.S_IFDIR):
        mode = kind = 0
    if kind == 0:
        kind = stat.S_IFDIR if attributes & 0x10 else stat.S_IFREG
    if kind == stat.S_IFREG and name.endswith(b"/"):
        kind = stat.S_IFDIR
    return kind, stat.S_IMODE(mode) or (0o755 if kind == stat.S_IFDIR else 0o644)


def _time(clock: int, date: int, unix_time: bytes) -> int:
    """The modification time in nanoseconds: Info-ZIP's in UTC where there is one, else DOS's, which is local."""
    if len(unix_time) >= 5 and unix_time[0] & 1:
        return int.from_bytes(unix_time[1:5], "little", signed=True) * _SECOND
    moment = (1980 + (date >> 9), date >> 5 & 15, date & 31, clock >> 11, clock >> 5 & 63, clock % 32 * 2, 0, 0, -1)
    try:
        return int(time.mktime(moment)) * _SECOND
    except (OverflowError, ValueError):
        return 0
