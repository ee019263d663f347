"""The agent's side of a drop directory: what it writes there while it works and when it has decided.

Results are on disk before anything that follows from them; what is only for watching (``.deploying``, ``status.toml``)
is written in passing: the latest counts, and a failure to write it is nobody's failure. It is owed, and made up for as
soon as that can be done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import Outcome, Step
from dropdeploy.report.dropfiles import (
    DEPLOYING,
    RESULT,
    STATUS_PAGE,
    deploying_name,
    remove,
    remove_leftovers,
    result_name,
    write_and_identify,
    write_atomically,
)
from dropdeploy.report.result import deploying_text, result_text, to_toml
from dropdeploy.report.status import AppNow, status_table
from dropdeploy.roster import STATUS_FILE

_PERCENT_PAUSE_S = 1.0
"""A growing percentage is told at most so often; a new step at once."""


def _page(now: AppNow, at: datetime) -> str:
    from dropdeploy.report.page.snapshot import snapshot  # noqa: PLC0415 - few apps want it

    return snapshot(now, at)


_Passing = tuple[Callable[[], str], Callable[[os.stat_result], None] | None]
"""What is written in passing: its text, and who wants to know when it stands there."""


class Desk:
    """What one app's uploader is told."""

    def __init__(
        self,
        directory: Path,
        keep_results: int,
        *,
        has_page: bool = False,
        shown: Callable[[AppNow, os.stat_result], None] | None = None,
    ) -> None:
        """``has_page``: there is to be a ``status.html``. ``shown`` is called when a ``status.toml`` stands there."""
        self._directory = directory
        self._keep_results = keep_results
        self._has_page = has_page
        self._shown = shown or (lambda *_: None)
        self._waiting: dict[str, str] = {}
        self._at: tuple[str, str] = ("", "")  # name and step told last
        self._told_s = 0.0
        self._pending: dict[str, _Passing] = {}
        self._writing: asyncio.Task[None] | None = None
        self._owed: dict[str, _Passing | None] = {}  # what could not be written; None: not be removed

    # --- in passing ---

    def working(
        self, name: str, step: str, started: datetime, steps: tuple[Step, ...], percent: float | None = None
    ) -> None:
        """Tell how far the work on ``name`` is: ``.deploying``."""
        now = time.monotonic()
        if (name, step) == self._at and now - self._told_s < _PERCENT_PAUSE_S:
            return
        self._at, self._told_s = (name, step), now
        self._waiting.pop(name, None)
        self._write_soon(deploying_name(name), partial(deploying_text, step, started, steps, percent))

    def show(self, now: AppNow) -> None:
        """Tell how the app is: ``status.toml``, and ``status.html`` where that is wanted."""
        self._write_soon(STATUS_FILE, lambda: to_toml(status_table(now)), partial(self._shown, now))
        if self._has_page:
            self._write_soon(STATUS_PAGE, partial(_page, now, datetime.now(UTC)))

    def _write_soon(
        self, name: str, text: Callable[[], str], written: Callable[[os.stat_result], None] | None = None
    ) -> None:
        self._owed.pop(name, None)
        self._pending[name] = text, written
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_pending(), name=f"telling in {self._directory}")

    async def _write_pending(self) -> None:
        while self._pending:
            name = next(iter(self._pending))
            text, written = self._pending.pop(name)
            found = await asyncio.to_thread(self._write, name, text)
            if isinstance(found, Fault):
                if name not in self._pending:
                    self._owed[name] = text, written
            elif written is not None:
                written(found)

    def _write(self, name: str, text: Callable[[], str]) -> os.stat_result | Fault:
        return write_and_identify(self._directory, name, text(), is_durable=False)

    async def _take_away(self, name: str) -> None:
        self._owed.pop(name, None)
        if await asyncio.to_thread(remove, self._directory, name) is not None:
            self._owed[name] = None

    async def _settle(self) -> None:
        """What was to be written in passing is written, so that nothing comes after what is said next."""
        while self._writing is not None and not self._writing.done():
            await self._writing

    # --- what waits ---

    async def show_waiting(self, waiting: Mapping[str, str], busy: str) -> None:
        """``waiting``: the step ("held", "queued") by name; ``busy`` is what is worked on. The rest is taken down."""
        for name in self._waiting.keys() - waiting.keys() - {busy}:
            await self._settle()
            await self._take_away(deploying_name(name))
        for name, step in waiting.items():
            if self._waiting.get(name) != step:
                self._write_soon(deploying_name(name), partial(deploying_text, step, datetime.now(UTC), ()))
        self._waiting = dict(waiting)

    # --- verdicts ---

    async def tell(self, outcome: Outcome) -> str:
        """Write the result; ``.deploying`` stays. Returns a sentence when the result cannot be written."""
        await self._settle()
        name = outcome.upload
        self._owed.pop(result_name(name), None)
        trouble = await asyncio.to_thread(write_atomically, self._directory, result_name(name), result_text(outcome))
        await asyncio.to_thread(self._drop_old_results, result_name(name))
        return trouble.message if trouble is not None else ""

    async def take_down(self, name: str) -> None:
        """The work on ``name`` has ended, with a verdict or without one: ``.deploying`` goes."""
        await self._settle()
        self._at = ("", "")
        self._waiting.pop(name, None)
        await self._take_away(deploying_name(name))

    async def forget_result(self, name: str) -> None:
        """A result of an earlier upload of this name says nothing of what stands there now."""
        await self._take_away(result_name(name))

    @property
    def is_in_debt(self) -> bool:
        """Something could not be written or removed."""
        return bool(self._owed)

    async def catch_up(self) -> bool:
        """Write and remove what could not be. False while there is something that still cannot."""
        await self._settle()  # what is being written may be refused yet, and nobody would come back for it
        late = [(name, passing) for name, passing in self._owed.items() if passing is not None]
        for name, passing in late:
            self._write_soon(name, *passing)
        for name in [name for name, passing in self._owed.items() if passing is None]:
            if self._owed.get(name, self.catch_up) is None:  # nobody has written it meanwhile
                await self._take_away(name)
        if late:
            await self._settle()
        return not self._owed

    async def sweep(self) -> bool:
        """Take down what a crash left. True where the app's state is to be told anew: there is a ``status.toml``, which
        tells how things were then, or no ``status.html`` yet."""
        return await asyncio.to_thread(self._sweep)

    async def close(self) -> None:
        """Finish writing."""
        await self._settle()

    def _sweep(self) -> bool:
        remove_leftovers(self._directory)
        names = self._listing()
        for name in names:
            if name.endswith(DEPLOYING):
                remove(self._directory, name)
        if STATUS_PAGE in names and not self._has_page:
            remove(self._directory, STATUS_PAGE)
        return STATUS_FILE in names or self._has_page

    def _drop_old_results(self, latest: str) -> None:
        """The newest ``keep_results`` stay, and ``latest`` whatever the clock says of it."""
        times: list[tuple[int, str]] = []
        for name in self._listing():
            if name.endswith(RESULT) and name != latest:
                with contextlib.suppress(OSError):
                    times.append((os.lstat(self._directory / name).st_mtime_ns, name))
        for _, name in sorted(times, reverse=True)[self._keep_results - 1 :]:
            remove(self._directory, name)

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except OSError:
            return []
