"""What real archivers write, and the corners of the formats."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, TRUNCATED, Refusal
from dropdeploy.releases.tarball import TarReader
from tests.unit.releases.archives import (
    END,
    Bench,
    block_of,
    directory,
    gnu_tar,
    header,
    member,
    padded,
    pax,
    python_tar,
    sample_tar,
    snapshot,
    symlink,
)

LONG = "/".join(["long" * 20] * 4) + "/" + "n" * 200


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with what archivers find hard."""
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin/run").write_text("#!/bin/sh\n")
    (root / "bin/run").chmod(0o755)
    (root / "página ünïcode.html").write_text("é")
    (root / "empty dir").mkdir()
    (root / "empty").touch()
    (root / "link").symlink_to("bin/run")
    (root / "bin/up").symlink_to("../empty")
    os.link(root / "bin/run", root / "hard")
    (root / "data").write_bytes(os.urandom(70_000))
    return root


def sized(name: bytes, size: bytes, **fields: bytes) -> bytes:
    """A header with this field for its size."""
    return block_of({"name": name.ljust(100, b"\0"), "size": size, **fields})


def mask(found: dict[str, tuple[str, int, bytes]]) -> dict[str, tuple[str, int, bytes]]:
    """Modes as a release has them; those of the tree depend on the umask."""
    return {name: (kind, mode & 0o100, content) for name, (kind, mode, content) in found.items()}


@pytest.mark.parametrize("format_", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_gnu_tar(format_: str, tree: Path, bench: Bench) -> None:
    (tree / "stamped").touch()
    os.utime(tree / "stamped", (1_700_000_000, 1_700_000_000))
    found = bench.unpacked(gnu_tar(tree, f"--format={format_}"))
    assert mask(found) == mask(snapshot(tree))
    assert (bench.root / "stamped").stat().st_mtime == 1_700_000_000
    assert (bench.root / "hard").samefile(bench.root / "bin/run")


@pytest.mark.parametrize("format_", ["gnu", "pax"])
def test_gnu_tar_with_long_names(format_: str, tree: Path, bench: Bench) -> None:
    (tree / LONG).parent.mkdir(parents=True)
    (tree / LONG).write_text("far down")
    (tree / "far").symlink_to(LONG)
    os.link(tree / LONG, tree / "far too")
    assert mask(bench.unpacked(gnu_tar(tree, f"--format={format_}"))) == mask(snapshot(tree))


def test_gnu_tar_with_ustar_prefixes(tree: Path, bench: Bench) -> None:
    name = tree / ("d" * 60) / ("e" * 60) / ("f" * 80)
    name.parent.mkdir(parents=True)
    name.write_text("x")
    assert mask(bench.unpacked(gnu_tar(tree, "--format=ustar"))) == mask(snapshot(tree))


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu", "--sparse"),
        ("--format=oldgnu", "--sparse"),
        ("--format=pax", "--sparse", "--sparse-version=0.0"),
        ("--format=pax", "--sparse", "--sparse-version=0.1"),
        ("--format=pax", "--sparse", "--sparse-version=1.0"),
    ],
)
def test_gnu_tar_with_sparse_files(options: tuple[str, ...], tree: Path, bench: Bench) -> None:
    with (tree / "sparse").open("wb") as file:
        for number in range(40):  # more than fit into one header, or its first extension
            file.seek(number * 100_000)
            file.write(b"%d" % number * 500)
        file.truncate(6_000_000)
    with (tree / "hole").open("wb") as file:
        file.truncate(1_000_000)
    archive = gnu_tar(tree, *options)
    assert len(archive) < 1_000_000
    assert mask(bench.unpacked(archive)) == mask(snapshot(tree))
    assert bench.refused(archive, max_bytes=6_500_000).code == TOO_LARGE
    for size in range(0, len(archive) - 10240, 4999):
        assert bench.refused(archive[:size]).code == TRUNCATED


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_pythons_tar(format_: int, bench: Bench) -> None:
    entries = [("a", b"1"), ("d/" + "x" * 90, b"2" * 1000), ("ü", b"3")]
    if format_ != tarfile.USTAR_FORMAT:
        entries.append((LONG, b"4"))
    found = bench.unpacked(python_tar(format_, entries))
    assert {name: content for name, (kind, _, content) in found.items() if kind == "f"} == dict(entries)


def test_git_archive(tree: Path, bench: Bench) -> None:
    """It begins with a global header, whose comment is the commit."""
    archive = pax({"comment": "1a2b3c4d" * 5}, b"g") + member(b"x", b"x") + END
    assert set(bench.unpacked(archive)) == {"x"}


def test_pax_records_rule_over_the_header(bench: Bench) -> None:
    bench.unpacked(
        pax(
            {"path": "real/näme", "mtime": "1600000000.25", "size": "3", "uid": "99", "SCHILY.xattr.user.x": b"\xff\n="}
        )
        + header(b"short", size=0)
        + padded(b"abc")
        + pax({"linkpath": "real/näme"})
        + symlink(b"link", b"short")
        + pax({"mtime": "-5.5"})
        + member(b"old")
        + END
    )
    assert (bench.root / "real/näme").read_bytes() == b"abc"
    assert (bench.root / "real/näme").stat().st_mtime_ns == 1_600_000_000_250_000_000
    assert (bench.root / "link").readlink() == Path("real/näme")
    assert (bench.root / "old").stat().st_mtime == 0


def test_global_pax_records_hold_until_overruled(bench: Bench) -> None:
    bench.unpacked(
        pax({"mtime": "1600000000"}, b"g")
        + member(b"a")
        + pax({"mtime": "1700000000"})
        + member(b"b")
        + member(b"c")
        + pax({"mtime": ""}, b"g")
        + member(b"d", mtime=b"%011o\0" % 1_500_000_000)
        + END
    )
    times = [(bench.root / name).stat().st_mtime for name in "abcd"]
    assert times == [1_600_000_000, 1_700_000_000, 1_600_000_000, 1_500_000_000]


def test_numbers_in_base_256(bench: Bench) -> None:
    def wide(value: int) -> bytes:
        return b"\x80" + value.to_bytes(11, "big")

    bench.unpacked(
        sized(b"x", wide(3), mtime=wide(1_600_000_000))
        + padded(b"abc")
        + member(b"future", mtime=b"\x80" + b"\x7f" * 11)
        + member(b"past", mtime=b"\xff" * 12)
        + END
    )
    assert (bench.root / "x").read_bytes() == b"abc"
    assert (bench.root / "x").stat().st_mtime == 1_600_000_000
    assert (bench.root / "past").stat().st_mtime == 0
    assert (bench.root / "future").stat().st_mtime > 4_000_000_000
    huge = bench.refused(sized(b"huge", wide(1 << 60)) + END)
    assert huge.code == TOO_LARGE
    assert bench.refused(sized(b"x", b"\xff" * 12) + END).code == CORRUPT


@pytest.mark.parametrize(
    "size", [b"0000000000x\0", b"+0000000003\0", b"0_000000003\0", b"0o000000003\0", b"00000000009\0"]
)
def test_numbers_that_are_none(size: bytes, bench: Bench) -> None:
    refusal = bench.refused(sized(b"x", size) + padded(b"abc") + END)
    assert refusal.code == CORRUPT
    assert refusal.message == "a header holds a number that is none"


@pytest.mark.parametrize("size", [b"          3 ", b"3\0          ", b"00000000003 ", b" 3\0garbage\0\0"])
def test_numbers_in_odd_clothes(size: bytes, bench: Bench) -> None:
    assert bench.unpacked(sized(b"x", size[:12]) + padded(b"abc") + END)["x"][2] == b"abc"


def test_a_sum_over_signed_characters(bench: Bench) -> None:
    block = header("ä".encode() * 9)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block = block[:148] + b"%06o\0 " % signed + block[156:]
    assert set(bench.unpacked(block + END)) == {"ä" * 9}


def test_a_header_of_high_bytes_has_the_right_sum(bench: Bench) -> None:
    # The sum of such a block is beyond 65,521, where Adler-32 wraps around.
    block = header(b"\xff" * 100, uname=b"\xff" * 32, gname=b"\xff" * 32, prefix=b"\xff" * 155, magic=b"ustar  \0")
    assert len(bench.unpacked(block + END)) == 1
    assert bench.refused(block[:200] + b"\xfe" + block[201:] + END).code == CORRUPT


def test_stars_prefix(bench: Bench) -> None:
    prefix = b"above".ljust(131, b"\0") + b"00000000000 00000000000 "
    block = header(b"x", prefix=prefix, rest=bytes(8) + b"tar\0")
    assert set(bench.unpacked(block + END)) == {"above", "above/x"}


@pytest.mark.parametrize(
    "records",
    [
        b"11 path=abc",
        b"13 path=abc\n",
        b"10 path=abc\n",
        b"x path=abc\n",
        b"9 pathabc\n",
        b"999999999999999999999 a=b\n",
        b"\n",
        b"-5 a=b\n",
    ],
)
def test_pax_records_that_are_none(records: bytes, bench: Bench) -> None:
    refusal = bench.refused(member(b"PaxHeaders/x", records, b"x") + member(b"x") + END)
    assert refusal.code == CORRUPT
    assert "extended header" in refusal.message


@pytest.mark.parametrize("key", ["size", "mtime"])
def test_pax_numbers_that_are_none(key: str, bench: Bench) -> None:
    assert bench.refused(pax({key: "1e3"}) + member(b"x") + END).code == CORRUPT


def test_extended_headers_are_bounded(bench: Bench) -> None:
    assert bench.refused(header(b"x", b"x", 2 << 20) + bytes(2 << 20) + END).code == CORRUPT
    assert bench.refused(header(b"x", b"L", 5000) + bytes(5120) + END).code == CORRUPT


def test_an_extended_header_needs_an_entry(bench: Bench) -> None:
    assert bench.refused(member(b"a") + pax({"path": "x"}) + END).message == "the archive ends after an extended header"
    assert bench.refused(member(b"a") + pax({"path": "x"})).code == TRUNCATED


def sparse(name: str, size: int, map_: str) -> bytes:
    return pax({"GNU.sparse.name": name, "GNU.sparse.size": str(size), "GNU.sparse.map": map_})


@pytest.mark.parametrize(
    ("map_", "stored"),
    [
        ("0,3,2,3", 6),
        ("5,3,0,3", 6),
        ("0,3", 2),
        ("0,11", 11),
        ("0", 0),
        ("x,3", 3),
        ("0,3,3", 3),
        ("8,3", 3),
        ("-1,3", 3),
    ],
)
def test_sparse_maps_that_do_not_fit(map_: str, stored: int, bench: Bench) -> None:
    assert bench.refused(sparse("s", 10, map_) + member(b"x", b"y" * stored) + END).code == CORRUPT


@pytest.mark.parametrize("data", [b"", b"x\n", b"2\n0\n", b"1\n0\n" + b"9" * 600, b"1\n0\n3", b"99999999\n"])
def test_sparse_maps_before_the_data_that_are_none(data: bytes, bench: Bench) -> None:
    records = pax(
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "10"}
    )
    refusal = bench.refused(records + member(b"x", padded(data)) + END)
    assert refusal.code in (CORRUPT, TOO_LARGE)


def test_a_sparse_file(bench: Bench) -> None:
    archive = sparse("d/s", 10, "1,2,5,3") + member(b"x", b"abcde") + END
    assert bench.unpacked(archive)["d/s"][2] == b"\0ab\0\0cde\0\0"


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1000, 100_000])
def test_chunks_may_end_anywhere(size: int) -> None:
    archive = pax({"path": "é" * 100}) + member(b"x", b"abc" * 300) + sample_tar()
    reader = TarReader(chunked(archive, size))
    found = []
    while (entry := reader.next_entry()) is not None:
        content = b""
        while piece := reader.read(100):
            content += piece
        found.append((entry.kind, entry.name, entry.link, content))
    assert found[0] == ("file", ("é" * 100).encode(), b"", b"abc" * 300)
    assert [entry[1] for entry in found[1:4]] == [b"./", b"./index.html", b"./bin/run"]
    assert found[-1] == ("hardlink", b"./again", b"./index.html", b"")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=700), st.sampled_from([member(b"x", b"y"), END, directory(b"d/"), pax({"path": "a"})])
        )
    )
)
@settings(max_examples=300)
def test_any_bytes_are_an_archive_or_refused(parts: list[bytes]) -> None:
    reader = TarReader([b"".join(parts)])
    try:
        while reader.next_entry() is not None:
            reader.read(10)
    except Refusal as refusal:
        assert refusal.message  # noqa: PT017 - any refusal will do; anything else fails the test


def test_tar_is_there() -> None:
    """The tests above hold the reader against GNU tar."""
    assert b"GNU tar" in subprocess.run(["tar", "--version"], check=True, stdout=subprocess.PIPE).stdout
