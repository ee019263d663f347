"""Keeps the roster: writes down how each app is once its ``status.toml`` tells it.

In passing, and with a pause: meanwhile whoever asks finds a ``status.toml`` of which the roster does not speak, and
reads that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from dropdeploy.config.identity import identity_of
from dropdeploy.model.app import App
from dropdeploy.model.config import Config
from dropdeploy.report.dropfiles import remove_leftovers, write_atomically
from dropdeploy.report.result import to_json
from dropdeploy.report.status import AppNow, status_table
from dropdeploy.roster import ROSTER_NAME, entry_line, head_line

PAUSE_S = 1.0
"""It is written at most so often."""

_MODE = 0o640  # as the history: what uploads tell of themselves may be confidential


class RosterKeeper:
    """All apps in one file of the state directory."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._head = ""
        self._lines: dict[str, str] = {}
        self._apps: dict[str, App] = {}
        self._is_stale = False
        self._writing: asyncio.Task[None] | None = None
        self._is_ending = asyncio.Event()
        self._has_swept = False

    def begin(self, config: Config) -> None:
        """These are the apps, and these the files that say so."""
        apps = {app.name: app for app in config.apps}
        known = {name: line for name, line in self._lines.items() if self._apps.get(name) == apps.get(name)}
        self._lines = {name: known.get(name) or entry_line(name, app.root, app.drop) for name, app in apps.items()}
        self._apps = apps
        self._head = head_line(config.settings.bus, config.sources)
        self._write_soon()

    def note(self, app: App, now: AppNow, status: os.stat_result) -> None:
        """The app's ``status.toml``, which ``status`` is of, tells this."""
        if self._apps.get(app.name) == app:
            told = to_json(status_table(now))
            self._lines[app.name] = entry_line(app.name, app.root, app.drop, told, identity_of(status))
            self._write_soon()

    async def close(self) -> None:
        """Write what is not written yet."""
        self._is_ending.set()
        if self._writing is not None:
            await self._writing

    def _write_soon(self) -> None:
        self._is_stale = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="roster")

    async def _write(self) -> None:
        while self._is_stale:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), PAUSE_S)
            self._is_stale = False
            text = "\n".join((self._head, *self._lines.values()))
            await asyncio.to_thread(self._replace, text)

    def _replace(self, text: str) -> None:
        if not self._has_swept:
            remove_leftovers(self._state)
            self._has_swept = True
        # Where it cannot be written, the apps' own files tell the same.
        write_atomically(self._state, ROSTER_NAME, text, is_durable=False, mode=_MODE)
