"""The rounds over real directories with the real watcher; the lanes are stand-ins that count."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dropdeploy.intake.watch import Watcher
from dropdeploy.lanes.rounds import Rounds

DEADLINE_S = 30.0
NEVER_S = 3600.0


class Lane:
    def __init__(self) -> None:
        self.is_quiet = True
        self.woken = 0
        self.looks = 0
        self.gate = threading.Event()
        self.gate.set()

    def wake(self) -> None:
        self.woken += 1

    def is_as_left(self) -> bool:
        self.looks += 1
        self.gate.wait(DEADLINE_S)
        return self.is_quiet


@asynccontextmanager
async def rounds(rescan_s: float, drops: dict[str, Path], *lanes: Lane) -> AsyncIterator[Rounds]:
    def lost() -> None:
        going.stir()

    watcher = Watcher(asyncio.get_running_loop(), lambda app: None, lost)
    going = Rounds(watcher, rescan_s)
    try:
        await going.watch(drops)
        going.cover({str(number): lane for number, lane in enumerate(lanes)})
        going.begin()
        yield going
    finally:
        await going.end()
        await asyncio.to_thread(watcher.close)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_only_who_has_something_to_see_is_woken() -> None:
    quiet, restless = Lane(), Lane()
    restless.is_quiet = False
    async with rounds(0.02, {}, quiet, restless) as going:
        await until(lambda: restless.woken >= 3)
        assert quiet.looks >= 2
        assert quiet.woken == 0
        assert going.last_at is not None


async def test_a_lost_watch_does_not_wait_for_the_time(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    lane = Lane()
    async with rounds(NEVER_S, {"shop": drop}, lane) as going:
        assert going.unwatched == frozenset()
        shutil.rmtree(drop)
        await until(lambda: going.unwatched == {"shop"})
        await until(lambda: lane.looks >= 1)


async def test_what_cannot_be_watched_is_looked_after_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropdeploy.lanes.rounds.UNWATCHED_S", 0.02)
    async with rounds(NEVER_S, {"shop": tmp_path / "not there yet"}, Lane()) as going:
        assert going.unwatched == {"shop"}
        (tmp_path / "not there yet").mkdir()
        await until(lambda: going.unwatched == frozenset())


async def test_a_round_that_hangs_is_made_up_for() -> None:
    dead, other = Lane(), Lane()
    dead.gate.clear()
    async with rounds(0.02, {}, dead, other) as going:
        going.make_up()
        await until(lambda: dead.looks == 1)
        while other.woken == 0:
            await asyncio.sleep(0.005)
            going.make_up()
        assert other.looks == 0
        dead.gate.set()
        await until(lambda: other.looks > 0)


async def test_the_end_does_not_wait_for_the_time() -> None:
    async with asyncio.timeout(DEADLINE_S):
        async with rounds(NEVER_S, {}):
            pass
