"""Which doings in a directory are told, how soon, and at what cost; on the real inotify and watchdog."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropdeploy.intake.inotify import GROWTH_PAUSE_S, Watches

DEADLINE_S = 10.0


class Told:
    """What was told of each path."""

    def __init__(self) -> None:
        self.changed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._news = threading.Condition()

    def on_changed(self, path: str) -> None:
        with self._news:
            self.changed[path] += 1
            self._news.notify_all()

    def on_lost(self, path: str) -> None:
        with self._news:
            self.lost[path] += 1
            self._news.notify_all()

    def wait_for(self, is_true: Callable[[Told], object]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: is_true(self), DEADLINE_S), (self.changed, self.lost)

    def wait(self, path: Path) -> None:
        """Wait for news of ``path``, and begin counting anew."""
        self.wait_for(lambda told: told.changed[str(path)])
        self.changed.clear()


@contextmanager
def watching(*paths: Path) -> Iterator[tuple[Watches, Told]]:
    told = Told()
    watches = Watches(told.on_changed, told.on_lost)
    try:
        for path in paths:
            assert watches.add(str(path))
        yield watches, told
    finally:
        watches.close()


def move_in(drop: Path) -> None:
    (drop.parent / "b.zip").write_bytes(b"x")
    (drop.parent / "b.zip").rename(drop / "b.zip")


def link_in(drop: Path) -> None:
    """OpenSSH's plain rename: a hard link, then the temporary name goes."""
    (drop / ".c.tmp").write_bytes(b"x")
    os.link(drop / ".c.tmp", drop / "c.zip")
    (drop / ".c.tmp").unlink()


def rename_inside(drop: Path) -> None:
    (drop / ".d.zip.Ab3xYz").write_bytes(b"x")
    (drop / ".d.zip.Ab3xYz").rename(drop / "d.zip")


@pytest.mark.parametrize(
    "do",
    [
        lambda drop: (drop / "a.zip").write_bytes(b"x"),
        move_in,
        link_in,
        rename_inside,
        lambda drop: (drop / "directory").mkdir(),
        lambda drop: (drop / "go.ready").touch(),
        lambda drop: (drop / os.fsdecode(b"caf\xe9.zip")).write_bytes(b"x"),
        lambda drop: (drop / ("x" * 251 + ".zip")).write_bytes(b"x"),
        lambda drop: (drop / "old").chmod(0o600),  # the agent may be able to read it now
        lambda drop: (drop / "old").unlink(),
        lambda drop: (drop / "old").rename(drop.parent / "away"),
        lambda drop: drop.chmod(0o700),
    ],
)
def test_what_an_uploader_does_is_told(tmp_path: Path, do: Callable[[Path], object]) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "old").touch()
    with watching(drop) as (_, told):
        do(drop)
        told.wait(drop)


def test_what_the_agent_writes_is_not_told(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with watching(tmp_path, other) as (_, told):
        for name in ("a.zip.deploying", "a.zip.result.toml", "status.toml"):
            temporary = tmp_path / ".dropdeploy-0123456789abcdef.tmp"
            temporary.write_text("x")
            temporary.chmod(0o644)
            temporary.rename(tmp_path / name)
            (tmp_path / name).unlink()
        (tmp_path / "build.tar.gz.filepart").write_bytes(b"x")
        (other / "z.zip").write_bytes(b"x")  # comes after them in the queue
        told.wait_for(lambda told: told.changed[str(other)])
        assert told.changed[str(tmp_path)] == 0


def test_a_file_that_is_moved_away_delays_nothing(tmp_path: Path) -> None:
    """watchdog's own emitter waits half a second for where it went."""
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "old.zip").touch()
    with watching(drop) as (_, told):
        began = time.monotonic()
        (drop / "old.zip").rename(tmp_path / "old.zip")
        told.wait(drop)
        (drop / "new.zip").write_bytes(b"x")
        told.wait(drop)
        assert time.monotonic() - began < 0.5


def test_growth_is_told_at_once_then_rarely_then_once_more(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.touch()
    with watching(tmp_path) as (_, told), path.open("wb", buffering=0) as growing:
        began = time.monotonic()
        growing.write(b"x")
        told.wait(tmp_path)
        assert time.monotonic() - began < GROWTH_PAUSE_S
        while time.monotonic() < began + 2.5 * GROWTH_PAUSE_S:
            growing.write(b"x" * 1000)
        assert 1 <= told.changed[str(tmp_path)] <= 3
        told.changed.clear()
        growing.write(b"x")
        told.wait(tmp_path)  # the last growth too, though nothing follows


def test_a_close_is_told_at_once_while_another_file_grows(tmp_path: Path) -> None:
    with watching(tmp_path) as (_, told), (tmp_path / "a.zip").open("wb", buffering=0) as growing:
        told.wait(tmp_path)
        growing.write(b"x")
        began = time.monotonic()
        (tmp_path / "b.zip").write_bytes(b"x")
        told.wait(tmp_path)
        assert time.monotonic() - began < GROWTH_PAUSE_S


def test_the_same_directory_is_not_watched_twice(tmp_path: Path) -> None:
    with watching(tmp_path) as (watches, _):
        assert watches.add(str(tmp_path)) is False
        assert watches_of_this_process() == 1
        watches.remove(str(tmp_path))
        watches.remove(str(tmp_path))
        assert watches_of_this_process() == 0
        assert watches.add(str(tmp_path)) is True


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_that_is_not_there_any_more(tmp_path: Path, how: str) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    with watching(drop) as (watches, told):
        shutil.rmtree(drop) if how == "removed" else drop.rename(tmp_path / "elsewhere")
        told.wait_for(lambda told: told.lost[str(drop)])
        with pytest.raises(FileNotFoundError):
            watches.add(str(drop))
        assert watches_of_this_process() == 0
        drop.mkdir()
        assert watches.add(str(drop)) is True
        (drop / "a.zip").write_bytes(b"x")
        told.wait(drop)


def test_events_lost_to_a_full_queue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drops = [tmp_path / "one", tmp_path / "two"]
    for drop in drops:
        drop.mkdir()
        (drop / "a.zip").touch()
        (drop / "b.zip").touch()
    length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with watching(*drops) as (watches, told):
        with watches._emitter._lock:  # nobody reads
            for _ in range(length):  # two files, as the kernel merges equal events
                os.utime(drops[0] / "a.zip")
                os.utime(drops[0] / "b.zip")
        told.wait_for(lambda told: told.changed[str(drops[1])])
        assert caplog.messages == ["inotify lost events (its queue was full): looking into every drop directory"]
        told.changed.clear()
        (drops[1] / "c.zip").touch()
        told.wait(drops[1])


def test_a_thousand_directories_cost_one_instance_and_two_threads(tmp_path: Path) -> None:
    drops = [tmp_path / str(number) for number in range(1000)]
    for drop in drops:
        drop.mkdir()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with watching(*drops) as (_, told):
        assert threading.active_count() - threads == 2
        assert len(os.listdir("/proc/self/fd")) - descriptors == 2
        assert watches_of_this_process() == 1000
        for drop in drops[::10]:
            (drop / "a.zip").write_bytes(b"x")
        told.wait_for(lambda told: all(told.changed[str(drop)] for drop in drops[::10]))
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_what_is_below_costs_no_watch(tmp_path: Path) -> None:
    with watching(tmp_path) as (_, told):
        (tmp_path / "site").mkdir()
        told.wait(tmp_path)
        for number in range(10_000):
            os.mkdir(tmp_path / "site" / str(number))
        (tmp_path / "site.ready").touch()
        told.wait(tmp_path)
        assert watches_of_this_process() == 1


def test_the_instance_is_not_inherited() -> None:
    with watching() as (watches, _):
        assert os.get_inheritable(watches._emitter._inotify) is False
        shown = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True
        )
        assert "inotify" not in shown.stdout


def watches_of_this_process() -> int:
    return sum(
        entry.read_text().count("inotify wd:") for entry in Path("/proc/self/fdinfo").iterdir() if entry.exists()
    )


def test_lost_events_are_counted_and_everything_is_told(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 100_000:
        pytest.skip("the kernel keeps so many events that losing some takes too long")
    full, other = tmp_path / "full", tmp_path / "other"
    full.mkdir()
    other.mkdir()
    with watching(full, other) as (watches, told):
        names = [full / f"{number}.part" for number in range(2)]
        names[0].touch()
        with watches._emitter._lock:  # its thread reads once more, and then waits
            for number in range(most // 2 + 2048):
                names[number % 2].rename(names[1 - number % 2])
        told.wait(other)
        told.wait_for(lambda _: watches.overflows >= 1)
