"""The rounds: one timer of one thread looks after all apps while nothing happens.

Every `rescan` it sees that each drop directory is watched still, and whether anything is there that the app's lane has
not seen. Only then that lane is woken, so that a thousand quiet apps cost one wake-up and not thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dropdeploy.diary import Kind, about
from dropdeploy.intake.watch import UNWATCHED_S, Watcher

logger = logging.getLogger(__name__)

_JOIN_S = 2.0


class Looked(Protocol):
    """What looks into a directory when it is woken."""

    def wake(self) -> None:
        """Look. Called on the loop."""

    def is_as_left(self) -> bool:
        """Nothing is there but what the last look found nothing to do about. Called in the thread; may wait for the
        disk."""


class Rounds:
    """The thread, and whom it looks after."""

    def __init__(self, watcher: Watcher, rescan_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._watcher = watcher
        self._rescan_s = rescan_s
        self._lanes: Mapping[str, Looked] = {}
        self._drops: Mapping[str, Path] = {}
        self._unwatched: frozenset[str] = frozenset()
        self._renewing = threading.Lock()
        self._news = threading.Condition()
        self._is_stirred = self._is_over = False
        self._begun_s: float | None = None  # when the round in progress began, monotonic
        self._last_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    # --- from the loop ---

    @property
    def unwatched(self) -> frozenset[str]:
        """The apps whose drop directories are not watched."""
        return self._unwatched

    @property
    def last_at(self) -> float | None:
        """When all were looked after last (Unix time): the start, when every lane looks by itself, or a round's end."""
        return self._last_at

    async def watch(self, drops: Mapping[str, Path]) -> None:
        """See that these drop directories, and no others, are watched: before their lanes look, so that nothing falls
        between."""
        self._drops = dict(drops)
        await asyncio.to_thread(self._renew)
        self._tell(is_stirred=False)  # what cannot be watched is looked after more often

    def cover(self, lanes: Mapping[str, Looked]) -> None:
        """From now on these are woken when there is something."""
        self._lanes = dict(lanes)

    def begin(self) -> None:
        """Start."""
        self._last_at = time.time()
        self._thread.start()

    async def end(self) -> None:
        """No more rounds. One that hangs in a dead file system is left behind."""
        self._is_over = True
        self._tell(is_stirred=True)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _JOIN_S)

    def stir(self) -> None:
        """A watch was lost: begin a round at once."""
        self._tell(is_stirred=True)

    def make_up(self) -> None:
        """Where a round hangs, have every lane look by itself: one app's file system is dead, and not all."""
        begun_s = self._begun_s
        if begun_s is not None and time.monotonic() - begun_s > self._rescan_s:
            for lane in self._lanes.values():
                lane.wake()

    def _tell(self, *, is_stirred: bool) -> None:
        with self._news:
            self._is_stirred |= is_stirred
            self._news.notify()

    # --- in the thread ---

    def _run(self) -> None:
        while True:
            due_s = time.monotonic() + self._rescan_s
            with self._news:
                while not self._is_stirred and (wait_s := self._wait_s(due_s)) > 0:
                    self._news.wait(wait_s)
                self._is_stirred = False
            if self._is_over:
                return
            try:
                self._go_round()
            except Exception:
                logger.exception("looking after the drop directories failed", extra=about(Kind.DEFECT))

    def _wait_s(self, due_s: float) -> float:
        early_s = max(0.0, self._rescan_s - UNWATCHED_S) if self._unwatched else 0.0
        return due_s - early_s - time.monotonic()

    def _renew(self) -> None:
        with self._renewing:  # whoever comes later has the latest drops
            self._unwatched = self._watcher.renew(self._drops)

    def _go_round(self) -> None:
        self._begun_s = time.monotonic()
        try:
            self._renew()
            restless = [lane for lane in self._lanes.values() if not lane.is_as_left()]
            self._last_at = time.time()
        finally:
            self._begun_s = None
        if restless:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_wake, restless)


def _wake(lanes: list[Looked]) -> None:
    for lane in lanes:
        lane.wake()
