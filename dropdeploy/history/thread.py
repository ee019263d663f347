"""The history as the event loop asks it: each question is short but waits for the disk, so a thread answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from dropdeploy.history.failure import HistoryAwayError, UnfitHistoryError, translated
from dropdeploy.history.reading import HistoryReader
from dropdeploy.model.fault import ErrorCode

Kept = TypeVar("Kept", bound=HistoryReader)
T = TypeVar("T")


class HistoryThread(Generic[Kept]):
    """A History behind one thread, so that waiting for the disk never holds the event loop up.

    ``damaged`` is called, on the loop, when the file turns out to be damaged while it is in use.
    """

    def __init__(self, history: Kept, damaged: Callable[[str], None] | None = None) -> None:
        self._history = history
        self._damaged = damaged
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    async def ask(self, question: Callable[[Kept], T]) -> T:
        """Run ``question(history)`` in the thread, after all that was asked before. Raises HistoryAwayError when the
        disk fails, and UnfitHistoryError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)
        except UnfitHistoryError as error:
            if self._damaged is not None:
                self._damaged(str(error))
            raise

    def _answer(self, question: Callable[[Kept], T]) -> T:
        try:
            with translated(self._history.path):
                return question(self._history)
        except HistoryAwayError as away:
            if away.fault.code is not ErrorCode.NO_SPACE or not self._history.make_room():
                raise
        with translated(self._history.path):
            return question(self._history)

    async def close(self) -> None:
        """Finish what was asked and close the database."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._history.close)
        self._thread.shutdown()
