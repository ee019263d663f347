"""The agent is killed before and after everything that a handover does, and goes on from what it had written down.

The machine is one in memory, so that every moment can be had; that the real one is like it, tests/box shows. What must
hold in every single moment: what answered well before goes on answering, or something else that is well does. And in
the end one unit runs, which is the release that the link names and the verdict tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import pytest

from dropdeploy import record
from dropdeploy.deploy import gate
from dropdeploy.deploy.effect import Bad, Ports
from dropdeploy.deploy.event import Done, Event, Extracted, Failed, Ground
from dropdeploy.deploy.performing import EFFECTS, Performers
from dropdeploy.deploy.phase import OPTIONAL, Phase, Way
from dropdeploy.deploy.plan import advance, begin
from dropdeploy.deploy.recovery import take_up
from dropdeploy.deploy.settling import settle
from dropdeploy.deploy.standing import choose_unit, is_same_run, is_up
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.verdict import status_of
from dropdeploy.instances import instance_of, release_of
from dropdeploy.model.app import App, HealthCheck, Strategy
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Status
from dropdeploy.model.request import Action
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked
from tests.unit.deploy.test_plan import NEW, NOW, OLD, REQUESTS, UPLOAD

PLAIN = "shop.service"
NOT_PERFORMED = frozenset({Phase.PREFLIGHT, Phase.EXTRACT, Phase.LINK, Phase.PRUNE})


class Killed(BaseException):
    """The agent's end."""


@dataclass
class Fuse:
    """Kills the agent at the step of this number: even ones are before something is done, odd ones after it."""

    left: int

    def burn(self) -> None:
        if self.left == 0:
            self.left -= 1
            raise Killed
        self.left -= 1


class Machine:
    """Runs units as systemd does: the app's own in the release that the link names when it starts."""

    def __init__(self, link: str, kinds: Mapping[str, str], *, is_polite: bool) -> None:
        self.link = link
        self.kinds = kinds
        self.is_polite = is_polite
        self.fuse = Fuse(-1)
        self.states: dict[str, UnitState] = {}
        self.releases: dict[str, str] = {}
        self.starts = 0
        self.must_answer = False

    # --- what is known of it ---

    def up(self) -> list[str]:
        return [unit for unit, state in self.states.items() if state.is_running]

    def kind(self, unit: str) -> str:
        """As its release is, or as the unit is."""
        return self.kinds.get(unit) or self.kinds.get(self.releases.get(unit, ""), "well")

    def well(self) -> list[str]:
        return [unit for unit in self.up() if self.kind(unit) == "well"]

    def boot(self) -> None:
        self.states.clear()
        if self.link:
            self._begin(PLAIN)
            if self.kind(PLAIN) == "does not start":
                self._set(PLAIN, "failed", "failed")

    async def _do(self, effect: Callable[[], None]) -> None:
        await asyncio.sleep(0)
        self.fuse.burn()
        effect()
        # What answers badly when it is alone is replaced; until then it is better than nothing.
        is_answering = self.well() or (self.up() and "answers badly" in self.kinds.values())
        assert is_answering or not self.must_answer, "nothing answers"
        self.fuse.burn()

    def _begin(self, unit: str) -> None:
        self.starts += 1
        self.releases[unit] = release_of(unit) or self.link
        self.states[unit] = UnitState(
            unit, active_state="active", sub_state="running", invocation_id=f"{self.starts:032}", main_pid=self.starts
        )

    def _set(self, unit: str, active_state: str, sub_state: str) -> None:
        self.states[unit] = replace(self.states[unit], active_state=active_state, sub_state=sub_state)

    # --- Units ---

    async def inspect(self, unit: str) -> UnitState:
        await asyncio.sleep(0)
        return self.states.get(unit, UnitState(unit))

    async def standing(self, unit: str) -> tuple[UnitState, ...]:
        await asyncio.sleep(0)
        return tuple(self.states[name] for name in sorted(self.states, key=lambda name: name != unit))

    async def running_releases(self, unit: str) -> frozenset[str]:
        await asyncio.sleep(0)
        return frozenset(self.releases[each] for each in self.up())

    async def start(self, unit: str) -> UnitState | Fault:
        kind = self.kinds.get(unit) or self.kinds.get(release_of(unit) or self.link, "well")
        if not self.states.get(unit, UnitState(unit)).is_running:
            await self._do(lambda: self._begin(unit))
            if kind == "never gets ready":
                self._set(unit, "activating", "start")
            if kind == "does not start":
                self._set(unit, "activating", "auto-restart")
        if kind == "never gets ready":
            raise TimeoutError  # as if health.timeout were over
        if kind == "does not start":
            return Fault(ErrorCode.RESTART_FAILED, "the start job failed", log="no module named shop")
        return self.states[unit]

    async def restart(self, unit: str) -> UnitState | Fault:
        await self.stop(unit)
        return await self.start(unit)

    async def stop(self, unit: str) -> UnitState:
        await self._do(lambda: cast("None", self.states.pop(unit, None)))
        return UnitState(unit)

    async def await_failure(self, since: UnitState) -> Fault:
        while self.states.get(since.unit, UnitState(since.unit)).active_state == "active":
            await asyncio.sleep(0.001)
        return Fault(ErrorCode.UNIT_CRASHED, f"{since.unit} crashed")

    async def log_cursor(self, unit: str) -> str:
        return "here"

    async def log_tail(self, unit: str, cursor: str, lines: int = 40) -> str:
        return ""

    # --- HealthProbe: a polite old one answers for the new one ---

    async def check(self, check: HealthCheck, *, is_same_run: Callable[[], Awaitable[bool]]) -> HealthReport:
        await asyncio.sleep(0)
        self.fuse.burn()
        newest = max(self.up(), key=lambda unit: self.states[unit].invocation_id, default="")
        kind = self.kind(newest)
        if kind == "crashes":
            self._set(newest, "failed", "failed")
            await asyncio.sleep(0.01)
            return HealthReport(False, 1, 0.0)
        answering = self.up() if self.is_polite else [newest]
        is_good = any(unit in self.well() for unit in answering) and await is_same_run()
        return HealthReport(is_good, 1, 0.0, 200 if is_good else 500, "answered")

    # --- Releases ---

    async def swap(self, release: str) -> None:
        await self._do(lambda: setattr(self, "link", release))

    async def unlink(self) -> None:
        await self._do(lambda: setattr(self, "link", ""))


APP = App(
    "shop",
    cast("Any", None),
    cast("Any", None),
    PLAIN,
    strategy=Strategy.HANDOVER,
    health=HealthCheck(url="http://127.0.0.1/"),
)


def ports_of(machine: Machine) -> Ports:
    world = cast("Any", machine)
    return Ports(world, world, world, cast("Any", None), cast("Any", None), cast("Any", None))


class Agent:
    """Performs a deploy as the runner does; ``intent`` is what it wrote down last."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.intent = ""

    async def perform(self, state: Deploy) -> Deploy:
        performers = Performers(APP, ports_of(self.machine), lambda *_: None)
        while state.phase is not Phase.DECIDED:
            if state.phase not in NOT_PERFORMED:
                self.intent = record.dump(state)
                self.machine.fuse.burn()
            state = advance(state, await self._event(performers, state))
        return state

    async def _event(self, performers: Performers, state: Deploy) -> Event:
        match state.phase:
            case Phase.PREFLIGHT:
                return Done(0.0, learned=await self._ground(state))
            case Phase.EXTRACT:
                return Done(0.0, learned=Extracted(UPLOAD, Unpacked(1, "", 1, 1)))
            case phase if phase in NOT_PERFORMED:
                return Done(0.0)
        result = await EFFECTS[state.phase](performers, state)
        if isinstance(result, Bad):
            return Failed(0.0, result.fault, result.learned)
        return Done(0.0, result.detail, result.learned)

    async def _ground(self, state: Deploy) -> Ground:
        standing = await self.machine.standing(PLAIN)
        live = self.machine.link
        release = live if state.action is Action.RESTART else NEW
        unit = choose_unit(state.action, PLAIN, release, standing)
        return Ground(release, live, live, True, unit, standing)

    async def take_up(self) -> Deploy:
        """What the next start of the agent does."""
        state, standing = record.load(Deploy, self.intent), await self.machine.standing(PLAIN)
        is_run_intact = any(is_up(now) and state.run and is_same_run(now, state.run) for now in standing)
        has_old = any(is_up(now) and is_same_run(now, then) for now in standing for then in state.before)
        return await self.perform(
            take_up(state, self.machine.link, is_up=True, is_old_gone=not has_old, is_run_intact=is_run_intact)
        )


OLD_UNIT, NEW_UNIT = instance_of(PLAIN, OLD), instance_of(PLAIN, NEW)
BEFORE = {"plain": (PLAIN,), "instance": (OLD_UNIT,), "both": (PLAIN, OLD_UNIT), "nothing": ()}
KINDS = ("well", "does not start", "never gets ready", "answers badly", "crashes")


@pytest.fixture(autouse=True)
def no_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LEAST_SOAK_S", 0.003)
    monkeypatch.setattr(gate, "_LOOK_S", 0.001)


@dataclass(frozen=True)
class Story:
    """One handover with kills."""

    action: Action
    before: str
    kind: str
    is_polite: bool
    has_rebooted: bool

    async def tell(self, fuse: int, kills: int) -> bool:
        """The agent is killed at this step, and as often at the same one counted from its next start. False when it
        ended before the fuse had."""
        machine = await self._machine()
        agent = Agent(machine)
        machine.fuse.left = fuse
        is_killed = False
        request = REQUESTS[self.action]
        work = agent.perform(begin(id=1, app="shop", request=request, started=NOW, without=OPTIONAL, way=Way.HANDOVER))
        while True:
            try:
                state = await work
                break
            except Killed:
                is_killed, kills = True, kills - 1
                machine.fuse.left = fuse if kills else -1
                self._reboot(machine)
                work = agent.take_up()
        machine.must_answer = False
        self._judge(state, machine)
        if machine.up():
            assert await settle(APP, ports_of(machine), Way.HANDOVER, machine.link) is None
        return is_killed

    async def _machine(self) -> Machine:
        units = BEFORE[self.before]
        runs = [UnitState(unit, active_state="active", sub_state="running") for unit in units]
        ill = choose_unit(self.action, PLAIN, OLD, runs) if self.action is Action.RESTART else NEW
        machine = Machine(OLD if units else "", {}, is_polite=self.is_polite)
        for unit in units:
            await machine.start(unit)
        machine.kinds = {ill: self.kind}
        machine.must_answer = bool(units)
        return machine

    def _reboot(self, machine: Machine) -> None:
        if self.has_rebooted:
            machine.must_answer = False
            machine.boot()
            machine.must_answer = bool(machine.well())

    def _judge(self, state: Deploy, machine: Machine) -> None:
        is_restart = self.action is Action.RESTART
        if self.kind == "well":
            assert status_of(state) is Status.DEPLOYED
            assert machine.link == (OLD if is_restart else NEW)
        elif self.before == "nothing":
            assert status_of(state) is Status.FAILED
            assert (machine.link, machine.up()) == ("", [])
            return
        else:
            assert status_of(state) is (Status.FAILED if is_restart else Status.ROLLED_BACK)
            assert machine.link == OLD
        assert state.live == machine.link
        if not (is_restart and self.kind == "answers badly"):
            # A restart that turns out ill when it is alone has no other release to go to.
            assert state.is_live_healthy
        assert [machine.releases[unit] for unit in machine.states] == [machine.link]


STORIES = [
    Story(action, before, kind, is_polite, has_rebooted)
    for action, before, kind, is_polite, has_rebooted in product(
        (Action.DEPLOY, Action.RESTART), BEFORE, KINDS, (False, True), (False, True)
    )
    if action is Action.DEPLOY or (before in ("plain", "instance") and (kind == "well" or not has_rebooted))
]


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_killed_at_each_step(story: Story) -> None:
    for kills in (1, 2):
        step = 0
        while await story.tell(step, kills):
            step += 1 if kills == 1 else 3
        assert step > 5


async def test_back_to_a_release_that_runs_by_other_hands_stops_nothing_else_first() -> None:
    machine = Machine(OLD, {}, is_polite=False)
    await machine.start(NEW_UNIT)
    machine.must_answer = True
    request = REQUESTS[Action.ROLLBACK]
    begun = begin(id=1, app="shop", request=request, started=NOW, without=OPTIONAL, way=Way.HANDOVER)
    state = await Agent(machine).perform(begun)
    assert (status_of(state), machine.link, machine.up()) == (Status.DEPLOYED, NEW, [NEW_UNIT])
    assert machine.starts == 1


async def test_a_restart_where_both_run_renews_one() -> None:
    machine = Machine(OLD, {}, is_polite=False)
    for unit in (PLAIN, OLD_UNIT):
        await machine.start(unit)
    machine.must_answer = True
    request = REQUESTS[Action.RESTART]
    begun = begin(id=1, app="shop", request=request, started=NOW, without=OPTIONAL, way=Way.HANDOVER)
    state = await Agent(machine).perform(begun)
    assert (status_of(state), machine.up()) == (Status.DEPLOYED, [PLAIN])
    assert machine.starts == 3


# --- the agent's start, when nothing was being deployed ---


@pytest.mark.parametrize(
    ("way", "link", "running", "ends_with"),
    [
        (Way.HANDOVER, OLD, (), ()),
        (Way.HANDOVER, OLD, (OLD_UNIT,), (OLD_UNIT,)),
        (Way.HANDOVER, OLD, (PLAIN,), (PLAIN,)),
        (Way.HANDOVER, OLD, (PLAIN, OLD_UNIT), (OLD_UNIT,)),
        (Way.HANDOVER, OLD, (OLD_UNIT, NEW_UNIT), (OLD_UNIT,)),
        (Way.HANDOVER, OLD, (PLAIN, NEW_UNIT), (PLAIN,)),
        (Way.HANDOVER, OLD, (NEW_UNIT,), (OLD_UNIT,)),
        (Way.HANDOVER, "", (NEW_UNIT,), (NEW_UNIT,)),
        (Way.IN_PLACE, OLD, (PLAIN,), (PLAIN,)),
        (Way.IN_PLACE, OLD, (), ()),
        (Way.IN_PLACE, OLD, (OLD_UNIT,), (PLAIN,)),
        (Way.IN_PLACE, OLD, (PLAIN, NEW_UNIT), (PLAIN,)),
    ],
)
async def test_what_runs_is_what_the_link_names(
    way: Way, link: str, running: tuple[str, ...], ends_with: tuple[str, ...]
) -> None:
    machine = Machine(link, {}, is_polite=False)
    for unit in running:
        await machine.start(unit)
    machine.must_answer = bool(running)
    settled = await settle(APP, ports_of(machine), way, link)
    assert tuple(machine.states) == ends_with
    assert settled is None or settled.fault is None
    assert (settled is None) == (running == ends_with)
    assert await settle(APP, ports_of(machine), way, link) is None


async def test_a_plain_unit_that_is_seen_to_run_another_release_is_handed_over() -> None:
    machine = Machine(NEW, {}, is_polite=False)
    await machine.start(PLAIN)
    machine.must_answer = True
    machine.link = OLD
    settled = await settle(APP, ports_of(machine), Way.HANDOVER, OLD)
    assert settled is not None
    assert settled.told == f"{OLD} is live, and {PLAIN} ran instead of {OLD_UNIT}"
    assert list(machine.states) == [OLD_UNIT]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("well", "never gets ready")])
async def test_what_answers_is_not_stopped_for_a_live_release_that_is_ill(kind: str) -> None:
    machine = Machine(OLD, {OLD: kind}, is_polite=False)
    await machine.start(NEW_UNIT)
    machine.must_answer = True
    settled = await settle(APP, ports_of(machine), Way.HANDOVER, OLD)
    assert settled is not None
    assert settled.fault is not None
    assert machine.up() == [NEW_UNIT]
