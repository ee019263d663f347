"""The history as the page reads it: by a connection and a thread of its own, so that no deploy waits for a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dropdeploy.history.reading import HistoryReader
from dropdeploy.history.thread import HistoryThread

T = TypeVar("T")


class Archive:
    """Opened when it is first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = asyncio.Lock()
        self._thread: HistoryThread[HistoryReader] | None = None

    async def ask(self, question: Callable[[HistoryReader], T]) -> T:
        """As HistoryThread.ask. Raises HistoryError."""
        async with self._opening:
            if self._thread is None:
                self._thread = HistoryThread(await asyncio.to_thread(HistoryReader, self._path))
        return await self._thread.ask(question)

    async def close(self) -> None:
        """Finish what was asked and let go."""
        if self._thread is not None:
            await self._thread.close()
            self._thread = None
