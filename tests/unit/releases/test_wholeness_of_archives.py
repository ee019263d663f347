"""A truncated or damaged archive is never a release, at whatever byte it is cut or changed."""

from __future__ import annotations

import lzma
import os
import random
import stat
import subprocess
import zipfile

import pytest
import zstandard

from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, TRUNCATED, UNSAFE, UNSUPPORTED, Refusal
from tests.unit.releases.archives import END, Bench, compressed, member, padded, sample_tar, sample_zip, zipped

COMPRESSED = [".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"]
REFUSALS = {CORRUPT, TRUNCATED, TOO_LARGE, UNSAFE, UNSUPPORTED}


def upload(format_: str) -> bytes:
    return sample_zip() if format_ == ".zip" else compressed(sample_tar(), format_)


@pytest.mark.parametrize("format_", [".tar", ".zip", *COMPRESSED])
def test_cut_at_every_byte_it_waits_for_more(format_: str, bench: Bench) -> None:
    whole = upload(format_)
    bench.unpacked(whole, format_)
    # A plain tar is long; its structure repeats every 512 bytes.
    step = 37 if format_ == ".tar" else 1
    for size in [*range(0, len(whole), step), len(whole) - 1, len(whole) - 511]:
        refusal = bench.refused(whole[:size], format_)
        assert refusal.code == TRUNCATED, (size, refusal.message)


def test_a_tar_may_be_cut_after_its_two_blocks_of_zeros_and_not_before(bench: Bench) -> None:
    entries = sample_tar().removesuffix(END)
    bench.unpacked(entries + bytes(1024))
    bench.unpacked(entries + bytes(10240))
    for size in (0, 511, 512, 1023):
        assert bench.refused(entries + bytes(size)).code == TRUNCATED


@pytest.mark.parametrize("format_", COMPRESSED)
def test_any_flipped_bit_is_noticed(format_: str, bench: Bench) -> None:
    whole = upload(format_)
    good = bench.unpacked(whole, format_)
    chosen = random.Random(1)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chosen.randrange(8)
        found = bench.unpack(bytes(damaged), format_)
        # Some bits mean nothing: a gzip header's time and system, for instance.
        assert found == good if not isinstance(found, Refusal) else found.code in REFUSALS, at


def test_any_flipped_bit_of_a_zip_is_noticed_or_harmless(bench: Bench) -> None:
    whole = upload(".zip")
    good = bench.unpacked(whole, ".zip")
    contents = {name: content for name, (_, _, content) in good.items()}
    attributes = {at + 38 + byte for at in range(len(whole)) if whole[at : at + 4] == b"PK\1\2" for byte in range(4)}
    chosen = random.Random(1)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chosen.randrange(8)
        found = bench.unpack(bytes(damaged), ".zip")
        if isinstance(found, Refusal):
            assert found.code in REFUSALS, at
        elif at in attributes:  # the only place where they stand, and no sum covers it
            assert set(found) <= set(good)
        else:
            assert {name: content for name, (_, _, content) in found.items()} == contents, at


def test_a_flipped_bit_in_a_tar_header_is_noticed(bench: Bench) -> None:
    whole = sample_tar()
    good = bench.unpacked(whole)
    chosen = random.Random(1)
    for at in [*range(512, 1024), *range(1536, 2048)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chosen.randrange(8)
        found = bench.unpack(bytes(damaged))
        # 148 to 155 hold the sum itself, whose last bytes mean nothing.
        assert found == good if not isinstance(found, Refusal) else found.code in REFUSALS, at


@pytest.mark.parametrize("format_", [".tar", ".zip", *COMPRESSED])
@pytest.mark.parametrize("garbage", [b"x", b"\n", b"\0\0\0x", bytes(600) + b"\1"])
def test_nothing_may_follow(format_: str, garbage: bytes, bench: Bench) -> None:
    refusal = bench.refused(upload(format_) + garbage, format_)
    assert refusal.code == CORRUPT or (format_ == ".zip" and refusal.code == TRUNCATED)


@pytest.mark.parametrize(
    ("format_", "zeros"), [(".tar", 512), (".tar", 7), (".tar.gz", 1), (".tar.gz", 513), (".tar.xz", 4)]
)
def test_padding_is_fine_where_the_tools_take_it(format_: str, zeros: int, bench: Bench) -> None:
    bench.unpacked(upload(format_) + bytes(zeros), format_)


@pytest.mark.parametrize(
    ("format_", "zeros", "code"),
    [(".tar.bz2", 4, CORRUPT), (".tar.zst", 4, CORRUPT), (".tar.zst", 3, CORRUPT), (".tar.xz", 3, TRUNCATED)],
)
def test_padding_is_not_fine_elsewhere(format_: str, zeros: int, code: str, bench: Bench) -> None:
    assert bench.refused(upload(format_) + bytes(zeros), format_).code == code


@pytest.mark.parametrize("format_", COMPRESSED)
@pytest.mark.parametrize("parts", [2, 7])
def test_members_may_follow_each_other(format_: str, parts: int, bench: Bench) -> None:
    tar = sample_tar()
    size = len(tar) // parts + 1
    joined = b"".join(compressed(tar[at : at + size], format_) for at in range(0, len(tar), size))
    assert bench.unpacked(joined, format_) == bench.unpacked(tar)
    last = compressed(tar[(parts - 1) * size :], format_)
    assert bench.refused(joined.removesuffix(last), format_).code == TRUNCATED
    assert bench.refused(joined[:-3], format_).code == TRUNCATED


def test_xz_streams_with_padding_between_them(bench: Bench) -> None:
    tar = sample_tar()
    first, second = compressed(tar[:1000], ".tar.xz"), compressed(tar[1000:], ".tar.xz")
    assert bench.unpacked(first + bytes(8) + second, ".tar.xz") == bench.unpacked(tar)
    assert bench.refused(first + bytes(6) + second, ".tar.xz").code == CORRUPT


@pytest.mark.parametrize("format_", [".tar", ".zip", *COMPRESSED])
def test_another_format_by_the_same_name(format_: str, bench: Bench) -> None:
    for other in [".tar", ".zip", *COMPRESSED]:
        if other != format_:
            refusal = bench.refused(upload(other), format_)
            assert refusal.code == CORRUPT
            if format_ != ".zip":
                assert refusal.message.endswith(f"its name should end in {other}"), refusal.message


@pytest.mark.parametrize("format_", [".tar", ".zip", *COMPRESSED])
def test_text_is_corrupt(format_: str, bench: Bench) -> None:
    assert bench.refused(b"<html>404 not found</html>\n" * 40, format_).code == CORRUPT


@pytest.mark.parametrize("format_", [".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip"])
def test_large_files_in_many_pieces(format_: str, bench: Bench) -> None:
    content = random.Random(1).randbytes(3 << 20) + bytes(5 << 20) + b"end"
    if format_ == ".zip":
        whole = zipped([("large", content, stat.S_IFREG | 0o644)], zipfile.ZIP_DEFLATED)
    else:
        whole = compressed(member(b"large", content) + END, format_)
    assert bench.unpacked(whole, format_)["large"][2] == content
    assert bench.refused(whole[: len(whole) // 2], format_).code == TRUNCATED
    assert bench.done["bytes"] == len(whole)


def test_a_tar_with_something_after_its_end(bench: Bench) -> None:
    refusal = bench.refused(sample_tar() + member(b"late", b"x") + END)
    assert refusal.code == CORRUPT
    assert refusal.message == "something follows the end of the archive"


def test_a_tar_with_a_single_block_of_zeros_in_it(bench: Bench) -> None:
    refusal = bench.refused(member(b"x") + bytes(512) + member(b"y") + END)
    assert refusal.code == CORRUPT
    assert "single block of zeros" in refusal.message


def test_data_that_is_not_a_multiple_of_the_block(bench: Bench) -> None:
    data = os.urandom(1000)
    assert bench.unpacked(member(b"x", data) + END)["x"][2] == data
    assert len(padded(data)) == 1024


def test_what_one_checksum_covers_is_sealed(bench: Bench) -> None:
    """And may be written in pieces. Members or blocks with a checksum each could come of two builds."""
    tar = sample_tar()
    blocks = lzma_blocks(tar)
    unsummed = zstandard.ZstdCompressor(write_checksum=False).compress(tar)
    sealed = {
        (".tar.gz", compressed(tar, ".tar.gz")): True,
        (".tar.gz", compressed(tar[:512], ".tar.gz") + compressed(tar[512:], ".tar.gz")): False,
        (".tar.bz2", compressed(tar, ".tar.bz2")): True,
        (".tar.bz2", compressed(tar[:512], ".tar.bz2") + compressed(tar[512:], ".tar.bz2")): False,
        (".tar.xz", compressed(tar, ".tar.xz")): True,
        (".tar.xz", compressed(tar, ".tar.xz") + bytes(8)): True,
        (".tar.xz", lzma.compress(tar, check=lzma.CHECK_NONE)): False,
        (".tar.xz", blocks): False,
        (".tar.zst", compressed(tar, ".tar.zst")): True,
        (".tar.zst", unsummed): False,
        (".tar.zst", compressed(tar[:512], ".tar.zst") + compressed(tar[512:], ".tar.zst")): False,
        (".tar", tar): False,
        (".zip", sample_zip()): True,
    }
    for (format_, whole), is_sealed in sealed.items():
        bench.unpacked(whole, format_)
        assert bench.done["is_sealed"] is is_sealed, (format_, len(whole))


def lzma_blocks(data: bytes) -> bytes:
    """One stream of several blocks, as xz(1) makes it with threads."""
    command = ["xz", "--block-size=1024", "--stdout"]
    return subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE).stdout
