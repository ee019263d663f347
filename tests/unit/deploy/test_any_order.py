"""Everything that can happen, in any order and in the middle of anything: uploads, rollbacks, restarts, hold, cancel,
SIGHUP, SIGTERM, SIGKILL, power cuts. What runs is the agent's own, on the machine of ``machine``.

``DROPDEPLOY_EXAMPLES`` in the environment is how many orders are tried; 40 when it is not set.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dropdeploy.deploy.phase import Phase
from dropdeploy.model.app import Strategy
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import Upload, Version
from tests.unit.deploy.machine import Machine, power_cut, without
from tests.unit.deploy.test_crashes import OLD, Life, Scenario, set_clock, set_up_clock

EXAMPLES = int(os.environ.get("DROPDEPLOY_EXAMPLES", "40"))
ENDLESS = 2000
KINDS = {"good": None, "ill": Phase.HEALTH, "broken": Phase.RESTART, "corrupt": Phase.EXTRACT, "unlinked": Phase.LINK}
MAY_END = {
    "good": {Status.DEPLOYED},
    "ill": {Status.ROLLED_BACK},
    "broken": {Status.ROLLED_BACK},
    "corrupt": {Status.REJECTED},
    "unlinked": {Status.FAILED},
}
ANYWAY = {Status.CANCELLED, Status.SUPERSEDED}


class Anything(RuleBasedStateMachine):
    """An agent, and whoever has to do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        set_up_clock(self.patch)
        self.kinds: dict[str, str] = {}
        self.fails: dict[str, Phase | None] = {}
        self.count = 100

    @initialize(
        strategy=st.sampled_from([Strategy.RESTART, Strategy.HANDOVER]),
        queue=st.sampled_from(["all", "latest"]),
        hooks=st.booleans(),
        trial=st.booleans(),
        is_enabled=st.booleans(),
    )
    def begin(self, strategy: Strategy, queue: str, hooks: bool, trial: bool, is_enabled: bool) -> None:
        options = {"strategy": strategy, "queue": queue, "hooks": hooks, "trial": trial, "rate_limit": None}
        self.scenario = Scenario("anything", (), self.fails, options, is_enabled=is_enabled)
        self.start(self.scenario.machine())

    def start(self, machine: Machine) -> None:
        self.life = Life(self.scenario, machine, self.look)
        set_clock(self.patch, self.life.loop)
        self.life.begin()
        self.changes = 0

    def look(self, life: Life) -> None:
        """After every change."""
        self.changes += 1
        assert self.changes < ENDLESS, "there is no end of it"
        now = life.world.machine
        assert now.link in now.releases
        assert all(process.release in now.releases for process in now.units.values())

    @property
    def now(self) -> Machine:
        return self.life.world.machine

    def put(self, name: str) -> Version:
        self.count += 1
        version = Version(1, self.count, 1, self.count, self.count)
        self.life.world.machine = replace(self.now, files={**self.now.files, name: version})
        self.life.lane.wake()
        return version

    # --- what happens ---

    @rule(changes=st.integers(1, 12))
    def time_goes_by(self, changes: int) -> None:
        end = self.changes + changes
        self.life.go_on(lambda: self.changes >= end)

    @rule(name=st.sampled_from(["a.tar.gz", "b.tar.gz"]), kind=st.sampled_from(sorted(KINDS)))
    def an_upload(self, name: str, kind: str) -> None:
        version = f"{name} {self.count + 1}"
        self.kinds[version], self.fails[version] = kind, KINDS[kind]
        self.put(name)

    @rule(name=st.sampled_from(["rollback", "restart", "hold", "cancel"]))
    def a_marker(self, name: str) -> None:
        self.put(name)

    @rule()
    def unhold(self) -> None:
        self.life.world.machine = replace(self.now, files=without(self.now.files, "hold"))
        self.life.lane.wake()

    @rule()
    def sighup(self) -> None:
        """With a changed configuration: the lane ends in an orderly way, and another begins."""
        self.life.stop()
        self.life.go_on(lambda: self.life.has_ended)
        self.sigkill()

    @rule()
    def sigkill(self) -> None:
        machine = self.life.end()
        self.start(machine)

    @rule()
    def the_power_is_cut(self) -> None:
        machine = self.life.end()
        self.start(power_cut(machine, is_enabled=self.scenario.is_enabled))

    # --- what must hold ---

    @invariant()
    def nothing_broke(self) -> None:
        if hasattr(self, "life"):
            self.life.check()

    def teardown(self) -> None:
        try:
            if hasattr(self, "life"):
                self.unhold()
                self.life.go_on(lambda: False)
                self.life.check()
                self.check_end()
                self.life.end()
        finally:
            self.patch.undo()

    def check_end(self) -> None:
        now, history = self.now, self.life.world.history
        assert not history.undecided("myapp")
        assert not history.unreported("myapp")
        assert not now.staging
        assert not now.pruned
        assert not now.deploying
        assert not now.files.keys() & {"rollback", "restart", "cancel"}
        # One verdict for each version of an upload, and the right one.
        given = Counter()
        for status, request in history.given():
            if isinstance(request, Upload) and (version := f"{request.name} {request.version.inode}") in self.kinds:
                given[version] += 1
                assert status in MAY_END[self.kinds[version]] | ANYWAY, (version, self.kinds[version], status)
        assert set(given.values()) <= {1}, given
        for name, version in now.files.items():
            assert given[f"{name} {version.inode}"] == 1, f"{name} has no verdict"
            assert now.results[name].upload == name
        # What is ill is not live, and what is live runs, if anything does (a boot may not have started it).
        assert self.fails.get(now.releases[now.link]) is None
        assert now.serves <= {now.link}
        assert OLD in now.releases or len(now.releases) > 1


def test_anything_in_any_order() -> None:
    # Not Anything.TestCase: the pytest-asyncio of Debian 12 cannot collect one.
    patient = settings(
        max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Anything, settings=patient)
