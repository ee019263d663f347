"""Interrupted, and then not asked for any more: its upload was taken away before the agent was started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dropdeploy import record
from dropdeploy.deploy.phase import BEFORE_SWAP, Phase
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.outcome import Status
from tests.unit.deploy.machine import Machine, MemoryHistory, is_app, power_cut
from tests.unit.deploy.test_crashes import (
    NEW,
    SCENARIOS,
    Life,
    Scenario,
    clock,
    identity,
    outcomes,
    watch,
)
from tests.unit.deploy.virtual import VirtualLoop

Clock = Callable[[VirtualLoop], None]
NAMES = ("good", "rollback", "restart", "first", "handover", "handover, ill", "trial fails", "after = keep")
CHOSEN = [scenario for scenario in SCENARIOS if scenario.name.removeprefix("good, ") in NAMES]
__all__ = ["clock"]


def moments(scenario: Scenario, first: Machine, clock: Clock) -> Iterator[Machine]:
    """Each at which a machine may crash, and no two that are the same."""
    seen: set[object] = set()
    for moment in watch(scenario, first, clock):
        for after in (moment, power_cut(moment, is_enabled=scenario.is_enabled)):
            if (key := identity(after)) not in seen:
                seen.add(key)
                yield after


def go_on(scenario: Scenario, machine: Machine, clock: Clock) -> tuple[Life, list[Machine]]:
    """Start the agent on it until there is nothing to do; with every moment of that."""
    passed: list[Machine] = []
    life = Life(scenario, machine, lambda life: passed.append(life.world.machine))
    life.live(clock)
    return life, passed


def interrupted_during(machine: Machine) -> Phase | None:
    """None where nothing was interrupted."""
    (*_, last) = (None, *MemoryHistory(machine.history).undecided("myapp"))
    if last is None:
        return None
    return record.load(Deploy, last.intent).phase if last.intent else Phase.PREFLIGHT


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_it_has_one_verdict(scenario: Scenario, clock: Clock) -> None:
    count = 0
    for crashed in moments(scenario, scenario.machine(), clock):
        phase = interrupted_during(crashed)
        if phase is None:
            continue
        gone = replace(crashed, files={})
        life, passed = go_on(scenario, gone, clock)
        for machine in (life.world.machine, *(go_on(scenario, again, clock)[0].world.machine for again in passed)):
            count += 1
            check(scenario, gone, machine, phase)
        if phase in BEFORE_SWAP:
            # It comes back as it was, and has not been answered.
            back = replace(life.world.machine, files=crashed.files)
            told = outcomes(go_on(scenario, back, clock)[0].world)
            assert [each.status for each in told] == [Status.CANCELLED, scenario.ends[0][1]]
    assert count > 20


def check(scenario: Scenario, before: Machine, now: Machine, phase: Phase) -> None:
    history = MemoryHistory(now.history)
    ((name, status, live),) = scenario.ends
    told = [each for each in history.verdicts() if each.upload == name]
    assert len(told) == 1
    assert now.results[name] == told[0]
    if phase in BEFORE_SWAP:
        assert (told[0].status, told[0].live, now.link) == (Status.CANCELLED, before.link, before.link)
        assert told[0].live_healthy or not before.link
        assert NEW not in now.releases
    else:
        assert (told[0].status, told[0].live) == (status, live)
    assert not history.undecided("myapp")
    assert not history.unreported("myapp")
    assert not now.staging
    assert not now.pruned
    assert not [unit for unit in now.units if not is_app(unit)]


def test_a_release_that_cannot_be_removed_is_none_to_go_back_to(clock: Clock) -> None:
    scenario = next(each for each in SCENARIOS if each.name == "good")
    stubborn = replace(scenario, fails={"b.tar.gz": Phase.DISCARD})
    count = 0
    for crashed in moments(scenario, scenario.machine(), clock):
        phase = interrupted_during(crashed)
        if phase not in BEFORE_SWAP or NEW not in crashed.releases:
            continue
        for files in ({}, crashed.files):
            life, passed = go_on(stubborn, replace(crashed, files=files), clock)
            for left in (life.world.machine, *passed):
                if MemoryHistory(left.history).undecided("myapp") or NEW not in left.releases:
                    continue
                count += 1
                assert MemoryHistory(left.history).release_health("myapp")[NEW] is False
                assert left.link != NEW
                assert NEW not in go_on(scenario, left, clock)[0].world.machine.releases
    assert count > 5
