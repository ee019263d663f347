"""Uploads, markers and signals in any order, to a running agent. tests/unit/deploy/test_any_order.py does the same on a
model of the machine, where every moment can be had, and thousands of times.

``DROPDEPLOY_EXAMPLES`` in the environment is how many orders are tried; 3 when it is not set.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
import tomllib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent.world import World, build, wait_for

EXAMPLES = int(os.environ.get("DROPDEPLOY_EXAMPLES", "3"))
PAUSES_S = (0.0, 0.05, 0.2)
KINDS = {"good": {}, "slow": {"boot_s": 0.3}, "ill": {"exit": 1}, "late": {"crash_after_s": 0.1}}
MAY_END = {
    "good": {"deployed"},
    "slow": {"deployed"},
    # One that crashes after it was seen healthy is healthy: there is no soak.
    "ill": {"rolled-back", "failed"},
    "late": {"deployed", "rolled-back", "failed"},
}

ACTIONS = st.one_of(
    st.tuples(st.just("upload"), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("mark"), st.sampled_from(["rollback", "restart", "hold", "cancel"])),
    st.tuples(st.just("unhold"), st.just("")),
    st.tuples(st.just("signal"), st.sampled_from(["SIGHUP", "SIGTERM", "SIGKILL"])),
)


def act(world: World, number: int, what: str, how: str) -> str:
    """Returns the upload's name, if it is one."""
    name = f"u{number}.tar.gz"
    match what:
        case "upload":
            world.put(name, build(name, **KINDS[how]))
            return name
        case "mark":
            world.put(how)
        case "unhold":
            (world.drop / "hold").unlink(missing_ok=True)
        case "signal":
            assert world.process is not None
            if how == "SIGHUP":
                world.process.send_signal(signal.SIGHUP)
            else:
                world.stop(signal.Signals[how])
                world.start()
    return ""


def check(world: World, kinds: dict[str, str]) -> None:
    """When all is quiet: each upload has its verdict, and a right one, and what `app` names is well and runs."""
    (world.drop / "hold").unlink(missing_ok=True)
    for name, kind in kinds.items():
        assert world.result(name)["status"] in MAY_END[kind] | {"cancelled"}, (name, kind)
    wait_for("end of all work", lambda: not {"rollback", "restart", "cancel"} & set(os.listdir(world.drop)))
    wait_for("end of all work", lambda: not list(world.drop.glob("*.deploying")))
    assert not [name for name in world.releases() if name.startswith(".")]
    told = json.loads(world.run("history", "--json").stdout)
    answered = [each["upload"] for each in told if each["upload"] in kinds]
    assert sorted(answered) == sorted(kinds), "one verdict each"
    wait_for("status", lambda: tomllib.loads((world.drop / "status.toml").read_text())["live"] == world.live())
    version = json.loads((world.root / "app" / "behaviour.json").read_text())["version"]
    assert kinds.get(version) != "ill"
    wait_for("the app", lambda: kinds.get(version) == "late" or world.ask()["version"] == version)


@given(st.lists(st.tuples(ACTIONS, st.sampled_from(PAUSES_S)), min_size=8, max_size=12))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_in_any_order(actions: list[tuple[tuple[str, str], float]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        world.configure('rate_limit = "off"')
        world.start()
        try:
            assert world.deploy("first")["status"] == "deployed"
            kinds: dict[str, str] = {}
            for number, ((what, how), pause_s) in enumerate(actions):
                if name := act(world, number, what, how):
                    kinds[name] = how
                time.sleep(pause_s)
            check(world, kinds)
        finally:
            if world.process is not None:
                world.stop()
        assert "Traceback" not in world.log.read_text(), world.log.read_text()
