"""Zip archives: what archivers write, and what contradicts itself."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import zipfile
import zlib

import pytest

from dropdeploy.releases.cursor import Cursor
from dropdeploy.releases.refusal import CHANGED, CORRUPT, TOO_LARGE, TRUNCATED, UNSUPPORTED, Refusal
from dropdeploy.releases.zipball import ZipReader
from dropdeploy.releases.zipdir import Directory
from tests.unit.releases.archives import Bench, end_of_zip, patched, sample_zip, zipped

FILE = stat.S_IFREG | 0o644


def local(
    name: bytes, data: bytes, *, flags: int = 0, crc: int | None = None, method: int = 0, extra: bytes = b""
) -> bytes:
    crc = zlib.crc32(data) if crc is None else crc
    return (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, crc, len(data), len(data), len(name), len(extra))
        + name
        + extra
        + data
    )


def central(
    name: bytes,
    data: bytes,
    offset: int,
    *,
    flags: int = 0,
    method: int = 0,
    system: int = 3,
    mode: int = FILE,
    attributes: int = 0,
    extra: bytes = b"",
    size: int | None = None,
) -> bytes:
    length = len(data) if size is None else size
    return (
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            system << 8 | 20,
            20,
            flags,
            method,
            0,
            33,
            zlib.crc32(data),
            length,
            length,
            len(name),
            len(extra),
            0,
            0,
            0,
            mode << 16 | attributes,
            offset,
        )
        + name
        + extra
    )


def end(count: int, length: int, start: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, length, start, len(comment)) + comment


def archive(members: bytes, directory: bytes, count: int = 1) -> bytes:
    return members + directory + end(count, len(directory), len(members))


def test_what_a_zip_holds(bench: Bench) -> None:
    found = bench.unpacked(sample_zip(), ".zip")
    assert found == {
        "bin": ("d", 0o755, b""),
        "bin/run": ("f", 0o755, b"#!/bin/sh\n" * 60),
        "current": ("l", 0, b"bin/run"),
        "empty": ("f", 0o640, b""),
        "index.html": ("f", 0o644, b"<h1>hello</h1>\n"),
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_methods(method: int, bench: Bench) -> None:
    entries = [("a", b"x" * 5000, FILE), ("b", random.Random(1).randbytes(3000), FILE), ("c", b"", FILE)]
    found = bench.unpacked(zipped(entries, method), ".zip")
    assert {name: content for name, (_, _, content) in found.items()} == {name: data for name, data, _ in entries}


def test_a_method_that_is_not_known(bench: Bench) -> None:
    refusal = bench.refused(zipped([("a", b"x" * 5000, FILE)], zipfile.ZIP_LZMA), ".zip")
    assert refusal.code == UNSUPPORTED
    assert refusal.message == "member 'a' is compressed by a method that is not known (lzma)"


def test_sizes_that_follow_the_data(bench: Bench) -> None:
    """What streaming archivers write: the local header knows neither sizes nor checksum."""

    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    file = Unseekable()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a", b"1" * 1000)
        written.writestr("b", b"2" * 1000)
    assert struct.unpack_from("<H", file.getvalue(), 6)[0] & 8
    assert set(bench.unpacked(file.getvalue(), ".zip")) == {"a", "b"}


def test_zip64(bench: Bench) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written, written.open("a", "w", force_zip64=True) as member:
        member.write(b"data")
    data = file.getvalue()
    start = data.index(b"PK\1\2")
    ending = end_of_zip(data)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, ending - start, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, ending, 1)
    wide = (
        data[:ending]
        + record
        + locator
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    )
    assert bench.unpacked(wide, ".zip")["a"][2] == b"data"
    for at in (ending, ending + 4, ending + 32, ending + 40, ending + 48, ending + 56 + 8):
        assert bench.refused(patched(wide, at, "<B", wide[at] ^ 1), ".zip").code in (CORRUPT, UNSUPPORTED)


def test_zip64_fields_of_members(bench: Bench) -> None:
    offset = struct.pack("<2HQ", 1, 8, 0)
    sizes = struct.pack("<2H2Q", 1, 16, 4, 4)
    members = local(b"a", b"data")
    wide = central(b"a", b"data", 0xFFFFFFFF, extra=offset)
    assert bench.unpacked(archive(members, wide), ".zip")["a"][2] == b"data"
    wide = central(b"a", b"data", 0, extra=b"\x99\x99\1\0x" + sizes, size=0xFFFFFFFF)
    assert bench.unpacked(archive(members, wide), ".zip")["a"][2] == b"data"
    short = central(b"a", b"data", 0xFFFFFFFF, extra=b"\1\0\4\0abcd")
    assert bench.refused(archive(members, short), ".zip").code == CORRUPT


@pytest.mark.parametrize("comment", [b"made by hand", b"PK\5\6 in a comment" * 3, b"x" * 0xFFFF])
def test_comments(comment: bytes, bench: Bench) -> None:
    bench.unpacked(sample_zip(comment), ".zip")
    assert bench.refused(sample_zip(comment)[:-1], ".zip").code == TRUNCATED
    assert bench.refused(sample_zip(comment) + b"x", ".zip").code == TRUNCATED


def test_the_sum_is_over_all_of_the_file(bench: Bench) -> None:
    import hashlib

    data = sample_zip(b"comment")
    bench.unpacked(data, ".zip")
    assert bench.done["sha256"] == hashlib.sha256(data).hexdigest()
    assert bench.done["entries"] == 5


def test_something_before_the_first_member(bench: Bench) -> None:
    refusal = bench.refused(b"#!/bin/sh\n" + sample_zip(), ".zip")
    assert refusal.code == CORRUPT
    assert "is not where its end says" in refusal.message


CONTRADICTIONS = {
    "name": (local(b"b", b"data"), central(b"a", b"data", 0), "differs from"),
    "method": (local(b"a", b"data", method=8), central(b"a", b"data", 0), "differs from"),
    "checksum": (local(b"a", b"data", crc=1), central(b"a", b"data", 0), "differs from"),
    "size": (local(b"a", b"dat!a"), central(b"a", b"data", 0), "differs from"),
    "encryption": (local(b"a", b"data", flags=1), central(b"a", b"data", 0), "differs from"),
    "no local header": (b"\0" * 40, central(b"a", b"data", 0), "is not where"),
    "beyond": (local(b"a", b"data"), central(b"a", b"data", 1 << 20), "is not where"),
    "into the directory": (
        local(b"a", b"data")[:-1],
        central(b"a", b"data", 0),
        "overlaps the zip archive's directory",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_headers_that_contradict_the_directory(name: str, bench: Bench) -> None:
    members, directory, message = CONTRADICTIONS[name]
    refusal = bench.refused(archive(members, directory), ".zip")
    assert refusal.code == CORRUPT
    assert message in refusal.message


def test_members_that_overlap(bench: Bench) -> None:
    inner = local(b"b", b"inner")
    outer = local(b"a", inner)
    directory = central(b"a", inner, 0) + central(b"b", b"inner", len(outer) - len(inner))
    assert "member 'b' overlaps another" in bench.refused(archive(outer, directory, 2), ".zip").message
    twice = central(b"a", inner, 0) + central(b"a", inner, 0)
    assert "overlaps another" in bench.refused(archive(outer, twice, 2), ".zip").message


def test_members_in_any_order(bench: Bench) -> None:
    first, second = local(b"a", b"1"), local(b"b", b"2")
    directory = central(b"b", b"2", len(first) + 7) + central(b"a", b"1", 0)
    found = bench.unpacked(archive(first + b"between" + second, directory, 2), ".zip")
    assert [content for _, _, content in found.values()] == [b"1", b"2"]


@pytest.mark.parametrize("count", [0, 2, 65535])
def test_a_count_that_is_wrong(count: int, bench: Bench) -> None:
    refusal = bench.refused(archive(local(b"a", b"x"), central(b"a", b"x", 0), count), ".zip")
    assert refusal.code == CORRUPT


def test_parts_of_several_disks(bench: Bench) -> None:
    whole = sample_zip()
    assert bench.refused(patched(whole, end_of_zip(whole) + 4, "<H", 1), ".zip").code == UNSUPPORTED
    directory = bytearray(central(b"a", b"x", 0))
    directory[34] = 1
    assert bench.refused(archive(local(b"a", b"x"), bytes(directory)), ".zip").code == UNSUPPORTED


def test_encrypted(bench: Bench) -> None:
    members = local(b"secret", b"data", flags=1)
    refusal = bench.refused(archive(members, central(b"secret", b"data", 0, flags=1)), ".zip")
    assert refusal.code == UNSUPPORTED
    assert refusal.message == "member 'secret' is encrypted"


def test_a_directory_with_data(bench: Bench) -> None:
    """Some archivers deflate the nothing that a directory holds into two bytes."""
    packed = b"\3\0"
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, 2, 0, 2, 0) + b"d/" + packed
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, 2, 0, 2, 0, 0, 0, 0, 0x10, 0) + b"d/"
    assert bench.unpacked(archive(header, entry), ".zip") == {"d": ("d", 0o755, b"")}


@pytest.mark.parametrize(
    ("name", "system", "flags", "extra", "wanted"),
    [
        ("ä/b".encode(), 3, 0x800, b"", "ä/b"),
        ("ä/b".encode(), 3, 0, b"", "ä/b"),
        ("ä/b".encode(), 0, 0, b"", "ä/b"),
        (b"\x84/b", 0, 0, b"", "ä/b"),  # code page 437
        (b"?/b", 0, 0, struct.pack("<2HBI", 0x7075, 9, 1, zlib.crc32(b"?/b")) + "ä/b".encode(), "ä/b"),
        (b"?/b", 0, 0, struct.pack("<2HBI", 0x7075, 9, 1, 77) + "ä/b".encode(), "?/b"),
        (b"a\\b", 0, 0, b"", "a/b"),
        (b"a\\b", 3, 0, b"", "a\\b"),
    ],
)
def test_names(name: bytes, system: int, flags: int, extra: bytes, wanted: str, bench: Bench) -> None:
    whole = archive(local(name, b"x", flags=flags), central(name, b"x", 0, system=system, flags=flags, extra=extra))
    assert wanted in bench.unpacked(whole, ".zip")


def test_backslashes_do_not_get_out(bench: Bench) -> None:
    whole = archive(local(b"..\\..\\x", b"x"), central(b"..\\..\\x", b"x", 0, system=0))
    assert bench.refused(whole, ".zip").message == "entry '../../x' leaves the release"


@pytest.mark.parametrize(
    ("system", "mode", "attributes", "wanted"),
    [
        (0, 0, 0x20, ("f", 0o644)),
        (0, 0, 0x10, ("d", 0o755)),
        (0, stat.S_IFREG | 0o755, 0, ("f", 0o755)),
        (0, stat.S_IFLNK | 0o777, 0, ("f", 0o644)),  # no DOS has links
        (19, stat.S_IFREG | 0o755, 0, ("f", 0o755)),
        (3, 0o755, 0, ("f", 0o755)),
    ],
)
def test_types_and_modes_by_system(
    system: int, mode: int, attributes: int, wanted: tuple[str, int], bench: Bench
) -> None:
    whole = archive(local(b"x", b""), central(b"x", b"", 0, system=system, mode=mode, attributes=attributes))
    assert bench.unpacked(whole, ".zip")["x"][:2] == wanted


def test_times(bench: Bench) -> None:
    extra = struct.pack("<2HBi", 0x5455, 5, 1, 1_600_000_000)
    first, second = local(b"utc", b""), local(b"dos", b"")
    directory = central(b"utc", b"", 0, extra=extra) + central(b"dos", b"", len(first))
    bench.unpacked(archive(first + second, directory, 2), ".zip")
    assert (bench.root / "utc").stat().st_mtime == 1_600_000_000
    assert abs((bench.root / "dos").stat().st_mtime - 315_532_800) <= 86_400  # 1980-01-01, local


def test_a_link_that_is_too_long(bench: Bench) -> None:
    refusal = bench.refused(zipped([("x", b"y" * 5000, stat.S_IFLNK | 0o777)]), ".zip")
    assert refusal.code == CORRUPT
    assert "has a target of 5000 bytes" in refusal.message


def test_a_directory_that_is_too_large(bench: Bench) -> None:
    data = b"PK\3\4" + bytes(65 << 20)
    refusal = bench.refused(data + end(1, 65 << 20, 4), ".zip")
    assert refusal.code == TOO_LARGE


def test_a_file_that_changes_while_it_is_read(bench: Bench) -> None:
    """The directory is read first and again at the end of the pass: they must be the same bytes."""
    data = sample_zip()
    path = bench.path / "x.zip"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        directory = Directory(fd, len(data))
    finally:
        os.close(fd)

    def read(chunks: list[bytes]) -> None:
        reader = ZipReader(directory, chunks)
        for member in reader.members():
            for _ in reader.read(member):
                pass

    read([data])
    at = data.index(b"PK\1\2") + 38  # a mode
    for changed in (patched(data, at, "<I", 0), data[:-1], data + b"x"):
        with pytest.raises(Refusal) as caught:
            read([changed])
        assert caught.value.code == CHANGED


def test_cursor() -> None:
    cursor = Cursor([b"", b"abc", b"", b"defg"])
    assert cursor.take(2) == b"ab"
    assert cursor.take(3) == b"cde"
    assert cursor.position == 5
    assert cursor.skip(1) == 0
    assert cursor.take(9) == b"g"
    assert cursor.take(1) == b""
    assert cursor.skip(3) == 3
    assert cursor.position == 7
