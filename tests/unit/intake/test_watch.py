"""Which directory is watched for which app, and what the operator is told, on the real inotify."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from dropdeploy.intake import watch
from dropdeploy.intake.watch import Watcher

DEADLINE_S = 10.0


class Wakes:
    def __init__(self) -> None:
        self.woken: set[str] = set()
        self.event = asyncio.Event()
        self.lost = asyncio.Event()

    def wake(self, app: str) -> None:
        self.woken.add(app)
        self.event.set()

    async def wait(self, *apps: str) -> None:
        """Wait until each of these was woken."""
        end = time.monotonic() + DEADLINE_S
        while not set(apps) <= self.woken:
            await asyncio.wait_for(self.event.wait(), end - time.monotonic())
            self.event.clear()
        self.woken.clear()


@asynccontextmanager
async def watching(drops: dict[str, Path]) -> AsyncIterator[tuple[Watcher, Wakes]]:
    wakes = Wakes()
    watcher = Watcher(asyncio.get_running_loop(), wakes.wake, wakes.lost.set)
    try:
        assert await asyncio.to_thread(watcher.renew, drops) == frozenset()
        yield watcher, wakes
    finally:
        await asyncio.to_thread(watcher.close)


async def renew(watcher: Watcher, drops: dict[str, Path]) -> frozenset[str]:
    return await asyncio.to_thread(watcher.renew, drops)


def make(*paths: Path) -> None:
    for path in paths:
        path.mkdir()


async def test_each_app_is_woken_for_its_own_directory(tmp_path: Path) -> None:
    drops = {"one": tmp_path / "1", "two": tmp_path / "2"}
    make(*drops.values())
    async with watching(drops) as (_, wakes):
        (drops["two"] / "a.zip").write_bytes(b"x")
        await wakes.wait("two")
        (drops["one"] / "a.zip").write_bytes(b"x")
        await wakes.wait("one")


async def test_an_app_that_is_no_longer_wanted_is_forgotten(tmp_path: Path) -> None:
    drops = {"one": tmp_path / "1", "two": tmp_path / "2"}
    make(*drops.values())
    async with watching(drops) as (watcher, wakes):
        assert await renew(watcher, {"two": drops["two"]}) == frozenset()
        (drops["one"] / "a.zip").write_bytes(b"x")
        (drops["two"] / "a.zip").write_bytes(b"x")  # comes after it
        await wakes.wait("two")
        assert wakes.woken == set()
        # The path may be another app's by now.
        assert await renew(watcher, {"two": drops["two"], "three": drops["one"]}) == frozenset()
        (drops["one"] / "a.zip").unlink()
        await wakes.wait("three")


async def test_a_directory_that_is_removed_and_recreated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    async with watching({"myapp": drop}) as (watcher, wakes):
        drop.rmdir()
        await asyncio.wait_for(wakes.lost.wait(), DEADLINE_S)
        await wakes.wait("myapp")
        assert await renew(watcher, {"myapp": drop}) == {"myapp"}
        assert await renew(watcher, {"myapp": drop}) == {"myapp"}
        drop.mkdir()
        wakes.woken.clear()
        assert await renew(watcher, {"myapp": drop}) == frozenset()
        await wakes.wait("myapp")  # for what came before the watch
        (drop / "a.zip").write_bytes(b"x")
        await wakes.wait("myapp")
    assert caplog.messages == []  # who looks into it tells


@pytest.mark.parametrize("by", ["recreated", "moved", "link"])
async def test_another_directory_in_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture, by: str) -> None:
    drop, other = tmp_path / "drop", tmp_path / "other"
    make(drop, other)
    async with watching({"myapp": drop}) as (watcher, wakes):
        if by == "recreated":
            shutil.rmtree(drop)
            drop.mkdir()
        else:
            drop.rename(tmp_path / "before")
            other.rename(drop) if by == "moved" else drop.symlink_to(other)
        await asyncio.wait_for(wakes.lost.wait(), DEADLINE_S)
        await wakes.wait("myapp")
        assert await renew(watcher, {"myapp": drop}) == frozenset()
        await wakes.wait("myapp")  # what came into it before it was watched
        (drop / "a.zip").write_bytes(b"x")
        await wakes.wait("myapp")
        assert await renew(watcher, {"myapp": drop}) == frozenset()
    assert caplog.messages == [f"myapp: another directory is at {drop} now; it is watched from now on"]


async def test_an_app_that_is_given_another_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    make(before, after)
    async with watching({"myapp": before}) as (watcher, wakes):
        assert await renew(watcher, {"myapp": after}) == frozenset()
        wakes.woken.clear()
        (after / "a.zip").write_bytes(b"x")
        await wakes.wait("myapp")
    assert caplog.messages == []  # the configuration says so


async def test_two_paths_that_come_to_lead_to_one_directory(tmp_path: Path) -> None:
    drops = {"one": tmp_path / "1", "two": tmp_path / "2"}
    make(*drops.values())
    async with watching(drops) as (watcher, wakes):
        drops["two"].rmdir()
        drops["two"].symlink_to(drops["one"])
        assert await renew(watcher, drops) == frozenset()
        wakes.woken.clear()
        (drops["one"] / "a.zip").write_bytes(b"x")
        await wakes.wait("one", "two")
        drops["two"].unlink()
        assert await renew(watcher, drops) == {"two"}
        (drops["one"] / "a.zip").unlink()
        await wakes.wait("one")


@pytest.mark.parametrize(
    ("spoil", "number"),
    [("file", errno.ENOTDIR), ("loop", errno.ELOOP), ("nothing", errno.ENOENT)],
)
def test_what_is_no_directory(tmp_path: Path, spoil: str, number: int, caplog: pytest.LogCaptureFixture) -> None:
    drop = tmp_path / "drop"
    if spoil == "file":
        drop.write_text("x")
    elif spoil == "loop":
        drop.symlink_to(drop)
    with pytest.raises(OSError, match=os.strerror(number)):
        os.close(os.open(drop, os.O_RDONLY | os.O_DIRECTORY))
    with watcher_without_loop() as watcher:
        assert watcher.renew({"myapp": drop}) == {"myapp"}
    assert caplog.messages == []


@contextmanager
def watcher_without_loop() -> Iterator[Watcher]:
    loop = asyncio.new_event_loop()
    watcher = Watcher(loop, print, print)
    try:
        yield watcher
    finally:
        watcher.close()
        loop.close()


def test_no_descriptor_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    drops = {"one": tmp_path, "two": tmp_path / "2"}
    make(drops["two"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with watcher_without_loop() as watcher:
        lowest = os.open("/", os.O_PATH)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
            assert watcher.renew(drops) == {"one", "two"}
            assert watcher.renew(drops) == {"one", "two"}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        (message,) = caplog.messages
        assert message.startswith("2 of 2 drop directories are looked into every few seconds instead of being watched")
        assert message.endswith(f"as many files open as it may; raise LimitNOFILE= of its unit (it is {lowest})")
        assert watcher.renew(drops) == frozenset()
        assert caplog.messages[1:] == ["every drop directory that is there is watched again"]


def test_what_the_kernel_refuses_is_explained() -> None:
    watches = Path("/proc/sys/fs/inotify/max_user_watches").read_text().strip()
    instances = Path("/proc/sys/fs/inotify/max_user_instances").read_text().strip()
    assert watch._explain(errno.ENOSPC) == (
        f"the kernel allows no more inotify watches; raise fs.inotify.max_user_watches (it is {watches}) with sysctl(8)"
    )
    assert watch._explain(errno.EMFILE) == (
        "the kernel allows this user no more inotify instances; "
        f"raise fs.inotify.max_user_instances (it is {instances}) with sysctl(8)"
    )
    assert watch._explain(errno.ENOMEM) == "Cannot allocate memory"


async def test_watching_that_ended_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching({"myapp": tmp_path}) as (watcher, wakes):
        assert watcher._watches is not None
        await asyncio.to_thread(watcher._watches.close)
        assert await renew(watcher, {"myapp": tmp_path}) == frozenset()
        wakes.woken.clear()
        (tmp_path / "a.zip").write_bytes(b"x")
        await wakes.wait("myapp")
    assert caplog.messages == ["watching has ended unexpectedly; it is begun anew"]


def test_a_loop_that_is_closed_is_no_concern_of_the_handler(tmp_path: Path) -> None:
    with watcher_without_loop() as watcher:
        assert watcher.renew({"myapp": tmp_path}) == frozenset()
        watcher._loop.close()
        watcher._on_changed(str(tmp_path))
        watcher._on_lost(str(tmp_path))
        assert watcher.renew({"myapp": tmp_path}) == frozenset()
