"""What both supervisors are held to: the embedded one on any machine, systemd inside the box.

A subclass of ``UnitsContract`` gives the fixture ``bench``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from dropdeploy.deploy.ports import Units
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import Process, UnitState

T = TypeVar("T")

RELEASE = "20260123-143022"


class Bench(Protocol):
    """Where units of a test are made. ``directory`` is theirs to run in: ``…/releases/20260123-143022``."""

    units: Units
    directory: Path

    async def define(self, unit: str, *command: str) -> None:
        """A unit of Type=simple, Restart=on-failure, RestartSec=100ms with the default start limit."""

    async def subscriptions(self) -> int:
        """How many things the supervisor keeps for those who wait for failures."""


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


CLEAN_END = r"app\.service exited with status 0 \(result success\) \d\.\d s after it was started"

SERVE = shell("exec sleep 1000")


def up(state: UnitState | Fault) -> UnitState:
    """The state of a verb that succeeded."""
    assert isinstance(state, UnitState), state
    return state


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    yield
    assert loop.time() - start <= seconds


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """What the condition gives, once it gives something."""
    async with asyncio.timeout(10):
        while not (value := await condition()):
            await asyncio.sleep(0.02)
    return value


async def seen(bench: Bench, unit: str, active_state: str) -> UnitState:
    """The unit, once it is in this state."""

    async def look() -> UnitState | None:
        state = up(await bench.units.inspect(unit))
        return state if state.active_state == active_state else None

    return up(await until(look))


async def logged(bench: Bench, unit: str, cursor: str, line: str) -> list[str]:
    """The unit's log since the cursor, once it has this line."""

    async def read() -> list[str]:
        tail = (await bench.units.log_tail(unit, cursor)).splitlines()
        return tail if line in tail else []

    return await until(read)


async def verdict(bench: Bench, unit: str) -> Fault:
    """What a restart of a unit that cannot live comes to: a fault of the restart, or one of the run."""
    async with asyncio.timeout(10):
        state = await bench.units.restart(unit)
        return state if isinstance(state, Fault) else await bench.units.await_failure(state)


class UnitsContract:
    async def test_a_unit_that_never_ran_is_inactive(self, bench: Bench) -> None:
        await bench.define("idle.service", *SERVE)
        state = up(await bench.units.inspect("idle.service"))
        assert state == UnitState(unit="idle.service")
        assert not state.is_running

    async def test_start_and_stop(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        state = up(await bench.units.start("app.service"))
        assert state.is_running
        assert state.main_pid > 0
        assert len(state.invocation_id) == 32
        again = up(await bench.units.start("app.service"))
        assert again.invocation_id == state.invocation_id, "starting what runs changes nothing"
        stopped = up(await bench.units.stop("app.service"))
        assert (stopped.active_state, stopped.sub_state, stopped.main_pid) == ("inactive", "dead", 0)
        assert not Path(f"/proc/{state.main_pid}").exists()

    async def test_stopping_what_does_not_run_is_no_fault(self, bench: Bench) -> None:
        await bench.define("idle.service", *SERVE)
        assert up(await bench.units.stop("idle.service")).active_state == "inactive"
        assert up(await bench.units.stop("nowhere.service")).load_state == "not-found"

    async def test_the_machine_stays_up(self, bench: Bench) -> None:
        assert not await bench.units.is_going_down()

    async def test_each_restart_is_a_new_invocation(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        ids = [up(await bench.units.restart("app.service")).invocation_id for _ in range(3)]
        assert len(set(ids)) == 3

    async def test_reload_keeps_the_invocation(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.02; done"))
        cursor = await bench.units.log_cursor("app.service")
        before = up(await bench.units.restart("app.service"))
        await logged(bench, "app.service", cursor, "ready")
        after = up(await bench.units.reload("app.service"))
        assert after.is_running
        assert after.invocation_id == before.invocation_id
        await logged(bench, "app.service", cursor, "reloaded")

    async def test_a_units_processes(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("sleep 1000 & wait"))
        assert await bench.units.processes("app.service") == frozenset()
        assert await bench.units.processes("nowhere.service") == frozenset()
        state = up(await bench.units.start("app.service"))

        async def both() -> frozenset[Process]:
            found = await bench.units.processes("app.service")
            return found if len(found) == 2 and all(process.releases for process in found) else frozenset()

        found = await until(both)
        assert state.main_pid in {process.pid for process in found}
        assert {process.releases for process in found} == {frozenset({RELEASE})}

    async def test_reload_of_what_does_not_run_is_a_fault(self, bench: Bench) -> None:
        await bench.define("idle.service", *SERVE)
        fault = await bench.units.reload("idle.service")
        assert isinstance(fault, Fault)
        assert fault.code is ErrorCode.RESTART_FAILED
        assert fault.message == "idle.service cannot be reloaded: it is inactive"

    async def test_load_states_of_many(self, bench: Bench) -> None:
        await bench.define("idle.service", *SERVE)
        states = await bench.units.load_states(["idle.service", "nowhere.service"])
        assert states == {"idle.service": "loaded", "nowhere.service": "not-found"}
        assert await bench.units.load_states([]) == {}

    async def test_a_unit_that_does_not_exist(self, bench: Bench) -> None:
        assert up(await bench.units.inspect("nowhere.service")).load_state == "not-found"
        for verb in (bench.units.start, bench.units.restart, bench.units.reload):
            fault = await verb("nowhere.service")
            assert isinstance(fault, Fault)
            assert (fault.code, fault.message) == (ErrorCode.UNIT_NOT_FOUND, "nowhere.service does not exist")
            assert fault.hint

    async def test_a_missing_program(self, bench: Bench) -> None:
        await bench.define("app.service", f"{bench.directory}/server")
        with at_most(2):
            fault = await verdict(bench, "app.service")
        assert fault.code in (ErrorCode.RESTART_FAILED, ErrorCode.UNIT_CRASHED)
        assert "app.service" in fault.message
        assert "is it in the release" in fault.hint

    async def test_a_program_that_ends_at_once(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("exit 4"))
        with at_most(2):
            fault = await verdict(bench, "app.service")
        assert fault.code is ErrorCode.UNIT_CRASHED
        assert "exit status 4" in fault.message

    async def test_a_clean_end_is_a_failure_too(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("sleep 0.1; exit 0"))
        fault = await verdict(bench, "app.service")
        assert fault.code is ErrorCode.UNIT_CRASHED
        assert re.fullmatch(CLEAN_END, fault.message)

    async def test_a_crash_loop_is_noticed_at_the_second_crash(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("sleep 0.3; kill -s SEGV $$"))
        with at_most(1.6):
            fault = await verdict(bench, "app.service")
        assert fault.code is ErrorCode.UNIT_CRASHED
        assert fault.message.startswith("app.service has crashed 2 times since the restart (last: signal SEGV")

    async def test_one_crash_is_no_crash_loop(self, bench: Bench) -> None:
        flag = bench.directory / "was here"
        await bench.define("app.service", *shell(f"[ -e '{flag}' ] || {{ touch '{flag}'; exit 1; }}; exec sleep 1000"))
        state = up(await bench.units.restart("app.service"))
        watch = asyncio.create_task(bench.units.await_failure(state))

        async def restarted() -> UnitState | None:
            now = up(await bench.units.inspect("app.service"))
            return now if now.restarts == 1 and now.is_running else None

        now = up(await until(restarted))
        assert now.invocation_id != state.invocation_id
        await asyncio.wait([watch], timeout=0.5)
        assert not watch.done()
        watch.cancel()
        await asyncio.wait([watch])

    async def test_a_failure_after_a_while_is_noticed_when_it_happens(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("sleep 0.3; exit 1"))
        state = up(await bench.units.restart("app.service"))
        with at_most(1.2):  # the run, the pause, the run
            fault = await bench.units.await_failure(state)
        assert fault.message == "app.service has crashed 2 times since the restart (last: exit status 1)"

    async def test_stopping_it_is_a_failure_for_whoever_watches(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        watch = asyncio.create_task(bench.units.await_failure(up(await bench.units.restart("app.service"))))
        await asyncio.sleep(0)
        await bench.units.stop("app.service")
        async with asyncio.timeout(1):
            fault = await watch
        assert fault.code is ErrorCode.UNIT_CRASHED
        assert "app.service" in fault.message

    async def test_waiting_for_failure_leaves_nothing_behind(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        state = up(await bench.units.restart("app.service"))
        tasks, subscriptions = asyncio.all_tasks(), await bench.subscriptions()
        watches = [asyncio.create_task(bench.units.await_failure(state)) for _ in range(3)]

        async def are_more() -> bool:
            return await bench.subscriptions() > subscriptions

        async def are_as_before() -> bool:
            return await bench.subscriptions() == subscriptions

        await until(are_more)
        for watch in watches:
            watch.cancel()
        await asyncio.wait(watches)
        assert asyncio.all_tasks() == tasks
        await until(are_as_before)

    async def test_the_log_since_a_cursor(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("echo before $$; exec sleep 1000"))
        begin = await bench.units.log_cursor("app.service")
        first = up(await bench.units.restart("app.service"))
        await logged(bench, "app.service", begin, f"before {first.main_pid}")
        cursor = await bench.units.log_cursor("app.service")
        await bench.define("app.service", *shell("echo one; echo two >&2; printf 'no newline'; exec sleep 0.05"))
        await bench.units.restart("app.service")
        tail = await logged(bench, "app.service", cursor, "no newline")
        assert f"before {first.main_pid}" not in tail
        assert tail.index("one") < tail.index("two") < tail.index("no newline")
        last = await bench.units.log_tail("app.service", begin, 2)
        assert len(last.splitlines()) == 2

    async def test_the_last_words_of_a_crash_are_in_the_log(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("echo cannot find module express >&2; exit 1"))
        cursor = await bench.units.log_cursor("app.service")
        await verdict(bench, "app.service")
        assert "cannot find module express" in await bench.units.log_tail("app.service", cursor)

    async def test_a_long_log_is_cut_at_its_old_end(self, bench: Bench) -> None:
        script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000"
        await bench.define("app.service", *shell(script))
        cursor = await bench.units.log_cursor("app.service")
        await bench.units.restart("app.service")
        tail = await logged(bench, "app.service", cursor, "line 299")
        assert len(tail) == 40
        assert "line 270" in tail  # systemd's own lines are between them

    async def test_escape_sequences_stay_out_of_the_log(self, bench: Bench) -> None:
        await bench.define("app.service", *shell(r"printf '\033[31mred\033[0m\n'; exec sleep 1000"))
        cursor = await bench.units.log_cursor("app.service")
        await bench.units.restart("app.service")
        await logged(bench, "app.service", cursor, "red")

    async def test_a_unit_at_its_start_limit_can_be_restarted(self, bench: Bench) -> None:
        flag = bench.directory / "repaired"
        await bench.define("app.service", *shell(f"[ -e '{flag}' ] || exit 1; exec sleep 1000"))
        await bench.units.restart("app.service")
        failed = await seen(bench, "app.service", "failed")
        fault = await bench.units.await_failure(failed)
        assert fault.code is ErrorCode.UNIT_CRASHED
        flag.touch()
        state = up(await bench.units.restart("app.service"))
        assert state.is_running
        assert state.restarts == 0

    async def test_a_crash_loop_that_reached_its_limit(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("exit 1"))
        state = up(await bench.units.restart("app.service"))
        await seen(bench, "app.service", "failed")
        fault = await bench.units.await_failure(state)
        assert fault.message == (
            "app.service has crashed 5 times since the restart (last: exit status 1) and is not restarted any more"
        )

    async def test_a_hundred_restarts_in_a_row(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        async with asyncio.timeout(60):
            ids = [up(await bench.units.restart("app.service")).invocation_id for _ in range(100)]
        assert len(set(ids)) == 100

    async def test_two_units_side_by_side(self, bench: Bench) -> None:
        await bench.define(
            "one.service", *shell("trap 'sleep 0.4; exit' TERM; echo ready; while :; do sleep 0.02; done")
        )
        await bench.define("two.service", *SERVE)
        cursor = await bench.units.log_cursor("one.service")
        await asyncio.gather(bench.units.restart("one.service"), bench.units.restart("two.service"))
        await logged(bench, "one.service", cursor, "ready")
        slow = asyncio.create_task(bench.units.restart("one.service"))
        for _ in range(5):
            assert up(await bench.units.restart("two.service")).is_running
        assert not slow.done()
        assert up(await slow).is_running

    async def test_two_jobs_for_one_unit(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        async with asyncio.timeout(10):
            states = await asyncio.gather(*(bench.units.restart("app.service") for _ in range(5)))
        # A state may be one on the way of the next job.
        assert all(up(state).unit == "app.service" for state in states)
        await seen(bench, "app.service", "active")

    async def test_a_restart_that_nobody_awaits_any_more_goes_on(self, bench: Bench) -> None:
        await bench.define(
            "app.service", *shell("trap 'sleep 0.3; exit' TERM; echo ready; while :; do sleep 0.02; done")
        )
        cursor = await bench.units.log_cursor("app.service")
        before = up(await bench.units.restart("app.service"))
        await logged(bench, "app.service", cursor, "ready")
        restart = asyncio.create_task(bench.units.restart("app.service"))
        await seen(bench, "app.service", "deactivating")
        restart.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restart
        state = await seen(bench, "app.service", "active")
        assert state.invocation_id != before.invocation_id

    async def test_the_release_that_it_runs_from(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        assert await bench.units.running_releases("app.service") == frozenset()
        await bench.units.start("app.service")
        # Type=simple: the job is done before the process has gone to its directory.
        assert await until(lambda: bench.units.running_releases("app.service")) == {RELEASE}

    async def test_what_stands(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        assert await bench.units.standing("app.service") == ()
        state = up(await bench.units.start("app.service"))
        assert await bench.units.standing("app.service") == (state,)
        await bench.units.stop("app.service")
        assert await bench.units.standing("app.service") == ()

    async def test_a_unit_that_failed_is_forgotten_when_it_is_stopped(self, bench: Bench) -> None:
        await bench.define("app.service", *shell("exit 3"))
        assert isinstance(await verdict(bench, "app.service"), Fault)
        await seen(bench, "app.service", "failed")
        assert up(await bench.units.stop("app.service")).active_state == "inactive"

    async def test_a_unit_that_is_no_good_for_a_handover(self, bench: Bench) -> None:
        await bench.define("app.service", *SERVE)
        assert await bench.units.unmet_for_handover("app.service")
