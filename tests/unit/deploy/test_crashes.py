"""Crashes everywhere: for every state that can be reached, the agent is killed, or the power is cut, before and after
every effect; and again at every point of the recovery; and so on, until there is no state that was not seen.

What runs is the agent's own: lane, answers, runner, plan, recovery, verdict, and the history on a real SQLite. Disk,
systemd and the app are a value (``machine``), so that a crash is a copy of it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache, partial
from typing import Any

import pytest

from dropdeploy.deploy import gate, preflight, runner
from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.phase import Phase
from dropdeploy.lanes import answers, lane, resumption, working
from dropdeploy.lanes.answers import Answers
from dropdeploy.lanes.lane import Lane
from dropdeploy.lanes.slots import Slots
from dropdeploy.model.app import OnFailure, Strategy
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action, Answer, Format, Upload, Version
from dropdeploy.releases import retention
from tests.unit.deploy.machine import (
    UNIT,
    Machine,
    MemoryHistory,
    ModelDesk,
    ModelDrop,
    ModelHistory,
    ModelProbe,
    ModelReleases,
    ModelUnits,
    Process,
    World,
    app_without,
    is_app,
    power_cut,
)
from tests.unit.deploy.virtual import LoopTime, VirtualLoop

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
OLDER, OLD, NEW, NEWER = "20260101-000000", "20260102-000000", "20260123-143022", "20260123-143023"
LEAST_STATES = 5
GRACE_S, KILLED_AFTER_S, ENDLESS_S = 60.0, 90.0, 100_000.0


@dataclass(frozen=True)
class Scenario:
    """What stands in the drop directory of which app, and what must come of it whenever the machine crashes.

    ``fails``: the phase in which a build fails, by its name (the builds of OLDER and OLD are "older" and "old").
    ``ends``: the verdict on each request, in order, and what is live then.
    """

    name: str
    ends: tuple[tuple[str, Status, str], ...]
    fails: dict[str, Phase | None] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    is_first: bool = False
    is_enabled: bool = True

    def machine(self) -> Machine:
        files = {name: Version(1, 10 + at, 1, 1, at) for at, (name, _, _) in enumerate(self.ends)}
        if self.is_first:
            return Machine(files=files)
        history = MemoryHistory()
        for release, build in ((OLDER, "older"), (OLD, "old")):
            upload = Upload(f"{build}.tar.gz", Format.TAR_GZ, Version(1, 2, 3, 4, 5))
            number = history.begin("myapp", Action.DEPLOY, upload, NOW)
            told = Outcome(Status.DEPLOYED, "", "myapp", Action.DEPLOY, number, NOW, NOW, upload.name, release=release)
            history.conclude(replace(told, live=release, live_healthy=True), Answer(upload), {release: True})
            history.reported(number)
        runs = {} if self.fails.get("old") is Phase.RESTART else {UNIT: Process(OLD, 1)}
        return Machine(
            releases={OLDER: "older", OLD: "old"},
            link=OLD,
            files=files,
            units=runs,
            runs=1,
            history=history.content(),
        )


BUILD = "b.tar.gz"


def deploys(
    name: str, fails: Phase | None, status: Status, live: str, *, old: Phase | None = None, **more: Any
) -> Scenario:
    return Scenario(name, ((BUILD, status, live),), {BUILD: fails, "old": old}, **more)


KEEP = {"on_failure": OnFailure.KEEP}
BARE = {"hooks": False, "trial": False}
HANDOVER = {**BARE, "strategy": Strategy.HANDOVER}

SCENARIOS = [
    deploys("good", None, Status.DEPLOYED, NEW),
    deploys("good, nothing configured", None, Status.DEPLOYED, NEW, options=BARE),
    deploys("good, unit not enabled", None, Status.DEPLOYED, NEW, options=BARE, is_enabled=False),
    deploys("good, keep = 1", None, Status.DEPLOYED, NEW, options={**BARE, "keep": 1}),
    deploys("good, after = keep", None, Status.DEPLOYED, NEW, options={**BARE, "after": "keep"}),
    deploys("corrupt", Phase.EXTRACT, Status.REJECTED, OLD),
    deploys("shared file missing", Phase.LINK, Status.FAILED, OLD),
    deploys("hook fails", Phase.HOOKS, Status.FAILED, OLD),
    deploys("trial fails", Phase.TRIAL, Status.FAILED, OLD),
    deploys("no room for the link", Phase.SWAP, Status.FAILED, OLD),
    deploys("restart fails", Phase.RESTART, Status.ROLLED_BACK, OLD),
    deploys("ill", Phase.HEALTH, Status.ROLLED_BACK, OLD),
    deploys("ill, unit not enabled", Phase.HEALTH, Status.ROLLED_BACK, OLD, options=BARE, is_enabled=False),
    deploys("ill, kept", Phase.HEALTH, Status.FAILED, NEW, options={**BARE, **KEEP}),
    deploys("restart fails, kept", Phase.RESTART, Status.FAILED, NEW, options={**BARE, **KEEP}),
    deploys("hook after it fails", Phase.AFTER_LIVE, Status.DEPLOYED, NEW),
    deploys("ill, and so is the old", Phase.HEALTH, Status.FAILED, OLD, options=BARE, old=Phase.HEALTH),
    deploys("ill, and the old fails", Phase.HEALTH, Status.FAILED, OLD, options=BARE, old=Phase.RESTART),
    deploys("first", None, Status.DEPLOYED, NEW, is_first=True),
    deploys("first, unit not enabled", None, Status.DEPLOYED, NEW, options=BARE, is_first=True, is_enabled=False),
    deploys("first, ill", Phase.HEALTH, Status.FAILED, "", options=BARE, is_first=True),
    deploys("first, restart fails", Phase.RESTART, Status.FAILED, "", options=BARE, is_first=True),
    deploys("first, no room for the link", Phase.SWAP, Status.FAILED, "", options=BARE, is_first=True),
    Scenario("rollback", (("rollback", Status.DEPLOYED, OLDER),)),
    Scenario("rollback to an ill one", (("rollback", Status.ROLLED_BACK, OLD),), {"older": Phase.HEALTH}),
    Scenario("rollback to a broken one", (("rollback", Status.ROLLED_BACK, OLD),), {"older": Phase.RESTART}),
    Scenario("rollback, hook fails", (("rollback", Status.FAILED, OLD),), {"older": Phase.HOOKS}),
    Scenario("restart", (("restart", Status.DEPLOYED, OLD),)),
    Scenario("restart, not enabled", (("restart", Status.DEPLOYED, OLD),), is_enabled=False),
    Scenario("restart of an ill one", (("restart", Status.FAILED, OLD),), {"old": Phase.HEALTH}),
    deploys("handover", None, Status.DEPLOYED, NEW, options=HANDOVER),
    deploys("handover, not enabled", None, Status.DEPLOYED, NEW, options=HANDOVER, is_enabled=False),
    deploys("handover, does not start", Phase.RESTART, Status.ROLLED_BACK, OLD, options=HANDOVER),
    deploys("handover, no room for the link", Phase.SWAP, Status.ROLLED_BACK, OLD, options=HANDOVER),
    deploys("handover, ill", Phase.HEALTH, Status.ROLLED_BACK, OLD, options=HANDOVER),
    deploys("handover, ill, kept", Phase.HEALTH, Status.FAILED, NEW, options={**HANDOVER, **KEEP}),
    deploys("handover, kept", None, Status.DEPLOYED, NEW, options={**HANDOVER, **KEEP}),
    deploys("handover, first", None, Status.DEPLOYED, NEW, options=HANDOVER, is_first=True),
    deploys("handover, first, ill", Phase.HEALTH, Status.FAILED, "", options=HANDOVER, is_first=True),
    Scenario("handover, rollback", (("rollback", Status.DEPLOYED, OLDER),), options=HANDOVER),
    Scenario(
        "handover, rollback to an ill one", (("rollback", Status.ROLLED_BACK, OLD),), {"older": Phase.HEALTH}, HANDOVER
    ),
    Scenario("handover, restart", (("restart", Status.DEPLOYED, OLD),), options=HANDOVER),
    Scenario(
        "a good and an ill one",
        (("a.tar.gz", Status.DEPLOYED, NEW), ("b.tar.gz", Status.ROLLED_BACK, NEW)),
        {"b.tar.gz": Phase.HEALTH},
        BARE,
    ),
]


# --- the agent's life on a machine ---------------------------------------------------------------------------------


class Life:
    """An agent from its start until it has nothing to do. ``on_change`` is told of every change to the machine."""

    def __init__(self, scenario: Scenario, machine: Machine, on_change: Callable[[Life], None]) -> None:
        self.loop = VirtualLoop()
        app = app_without(**scenario.options)
        self.world = World(machine, scenario.fails, self._changed)
        self._on_change = on_change
        self._broken: AssertionError | None = None
        history, releases, drop = ModelHistory(self.world), ModelReleases(self.world), ModelDrop(self.world)
        ports: Any = (ModelUnits(self.world), ModelProbe(self.world), releases, drop, history, retention.choose)
        untold: Any = (app, history, releases, drop, ModelDesk(self.world))
        told = Answers(*untold, changed=lambda: None, concluded=lambda _: None)
        its_drop: Any = drop
        self.lane = Lane(
            app,
            ports=Ports(*ports),
            drop=its_drop,
            answers=told,
            slots=Slots(2),
            advanced=lambda *_: None,
        )
        self._closing: asyncio.Task[None] | None = None
        self._killed_at = float("inf")

    def live(self, clock: Callable[[VirtualLoop], None]) -> Machine:
        """To the end; returns the machine then."""
        clock(self.loop)
        try:
            self.loop.run_until_quiet(self._run(), is_over=self._is_over)
        finally:
            self.world.is_over = True
            self.loop.close()
        if self._broken is not None:
            raise self._broken
        assert self.loop.time() < ENDLESS_S
        # A machine that goes down must not be held up.
        assert not self.world.machine.is_going_down or self.loop.time() < self._killed_at - KILLED_AFTER_S + GRACE_S
        return self.world.machine

    def _is_over(self) -> bool:
        return self._broken is not None or self.loop.time() > min(self._killed_at, ENDLESS_S)

    def _changed(self, machine: Machine) -> None:
        # Not the agent's affair: it would take it for a defect of its own.
        try:
            if self._broken is None:
                self._on_change(self)
        except AssertionError as broken:
            self._broken = broken

    # --- or slice by slice ---

    def begin(self) -> None:
        """Start it; ``go_on`` has it do something."""
        self._main = self.loop.create_task(self._run())

    def go_on(self, is_over: Callable[[], bool]) -> None:
        """Until then, or until there is nothing to do."""
        self.loop.go_on(lambda: is_over() or self._is_over())

    @property
    def has_ended(self) -> bool:
        return self._main.done()

    def end(self) -> Machine:
        """SIGKILL; returns the machine then."""
        self.world.is_over = True
        machine = self.world.machine

        async def nothing() -> None:
            pass

        self.loop.run_until_quiet(nothing())
        self.loop.close()
        return machine

    def check(self) -> None:
        """Raises what did not hold since."""
        if self._broken is not None:
            raise self._broken

    async def _run(self) -> None:
        await self.lane.run()
        if self._closing is not None:
            await self._closing

    def stop(self) -> None:
        """SIGTERM; what has not ended in time is killed."""
        if self._closing is None:
            self._closing = self.loop.create_task(self.lane.close(GRACE_S))
            self._killed_at = self.loop.time() + KILLED_AFTER_S


class Fixed(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return NOW


def set_up_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock stands still, and a defect ends the test."""
    for module in (working, resumption, answers, preflight):
        monkeypatch.setattr(module, "datetime", Fixed)
    log = logging.getLogger("dropdeploy")
    monkeypatch.setattr(log, "handlers", [_Defects(logging.ERROR)])
    monkeypatch.setattr(log, "propagate", False)


def set_clock(monkeypatch: pytest.MonkeyPatch, loop: VirtualLoop) -> None:
    """Spans are measured by this loop."""
    for module in (lane, working, gate, runner):
        monkeypatch.setattr(module, "time", LoopTime(loop))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[VirtualLoop], None]:
    set_up_clock(monkeypatch)
    return partial(set_clock, monkeypatch)


class _Defects(logging.Handler):
    """An exception that nobody expected ends the test."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            raise AssertionError(record.getMessage()) from record.exc_info[1]


# --- what must hold ------------------------------------------------------------------------------------------------


def outcomes(world: World) -> list[Outcome]:
    return [told for told in world.history.verdicts() if told.upload not in ("old.tar.gz", "older.tar.gz")]


class Witness:
    """Looks at the machine after every change."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.seen = 0

    def look(self, world: World) -> None:
        now, scenario = world.machine, self._scenario
        # `app` leads to a whole release, or was absent before.
        assert now.link in now.releases or (scenario.is_first and not now.link)
        # No healthy release is lost.
        if not scenario.is_first:
            assert OLD in now.releases
            assert OLDER in now.releases or scenario.options.get("keep") == 1
        # Nothing runs from a release that is gone, and nothing runs twice.
        for unit, process in now.units.items():
            assert process.release in now.releases, unit
        templates = [unit.partition("@")[0] for unit in now.units if not is_app(unit)]
        assert len(templates) == len(set(templates))
        decided = outcomes(world)
        if len(decided) > self.seen:
            self._judge(decided[-1], now)
        self.seen = len(decided)

    def _judge(self, told: Outcome, now: Machine) -> None:
        """The moment at which a verdict is written."""
        _, status, live = next(end for end in self._scenario.ends if end[0] == told.upload)
        assert (told.status, told.live) == (status, live), told
        assert now.link == live
        if status in (Status.DEPLOYED, Status.ROLLED_BACK):
            assert told.live_healthy
            assert now.serves == {live} or now.is_going_down
        else:
            assert now.serves <= {live}


def check_end(scenario: Scenario, world: World) -> None:
    """What a machine looks like when there is nothing left to do."""
    now = world.machine
    verdicts = [(told.upload, told.status, told.live) for told in outcomes(world)]
    assert verdicts == list(scenario.ends)
    assert [told.status for told in now.results.values()] == [status for _, status, _ in scenario.ends]
    assert not now.staging
    assert not now.pruned
    assert not now.deploying
    assert not [unit for unit in now.units if not is_app(unit)], "a hook or a trial was forgotten"
    assert not world.history.undecided("myapp")
    assert not world.history.unreported("myapp")
    assert now.link == scenario.ends[-1][2]
    expected = {OLD, OLDER} if not scenario.is_first else set()
    made = {told.release for told in outcomes(world) if told.action is Action.DEPLOY}
    is_made = {Status.DEPLOYED, Status.ROLLED_BACK}
    expected |= {told.release for told in outcomes(world) if told.status in is_made} & made
    if scenario.options.get("keep") == 1:
        expected.discard(OLDER)
    assert expected <= now.releases.keys()
    staying = {
        name
        for name, status, _ in scenario.ends
        if name.endswith(".gz") and (status is not Status.DEPLOYED or scenario.options.get("after") == "keep")
    }
    assert set(now.files) == staying


def identity(machine: Machine) -> object:
    """Equal for machines between which nothing can tell a difference: numbers and runs are names only."""
    return (
        tuple(sorted(machine.staging.items())),
        tuple(sorted(machine.releases.items())),
        machine.pruned,
        machine.link,
        tuple(sorted(machine.files)),
        machine.deploying,
        tuple(sorted((name, told.status) for name, told in machine.results.items())),
        tuple(sorted((unit, process.release) for unit, process in machine.units.items())),
        machine.failed,
        _anonymous(machine.history),
    )


@lru_cache(maxsize=256)
def _anonymous(content: bytes) -> tuple[str, ...]:
    """What stands in a history. Most changes to a machine are none to it."""
    return tuple(sorted("\n".join(row) for row in _anonymous_rows(MemoryHistory(content))))


def _anonymous_rows(history: MemoryHistory) -> Iterator[list[str]]:
    for row in history.rows():
        table, *values = row
        values = values[1:] if table == "deploys" else values[:-1] if table in ("releases", "answered") else values
        yield [
            table,
            *(re.sub(r'"(id|invocation_id|main_pid)":("?)\w+|"steps":\[.*?\]', "", value) for value in values),
        ]


# --- the tests -----------------------------------------------------------------------------------------------------


def watch(scenario: Scenario, machine: Machine, clock: Callable[[VirtualLoop], None]) -> list[Machine]:
    """An agent's life on this machine, to its end, with all that must hold. Returns each moment of it."""
    witness = Witness(scenario)
    moments: list[Machine] = []

    def changed(life: Life) -> None:
        moments.append(life.world.machine)
        witness.look(life.world)

    life = Life(scenario, machine, changed)
    witness.seen = len(outcomes(life.world))
    life.live(clock)
    check_end(scenario, life.world)
    return moments


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_crashes(scenario: Scenario, clock: Callable[[VirtualLoop], None]) -> None:
    first = scenario.machine()
    to_do = [first]
    seen = {identity(first)}
    while to_do:
        for moment in watch(scenario, to_do.pop(), clock):
            for after in (moment, power_cut(moment, is_enabled=scenario.is_enabled)):
                key = identity(after)
                if key not in seen:
                    seen.add(key)
                    to_do.append(after)
    assert len(seen) > LEAST_STATES, "the walk did not get far"


STOPPED = [
    "good",
    "good, unit not enabled",
    "hook fails",
    "trial fails",
    "restart fails",
    "ill",
    "first, ill",
    "rollback to an ill one",
    "restart",
    "handover",
    "handover, ill",
]


@pytest.mark.parametrize("is_machine", [False, True], ids=["agent", "machine"])
@pytest.mark.parametrize("name", STOPPED)
def test_stopped_in_an_orderly_way(name: str, is_machine: bool, clock: Callable[[VirtualLoop], None]) -> None:
    """SIGTERM at every moment: of the agent alone, or of all at once since the machine is shut down."""
    scenario = next(each for each in SCENARIOS if each.name == name)
    first = scenario.machine()
    seen: set[object] = set()
    at, has_reached = 0, True
    while has_reached:
        witness = Witness(scenario)
        count, has_reached = 0, False

        def changed(life: Life, at: int = at, witness: Witness = witness) -> None:
            nonlocal count, has_reached
            witness.look(life.world)
            count += 1
            if count == at + 1:
                has_reached = True
                life.stop()
                if is_machine:
                    life.world.machine = replace(life.world.machine, is_going_down=True, units={})

        machine = Life(scenario, first, changed).live(clock)
        machine = power_cut(machine, is_enabled=scenario.is_enabled) if is_machine else machine
        key = identity(machine)
        if key not in seen:
            seen.add(key)
            watch(scenario, machine, clock)
        at += 1
    assert at > LEAST_STATES
