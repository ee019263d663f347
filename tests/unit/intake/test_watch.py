"""Wake-ups from the real inotify."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dropdeploy.intake.watch import Watcher

DEADLINE_S = 10.0


class Wakes:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    def wake(self, app: str) -> None:
        assert app == "myapp"
        self.event.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.event.wait(), DEADLINE_S)
        self.event.clear()


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[tuple[Watcher, Wakes]]:
    wakes = Wakes()
    watcher = Watcher(asyncio.get_running_loop(), wakes.wake)
    try:
        assert await asyncio.to_thread(watcher.ensure, "myapp", path) is None
        yield watcher, wakes
    finally:
        await asyncio.to_thread(watcher.close)


async def test_files_written_moved_and_linked_in_wake(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    async with watching(drop) as (_, wakes):
        (drop / "a.zip").write_bytes(b"x")
        await wakes.wait()
        (tmp_path / "b.zip").write_bytes(b"x")
        await asyncio.to_thread(shutil.move, tmp_path / "b.zip", drop / "b.zip")
        await wakes.wait()
        # OpenSSH's plain rename: a hard link, then the temporary name goes.
        (drop / ".c.tmp").write_bytes(b"x")
        os.link(drop / ".c.tmp", drop / "c.zip")
        await wakes.wait()


async def test_what_the_agent_writes_does_not_wake_it(tmp_path: Path) -> None:
    async with watching(tmp_path) as (_, wakes):
        for name in ("a.zip.deploying", "a.zip.result.toml", "status.toml"):
            (tmp_path / ".dropdeploy-1").write_text("x")
            (tmp_path / ".dropdeploy-1").rename(tmp_path / name)
        (tmp_path / "z.zip").write_bytes(b"x")  # comes after them in the queue
        await wakes.wait()
        (tmp_path / "a.zip.deploying").unlink()
        (tmp_path / "z.zip").unlink()
        await wakes.wait()


async def test_a_directory_that_is_recreated_is_watched_again(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    async with watching(drop) as (watcher, wakes):
        drop.rmdir()
        told = await asyncio.to_thread(watcher.ensure, "myapp", drop)
        assert told == f"{drop} cannot be watched: No such file or directory"
        drop.mkdir()
        assert await asyncio.to_thread(watcher.ensure, "myapp", drop) is None
        wakes.event.clear()
        (drop / "a.zip").write_bytes(b"x")
        await wakes.wait()


async def test_forgetting(tmp_path: Path) -> None:
    async with watching(tmp_path) as (watcher, _):
        await asyncio.to_thread(watcher.forget, "myapp")
        await asyncio.to_thread(watcher.forget, "myapp")
        assert await asyncio.to_thread(watcher.ensure, "myapp", tmp_path) is None
