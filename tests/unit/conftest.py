"""What every test is held to: no task is left running, and the event loop is never blocked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

BLOCKED_S = 0.1
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def _waited_for_a_core_s() -> float:
    """How long this thread was ready to run and was not let, by a busy machine; 0 where the kernel does not tell."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9  # Documentation/scheduler/sched-stats
    except OSError:
        return 0.0


@pytest.fixture
async def _loop_is_watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    run = asyncio.Handle._run
    blocked: list[str] = []

    def timed_run(handle: asyncio.Handle) -> None:
        began, waited = time.perf_counter(), _waited_for_a_core_s()
        run(handle)
        took = time.perf_counter() - began
        if took > BLOCKED_S and (took := took - (_waited_for_a_core_s() - waited)) > BLOCKED_S:
            blocked.append(f"{took:.3f} s in {handle!r}")

    before = asyncio.all_tasks()
    monkeypatch.setattr(asyncio.Handle, "_run", timed_run)
    yield
    # A cancelled task needs a turn of the loop to end.
    await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, f"tasks left running: {leaked}"
    assert not blocked, f"the loop was blocked for more than {BLOCKED_S} s: {blocked}"


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_loop_is_watched")
