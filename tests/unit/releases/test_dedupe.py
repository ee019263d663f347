"""``dedupe``: equal files of two releases are stored once, on the file systems that servers have."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.model.app import Accept
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Format
from dropdeploy.model.unpacking import Source, Unpacked
from dropdeploy.releases.former import CLONE_BYTES, Comparison, Equal, Former, write_list
from dropdeploy.releases.sharing import share_files
from dropdeploy.releases.store import AppReleases
from tests.unit.releases.archives import END, directory, hardlink, member, symlink, zipped
from tests.unit.releases.test_store import ONE, THREE, TWO, Home, silent

FILES = {f"lib/{number % 7}/{number}.js".encode(): os.urandom(4000 + number) for number in range(20)}
OLD = b"0000644\0"


def tar(files: dict[bytes, bytes], mode: bytes = OLD) -> bytes:
    return b"".join(member(name, data, mode=mode) for name, data in files.items()) + END


def changed(name: bytes, data: bytes) -> dict[bytes, bytes]:
    return {**FILES, name: data}


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Home]:
    """An app whose releases share."""
    home = Home(tmp_path)
    home.store = AppReleases(root=home.root, dedupe=True)
    yield home
    home.close()


async def deploy(home: Home, release: str, data: bytes, format_: Format = Format.TAR_GZ) -> Unpacked:
    """Make a release, and have it live."""
    unpacked = await home.store.unpack(home.source(data, format_), release, silent)
    assert isinstance(unpacked, Unpacked), unpacked
    assert isinstance(await home.store.finish(release), str)
    assert await home.store.swap(release) is None
    return unpacked


def content(home: Home, release: str) -> dict[bytes, bytes]:
    top = home.releases / release
    return {os.fsencode(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def inodes(home: Home, release: str) -> dict[bytes, int]:
    top = home.releases / release
    return {os.fsencode(path.relative_to(top)): path.stat().st_ino for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format_", [Format.TAR_GZ, Format.TAR, Format.ZIP, Format.DIRECTORY])
async def test_what_is_equal_is_one_file_and_what_is_not_is_its_own(sharing: Home, format_: Format) -> None:
    new = changed(b"lib/0/0.js", FILES[b"lib/0/0.js"][:-1] + b"!")
    new[b"lib/1/1.js"] += b"longer"
    new[b"more"] = b"a file that was not there"
    await deploy(sharing, ONE, tar(FILES))
    if format_ is Format.DIRECTORY:
        path, source = sharing.directory()
        for name, data in new.items():
            (path / os.fsdecode(name)).parent.mkdir(parents=True, exist_ok=True)
            (path / os.fsdecode(name)).write_bytes(data)
            (path / os.fsdecode(name)).chmod(0o644)
        unpacked = await sharing.store.unpack(source, TWO, silent)
        assert isinstance(unpacked, Unpacked), unpacked
        assert isinstance(await sharing.store.finish(TWO), str)
    else:
        data = (
            zipped([(os.fsdecode(name), data, stat.S_IFREG | 0o644) for name, data in new.items()])
            if format_ is Format.ZIP
            else tar(new)
        )
        unpacked = await deploy(sharing, TWO, data, format_)
    assert content(sharing, TWO) == new
    assert content(sharing, ONE) == FILES
    before, after = inodes(sharing, ONE), inodes(sharing, TWO)
    same = {name for name in before if before[name] == after[name]}
    assert same == FILES.keys() - {b"lib/0/0.js", b"lib/1/1.js"}
    assert unpacked.shared_bytes == sum(len(FILES[name]) for name in same)


async def test_the_first_release_and_one_without_dedupe_stand_alone(sharing: Home) -> None:
    home = sharing
    home.store = AppReleases(root=home.root)
    await deploy(home, ONE, tar(FILES))
    assert (await deploy(home, TWO, tar(FILES))).shared_bytes == 0
    assert not set(inodes(home, ONE).values()) & set(inodes(home, TWO).values())
    other = AppReleases(root=home.root / "other", dedupe=True)
    (home.root / "other").mkdir()
    assert isinstance(await other.unpack(home.source(tar(FILES)), ONE, silent), Unpacked)


async def test_modes_are_the_uploads(sharing: Home) -> None:
    await deploy(sharing, ONE, tar(FILES))
    await deploy(sharing, TWO, tar(FILES, b"0000755\0"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in (sharing.releases / ONE / "lib/0").iterdir()} == {0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (sharing.releases / TWO / "lib/0").iterdir()} == {0o755}


async def test_pruning_one_leaves_the_others_whole(sharing: Home) -> None:
    for release in (ONE, TWO, THREE):
        await deploy(sharing, release, tar(FILES))
    assert len({tuple(sorted(inodes(sharing, release).values())) for release in (ONE, TWO, THREE)}) == 1
    await sharing.store.prune([ONE, TWO])
    await sharing.store.clear()
    assert sharing.names() == [THREE]
    assert content(sharing, THREE) == FILES


async def test_the_last_of_several_entries_wins_and_links_lead_to_what_is_shared(sharing: Home) -> None:
    first, second = b"x" * 3000, b"y" * 3000
    await deploy(sharing, ONE, tar({b"a": first, b"b": second, b"c": first}))
    archive = (
        member(b"a", first)  # equal …
        + member(b"a", b"z" * 3000)  # … and then not
        + member(b"b", b"z" * 3000)
        + member(b"b", second)
        + hardlink(b"b2", b"b")
        + member(b"c", first)
        + directory(b"c")
        + member(b"c/in", b"1")
        + member(b"new", b"2")
        + symlink(b"link", b"b")
        + END
    )
    await deploy(sharing, TWO, archive)
    assert content(sharing, TWO) == {
        b"a": b"z" * 3000,
        b"b": second,
        b"b2": second,
        b"c/in": b"1",
        b"new": b"2",
        b"link": second,
    }
    assert inodes(sharing, TWO)[b"b2"] == inodes(sharing, ONE)[b"b"]
    assert content(sharing, ONE) == {b"a": first, b"b": second, b"c": first}


async def test_a_file_that_is_not_the_agents_own_making_is_not_shared(sharing: Home) -> None:
    await deploy(sharing, ONE, tar(FILES))
    one = sharing.releases / ONE
    (one / "lib/0/0.js").chmod(0o664)  # others may write
    (one / "lib/1").rename(one / "elsewhere")
    (one / "lib/1").symlink_to("../elsewhere")
    if os.geteuid() == 0:
        os.chown(one / "lib/2/2.js", 65534, -1)
    await deploy(sharing, TWO, tar(FILES))
    assert content(sharing, TWO) == FILES
    before, after = inodes(sharing, ONE), inodes(sharing, TWO)
    assert before[b"lib/0/0.js"] != after[b"lib/0/0.js"]
    assert before[b"elsewhere/1.js"] != after[b"lib/1/1.js"]
    assert before[b"lib/3/3.js"] == after[b"lib/3/3.js"]
    if os.geteuid() == 0:
        assert before[b"lib/2/2.js"] != after[b"lib/2/2.js"]


async def test_a_refused_upload_leaves_the_live_release_alone(sharing: Home) -> None:
    await deploy(sharing, ONE, tar(FILES))
    refused = await sharing.store.unpack(sharing.source(tar(FILES)[:-1024] + symlink(b"x", b"/etc") + END), TWO, silent)
    assert isinstance(refused, Fault)
    assert refused.code is ErrorCode.UNSAFE_ENTRY
    assert sharing.names() == [ONE]
    assert content(sharing, ONE) == FILES
    assert {path.stat().st_nlink for path in (sharing.releases / ONE / "lib/0").iterdir()} == {1}


async def test_limits_count_what_is_shared_too(sharing: Home) -> None:
    await deploy(sharing, ONE, tar(FILES))
    small = AppReleases(root=sharing.root, dedupe=True, accept=Accept(max_unpacked=10_000))
    refused = await small.unpack(sharing.source(tar(FILES)), TWO, silent)
    assert isinstance(refused, Fault)
    assert refused.code is ErrorCode.TOO_LARGE


# --- the agent's side, with an unpacker that is not honest -----------------------------------------------------------


class Pair:
    """Two releases, and a list of what is equal in them."""

    def __init__(self, path: Path) -> None:
        self.old, self.new = path / "old", path / "new"
        for top in (self.old, self.new):
            top.mkdir()
        self.fds = [os.open(self.old, os.O_RDONLY), os.open(self.new, os.O_RDONLY), os.memfd_create("list")]

    def told(self, *pairs: tuple[str, str]) -> list[tuple[bytes, Equal]]:
        found = []
        for new, old in pairs:
            status = os.stat(self.old / old)
            found.append((new.encode(), Equal(old.encode(), status.st_ino, status.st_ctime_ns)))
        return found

    def share(self, told: list[tuple[bytes, Equal]]) -> int | Fault:
        write_list(self.fds[2], told)
        return share_files(*self.fds, ONE)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    (pair.old / "file").write_bytes(b"data")
    (pair.new / "file").touch()
    for top in (pair.old, pair.new):
        (top / "file").chmod(0o644)
    yield pair
    for fd in pair.fds:
        os.close(fd)


def test_a_link_is_put_into_the_place(pair: Pair) -> None:
    assert pair.share(pair.told(("file", "file"))) == 4
    assert (pair.new / "file").samefile(pair.old / "file")


def test_a_place_that_is_not_empty_or_not_there_is_not_taken(pair: Pair) -> None:
    (pair.new / "file").write_text("x")
    assert isinstance(pair.share(pair.told(("file", "file"))), Fault)
    assert (pair.new / "file").read_text() == "x"
    assert isinstance(pair.share(pair.told(("gone", "file"))), Fault)


def test_what_changed_since_it_was_compared_is_not_taken(pair: Pair) -> None:
    told = pair.told(("file", "file"))
    (pair.old / "file").write_bytes(b"DATA")
    fault = pair.share(told)
    assert isinstance(fault, Fault)
    assert fault.message == f"'file' of release {ONE} was changed while the upload was compared with it"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", "."])
def test_names_stay_below(pair: Pair, name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    told = pair.told(("file", "file"))
    with pytest.raises(ValueError, match="no name"):
        pair.share([(name.encode(), told[0][1])])
    status = os.stat(tmp_path / "outside")
    with pytest.raises(ValueError, match="no name"):
        pair.share([(b"file", Equal(name.encode(), status.st_ino, status.st_ctime_ns))])


def test_no_link_is_followed(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (pair.new / "out").symlink_to(tmp_path / "outside")
    assert isinstance(pair.share(pair.told(("out/file", "file"))), Fault)
    (pair.old / "out").symlink_to(tmp_path / "outside")
    assert isinstance(pair.share(pair.told(("file", "out/file"))), Fault)
    (pair.old / "link").symlink_to("file")
    assert isinstance(pair.share(pair.told(("file", "link"))), Fault)


def test_a_list_that_is_none(pair: Pair) -> None:
    os.write(pair.fds[2], b"file\0file")
    with pytest.raises(ValueError, match="cut off"):
        share_files(*pair.fds, ONE)


def test_a_comparison_writes_the_head_that_was_equal(tmp_path: Path) -> None:
    old_data, new_data = b"a" * 5000 + b"b" * 5000, b"a" * 7000 + b"c" * 3000
    (tmp_path / "old").write_bytes(old_data)
    for step in (1, 999, 5000, 10_000):
        old = os.open(tmp_path / "old", os.O_RDONLY)
        new = os.open(tmp_path / f"new-{step}", os.O_WRONLY | os.O_CREAT)
        comparison = Comparison(old, new, b"old")
        for at in range(0, 10_000, step):
            comparison.write(memoryview(new_data)[at : at + step])
        assert not comparison.is_equal
        comparison.close()
        assert (tmp_path / f"new-{step}").read_bytes() == new_data


def test_an_inode_that_is_given_again_keeps_no_place() -> None:
    former = Former(-1, 0)
    fd = os.memfd_create("x")
    former.equal[os.fstat(fd).st_ino] = Equal(b"x", 1, 1)
    former.is_written(fd)
    assert former.equal == {}
    os.close(fd)


# --- real file systems ----------------------------------------------------------------------------------------------

SIZE = 8 << 20
COUNT = 200


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own on a loop device."""
    make = [f"mkfs.{kind}", "-q"]
    if os.geteuid() != 0 or shutil.which(make[0]) is None:
        pytest.skip(f"needs root and {make[0]}")
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False, capture_output=True).returncode:
        pytest.skip("no loop device to be had")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_links_that_leave_together_are_seen_everywhere(disk: Path) -> None:
    """Each of them stays inside by itself: they are read back from the file system."""
    (disk / "app").mkdir()
    store = AppReleases(root=disk / "app")
    data = (
        directory(b"a/b")
        + symlink(b"up", b"a/b")
        + symlink(b"a/b/out", b"../..")
        + symlink(b"x", b"up/out/../..")
        + END
    )
    upload = os.memfd_create("upload")
    os.write(upload, data)
    os.lseek(upload, 0, os.SEEK_SET)
    refused = await store.unpack(Source(upload, Format.TAR, len(data)), ONE, silent)
    os.close(upload)
    assert isinstance(refused, Fault), refused
    assert refused.code is ErrorCode.UNSAFE_ENTRY


def written_bytes(place: Path) -> int:
    """What the device under ``place`` was given to write; Documentation/block/stat.rst."""
    device = place.stat().st_dev
    with place.joinpath("flushed").open("w") as file:
        os.syncfs(file.fileno()) if hasattr(os, "syncfs") else subprocess.run(["sync", "-f", str(place)], check=True)
    if os.major(device) == 0:  # btrfs has devices of its own
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        source = next(line.split(" - ")[1].split()[1] for line in mounts if f" {place} " in line)
        device = os.stat(source).st_rdev
    fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(fields[6]) * 512


def digests_of(files: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: hashlib.sha256(content).digest() for name, content in files.items()}


async def test_five_releases_take_the_space_of_one_and_only_what_changed_is_written(disk: Path, kind: str) -> None:
    seeded = random.Random(1)
    files = {b"d%d/%d" % (number % 20, number): seeded.randbytes(SIZE // COUNT) for number in range(COUNT)}
    big = seeded.randbytes(CLONE_BYTES)
    (disk / "app").mkdir()
    store = AppReleases(root=disk / "app", dedupe=True)

    def used() -> int:
        system = os.statvfs(disk)
        return (system.f_blocks - system.f_bfree) * system.f_frsize

    empty, sizes, written = used(), [], []
    digests = []
    for number in range(5):
        for name in seeded.sample(sorted(files), COUNT // 100):
            files[name] = seeded.randbytes(len(files[name]))
        release = f"20260101-00000{number}"
        before = await asyncio.to_thread(written_bytes, disk)
        upload = os.memfd_create("upload")
        data = await asyncio.to_thread(tar, {**files, b"big": big})
        await asyncio.to_thread(os.write, upload, data)
        os.lseek(upload, 0, os.SEEK_SET)
        unpacked = await store.unpack(Source(upload, Format.TAR, len(data)), release, silent)
        os.close(upload)
        assert isinstance(unpacked, Unpacked), unpacked
        assert isinstance(await store.finish(release), str)
        assert await store.swap(release) is None
        written.append(await asyncio.to_thread(written_bytes, disk) - before)
        sizes.append(used() - empty)
        digests.append(await asyncio.to_thread(digests_of, files))
    assert sizes[0] >= SIZE
    assert sizes[-1] <= 1.1 * sizes[0], sizes
    assert max(written[1:]) < 0.35 * SIZE, written  # most of it the file system's own
    inodes = {(disk / f"app/releases/20260101-00000{number}/big").stat().st_ino for number in range(5)}
    assert len(inodes) == (1 if kind == "ext4" else 5)  # a large file is cloned where that can be
    await store.prune(["20260101-000000"])
    await store.clear()
    for number in range(1, 5):
        top = disk / f"app/releases/20260101-00000{number}"
        found = {name: (top / os.fsdecode(name)).read_bytes() for name in files}
        assert await asyncio.to_thread(digests_of, found) == digests[number]
