"""What every test is held to: no task is left running, and the event loop is never blocked."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

# How long an example takes says nothing on a machine that is busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A callback that computes for so long is to blame for it. One that stands still for so long waits for something; a
# shorter stand may be the machine's: a virtual one that is not let run, a lock that another thread holds, or a program
# that is started: Popen stands until the new process has come to a core and to its exec(2).
COMPUTED_S = 0.1
STOOD_S = 2.0
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def _waited_for_a_core_s() -> float:
    """How long this thread was ready to run and was not let, by a busy machine; 0 where the kernel does not tell."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9  # Documentation/scheduler/sched-stats
    except OSError:
        return 0.0


class _Collections:
    """What the garbage collector took, in s of this thread: it goes through all that pytest holds, and whoever made the
    last object before that is not to blame."""

    took_s = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        # Called at the start and at the end of each: gc.callbacks.
        self.took_s += time.thread_time() if phase == "stop" else -time.thread_time()


@pytest.fixture
async def _loop_is_watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    run = asyncio.Handle._run
    blocked: list[str] = []
    collections = _Collections()

    def timed_run(handle: asyncio.Handle) -> None:
        collections.took_s = 0.0
        began, computed, waited = time.perf_counter(), time.thread_time(), _waited_for_a_core_s()
        run(handle)
        took_s = time.perf_counter() - began
        if took_s <= COMPUTED_S:
            return
        busy_s = time.thread_time() - computed
        computed_s = busy_s - collections.took_s
        stood_s = took_s - busy_s - (_waited_for_a_core_s() - waited)
        if computed_s > COMPUTED_S or stood_s > STOOD_S:
            blocked.append(f"computed {computed_s:.3f} s, stood {stood_s:.3f} s in {handle!r}")

    before = asyncio.all_tasks()
    monkeypatch.setattr(asyncio.Handle, "_run", timed_run)
    gc.callbacks.append(collections)
    yield
    gc.callbacks.remove(collections)
    # A cancelled task needs a turn of the loop to end.
    await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, f"tasks left running: {leaked}"
    assert not blocked, f"the loop was blocked: {blocked}"


@pytest.fixture(autouse=True)
def _watched(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_loop_is_watched")
    elif not hasattr(pytest_asyncio, "is_async_test"):
        _close_what_is_left()


def _close_what_is_left() -> None:
    """pytest-asyncio before 0.23 sets another loop after each test. asyncio.run in a test that is not asynchronous
    forgets that, open, and whichever test the collector then comes by in is told of an unclosed socket."""
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.get_event_loop_policy().get_event_loop().close()
