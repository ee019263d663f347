"""What archives must not contain, and what they may do that looks like it."""

from __future__ import annotations

import os
import stat

import pytest

from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, UNSAFE, UNSUPPORTED
from tests.unit.releases.archives import (
    END,
    Bench,
    compressed,
    directory,
    hardlink,
    header,
    member,
    pax,
    symlink,
    zipped,
)

UNSAFE_TARS = {
    "absolute name": (member(b"/etc/cron.d/x", b"x"), "entry '/etc/cron.d/x' has an absolute name"),
    "double slash": (member(b"//etc/x", b"x"), "entry '//etc/x' has an absolute name"),
    "dot dot first": (member(b"../outside/x", b"x"), "entry '../outside/x' leaves the release"),
    "dot dot inside": (
        member(b"a/../../outside/x", b"x"),
        "entry 'a/../../outside/x' leaves the release",
    ),
    "dot dot that stays": (member(b"a/../x", b"x"), "entry 'a/../x' has '..' in its name"),
    "dot dot as a directory": (directory(b".."), "entry '..' leaves the release"),
    "dot dot at the end": (directory(b"a/.."), "entry 'a/..' has '..' in its name"),
    "dot dot by pax": (pax({"path": "../outside/x"}) + member(b"ok", b"x"), "entry '../outside/x' leaves the release"),
    "dot dot by a long name": (
        member(b"././@LongLink", b"../outside/x\0", b"L") + member(b"ok", b"x"),
        "entry '../outside/x' leaves the release",
    ),
    "dot dot by prefix": (
        member(b"x", b"x", prefix=b"../outside".ljust(155, b"\0")),
        "entry '../outside/x' leaves the release",
    ),
    "absolute link": (symlink(b"x", b"/etc/passwd"), "the symbolic link 'x' -> '/etc/passwd' is absolute"),
    "link that leaves": (symlink(b"a/x", b"../../y"), "the symbolic link 'a/x' -> '../../y' leaves the release"),
    "link that leaves and returns": (symlink(b"x", b"../staging-1/y"), "'../staging-1/y' leaves the release"),
    "link to above": (symlink(b"x", b".."), "the symbolic link 'x' -> '..' leaves the release"),
    "empty link": (symlink(b"x", b""), "the symbolic link 'x' has a target that is not a valid path"),
    "through a link": (
        symlink(b"d", b"e") + directory(b"e") + member(b"d/x", b"x"),
        "entry 'd/x' is written through the link 'd'",
    ),
    "through a dangling link": (
        symlink(b"d", b"nowhere") + member(b"d/x", b"x"),
        "entry 'd/x' is written through the link 'd'",
    ),
    "through a link deep down": (
        directory(b"a/b/c") + symlink(b"a/l", b"b") + member(b"a/l/c/x", b"x"),
        "entry 'a/l/c/x' is written through the link 'a/l'",
    ),
    "directory through a link": (
        directory(b"e") + symlink(b"d", b"e") + directory(b"d/sub/"),
        "entry 'd/sub/' is written through the link 'd'",
    ),
    "a link's own directory replaced meanwhile": (
        member(b"d/x", b"x") + symlink(b"d", b"e") + member(b"d/y", b"y"),
        "entry 'd/y' is written through the link 'd'",
    ),
    "below a file": (member(b"d", b"x") + member(b"d/x", b"x"), "entry 'd/x' is below 'd', which is a file"),
    "chain of links": (
        symlink(b"d", b".") + symlink(b"x", b"d/../y"),
        "the symbolic link 'x' -> 'd/../y' leaves the release",
    ),
    "chain of links in another order": (
        symlink(b"a/x", b"d/../../y") + symlink(b"a/d", b".."),
        "the symbolic link 'a/x' -> 'd/../../y' leaves the release",
    ),
    "chain by a later replacement": (
        directory(b"a/b") + symlink(b"x", b"a/b/../../y") + symlink(b"a/b", b".."),
        "the symbolic link 'x' -> 'a/b/../../y' leaves the release",
    ),
    "hard link to a link elsewhere": (
        symlink(b"a/b/l", b"../../y") + hardlink(b"l", b"a/b/l"),
        "the symbolic link 'l' -> '../../y' leaves the release",
    ),
    "hard link to an absolute name": (
        hardlink(b"x", b"/etc/passwd"),
        "hard link 'x' to '/etc/passwd' has an absolute name",
    ),
    "hard link that leaves": (hardlink(b"x", b"../y"), "hard link 'x' to '../y' leaves the release"),
    "hard link through a link": (
        directory(b"e") + member(b"e/f", b"x") + symlink(b"d", b"e") + hardlink(b"x", b"d/f"),
        "entry 'd/f' is written through the link 'd'",
    ),
    "hard link to a directory": (
        directory(b"e") + hardlink(b"x", b"e"),
        "the hard link 'x' leads to 'e', which is a directory",
    ),
    "character device": (header(b"null", b"3"), "entry 'null' is a character device"),
    "block device": (header(b"sda", b"4"), "entry 'sda' is a block device"),
    "FIFO": (header(b"fifo", b"6"), "entry 'fifo' is a FIFO"),
    "zero byte": (pax({"path": b"a\0b"}) + member(b"x"), r"entry 'a\x00b' is not a valid path"),
    "zero byte in a target": (pax({"linkpath": b"a\0b"}) + symlink(b"x", b"y"), "entry 'x' is not a valid path"),
    "too long a component": (pax({"path": b"x" * 256}) + member(b"x"), "is not a valid path: it is too long"),
    "too long a name": (pax({"path": b"x/" * 2500}) + member(b"x"), "directories deep"),
    "too deep": (pax({"path": b"d/" * 101 + b"x"}) + member(b"x"), "is nested more than 100 directories deep"),
    "unprintable": (pax({"path": b"../\x1b[31m\n"}) + member(b"x"), r"entry '../\x1b[31m\n' leaves the release"),
}


@pytest.mark.parametrize("name", UNSAFE_TARS)
def test_unsafe_tar_is_refused_and_the_entry_named(name: str, bench: Bench) -> None:
    entries, message = UNSAFE_TARS[name]
    refusal = bench.refused(member(b"first", b"1") + entries + END)
    assert refusal.code == UNSAFE
    assert message in refusal.message


UNSAFE_ZIPS = {
    "absolute name": (("/etc/x", b"x", stat.S_IFREG | 0o644), "entry '/etc/x' has an absolute name"),
    "dot dot": (("a/../../x", b"x", stat.S_IFREG | 0o644), "entry 'a/../../x' leaves the release"),
    "dot dot directory": (("../x/", b"", stat.S_IFDIR | 0o755), "entry '../x/' leaves the release"),
    "absolute link": (("x", b"/etc/passwd", stat.S_IFLNK | 0o777), "is absolute"),
    "link that leaves": (("a/x", b"../../y", stat.S_IFLNK | 0o777), "leaves the release"),
    "through a link": (("l/x", b"x", stat.S_IFREG | 0o644), "entry 'l/x' is written through the link 'l'"),
    "FIFO": (("fifo", b"", stat.S_IFIFO | 0o644), "entry 'fifo' is a device, FIFO or socket"),
    "device": (("sda", b"", stat.S_IFBLK | 0o644), "entry 'sda' is a device, FIFO or socket"),
    "zero byte": (("a~b", b"x", stat.S_IFREG | 0o644), r"entry 'a\x00b' is not a valid path"),
    "zero byte in a target": (("x", b"a\0b", stat.S_IFLNK | 0o777), "has a target that is not a valid path"),
}


@pytest.mark.parametrize("name", UNSAFE_ZIPS)
def test_unsafe_zip_is_refused_and_the_entry_named(name: str, bench: Bench) -> None:
    entry, message = UNSAFE_ZIPS[name]
    first = ("l", b"d", stat.S_IFLNK | 0o777)
    archive = zipped([first, entry])
    if name == "zero byte":  # Python writes none
        archive = archive.replace(b"a~b", b"a\0b")
    refusal = bench.refused(archive, ".zip")
    assert refusal.code == UNSAFE
    assert message in refusal.message


def test_what_looks_alike_is_fine(bench: Bench) -> None:
    found = bench.unpacked(
        member(b"..a/b..", b"1")
        + member(b".//a/./b", b"2")
        + member(b"...", b"3")
        + symlink(b"a/up", b"../..a/./b..")
        + symlink(b"a/dangling", b"../not/there")
        + symlink(b"loop", b"pool")
        + symlink(b"pool", b"loop")
        + symlink(b"self", b"self")
        + symlink(b"here", b".")
        + symlink(b"through", b"here/here/a/b")
        + END
    )
    assert found["..a/b.."][2] == b"1"
    assert found["a/b"][2] == b"2"
    assert found["..."][2] == b"3"
    assert (bench.root / "a/up").read_bytes() == b"1"
    assert (bench.root / "through").read_bytes() == b"2"


def test_modes(bench: Bench) -> None:
    def with_mode(name: bytes, mode: bytes) -> bytes:
        return member(name, b"x", mode=mode)

    found = bench.unpacked(
        header(b"secret/", b"5", mode=b"0000700\0")
        + header(b"closed/", b"5", mode=b"0000000\0")
        + header(b"sticky/", b"5", mode=b"0001777\0")
        + header(b"setgid/", b"5", mode=b"0002775\0")
        + with_mode(b"suid", b"0004755\0")
        + with_mode(b"sgid", b"0002755\0")
        + with_mode(b"open", b"0000666\0")
        + with_mode(b"all", b"0000777\0")
        + with_mode(b"private", b"0000600\0")
        + with_mode(b"mine", b"0000700\0")
        + with_mode(b"readonly", b"0000444\0")
        + with_mode(b"none", b"0000000\0")
        + member(b"implied/x", b"x")
        + END
    )
    modes = {name: f"{mode:o}" for name, (_, mode, _) in found.items()}
    assert modes == {
        "secret": "750",
        "closed": "750",
        "sticky": "755",
        "setgid": "755",
        "suid": "755",
        "sgid": "755",
        "open": "644",
        "all": "755",
        "private": "640",
        "mine": "750",
        "readonly": "644",
        "none": "640",
        "implied": "755",
        "implied/x": "644",
    }


def test_modes_of_a_zip(bench: Bench) -> None:
    found = bench.unpacked(
        zipped(
            [
                ("run", b"x", stat.S_IFREG | 0o755),
                ("suid", b"x", stat.S_IFREG | 0o4777),
                ("plain", b"x", stat.S_IFREG | 0o664),
                ("none", b"x", 0),
                ("d/", b"", stat.S_IFDIR | 0o700),
            ]
        ),
        ".zip",
    )
    assert {name: f"{mode:o}" for name, (_, mode, _) in found.items()} == {
        "run": "755",
        "suid": "755",
        "plain": "644",
        "none": "640",  # Python makes it 0600
        "d": "750",
    }


def test_the_last_of_a_name_wins(bench: Bench) -> None:
    found = bench.unpacked(
        member(b"file", b"old")
        + member(b"file", b"new")
        + member(b"file-to-link", b"x")
        + symlink(b"file-to-link", b"file")
        + symlink(b"link-to-file", b"file")
        + member(b"link-to-file", b"own")
        + symlink(b"link-to-dir", b"dir")
        + directory(b"dir/")
        + member(b"dir/kept", b"kept")
        + directory(b"link-to-dir/")
        + member(b"link-to-dir/inside", b"inside")
        + directory(b"dir-to-file/a/b")
        + member(b"dir-to-file/a/b/c", b"c")
        + member(b"dir-to-file", b"file")
        + directory(b"dir-to-link/a")
        + symlink(b"dir-to-link", b"file")
        + member(b"file-to-dir", b"file")
        + directory(b"file-to-dir/")
        + directory(b"dir/")
        + member(b"linked", b"linked")
        + hardlink(b"second", b"linked")
        + member(b"linked", b"other")
        + END
    )
    assert found["file"][2] == b"new"
    assert found["file-to-link"] == ("l", 0, b"file")
    assert found["link-to-file"] == ("f", 0o644, b"own")
    assert found["link-to-dir"][0] == "d"
    assert found["link-to-dir/inside"][2] == b"inside"
    assert found["dir/kept"][2] == b"kept"
    assert "dir/inside" not in found
    assert found["dir-to-file"] == ("f", 0o644, b"file")
    assert found["dir-to-link"] == ("l", 0, b"file")
    assert found["file-to-dir"][0] == "d"
    assert found["linked"][2] == b"other"
    assert found["second"][2] == b"linked"


def test_hard_links(bench: Bench) -> None:
    bench.unpacked(
        member(b"a/one", b"1")
        + hardlink(b"b/two", b"a/one")
        + hardlink(b"b/two", b"./a/one")
        + hardlink(b"a/one", b"a/one")
        + symlink(b"a/link", b"one")
        + hardlink(b"a/again", b"a/link")
        + END
    )
    assert os.path.samefile(bench.root / "a/one", bench.root / "b/two")
    assert (bench.root / "a/again").is_symlink()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (hardlink(b"x", b"gone"), "the hard link 'x' leads to 'gone', which no entry before it made"),
        (directory(b"d") + member(b"d/x", b"x") + hardlink(b"d", b"d/x"), "takes the place of 'd/x'"),
        (member(b"", b"x"), "an entry has no name"),
        (header(b"x", b"5", 512, magic=b"notar\x0000") + b"x" * 512, "a header is damaged: its sum is wrong"),
    ],
)
def test_nonsense_is_corrupt(entries: bytes, message: str, bench: Bench) -> None:
    refusal = bench.refused(member(b"first", b"1") + entries + END)
    assert refusal.code == CORRUPT
    assert message in refusal.message


def test_hard_link_over_a_full_directory_elsewhere(bench: Bench) -> None:
    found = bench.unpacked(
        member(b"a/b/one", b"1") + member(b"c/d/x", b"x") + hardlink(b"c", b"a/b/one") + member(b"a/b/two", b"2") + END
    )
    assert found["c"] == ("f", 0o644, b"1")
    assert found["a/b/two"][2] == b"2"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (member(b"x", b"", b"M"), "the archive is one volume of several"),
        (member(b"x", b"", b"Z"), "entry 'x' is of a type that is not known ('Z')"),
    ],
)
def test_unknown_types(entry: bytes, message: str, bench: Bench) -> None:
    refusal = bench.refused(entry + END)
    assert refusal.code == UNSUPPORTED
    assert refusal.message == message


def test_ignored_types_are_passed_over(bench: Bench) -> None:
    found = bench.unpacked(
        header(b"LABEL", b"V")
        + member(b"acl", b"user::rwx", b"A")
        + member(b"d/", b"Yfile\0", b"D")
        + member(b"x")
        + END
    )
    assert set(found) == {"d", "x"}


def test_strip(bench: Bench) -> None:
    archive = (
        directory(b"./")
        + directory(b"./build/")
        + member(b"build/README", b"1")
        + member(b"build/dist/index.html", b"2")
        + hardlink(b"build/dist/again", b"build/dist/index.html")
        + symlink(b"build/dist/link", b"index.html")
        + member(b"stray", b"3")
        + END
    )
    found = bench.unpacked(archive, strip=1)
    assert set(found) == {"README", "dist", "dist/index.html", "dist/again", "dist/link"}
    assert set(bench.unpacked(archive, strip=2)) == {"index.html", "again", "link"}
    refusal = bench.refused(archive, strip=5)
    assert refusal.code == UNSUPPORTED
    assert refusal.message == "the upload holds nothing to deploy"
    assert "strip = 5" in refusal.hint


def test_strip_does_not_hide_what_is_unsafe(bench: Bench) -> None:
    assert bench.refused(member(b"a/../../x", b"x") + END, strip=3).code == UNSAFE


def test_strip_that_drops_a_hard_links_target(bench: Bench) -> None:
    refusal = bench.refused(member(b"x", b"x") + hardlink(b"a/y", b"x") + END, strip=1)
    assert "leads to 'x', which `strip` drops" in refusal.message


@pytest.mark.parametrize("archive", [END, directory(b"./") + END])
def test_an_archive_of_nothing(archive: bytes, bench: Bench) -> None:
    assert bench.refused(archive).message == "the upload holds nothing to deploy"


def test_too_many_entries(bench: Bench) -> None:
    archive = b"".join(member(b"%d" % number) for number in range(20)) + END
    refusal = bench.refused(archive, max_entries=19)
    assert refusal.code == TOO_LARGE
    assert refusal.message == "there are more than 19 entries (max_entries); '19' is one too many"
    bench.unpacked(archive, max_entries=20)
    assert bench.refused(archive, max_entries=19, strip=1).code == TOO_LARGE


def test_too_many_bytes(bench: Bench) -> None:
    archive = member(b"a", b"x" * 600) + member(b"b", b"x" * 600) + END
    refusal = bench.refused(archive, max_bytes=1199)
    assert refusal.code == TOO_LARGE
    assert refusal.message == "unpacked it is larger than 1.2 KiB (max_unpacked): 'b' is too much"
    bench.unpacked(archive, max_bytes=1200)


def test_a_bomb_stops_at_its_header(bench: Bench) -> None:
    bomb = compressed(member(b"a", b"x") + header(b"bomb", size=7 << 30) + bytes(1 << 24), ".tar.gz")
    refusal = bench.refused(bomb, ".tar.gz", max_bytes=1 << 30)
    assert refusal.code == TOO_LARGE
    assert "bomb" in refusal.message
    assert not (bench.root / "bomb").exists()


def test_a_zip_bomb_that_lies_about_its_size(bench: Bench) -> None:
    honest = zipped([("bomb", bytes(1 << 20), stat.S_IFREG | 0o644)])
    small = honest.replace((1 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    refusal = bench.refused(small, ".zip", max_bytes=1 << 19)
    assert refusal.code == CORRUPT
    assert (bench.root / "bomb").stat().st_size <= 1000


def test_the_umask_plays_no_part_and_group_and_setgid_are_passed_on(bench: Bench) -> None:
    # `Bench` sets the umask as the unpacker does; the set-group-id bit is taken off at the end.
    found = bench.unpacked(directory(b"d/") + member(b"d/e/f", b"x") + END)
    assert found["d"][1] == found["d/e"][1] == 0o755
