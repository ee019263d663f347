"""Hostile archives, made here: one table of tricks, each with the code that must answer it."""

from __future__ import annotations

import lzma
import random
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, TRUNCATED, UNSAFE, UNSUPPORTED
from tests.unit.releases.archives import (
    END,
    block_of,
    compressed,
    directory,
    end_of_zip,
    hardlink,
    header,
    member,
    patched,
    pax,
    sample_tar,
    sample_zip,
    symlink,
    zipped,
)

FILE = stat.S_IFREG | 0o644
MIB = 1 << 20
GIB = 1 << 30
LARGE_FILE = pax({"size": str(10 * GIB)}) + header(b"zeros")


@dataclass(frozen=True)
class Trick:
    """``make`` makes the archive; ``says`` is a part of what the uploader is told; ``limits`` are those of the tree."""

    make: Callable[[], bytes]
    code: str
    says: str
    format_: str = ".tar"
    limits: dict[str, int] = field(default_factory=dict)


def tar(entries: bytes, says: str, code: str = UNSAFE) -> Trick:
    """These entries, after an honest one."""
    return Trick(lambda: member(b"first", b"1") + entries + END, code, says)


def zip_(entry: tuple[str, bytes, int], says: str, code: str = UNSAFE) -> Trick:
    """This entry, after a symbolic link named l. Python writes no zero bytes: ~ stands for one."""

    def make() -> bytes:
        archive = zipped([("l", b"d", stat.S_IFLNK | 0o777), entry])
        return archive.replace(b"a~b", b"a\0b")

    return Trick(make, code, says, ".zip")


def sized(size: bytes) -> bytes:
    """A header with this in the place of its size."""
    return block_of({"name": b"x".ljust(100, b"\0"), "size": size})


def repeated(head: bytes, unit: bytes, times: int) -> bytes:
    """A .tar.gz of ``head`` and so many times ``unit``, without making all of that: the unit is deflated once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * times + packer.flush()


def zip_of(name: bytes, packed: bytes, size: int, crc: int, method: int = 8) -> bytes:
    """One member, whose headers say what the arguments say."""
    sizes = struct.pack("<3I", crc, len(packed), size)
    local = struct.pack("<4s5H", b"PK\3\4", 20, 0, method, 0, 33) + sizes + struct.pack("<2H", len(name), 0) + name
    central = (
        struct.pack("<4s6H", b"PK\1\2", 0x31E, 20, 0, method, 0, 33)
        + sizes
        + struct.pack("<5H2I", len(name), 0, 0, 0, 0, FILE << 16, 0)
        + name
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    return local + packed + central + end


def deflated(data: bytes, times: int = 1) -> bytes:
    """Raw deflate of ``data``, so many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    unit = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
    return unit * times + packer.flush()


def bent(format_: str, at: int) -> bytes:
    """An honest archive with one bit changed."""
    whole = bytearray(compressed(sample_tar(), format_))
    whole[at] ^= 1
    return bytes(whole)


def mixed(format_: str) -> bytes:
    """The head of one build over the tail of another, as a client leaves it that was killed while overwriting."""
    new, old = (compressed(member(b"x", random.Random(seed).randbytes(80_000)) + END, format_) for seed in (1, 2))
    return new[: len(new) // 2] + old[len(new) // 2 :]


def quine_like() -> bytes:
    """A zip whose two members share their data, as those of a bomb without nesting do (Fifield, 2019)."""
    data = deflated(bytes(100_000))
    whole = zip_of(b"a", data, 100_000, zlib.crc32(bytes(100_000)))
    start, ending = whole.index(b"PK\1\2"), end_of_zip(whole)
    twice = whole[start:ending] * 2
    return whole[:start] + twice + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(twice), start, 0)


def zeros_by_zstd() -> bytes:
    """One frame: a header block, and then blocks that repeat a byte (RFC 8878, RLE_Block), each for 128 KiB."""
    first = LARGE_FILE
    head = b"\x28\xb5\x2f\xfd\x00\x58"  # a window of 2 MiB
    raw = (len(first) << 3).to_bytes(3, "little") + first
    run = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return head + raw + run * (10 * GIB // (128 << 10))


def big_dictionary() -> bytes:
    """An xz stream whose only block says that its dictionary is 1 GiB large."""
    whole = bytearray(lzma.compress(b"x" * 100))
    properties = 36  # (2 | 36 & 1) << (36 / 2 + 11)
    block = bytearray(whole[12:24])
    assert block[2:4] == b"\x21\x01"
    block[4] = properties
    block[8:12] = zlib.crc32(bytes(block[:8])).to_bytes(4, "little")
    whole[12:24] = block
    return bytes(whole)


TARS = {
    "absolute name": tar(member(b"/etc/cron.d/x", b"x"), "entry '/etc/cron.d/x' has an absolute name"),
    "double slash": tar(member(b"//etc/x", b"x"), "entry '//etc/x' has an absolute name"),
    "dot dot first": tar(member(b"../outside/x", b"x"), "entry '../outside/x' leaves the release"),
    "dot dot inside": tar(
        member(b"a/../../outside/x", b"x"),
        "entry 'a/../../outside/x' leaves the release",
    ),
    "dot dot that stays": tar(member(b"a/../x", b"x"), "entry 'a/../x' has '..' in its name"),
    "dot dot as a directory": tar(directory(b".."), "entry '..' leaves the release"),
    "dot dot at the end": tar(directory(b"a/.."), "entry 'a/..' has '..' in its name"),
    "dot dot by pax": tar(
        pax({"path": "../outside/x"}) + member(b"ok", b"x"), "entry '../outside/x' leaves the release"
    ),
    "dot dot by a long name": tar(
        member(b"././@LongLink", b"../outside/x\0", b"L") + member(b"ok", b"x"),
        "entry '../outside/x' leaves the release",
    ),
    "dot dot by prefix": tar(
        member(b"x", b"x", prefix=b"../outside".ljust(155, b"\0")),
        "entry '../outside/x' leaves the release",
    ),
    "absolute link": tar(symlink(b"x", b"/etc/passwd"), "the symbolic link 'x' -> '/etc/passwd' is absolute"),
    "link that leaves": tar(symlink(b"a/x", b"../../y"), "the symbolic link 'a/x' -> '../../y' leaves the release"),
    "link that leaves and returns": tar(symlink(b"x", b"../staging-1/y"), "'../staging-1/y' leaves the release"),
    "link to above": tar(symlink(b"x", b".."), "the symbolic link 'x' -> '..' leaves the release"),
    "empty link": tar(symlink(b"x", b""), "the symbolic link 'x' has a target that is not a valid path"),
    "through a link": tar(
        symlink(b"d", b"e") + directory(b"e") + member(b"d/x", b"x"),
        "entry 'd/x' is written through the link 'd'",
    ),
    "through a dangling link": tar(
        symlink(b"d", b"nowhere") + member(b"d/x", b"x"),
        "entry 'd/x' is written through the link 'd'",
    ),
    "through a link deep down": tar(
        directory(b"a/b/c") + symlink(b"a/l", b"b") + member(b"a/l/c/x", b"x"),
        "entry 'a/l/c/x' is written through the link 'a/l'",
    ),
    "directory through a link": tar(
        directory(b"e") + symlink(b"d", b"e") + directory(b"d/sub/"),
        "entry 'd/sub/' is written through the link 'd'",
    ),
    "a link's own directory replaced meanwhile": tar(
        member(b"d/x", b"x") + symlink(b"d", b"e") + member(b"d/y", b"y"),
        "entry 'd/y' is written through the link 'd'",
    ),
    "below a file": tar(member(b"d", b"x") + member(b"d/x", b"x"), "entry 'd/x' is below 'd', which is a file"),
    "chain of links": tar(
        symlink(b"d", b".") + symlink(b"x", b"d/../y"),
        "the symbolic link 'x' -> 'd/../y' leaves the release",
    ),
    "chain of links in another order": tar(
        symlink(b"a/x", b"d/../../y") + symlink(b"a/d", b".."),
        "the symbolic link 'a/x' -> 'd/../../y' leaves the release",
    ),
    "chain by a later replacement": tar(
        directory(b"a/b") + symlink(b"x", b"a/b/../../y") + symlink(b"a/b", b".."),
        "the symbolic link 'x' -> 'a/b/../../y' leaves the release",
    ),
    "hard link to a link elsewhere": tar(
        symlink(b"a/b/l", b"../../y") + hardlink(b"l", b"a/b/l"),
        "the symbolic link 'l' -> '../../y' leaves the release",
    ),
    "hard link to an absolute name": tar(
        hardlink(b"x", b"/etc/passwd"),
        "hard link 'x' to '/etc/passwd' has an absolute name",
    ),
    "hard link that leaves": tar(hardlink(b"x", b"../y"), "hard link 'x' to '../y' leaves the release"),
    "hard link through a link": tar(
        directory(b"e") + member(b"e/f", b"x") + symlink(b"d", b"e") + hardlink(b"x", b"d/f"),
        "entry 'd/f' is written through the link 'd'",
    ),
    "hard link to a directory": tar(
        directory(b"e") + hardlink(b"x", b"e"),
        "the hard link 'x' leads to 'e', which is a directory",
    ),
    "character device": tar(header(b"null", b"3"), "entry 'null' is a character device"),
    "block device": tar(header(b"sda", b"4"), "entry 'sda' is a block device"),
    "FIFO": tar(header(b"fifo", b"6"), "entry 'fifo' is a FIFO"),
    "zero byte": tar(pax({"path": b"a\0b"}) + member(b"x"), r"entry 'a\x00b' is not a valid path"),
    "zero byte in a target": tar(pax({"linkpath": b"a\0b"}) + symlink(b"x", b"y"), "entry 'x' is not a valid path"),
    "too long a component": tar(pax({"path": b"x" * 256}) + member(b"x"), "is not a valid path: it is too long"),
    "too long a name": tar(pax({"path": b"x" * 250 + b"/" * 5000}) + member(b"x"), "it is too long"),
    "too deep": tar(
        pax({"path": b"d/" * 101 + b"x"}) + member(b"x"), "is nested more than 100 directories deep", TOO_LARGE
    ),
    "unprintable": tar(pax({"path": b"../\x1b[31m\n"}) + member(b"x"), r"entry '../\x1b[31m\n' leaves the release"),
    # --- what would break an unpacker that trusts its input ---
    "a hard link to nothing": tar(hardlink(b"x", b"gone"), "leads to 'gone', which no entry before it made", CORRUPT),
    "a hard link in the place of its target": tar(
        directory(b"d") + member(b"d/x", b"x") + hardlink(b"d", b"d/x"), "takes the place of 'd/x'", CORRUPT
    ),
    "no name": tar(member(b"", b"x"), "an entry has no name", CORRUPT),
    "a wrong sum": tar(b"x" * 512, "its sum is wrong", CORRUPT),
    "a volume of several": tar(member(b"x", b"", b"M"), "one volume of several", UNSUPPORTED),
    "an unknown type": tar(member(b"x", b"", b"Z"), "of a type that is not known", UNSUPPORTED),
    "a negative size": tar(sized(b"\xff" * 12), "a negative number", CORRUPT),
    "a size that is no number": tar(sized(b"0o000000003\0"), "a number that is none", CORRUPT),
    "a size of 2^60": tar(sized(b"\x80" + (1 << 60).to_bytes(11, "big")), "is too much", TOO_LARGE),
    "a pax size of 2^70": tar(pax({"size": str(1 << 70)}) + member(b"x"), "a number that is none", CORRUPT),
    "a pax size that is no number": tar(pax({"size": "1e3"}) + member(b"x"), "extended header", CORRUPT),
    "a pax record longer than its header": tar(
        member(b"p", b"99 path=abc\n", b"x") + member(b"x"), "extended header", CORRUPT
    ),
    "a pax header of 2 MiB": tar(header(b"x", b"x", 2 * MIB) + bytes(2 * MIB), "extended header", CORRUPT),
    "a long name of 5,000 bytes": tar(header(b"x", b"L", 5000) + bytes(5120), "extended header", CORRUPT),
    "an extended header of nothing": tar(pax({"path": "x"}), "ends after an extended header", CORRUPT),
    "a sparse map that overlaps": tar(
        pax({"GNU.sparse.name": "s", "GNU.sparse.size": "10", "GNU.sparse.map": "5,3,0,3"}) + member(b"x", b"y" * 6),
        "sparse",
        CORRUPT,
    ),
    "a sparse file of 2^60": tar(
        pax({"GNU.sparse.name": "s", "GNU.sparse.size": str(1 << 60), "GNU.sparse.map": "0,3"}) + member(b"x", b"yyy"),
        "is too much",
        TOO_LARGE,
    ),
    "entries after the end": tar(END + member(b"late", b"x"), "something follows the end of the archive", CORRUPT),
    "one block of zeros": tar(bytes(512) + member(b"y"), "single block of zeros", CORRUPT),
    "nothing": Trick(lambda: END, UNSUPPORTED, "holds nothing to deploy"),
}

ZIPS = {
    "zip: absolute name": zip_(("/etc/x", b"x", stat.S_IFREG | 0o644), "entry '/etc/x' has an absolute name"),
    "zip: dot dot": zip_(("a/../../x", b"x", stat.S_IFREG | 0o644), "entry 'a/../../x' leaves the release"),
    "zip: dot dot directory": zip_(("../x/", b"", stat.S_IFDIR | 0o755), "entry '../x/' leaves the release"),
    "zip: absolute link": zip_(("x", b"/etc/passwd", stat.S_IFLNK | 0o777), "is absolute"),
    "zip: link that leaves": zip_(("a/x", b"../../y", stat.S_IFLNK | 0o777), "leaves the release"),
    "zip: through a link": zip_(("l/x", b"x", stat.S_IFREG | 0o644), "entry 'l/x' is written through the link 'l'"),
    "zip: FIFO": zip_(("fifo", b"", stat.S_IFIFO | 0o644), "entry 'fifo' is a device, FIFO or socket"),
    "zip: device": zip_(("sda", b"", stat.S_IFBLK | 0o644), "entry 'sda' is a device, FIFO or socket"),
    "zip: zero byte": zip_(("a~b", b"x", stat.S_IFREG | 0o644), r"entry 'a\x00b' is not a valid path"),
    "zip: zero byte in a target": zip_(("x", b"a\0b", stat.S_IFLNK | 0o777), "has a target that is not a valid path"),
    "zip: backslashes": Trick(
        lambda: patched(zipped([("..\\x", b"x", 0)]), zipped([("..\\x", b"x", 0)]).index(b"PK\1\2") + 5, "<B", 0),
        UNSAFE,
        "entry '../x' leaves the release",
        ".zip",
    ),
    "zip: members that share their data": Trick(quine_like, CORRUPT, "overlaps another", ".zip"),
    "zip: a size that lies": Trick(
        lambda: zip_of(b"bomb", deflated(bytes(MIB)), 1000, zlib.crc32(bytes(1000))), CORRUPT, "bomb", ".zip"
    ),
    "zip: 10 GB of zeros behind a size that lies": Trick(
        lambda: zip_of(b"bomb", deflated(bytes(16 * MIB), 640), 1000, 0), CORRUPT, "bomb", ".zip"
    ),
    "zip: a wrong checksum": Trick(lambda: zip_of(b"x", deflated(b"abc"), 3, 7), CORRUPT, "x", ".zip"),
    "zip: encrypted": Trick(
        lambda: patched(patched(sample_zip(), 6, "<H", 1), sample_zip().index(b"PK\1\2") + 8, "<H", 1),
        UNSUPPORTED,
        "is encrypted",
        ".zip",
    ),
    "zip: a disk of several": Trick(
        lambda: patched(sample_zip(), end_of_zip(sample_zip()) + 4, "<H", 1), UNSUPPORTED, "", ".zip"
    ),
    "zip: a count that lies": Trick(
        lambda: patched(sample_zip(), end_of_zip(sample_zip()) + 8, "<2H", 4, 4), CORRUPT, "", ".zip"
    ),
    "zip: a script before it": Trick(lambda: b"#!/bin/sh\n" + sample_zip(), CORRUPT, "not where its end says", ".zip"),
    "zip: an unknown method": Trick(lambda: zip_of(b"x", b"abc", 3, 0, 99), UNSUPPORTED, "not known", ".zip"),
    "zip: a directory of 65 MiB": Trick(
        lambda: b"PK\3\4" + bytes(65 * MIB) + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 65 * MIB, 4, 0),
        TOO_LARGE,
        "",
        ".zip",
    ),
    "zip: a link of 5,000 bytes": zip_(("x", b"y" * 5000, stat.S_IFLNK | 0o777), "has a target of 5000 bytes", CORRUPT),
}

STREAMS = {
    "gzip: a flipped bit": Trick(lambda: bent(".tar.gz", 60), CORRUPT, "damaged", ".tar.gz"),
    "xz: a flipped bit": Trick(lambda: bent(".tar.xz", 60), CORRUPT, "damaged", ".tar.xz"),
    "bzip2: a flipped bit": Trick(lambda: bent(".tar.bz2", 60), CORRUPT, "damaged", ".tar.bz2"),
    "zstd: a flipped bit": Trick(lambda: bent(".tar.zst", 60), CORRUPT, "damaged", ".tar.zst"),
    "gzip: new head, old tail": Trick(lambda: mixed(".tar.gz"), CORRUPT, "", ".tar.gz"),
    "xz: new head, old tail": Trick(lambda: mixed(".tar.xz"), CORRUPT, "", ".tar.xz"),
    "bzip2: new head, old tail": Trick(lambda: mixed(".tar.bz2"), CORRUPT, "", ".tar.bz2"),
    "zstd: new head, old tail": Trick(lambda: mixed(".tar.zst"), CORRUPT, "", ".tar.zst"),
    "gzip: something after the end": Trick(
        lambda: compressed(sample_tar(), ".tar.gz") + b"x", CORRUPT, "something follows", ".tar.gz"
    ),
    "gzip: a second member that is cut": Trick(
        lambda: compressed(sample_tar(), ".tar.gz") + compressed(b"", ".tar.gz")[:-1],
        TRUNCATED,
        "in the middle",
        ".tar.gz",
    ),
    "xz: a dictionary of 1 GiB": Trick(big_dictionary, UNSUPPORTED, "of memory", ".tar.xz"),
    "zstd: a window of 1 GiB": Trick(
        lambda: b"\x28\xb5\x2f\xfd\x00\xa0" + b"\1\0\0", UNSUPPORTED, "of memory", ".tar.zst"
    ),
    "zstd: a dictionary": Trick(
        lambda: b"\x28\xb5\x2f\xfd\x01\x58\x07" + b"\1\0\0", UNSUPPORTED, "needs a dictionary", ".tar.zst"
    ),
    "zstd: a reserved block": Trick(
        lambda: b"\x28\xb5\x2f\xfd\x00\x58" + b"\7\0\0", CORRUPT, "reserved type", ".tar.zst"
    ),
    "zstd: nothing but skippable frames": Trick(
        lambda: b"\x50\x2a\x4d\x18\4\0\0\0abcd" * 1000, TRUNCATED, "it is empty", ".tar.zst"
    ),
    "a page of HTML": Trick(lambda: b"<html>404 not found</html>\n" * 40, CORRUPT, "is not a gzip stream", ".tar.gz"),
    "a zip by the name of a tar": Trick(sample_zip, CORRUPT, "its name should end in .zip", ".tar"),
    "an empty file": Trick(lambda: b"", TRUNCATED, "it is empty", ".tar.gz"),
}

BOMBS = {
    "bomb: a file of 10 GB of zeros": Trick(
        lambda: repeated(LARGE_FILE, bytes(16 * MIB), 640),
        TOO_LARGE,
        "'zeros' is too much",
        ".tar.gz",
    ),
    "bomb: 10 GB of zeros in 640 files": Trick(
        lambda: repeated(b"", header(b"zeros", size=16 * MIB) + bytes(16 * MIB), 640),
        TOO_LARGE,
        "'zeros' is too much",
        ".tar.gz",
        {"max_bytes": 64 * MIB},
    ),
    "bomb: 10 GB of zeros and no header": Trick(
        lambda: repeated(b"", bytes(16 * MIB), 640), CORRUPT, "something follows the end", ".tar.gz"
    ),
    "bomb: 10 GB of zeros by zstd": Trick(zeros_by_zstd, TOO_LARGE, "'zeros' is too much", ".tar.zst"),
    "bomb: a million entries": Trick(
        lambda: repeated(b"", header(b"x", b"5") * 1000, 1000), TOO_LARGE, "more than 10000 entries", ".tar.gz"
    ),
    "bomb: a million entries that strip passes over": Trick(
        lambda: repeated(b"", header(b"x") * 1000, 1000), TOO_LARGE, "more than 10000 entries", ".tar.gz", {"strip": 1}
    ),
    "bomb: 100,000 levels in one name": Trick(
        lambda: member(b"ok") + pax({"path": b"d/" * 100_000 + b"x"}) + member(b"x") + END,
        TOO_LARGE,
        "nested more than 100 directories deep",
    ),
    "bomb: 100,000 levels by a directory each": Trick(
        lambda: b"".join(pax({"path": b"d/" * level}) + header(b"d", b"5") for level in range(1, 1000)) + END,
        TOO_LARGE,
        "nested more than 100 directories deep",
    ),
    "bomb: a hundred directories for the sake of each entry": Trick(
        lambda: b"".join(pax({"path": b"%d/" % n + b"d/" * 98 + b"x"}) + header(b"x") for n in range(200)) + END,
        TOO_LARGE,
        "more than 10000 entries",
    ),
}

TRICKS = {**TARS, **ZIPS, **STREAMS, **BOMBS}
