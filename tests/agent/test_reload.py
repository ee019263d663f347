"""strategy = "reload": the server goes on, its workers are those of the new release, and that is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agent.world import World, files_of, tar

FORKING = Path(__file__).with_name("forking.py").read_text()


@pytest.fixture
def reloading(world: World) -> World:
    world.configure('strategy = "reload"\nrate_limit = "off"')
    world.start()
    return world


def deploy(world: World, version: str, **behaviour: object) -> dict[str, Any]:
    world.put(f"{version}.tar.gz", tar({**files_of(version, **behaviour), "app.py": FORKING}))
    return world.result(f"{version}.tar.gz")


def detail_of(result: dict[str, Any], step: str = "restart") -> str:
    """Of the last step of this name."""
    return [found["detail"] for found in result["steps"] if found["name"] == step][-1]


def test_the_workers_are_replaced_and_the_server_goes_on(reloading: World) -> None:
    first = deploy(reloading, "v1")
    assert (first["status"], detail_of(first)) == ("deployed", "")
    before = reloading.ask()
    second = deploy(reloading, "v2")
    assert (second["status"], detail_of(second)) == ("deployed", "reloaded: 1 process was replaced")
    after = reloading.ask()
    assert (after["version"], after["main"]) == ("v2", before["main"])
    reloading.put("rollback")
    back = reloading.result("rollback")
    assert (back["status"], back["live"]) == ("deployed", first["release"])
    assert (reloading.ask()["version"], reloading.ask()["main"]) == ("v1", before["main"])


def test_what_is_ill_goes_back_by_a_reload(reloading: World) -> None:
    good = deploy(reloading, "v1")
    before = reloading.ask()
    bad = deploy(reloading, "v2", status=500)
    assert (bad["status"], bad["error"]["code"], bad["live"]) == ("rolled-back", "health-timeout", good["release"])
    assert detail_of(bad) == f"back to {good['release']}; reloaded: 1 process was replaced"
    assert (reloading.ask()["version"], reloading.ask()["main"]) == ("v1", before["main"])


def test_what_takes_the_server_down_is_rolled_back_at_once(reloading: World) -> None:
    good = deploy(reloading, "v1")
    bad = deploy(reloading, "v2", exit=1)
    assert (bad["status"], bad["error"]["code"], bad["live"]) == ("rolled-back", "unit-crashed", good["release"])
    assert reloading.ask()["version"] == "v1"


def test_a_server_that_does_nothing_at_a_reload(reloading: World) -> None:
    good = deploy(reloading, "v1", is_deaf=True)
    before = reloading.ask()
    bad = deploy(reloading, "v2")
    assert (bad["status"], bad["error"]["code"], bad["error"]["step"]) == ("rolled-back", "restart-failed", "restart")
    told = "the release before still runs 4 s later: of 1 process from before it 1 did not end"
    assert told in bad["error"]["message"]
    assert detail_of(bad) == f"back to {good['release']}; reloaded: no process had been replaced"
    assert (bad["live"], bad["live_healthy"]) == (good["release"], True)
    assert reloading.ask() == before, "it never stopped answering"


def test_a_server_whose_new_workers_run_the_release_before(reloading: World) -> None:
    good = deploy(reloading, "v1", stays=True)
    bad = deploy(reloading, "v2")
    assert (bad["status"], bad["error"]["code"]) == ("rolled-back", "restart-failed")
    assert f"runs from {good['release']} and not from {bad['release']}" in bad["error"]["message"]
    assert reloading.ask()["version"] == "v1"
