"""What every test is held to: no task is left running, and the event loop is never blocked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

BLOCKED_S = 0.1


class _Slow(logging.Handler):
    """Collects asyncio's complaints about callbacks that held the loop up (asyncio's debug mode)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Executing "):
            self.told.append(message)


async def _watch_loop() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = BLOCKED_S
    slow = _Slow()
    logging.getLogger("asyncio").addHandler(slow)
    before = asyncio.all_tasks()
    try:
        yield
        # A cancelled task needs a turn of the loop to end.
        await asyncio.sleep(0)
        leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    finally:
        logging.getLogger("asyncio").removeHandler(slow)
    assert not leaked, f"tasks left running: {leaked}"
    assert not slow.told, f"the loop was blocked for more than {BLOCKED_S} s: {slow.told}"


@pytest.fixture
async def _loop_is_watched() -> AsyncIterator[None]:
    async for _ in _watch_loop():
        yield


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_loop_is_watched")
