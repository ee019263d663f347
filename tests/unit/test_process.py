"""Signals reach the agent, whatever its loop is busy with."""

from __future__ import annotations

import asyncio
import os
import signal

from dropdeploy.process import on_signal


async def test_a_signal_is_not_lost_when_the_pipe_that_wakes_the_loop_is_full() -> None:
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    on_signal(loop, signal.SIGHUP, came.set)
    try:
        for _ in range(10_000):  # as threads do while the loop is busy with hundreds of apps
            loop.call_soon_threadsafe(lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(came.wait(), 30)
        came.clear()
        await asyncio.sleep(0)
        loop.call_later(0.05, os.kill, os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(came.wait(), 30)  # when the loop sleeps, too
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
