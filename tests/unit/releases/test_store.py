"""The store as the deploys use it, with the unpacker as the process it is."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import hashlib
import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from dropdeploy.model.app import Accept
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.release import Survey
from dropdeploy.model.request import Format
from dropdeploy.model.unpacking import Source, Unpacked
from dropdeploy.releases.store import AppReleases
from tests.unit.releases.archives import END, compressed, directory, member, sample_tar, sample_zip, snapshot, symlink
from tests.unit.releases.test_removal import ordinary_user

ONE, TWO, THREE = "20260101-000000", "20260102-000000", "20260103-000000"
DEADLINE_S = 20.0


def silent(percent: float) -> None:
    """Nobody looks at the progress."""


class Home:
    """An app's directory, its store, and uploads to put into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "app"
        self.root.mkdir()
        self.releases = self.root / "releases"
        self.store = AppReleases(root=self.root)
        self._fds: list[int] = []

    def source(self, data: bytes, format_: Format = Format.TAR_GZ, tap: int | None = None) -> Source:
        if format_.startswith(".tar."):
            data = compressed(data, str(format_))
        path = self.path / f"upload-{len(self._fds)}"
        path.write_bytes(data)
        self._fds.append(os.open(path, os.O_RDONLY))
        return Source(self._fds[-1], format_, len(data), tap)

    def directory(self) -> tuple[Path, Source]:
        path = self.path / f"upload-{len(self._fds)}"
        path.mkdir()
        self._fds.append(os.open(path, os.O_RDONLY))
        return path, Source(self._fds[-1], Format.DIRECTORY, 0)

    async def deploy(self, release: str, data: bytes | None = None) -> None:
        source = self.source(sample_tar() if data is None else data)
        assert isinstance(await self.store.unpack(source, release, silent), Unpacked)
        assert isinstance(await self.store.finish(release), str)

    async def survey(self) -> Survey:
        survey = await self.store.survey()
        assert isinstance(survey, Survey)
        return survey

    def names(self) -> list[str]:
        return sorted(path.name for path in self.releases.iterdir())

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def unpackers() -> set[int]:
    """Unpackers that this process has started and that still are there."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and b"dropdeploy.releases.unpacker" in (entry / "cmdline").read_bytes():
                parent = re.search(r"^PPid:\t(\d+)", (entry / "status").read_text(), re.MULTILINE)
                if parent and int(parent[1]) == os.getpid():
                    found.add(int(entry.name))
    return found


class Stalled:
    """An unpacking that has begun and cannot end, for nobody empties its tap."""

    def __init__(self, home: Home) -> None:
        self.reading, self._writing = os.pipe()
        self._home = home
        self._source = home.source(
            member(b"d/first", b"x") + member(b"large", os.urandom(4 << 20)) + END, Format.TAR, self._writing
        )

    async def start(self, release: str) -> asyncio.Task[Unpacked | Fault]:
        task = asyncio.create_task(self._home.store.unpack(self._source, release, silent))
        await until(unpackers)
        staging = self._home.releases / f".staging-{release}"
        await until(lambda: len(os.listdir(self._home.releases)) and staging.is_dir())
        return task

    def close(self) -> None:
        os.close(self.reading)
        os.close(self._writing)


@pytest.fixture
def stalled(home: Home) -> Iterator[Stalled]:
    stalled = Stalled(home)
    yield stalled
    stalled.close()


# --- a release from beginning to end -------------------------------------------------------------------


async def test_a_release(home: Home) -> None:
    survey = await home.survey()
    assert survey == Survey(True, False, "", False, (), survey.free_bytes)
    source = home.source(sample_tar())
    told: list[float] = []
    unpacked = await home.store.unpack(source, ONE, told.append)
    upload = home.path.joinpath("upload-0").read_bytes()
    assert unpacked == Unpacked(len(upload), hashlib.sha256(upload).hexdigest(), 6, 15 + 600 + 512)
    assert told[-1] == 100.0
    assert home.names() == [f".staging-{ONE}"]
    assert (await home.survey()).releases == ()
    group = grp.getgrgid(home.root.stat().st_gid).gr_name
    assert await home.store.finish(ONE) == f"group {group}"
    assert await home.store.swap(ONE) is None
    survey = await home.survey()
    assert (survey.live, survey.live_is_whole, survey.releases) == (ONE, True, (ONE,))
    assert survey.free_bytes > 0
    assert (home.root / "app/index.html").read_text() == "<h1>hello</h1>\n"
    assert (home.root / "app").readlink() == Path("releases") / ONE


@pytest.mark.parametrize("format_", [Format.TAR, Format.TAR_GZ, Format.TAR_XZ, Format.TAR_BZ2, Format.TAR_ZST])
async def test_every_kind_of_tar(format_: Format, home: Home) -> None:
    assert isinstance(await home.store.unpack(home.source(sample_tar(), format_), ONE, silent), Unpacked)
    assert (home.releases / f".staging-{ONE}/again").read_text() == "<h1>hello</h1>\n"


async def test_a_zip(home: Home) -> None:
    unpacked = await home.store.unpack(home.source(sample_zip(), Format.ZIP), ONE, silent)
    assert isinstance(unpacked, Unpacked)
    assert unpacked.sha256 == hashlib.sha256(sample_zip()).hexdigest()


async def test_a_directory(home: Home) -> None:
    path, source = home.directory()
    (path / "a").mkdir()
    (path / "a/b").write_text("content")
    assert await home.store.unpack(source, ONE, silent) == Unpacked(7, "", 2, 7)
    assert (home.releases / f".staging-{ONE}/a/b").read_text() == "content"


async def test_the_tap_gets_every_byte(home: Home) -> None:
    reading, writing = os.pipe()
    data = os.urandom(3 << 20)
    source = home.source(member(b"x", data) + END, Format.TAR, writing)
    tapped = bytearray()

    def drain() -> None:
        while piece := os.read(reading, 1 << 16):
            tapped.extend(piece)

    thread = threading.Thread(target=drain)
    thread.start()
    unpacked = await home.store.unpack(source, ONE, silent)
    os.close(writing)
    thread.join()
    os.close(reading)
    assert isinstance(unpacked, Unpacked)
    assert bytes(tapped) == home.path.joinpath("upload-0").read_bytes()


async def test_a_tap_that_nobody_reads_any_more(home: Home) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    unpacked = await home.store.unpack(home.source(sample_tar(), Format.TAR_GZ, writing), ONE, silent)
    os.close(writing)
    assert isinstance(unpacked, Unpacked)


async def test_the_descriptors_offset_plays_no_part(home: Home) -> None:
    source = home.source(sample_tar())
    os.lseek(source.fd, 50, os.SEEK_SET)
    assert isinstance(await home.store.unpack(source, ONE, silent), Unpacked)


async def test_progress_is_told(home: Home, stalled: Stalled) -> None:
    told: list[float] = []
    source = home.source(member(b"x", os.urandom(2 << 20)) + END, Format.TAR, stalled._writing)
    task = asyncio.create_task(home.store.unpack(source, ONE, told.append))
    async with asyncio.timeout(DEADLINE_S):
        while not task.done():
            # A slow reader: a quarter of a MiB in each tenth of a second.
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(stalled.reading, False)
                for _ in range(4):
                    os.read(stalled.reading, 1 << 16)
            await asyncio.sleep(0.1)
    assert isinstance(await task, Unpacked)
    assert len(told) >= 2
    assert told == sorted(told)
    assert 0 < told[0] < 100 == told[-1]


# --- refusals ------------------------------------------------------------------------------------------


async def test_a_refused_upload_leaves_nothing(home: Home) -> None:
    whole = compressed(sample_tar(), ".tar.gz")
    for data, code in [
        (whole[:-4], ErrorCode.TRUNCATED_UPLOAD),
        (b"", ErrorCode.TRUNCATED_UPLOAD),
        (whole + b"x", ErrorCode.CORRUPT_UPLOAD),
    ]:
        path = home.path / "upload"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        fault = await home.store.unpack(Source(fd, Format.TAR_GZ, len(data)), ONE, silent)
        os.close(fd)
        assert isinstance(fault, Fault)
        assert fault.code is code
        assert fault.hint
        assert home.names() == []


async def test_an_unsafe_entry_is_named(home: Home) -> None:
    fault = await home.store.unpack(home.source(member(b"a/../../etc/passwd", b"x") + END), ONE, silent)
    assert fault == Fault(
        ErrorCode.UNSAFE_ENTRY,
        "entry 'a/../../etc/passwd' leaves the release",
        "pack the build with names relative to its top directory, e.g. tar -C build -czf build.tar.gz .",
    )


async def test_limits_and_strip_are_the_apps(home: Home) -> None:
    archive = directory(b"top/") + member(b"top/a", b"x" * 100) + member(b"top/b", b"x" * 100) + END
    home.store = AppReleases(root=home.root, strip=1, accept=Accept(max_unpacked=199))
    fault = await home.store.unpack(home.source(archive), ONE, silent)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.TOO_LARGE
    home.store = AppReleases(root=home.root, strip=1, accept=Accept(max_unpacked=200, max_entries=3))
    assert isinstance(await home.store.unpack(home.source(archive), ONE, silent), Unpacked)
    assert set(snapshot(home.releases / f".staging-{ONE}")) == {"a", "b"}


async def test_links_must_not_climb_from_shared_places(home: Home) -> None:
    home.store = AppReleases(root=home.root, shared=("uploads/",))
    archive = directory(b"uploads/") + symlink(b"x", b"uploads/../index.html") + member(b"index.html", b"x") + END
    fault = await home.store.unpack(home.source(archive), ONE, silent)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.UNSAFE_ENTRY
    archive = directory(b"public/") + symlink(b"public/files", b"../uploads/public") + END
    assert isinstance(await home.store.unpack(home.source(archive), ONE, silent), Unpacked)


async def test_an_upload_of_another_size_than_was_said(home: Home) -> None:
    source = home.source(sample_tar())
    for size in (source.size - 1, source.size + 1):
        fault = await home.store.unpack(Source(source.fd, source.format, size), ONE, silent)
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.CHANGED_WHILE_READING


async def test_no_root(home: Home) -> None:
    home.root.rmdir()
    assert await home.store.survey() == Survey(False, False, "", False, (), 0)
    for refused in (
        await home.store.unpack(home.source(sample_tar()), ONE, silent),
        await home.store.finish(ONE),
        await home.store.swap(ONE),
    ):
        assert isinstance(refused, Fault)
        assert "No such file or directory" in refused.message
    assert await home.store.discard(ONE) is None
    await home.store.sweep()


# --- the process ---------------------------------------------------------------------------------------


async def test_cancelling_kills_the_process_and_removes_the_staging_directory(home: Home, stalled: Stalled) -> None:
    task = await stalled.start(ONE)
    (pid,) = unpackers()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert home.names() == []
    assert not Path(f"/proc/{pid}").exists()


async def test_cancelling_twice_is_no_different(home: Home, stalled: Stalled) -> None:
    task = await stalled.start(ONE)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert home.names() == []
    assert not unpackers()


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGKILL, "was killed (SIGKILL)"), (signal.SIGSEGV, "by signal 11")]
)
async def test_a_process_that_dies(number: signal.Signals, message: str, home: Home, stalled: Stalled) -> None:
    task = await stalled.start(ONE)
    (pid,) = unpackers()
    os.kill(pid, number)
    fault = await task
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.INTERNAL
    assert message in fault.message
    assert home.names() == []


async def test_the_process_goes_when_the_agent_is_gone(home: Home) -> None:
    """An agent that is killed must not leave an unpacker that goes on writing."""
    reading, writing = os.pipe()
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from dropdeploy.model.request import Format\n"
        "from dropdeploy.model.unpacking import Source\n"
        "from dropdeploy.releases.store import AppReleases\n"
        "fd, tap, size = map(int, sys.argv[2:])\n"
        "store = AppReleases(root=Path(sys.argv[1]))\n"
        f"asyncio.run(store.unpack(Source(fd, Format.TAR, size, tap), '{ONE}', print))\n"
    )
    source = home.source(member(b"large", os.urandom(4 << 20)) + END, Format.TAR)
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(home.root), str(source.fd), str(writing), str(source.size),
        pass_fds=(source.fd, writing), env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1)  # the unpacker is at work
    agent.kill()
    await agent.wait()
    # The tap's end closes with the last process that holds it.
    async with asyncio.timeout(DEADLINE_S):
        while await asyncio.to_thread(os.read, reading, 1 << 20):
            pass
    os.close(reading)
    assert home.names() == [f".staging-{ONE}"]
    await home.store.sweep()
    assert home.names() == []


async def test_two_apps_unpack_side_by_side(home: Home, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = AppReleases(root=tmp_path / "other")
    results = await asyncio.gather(
        home.store.unpack(home.source(sample_tar()), ONE, silent), other.unpack(home.source(sample_tar()), ONE, silent)
    )
    assert all(isinstance(result, Unpacked) for result in results)


async def test_the_agents_umask_plays_no_part(home: Home) -> None:
    home.store = AppReleases(root=home.root, shared=("log/",))
    old = os.umask(0o077)
    try:
        await home.deploy(ONE)
    finally:
        os.umask(old)
    modes = {name: mode for name, (_, mode, _) in snapshot(home.releases / ONE).items()}
    assert modes["index.html"] == 0o644
    assert modes["bin"] == modes["bin/run"] == 0o755
    for path in (home.releases, home.releases / ONE, home.root / "shared"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path


# --- finishing -----------------------------------------------------------------------------------------


async def test_finish_links_what_is_shared(home: Home) -> None:
    home.store = AppReleases(root=home.root, shared=(".env", "uploads/"))
    (home.root / "shared").mkdir()
    (home.root / "shared/.env").write_text("SECRET=1")
    assert isinstance(await home.store.unpack(home.source(sample_tar()), ONE, silent), Unpacked)
    detail = await home.store.finish(ONE)
    assert isinstance(detail, str)
    assert detail.startswith("2 shared entries linked, group ")
    assert (home.releases / ONE / ".env").read_text() == "SECRET=1"
    assert (home.releases / ONE / "uploads").is_dir()


async def test_finish_without_a_shared_file(home: Home) -> None:
    home.store = AppReleases(root=home.root, shared=(".env",))
    assert isinstance(await home.store.unpack(home.source(sample_tar()), ONE, silent), Unpacked)
    fault = await home.store.finish(ONE)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.SHARED_MISSING
    assert home.names() == [f".staging-{ONE}"]
    assert await home.store.discard(ONE) is None
    assert home.names() == []


async def test_finish_again_is_no_fault(home: Home) -> None:
    await home.deploy(ONE)
    assert await home.store.finish(ONE) == "finished before"
    fault = await home.store.finish(TWO)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.INTERNAL


async def test_finish_does_not_replace_a_release(home: Home) -> None:
    assert isinstance(await home.store.unpack(home.source(sample_tar()), ONE, silent), Unpacked)
    (home.releases / ONE).mkdir()
    fault = await home.store.finish(ONE)
    assert isinstance(fault, Fault)
    assert "exists already" in fault.message
    assert not list((home.releases / ONE).iterdir())


async def test_a_group_that_does_not_exist(home: Home) -> None:
    home.store = AppReleases(root=home.root, group="no-such-group")
    assert isinstance(await home.store.unpack(home.source(sample_tar()), ONE, silent), Unpacked)
    fault = await home.store.finish(ONE)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.NOT_AUTHORISED
    assert fault.message == "there is no group no-such-group on this machine"


async def test_the_group_reaches_every_entry(home: Home) -> None:
    """The agent's user is in several groups where this runs as root, or on most desks; one of them must do."""
    gid = 12345 if os.geteuid() == 0 else os.getgroups()[-1]
    os.chown(home.root, -1, gid)
    await home.deploy(ONE)
    entries = [home.releases / ONE, *(home.releases / ONE).rglob("*")]
    assert {path.lstat().st_gid for path in entries} == {gid}
    assert not any(path.lstat().st_mode & 0o7000 for path in entries)


# --- pruning and sweeping ------------------------------------------------------------------------------


async def test_survey_sees_releases_only(home: Home) -> None:
    for release in (THREE, ONE, TWO):
        await home.deploy(release)
    (home.releases / "20260104-000000").write_text("a file")
    (home.releases / "20260105-000000").symlink_to(ONE)
    for name in ("backup", "20260106-00000", "2026106-000000", ".staging-20260107-000000", ".pruned-20260108-000000"):
        (home.releases / name).mkdir()
    assert (await home.survey()).releases == (ONE, TWO, THREE)


async def test_prune(home: Home) -> None:
    archive = directory(b"closed/") + member(b"closed/a", b"x") + sample_tar()
    for release in (ONE, TWO, THREE):
        await home.deploy(release, archive)
    await home.store.swap(TWO)
    (home.releases / ONE / "closed").chmod(0)
    (home.releases / ONE).chmod(0o500)
    pruned = await home.store.prune([ONE, TWO, THREE, "20260109-000000"])
    assert pruned.removed == (ONE, THREE, "20260109-000000")
    assert pruned.failed == ((TWO, "it is live"),)
    assert (await home.store.survey()).releases == (TWO,)
    await home.store.clear()
    assert home.names() == [TWO]
    assert (home.root / "app/index.html").exists()


async def test_what_is_begun_while_clearing_waits_is_left_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await home.deploy(ONE)
    begun = threading.Event()
    monkeypatch.setattr("dropdeploy.releases.swap.remove_leftover", lambda _: begun.wait(DEADLINE_S))
    clearing = asyncio.create_task(home.store.clear())
    await asyncio.sleep(0)
    assert isinstance(await home.store.unpack(home.source(sample_tar()), TWO, silent), Unpacked)
    begun.set()
    await clearing
    assert isinstance(await home.store.finish(TWO), str)


async def test_what_cannot_be_pruned_is_told(home: Home) -> None:
    await home.deploy(ONE)
    home.releases.chmod(0o555)
    with ordinary_user():
        pruned = await home.store.prune([ONE])
    home.releases.chmod(0o755)
    assert pruned.removed == ()
    assert pruned.failed == ((ONE, f"could not remove release {ONE}: Permission denied"),)


async def test_what_the_agent_may_not_write(home: Home) -> None:
    home.root.chmod(0o555)
    source = home.source(sample_tar())
    with ordinary_user():
        fault = await home.store.unpack(source, ONE, silent)
    home.root.chmod(0o755)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.NOT_AUTHORISED
    assert fault.message == "could not make a staging directory: Permission denied"
    assert f"to own {home.root}" in fault.hint


async def test_discard(home: Home) -> None:
    await home.deploy(ONE)
    assert isinstance(await home.store.unpack(home.source(sample_tar()), ONE, silent), Unpacked)
    assert await home.store.discard(ONE) is None
    assert home.names() == []
    assert await home.store.discard(ONE) is None
    await home.deploy(ONE)
    await home.store.swap(ONE)
    fault = await home.store.discard(ONE)
    assert isinstance(fault, Fault)
    assert fault.message == f"release {ONE} is not removed: it is live"
    assert home.names() == [ONE]


async def test_sweep(home: Home) -> None:
    await home.deploy(ONE)
    for name in (f".staging-{TWO}", f".staging-{THREE}", f".pruned-{TWO}", f".pruned-{TWO}.deep-0", "backup"):
        (home.releases / name / "inner").mkdir(parents=True)
    (home.root / ".app.swap").symlink_to("releases/x")
    await home.store.sweep(keep=[THREE])
    assert home.names() == [f".staging-{THREE}", ONE, "backup"]
    await home.store.sweep()
    assert home.names() == [ONE, "backup"]
    assert not (home.root / ".app.swap").is_symlink()


async def test_unlink(home: Home) -> None:
    await home.deploy(ONE)
    await home.store.swap(ONE)
    assert await home.store.unlink() is None
    assert (await home.survey()).live == ""


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".staging-20260101-000000"])
async def test_names_that_are_no_release_are_a_defect(name: str, home: Home) -> None:
    calls: list[Callable[[str], Awaitable[object]]] = [home.store.finish, home.store.swap, home.store.discard]
    calls.append(lambda release: home.store.prune([release]))
    for call in calls:
        with pytest.raises(ValueError, match="is no release"):
            await call(name)


# --- how large it will be ------------------------------------------------------------------------------


async def test_unpacked_size(home: Home) -> None:
    large = member(b"x", os.urandom(1 << 15) + bytes(1 << 17)) + END  # compresses five to one
    assert await home.store.unpacked_size(home.source(large)) == len(large)
    zeros = home.source(member(b"x", bytes(1 << 20)) + END)  # more than any build does: or the end of one cut short
    assert await home.store.unpacked_size(zeros) == zeros.size
    assert await home.store.unpacked_size(home.source(large, Format.TAR)) == len(large)
    assert await home.store.unpacked_size(home.source(sample_zip(), Format.ZIP)) == 600 + 15 + 7
    broken = home.source(sample_zip()[:-1], Format.ZIP)
    assert await home.store.unpacked_size(broken) == broken.size
    xz = home.source(large, Format.TAR_XZ)
    assert await home.store.unpacked_size(xz) == xz.size
    assert await home.store.unpacked_size(home.directory()[1]) == 0
    assert await home.store.unpacked_size(Source(home.source(b"").fd, Format.TAR_GZ, 0)) == 0
