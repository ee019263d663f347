"""Many apps, and everything that may befall their drop directories: the agent says what it lost and goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.crowd import Crowd
from tests.agent.world import tar, wait_for

BUILD = tar({"hello": "world"})

# The agent runs in a user namespace of its own, where limits can be set and file systems mounted without any right.
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount")
# Not even root may read everything then.
NO_CAPABILITIES = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    # In memory where that is possible: a hundred deploys wait for the disk a thousand times.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        crowd = Crowd(Path(directory))
        yield crowd
        if crowd.process is not None:
            assert crowd.stop() == 0
        log = crowd.log.read_text()
        print(log)
        assert "Traceback" not in log


def limited(name: str, value: int) -> tuple[str, ...]:
    return (*NAMESPACES, "sh", "-c", f'echo {value} > /proc/sys/user/{name}; exec "$@"', "sh")


def deploy(crowd: Crowd, name: str, deadline_s: float = 30.0) -> None:
    file = f"build-{time.monotonic_ns()}.tar.gz"
    crowd.upload(name, BUILD, file)
    result = crowd.result_of(name, file, deadline_s)
    assert result["status"] == "deployed", result
    assert os.readlink(crowd.root_of(name) / "app") == f"releases/{result['release']}"


# --- many ---


def test_500_apps_and_100_uploads_at_once(crowd: Crowd) -> None:
    crowd.configure_many(500, main="concurrency = 25")
    crowd.start()
    assert crowd.threads() < 20
    assert len(crowd.descriptors()) < 40
    assert sum("inotify" in link for link in crowd.descriptors()) == 1
    assert sorted(crowd.watched_inodes()) == sorted(crowd.drop_of(name).stat().st_ino for name in crowd.names)
    uploaders = crowd.names[::5]
    for name in uploaders:
        crowd.upload(name, BUILD)
    results = {name: crowd.result_of(name, deadline_s=120) for name in uploaders}
    assert {result["status"] for result in results.values()} == {"deployed"}
    assert {result["app"] for result in results.values()} == set(uploaders)
    for name in crowd.names:
        link = crowd.root_of(name) / "app"
        assert (os.readlink(link) if link.is_symlink() else "") == (
            f"releases/{results[name]['release']}" if name in results else ""
        )
    assert crowd.threads() < 60  # its pools have grown
    assert crowd.memory_kib() < 100 * 1024


def test_an_upload_of_ten_thousand_directories(crowd: Crowd) -> None:
    crowd.configure_many(3)
    crowd.start()
    site = crowd.drop_of("app000") / "site"
    site.mkdir()
    for number in range(10_000):
        os.mkdir(site / str(number))
    (crowd.drop_of("app000") / "site.ready").touch()
    wait_for("work", (crowd.drop_of("app000") / "site.deploying").exists)
    assert len(crowd.watched_inodes()) == 3
    closed: dict[str, float] = {}
    for number in range(20):  # other apps' uploads, while it is worked on
        file = f"build-{number}.tar.gz"
        crowd.upload("app001", tar({"../evil": "x"}), file)
        closed[file] = time.time()
        crowd.result_of("app001", file)
    assert crowd.result_of("app000", "site", 60)["status"] == "deployed"
    assert len(os.listdir(crowd.root_of("app000") / "app")) == 10_000
    assert len(crowd.watched_inodes()) == 3
    started = crowd.started()
    waited = sorted(started["app001", file] - at for file, at in closed.items())
    assert waited[len(waited) // 2] < 0.25, waited


def unpackers(crowd: Crowd) -> list[int]:
    """The processes that unpack for this agent."""
    assert crowd.process is not None
    children = Path(f"/proc/{crowd.process.pid}/task/{crowd.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"releases.unpacker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_an_upload_that_takes_long_holds_up_no_other_app(crowd: Crowd) -> None:
    """Its unpacker stands still for as long as the other app deploys, is told of, held, and rolled back."""
    crowd.configure_many(2)
    crowd.start()
    crowd.upload("app000", tar({f"file-{number}": "x" for number in range(20_000)}), "large.tar.gz")
    (unpacker,) = wait_for("unpacker", lambda: unpackers(crowd)) or []
    os.kill(unpacker, signal.SIGSTOP)
    assert not (crowd.drop_of("app000") / "large.tar.gz.result.toml").exists()
    deploy(crowd, "app001")
    deploy(crowd, "app001")
    (crowd.drop_of("app001") / "hold").touch()
    wait_for("hold", lambda: "held = true" in (crowd.drop_of("app001") / "status.toml").read_text())
    (crowd.drop_of("app001") / "rollback").touch()
    assert crowd.result_of("app001", "rollback")["status"] == "deployed"
    assert not (crowd.drop_of("app000") / "large.tar.gz.result.toml").exists()
    os.kill(unpacker, signal.SIGCONT)
    assert crowd.result_of("app000", "large.tar.gz")["status"] == "deployed"


# --- what befalls a drop directory ---


def assert_watched(crowd: Crowd, path: Path) -> None:
    """The directory that is at ``path`` now is watched, and nothing that was there before."""
    wait_for("watch", lambda: crowd.watched_inodes() == [path.stat().st_ino])


def test_deleted_and_recreated(crowd: Crowd) -> None:
    crowd.configure_many(1, rescan="1s")
    crowd.start()
    drop = crowd.drop_of("app000")
    shutil.rmtree(drop)
    crowd.wait_for_log(f"app000: the drop directory {drop} cannot be read: No such file or directory")
    assert crowd.watched_inodes() == []
    drop.mkdir()
    assert_watched(crowd, drop)
    crowd.wait_for_log(f"app000: {drop} can be read again")
    deploy(crowd, "app000")


def test_replaced_by_a_link(crowd: Crowd) -> None:
    crowd.configure_many(1)
    crowd.start()
    drop, elsewhere = crowd.drop_of("app000"), crowd.path / "elsewhere"
    elsewhere.mkdir()
    drop.rename(crowd.path / "before")
    drop.symlink_to(elsewhere)
    assert_watched(crowd, elsewhere)
    deploy(crowd, "app000")


def test_replaced_without_an_event_is_found_by_the_rescan(crowd: Crowd) -> None:
    crowd.configure_many(1, rescan="300ms")
    crowd.start()
    drop, one, two = crowd.drop_of("app000"), crowd.path / "one", crowd.path / "two"
    one.mkdir()
    two.mkdir()
    drop.rmdir()
    drop.symlink_to(one)
    assert_watched(crowd, one)
    drop.unlink()
    drop.symlink_to(two)
    assert_watched(crowd, two)
    crowd.wait_for_log(f"app000: another directory is at {drop} now; it is watched from now on")
    drop.unlink()
    drop.write_text("no directory")
    crowd.wait_for_log(f"app000: the drop directory {drop} cannot be read: Not a directory")
    drop.unlink()
    drop.mkdir()
    assert_watched(crowd, drop)
    deploy(crowd, "app000")


def test_mounted_over_and_unmounted(crowd: Crowd) -> None:
    crowd.configure_many(1, rescan="300ms")
    crowd.prefix = NAMESPACES
    crowd.start()
    drop = crowd.drop_of("app000")
    below = crowd.watched_inodes()
    crowd.inside("mount", "-t", "tmpfs", "none", str(drop))
    crowd.wait_for_log(f"app000: another directory is at {drop} now; it is watched from now on")
    seen = crowd.view / drop.relative_to("/")
    assert_watched(crowd, seen)
    (seen / "build.tar.gz").write_bytes(BUILD)
    result = seen / "build.tar.gz.result.toml"
    wait_for("result on the tmpfs", result.exists)
    assert 'status = "deployed"' in result.read_text()
    wait_for("end of the work", lambda: not (seen / "build.tar.gz.deploying").exists())
    crowd.inside("umount", "--lazy", str(drop))
    wait_for("watch below", lambda: crowd.watched_inodes() == below)
    deploy(crowd, "app000")


def test_made_unreadable(crowd: Crowd) -> None:
    crowd.configure_many(1, rescan="1s")
    crowd.prefix = NO_CAPABILITIES if os.geteuid() == 0 else ()
    crowd.start()
    drop = crowd.drop_of("app000")
    drop.chmod(0o300)
    crowd.wait_for_log(f"app000: the drop directory {drop} cannot be read: Permission denied")
    drop.chmod(0o700)
    crowd.wait_for_log(f"app000: {drop} can be read again")
    assert_watched(crowd, drop)
    deploy(crowd, "app000")


# --- limits ---

INSTEAD = "looked into every few seconds instead of being watched"


def test_no_inotify_instance(crowd: Crowd) -> None:
    crowd.configure_many(3, rescan="200ms")
    crowd.prefix = limited("max_inotify_instances", 0)
    crowd.start()
    deploy(crowd, "app001")
    (said,) = [line for line in crowd.log.read_text().splitlines() if INSTEAD in line]
    assert "3 of 3 drop directories are" in said
    assert "raise fs.inotify.max_user_instances" in said
    crowd.inside("sh", "-c", "echo 1 > /proc/sys/user/max_inotify_instances")
    crowd.wait_for_log("every drop directory that is there is watched again")
    assert len(crowd.watched_inodes()) == 3
    deploy(crowd, "app002")


def test_no_more_watches(crowd: Crowd) -> None:
    crowd.configure_many(5, rescan="200ms")
    crowd.prefix = limited("max_inotify_watches", 3)
    crowd.start()
    assert len(crowd.watched_inodes()) == 3
    deploy(crowd, "app000")
    deploy(crowd, "app004")
    (said,) = [line for line in crowd.log.read_text().splitlines() if INSTEAD in line]
    assert "2 of 5 drop directories are" in said
    assert "raise fs.inotify.max_user_watches" in said
    crowd.inside("sh", "-c", "echo 5 > /proc/sys/user/max_inotify_watches")
    crowd.wait_for_log("every drop directory that is there is watched again")
    assert len(crowd.watched_inodes()) == 5


def test_no_descriptor_left(crowd: Crowd) -> None:
    """Wherever it is that there is none: what was uploaded waits, unanswered, and is deployed when there are some."""
    crowd.configure_many(2, rescan="200ms")
    crowd.start()
    deploy(crowd, "app000")
    assert crowd.process is not None
    pid = crowd.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def complaints() -> int:
        return crowd.log.read_text().count("Too many open files")

    spares = (0, 1, 2, 4, 6, 8)
    wanting = set()
    for spare in spares:
        file = f"build-{spare}.tar.gz"
        said, result = complaints(), crowd.drop_of("app001") / f"{file}.result.toml"
        # The lowest free numbers are given out: so many of these may be used.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free_below(crowd, spare), limits[1]))
        crowd.upload("app001", BUILD, file)
        wait_for("complaint, or result", lambda said=said, result=result: complaints() > said or result.exists())
        wanting |= {spare} if complaints() > said else set()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert crowd.result_of("app001", file)["status"] == "deployed"
    assert wanting >= {0, 1, 2, 4}  # how many a deploy takes at least is nobody's promise
    assert "waits: " in crowd.log.read_text()
    assert len([name for _, name in crowd.started() if name.startswith("build-")]) == 1 + len(spares)


def free_below(crowd: Crowd, spare: int) -> int:
    """The limit under which the agent can open ``spare`` files more than it has open now."""
    taken = {int(entry.name) for entry in Path(f"/proc/{crowd.process.pid}/fd").iterdir()} if crowd.process else set()
    limit = 0
    while spare or limit in taken:
        spare -= limit not in taken
        limit += 1
    return limit


# --- at rest ---


def test_quiet_apps_are_not_woken_one_by_one(crowd: Crowd) -> None:
    crowd.configure_many(50, rescan="100ms")
    crowd.start()
    deploy(crowd, "app049")
    before = crowd.sleeps()
    time.sleep(3)
    # Thirty rounds, and some sleeps for each; with a timer for each app it would be thousands.
    assert crowd.sleeps() - before < 1000
