"""What archives must not contain, and what they may do that looks like it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from dropdeploy.model.app import Accept
from dropdeploy.model.fault import Fault
from dropdeploy.model.request import Format
from dropdeploy.model.unpacking import Source
from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, UNSAFE, UNSUPPORTED
from dropdeploy.releases.store import AppReleases
from tests.unit.releases.archives import (
    END,
    Bench,
    directory,
    hardlink,
    header,
    member,
    symlink,
    zipped,
)
from tests.unit.releases.hostile import BOMBS, TRICKS


def test_there_are_enough_tricks() -> None:
    assert len(TRICKS) >= 60
    assert len({trick.make() for name, trick in TRICKS.items() if name not in BOMBS}) == len(TRICKS) - len(BOMBS)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_for_what_it_is(name: str, bench: Bench) -> None:
    trick = TRICKS[name]
    refusal = bench.refused(trick.make(), trick.format_, **trick.limits)
    assert refusal.code == trick.code, refusal.message
    assert trick.says in refusal.message


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_leaves_nothing(name: str, tmp_path: Path) -> None:
    """In the process that the agent runs, with the agent's limits."""
    bomb = BOMBS[name]
    (tmp_path / "upload").write_bytes(bomb.make())
    root = tmp_path / "root"
    root.mkdir()
    accept = Accept(max_unpacked=bomb.limits.get("max_bytes", 8 << 30), max_entries=10_000)
    store = AppReleases(root=root, strip=bomb.limits.get("strip", 0), accept=accept)
    with (tmp_path / "upload").open("rb") as upload:
        source = Source(upload.fileno(), Format(bomb.format_), (tmp_path / "upload").stat().st_size)
        refusal = asyncio.run(store.unpack(source, "20260101-000000", lambda _: None))
    assert isinstance(refusal, Fault)
    assert refusal.code == bomb.code
    assert os.listdir(root / "releases") == []


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


def test_the_umask_plays_no_part_and_group_and_setgid_are_passed_on(bench: Bench) -> None:
    # `Bench` sets the umask as the unpacker does; the set-group-id bit is taken off at the end.
    found = bench.unpacked(directory(b"d/") + member(b"d/e/f", b"x") + END)
    assert found["d"][1] == found["d/e"][1] == 0o755
