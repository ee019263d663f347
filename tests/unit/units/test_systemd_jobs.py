"""Jobs against a Manager that answers by script: what a real one does too rarely to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState
from dropdeploy.units import systemd_jobs
from dropdeploy.units.systemd_jobs import BusAwayError, RefusedError, UnitsByJobs
from dropdeploy.units.systemd_terms import NO_SUCH_JOB, refused
from tests.unit.units.contract import at_most

JOB = "/org/freedesktop/systemd1/job/17"
PROPERTIES: dict[str, Any] = {
    "LoadState": "loaded",
    "LoadError": ("", ""),
    "ActiveState": "active",
    "SubState": "running",
    "InvocationID": [1] * 16,
    "Job": (0, "/"),
    "TriggeredBy": [],
    "ConditionResult": True,
    "ConditionTimestampMonotonic": 1,
    "NRestarts": 0,
    "MainPID": 77,
    "Result": "success",
    "ExecMainCode": 0,
    "ExecMainStatus": 0,
    "ExecMainStartTimestampMonotonic": 1_000_000,
    "ExecMainExitTimestampMonotonic": 0,
    "TimeoutStartUSec": 1_000_000,
    "TimeoutStopUSec": 1_000_000,
}
FAILED = PROPERTIES | {
    "ActiveState": "failed",
    "SubState": "failed",
    "MainPID": 0,
    "Result": "exit-code",
    "ExecMainCode": 1,
    "ExecMainStatus": 3,
    "ExecMainExitTimestampMonotonic": 1_500_000,
}


class ScriptedBus:
    """``on_verb`` is what happens when a job is asked for; ``units`` is given before the first call."""

    def __init__(self) -> None:
        self.now = dict(PROPERTIES)
        self.units: UnitsByJobs
        self.on_verb: Callable[[], None] = lambda: None
        self.has_job = False
        self.is_away = False
        self.refusal = ""
        self.watches: list[ScriptedWatch] = []

    async def call(self, method: str, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        if self.is_away:
            raise BusAwayError("systemd does not answer on the bus")
        match method:
            case "LoadUnit":
                return "/unit"
            case "ResetFailedUnit":
                return None
            case "RestartUnit" | "StartUnit":
                self.on_verb()
                await asyncio.sleep(0.02)  # the answer comes after what the verb caused
                return JOB
            case "GetJob":
                if not self.has_job:
                    raise RefusedError(NO_SUCH_JOB, "Job 17 does not exist.")
                return JOB
        raise AssertionError(method)

    async def properties(self, path: str) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        if self.is_away:
            raise BusAwayError("systemd does not answer on the bus")
        if self.refusal:
            raise RefusedError(self.refusal, "Refusing activation, D-Bus is shutting down.")
        return self.now

    def watch(self, path: str, changed: Callable[[Mapping[str, Any]], None]) -> ScriptedWatch:
        self.watches.append(ScriptedWatch(changed))
        return self.watches[-1]


class ScriptedWatch:
    def __init__(self, changed: Callable[[Mapping[str, Any]], None]) -> None:
        self.changed = changed
        self.is_live = True
        self.has_ended = False

    def end(self) -> None:
        self.has_ended = True


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> ScriptedBus:
    monkeypatch.setattr(systemd_jobs, "JOB_POLL_S", 0.1)
    made = ScriptedBus()
    made.units = UnitsByJobs(made, is_user=False)
    return made


def restarted(bus: ScriptedBus) -> None:
    bus.now |= {"InvocationID": [2] * 16}


async def test_a_result_that_comes_before_the_job_has_a_name(bus: ScriptedBus) -> None:
    def verb() -> None:
        restarted(bus)
        bus.units.job_removed("/org/freedesktop/systemd1/job/16", "failed")
        bus.units.job_removed(JOB, "done")

    bus.on_verb = verb
    with at_most(0.09):  # no poll was needed
        state = await bus.units.restart("app.service")
    assert isinstance(state, UnitState)
    assert state.invocation_id == "02" * 16


async def test_a_result_that_comes_late(bus: ScriptedBus) -> None:
    def verb() -> None:
        bus.has_job = True
        restarted(bus)
        asyncio.get_running_loop().call_later(0.35, bus.units.job_removed, JOB, "failed")

    bus.on_verb = verb
    fault = await bus.units.restart("app.service")
    assert isinstance(fault, Fault)
    assert fault.message == "the restart job of app.service failed; it is active (running)"


@pytest.mark.parametrize(("now", "is_good"), [(PROPERTIES | {"InvocationID": [2] * 16}, True), (FAILED, False)])
async def test_a_result_that_is_lost(bus: ScriptedBus, now: dict[str, Any], is_good: bool) -> None:
    bus.on_verb = lambda: bus.now.update(now)
    with at_most(2):
        answer = await bus.units.restart("app.service")
    assert isinstance(answer, UnitState if is_good else Fault)


async def test_a_job_that_never_ends(bus: ScriptedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropdeploy.units.systemd_terms.JOB_AT_LEAST_S", 0.3)
    monkeypatch.setattr("dropdeploy.units.systemd_terms.JOB_AT_MOST_S", 0.3)
    bus.has_job = True
    fault = await bus.units.restart("app.service")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message.startswith("the restart job of app.service did not end within 0 s; it is active (running)")
    assert "list-jobs" in fault.hint


async def test_done_but_not_started_anew(bus: ScriptedBus) -> None:
    bus.on_verb = lambda: bus.units.job_removed(JOB, "done")
    fault = await bus.units.restart("app.service")
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.RESTART_FAILED
    assert isinstance(await bus.units.start("app.service"), UnitState), "what runs need not be started anew"


async def test_no_bus(bus: ScriptedBus) -> None:
    bus.is_away = True
    for answer, code in (
        (await bus.units.inspect("app.service"), ErrorCode.INTERNAL),
        (await bus.units.restart("app.service"), ErrorCode.RESTART_FAILED),
    ):
        assert isinstance(answer, Fault)
        assert answer.code is code
        assert "systemd does not answer on the bus" in answer.message
    assert await bus.units.running_releases("app.service") == frozenset()


def test_what_became_of_asking_polkit_is_not_taken_for_the_units_own() -> None:
    error, text = "org.freedesktop.systemd1.UnitMasked", "Unit polkit.service is masked."
    fault = refused(error, text, verb="restart", unit="app.service", user="dropdeploy")
    assert fault.code is ErrorCode.NOT_AUTHORISED
    assert fault.message == (
        "the agent (user dropdeploy) may not restart app.service, as polkit could not be asked: "
        "Unit polkit.service is masked"
    )
    own = refused(error, "Unit app.service is masked.", verb="restart", unit="app.service", user="dropdeploy")
    assert own.code is ErrorCode.UNIT_MASKED


async def test_the_machine_goes_down(bus: ScriptedBus) -> None:
    assert not await bus.units.is_going_down()
    bus.now |= {"SystemState": "stopping"}
    assert await bus.units.is_going_down()
    bus.refusal = "org.freedesktop.systemd1.ShuttingDown"
    assert await bus.units.is_going_down(), "it has left the bus already"
    bus.refusal = "org.freedesktop.DBus.Error.AccessDenied"
    assert not await bus.units.is_going_down()
    bus.is_away = True
    assert not await bus.units.is_going_down(), "that the bus is away says nothing of the machine"


async def test_a_failure_while_the_signals_are_lost(bus: ScriptedBus) -> None:
    since = UnitState("app.service")
    watch = asyncio.create_task(bus.units.await_failure(since))
    await asyncio.sleep(0.05)
    bus.is_away = True
    bus.watches[0].is_live = False
    await asyncio.sleep(0.3)
    assert not watch.done(), "that the bus is away says nothing of the unit"
    bus.is_away = False
    bus.now = dict(FAILED)
    with at_most(0.4):
        fault = await watch
    assert fault.message == "app.service exited with status 3 (result exit-code) 0.5 s after it was started"
    assert bus.watches[-1].has_ended


async def test_the_watch_is_made_anew_on_a_new_connection(bus: ScriptedBus) -> None:
    watch = asyncio.create_task(bus.units.await_failure(UnitState("app.service")))
    await asyncio.sleep(0.05)
    bus.watches[0].is_live = False
    await asyncio.sleep(0.4)
    assert len(bus.watches) == 2
    watch.cancel()
    await asyncio.wait([watch])
    assert bus.watches[1].has_ended


async def test_a_unit_that_is_forgotten_with_its_end(bus: ScriptedBus) -> None:
    watch = asyncio.create_task(bus.units.await_failure(UnitState("app.service")))
    await asyncio.sleep(0.05)
    bus.now |= {"ActiveState": "inactive", "SubState": "dead"}
    bus.watches[0].changed({"ActiveState": "inactive"})
    asyncio.get_running_loop().call_later(0.02, bus.watches[0].changed, {**FAILED, "ExecMainStatus": 0})
    assert (await watch).message == "app.service exited with status 0 (result success) 0.5 s after it was started"
