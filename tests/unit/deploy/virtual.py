"""An event loop whose clock jumps: what would be waited for is there at once, and it ends when nothing is to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

QUIET_S = 600.0
"""Whoever waits for longer than this waits for something to happen."""


class _Jumping(selectors.SelectSelector):
    """Waits for no time. ``end`` is called when there is nothing to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.end: Callable[[], None] = lambda: None
        self.is_over: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > QUIET_S or self.is_over():
            self.end()
        elif timeout > 0:
            self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` is its own."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._jumping.end = self.stop

    def time(self) -> float:
        return self._jumping.now

    def run_until_quiet(self, main: Coroutine[Any, Any, Any], *, is_over: Callable[[], bool] = lambda: False) -> None:
        """Run until everybody waits for something that nobody here will do, or ``is_over`` says so; all tasks end."""
        self._jumping.is_over = is_over
        task = self.create_task(main)
        task.add_done_callback(self._end)
        self.run_forever()
        task.remove_done_callback(self._end)
        self._jumping.end, self._jumping.is_over = lambda: None, lambda: False
        try:
            if task.done():
                task.result()
        finally:
            left = asyncio.all_tasks(self)
            for each in left:
                each.cancel()
            if left:
                self.run_until_complete(asyncio.wait(left))

    def go_on(self, is_over: Callable[[], bool]) -> None:
        """As ``run_until_quiet``, but everything stays as it is, to go on from there."""
        self._jumping.is_over = is_over
        self.run_forever()

    def _end(self, _: object) -> None:
        self.stop()


class LoopTime:
    """Stands in for the module ``time``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time
