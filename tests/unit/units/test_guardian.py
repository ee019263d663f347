from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest

from dropdeploy.units.guardian import Guardian
from dropdeploy.units.procfs import is_group_alive
from tests.unit.units.contract import until

STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; sleep 1000 & wait; sleep 1000")


@pytest.fixture
async def guardian() -> AsyncIterator[Guardian]:
    made = Guardian()
    yield made
    await made.close()


async def spawn(guardian: Guardian, *command: str) -> subprocess.Popen[bytes]:
    """A group that is on its way: it has printed something."""
    reader, writer = os.pipe()
    process = await guardian.spawn(command, directory="/", environment={}, listener_fd=None, output_fd=writer)
    os.close(writer)
    assert await asyncio.to_thread(os.read, reader, 100) == b"ready\n"
    os.close(reader)
    return process


async def gone(process: subprocess.Popen[bytes]) -> None:
    async def is_gone() -> bool:
        return not is_group_alive(process.pid)

    await until(is_gone)
    process.wait()


async def test_it_ends_what_it_guards() -> None:
    guardian = Guardian()
    group = await spawn(guardian, *STUBBORN)
    await guardian.close()
    await gone(group)


async def test_it_leaves_alone_what_it_was_told_to_forget() -> None:
    guardian = Guardian()
    group = await spawn(guardian, *STUBBORN)
    guardian.forget(group.pid)
    await guardian.close()
    assert is_group_alive(group.pid)
    os.killpg(group.pid, signal.SIGKILL)
    await gone(group)


async def test_another_one_takes_over() -> None:
    guardian = Guardian()
    first = await spawn(guardian, *STUBBORN)
    assert guardian._process is not None
    os.kill(guardian._process.pid, signal.SIGKILL)

    async def has_ended() -> bool:
        return guardian._process is not None and guardian._process.poll() is not None

    await until(has_ended)
    guardian.forget(2**22 + 1)  # nobody reads it, and that is no error
    second = await spawn(guardian, *STUBBORN)
    await guardian.close()
    await gone(first)
    await gone(second)


async def test_a_birth_that_is_cancelled_leaves_no_child(guardian: Guardian) -> None:
    reader, writer = os.pipe()
    birth = asyncio.create_task(
        guardian.spawn(
            ("sh", "-c", "echo $$; exec sleep 1000"),
            directory="/",
            environment={},
            listener_fd=None,
            output_fd=writer,
        )
    )
    await asyncio.sleep(0)
    birth.cancel()
    with pytest.raises(asyncio.CancelledError):
        await birth
    os.close(writer)
    said = await asyncio.to_thread(os.read, reader, 100)
    os.close(reader)
    assert not said or not is_group_alive(int(said))
