"""Whether an upload was answered cannot be read for a while: until then nothing is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import Version
from tests.unit.deploy.machine import Machine
from tests.unit.deploy.test_crashes import NEW, NEWER, OLD, SCENARIOS, Life, clock, outcomes
from tests.unit.deploy.virtual import VirtualLoop

Clock = Callable[[VirtualLoop], None]
__all__ = ["clock"]
KEPT = next(each for each in SCENARIOS if each.name == "good, after = keep")


def live(machine: Machine, clock: Clock) -> Life:
    life = Life(KEPT, machine, lambda _: None)
    life.live(clock)
    return life


@pytest.fixture
def _unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, times = History.answered, iter(range(3))

    def fails(self: History, *asked: object) -> object:
        if next(times, None) is not None:
            raise HistoryAwayError(Fault(ErrorCode.INTERNAL, "disk I/O error"))
        return answered(self, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(History, "answered", fails)


def test_what_was_answered_is_not_deployed_again(clock: Clock, request: pytest.FixtureRequest) -> None:
    done = live(KEPT.machine(), clock).world.machine
    request.getfixturevalue("_unreadable")
    again = live(done, clock)
    assert [told.status for told in outcomes(again.world)] == [Status.DEPLOYED]
    assert again.world.machine.results == done.results


@pytest.mark.usefixtures("_unreadable")
def test_what_was_not_is_deployed_in_the_end(clock: Clock) -> None:
    life = live(KEPT.machine(), clock)
    assert [(told.status, told.live) for told in outcomes(life.world)] == [(Status.DEPLOYED, NEW)]


@pytest.mark.usefixtures("_unreadable")
def test_a_rollback_does_not_wait(clock: Clock) -> None:
    machine = replace(KEPT.machine(), files={"rollback": Version(1, 9, 0, 0, 0)})
    life = live(machine, clock)
    assert [told.status for told in outcomes(life.world)] == [Status.DEPLOYED]
    assert life.world.machine.link not in (OLD, NEW, NEWER)
