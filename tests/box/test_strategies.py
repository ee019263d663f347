"""Releases that come and go under contrib's units, by the packaged agent, with every request accounted for."""

from __future__ import annotations

import pytest

from tests.box.activated import Activated, open_activated
from tests.box.server import Server

# What the units of each strategy run, and for how long a stopping instance keeps connections that are idle.
APPS = {"reload": ("flask", 5), "restart": ("express", 0.25)}
HEALTH = 'interval = "200ms"\ntimeout = "30s"\n'


@pytest.fixture(scope="module")
def apps(own_server: Server) -> dict[str, Activated]:
    """An app for each strategy, and an agent that watches for them."""
    opened = {}
    for port, (strategy, (app, grace_s)) in enumerate(APPS.items(), 4300):
        config = f'rate_limit = "off"\nstrategy = "{strategy}"\n[health]\nurl = "http://127.0.0.1:{port}/health"\n'
        opened[strategy] = open_activated(own_server, app, strategy, port, config + HEALTH, idle_grace_s=grace_s)
    own_server.agent("start")
    return opened


def main_pid(app: Activated) -> str:
    return app.box.unit(app.site.unit, "MainPID")["MainPID"]


def details(result: dict[str, object], step: str) -> list[str]:
    """Of the steps of this name."""
    assert isinstance(result["steps"], list)
    return [found["detail"] for found in result["steps"] if found["name"] == step]


def test_a_reload_loses_no_request(apps: dict[str, Activated]) -> None:
    app = apps["reload"]
    first = app.upload("v1", slow_s=0.3)
    before = main_pid(app)
    with app.load() as seen:
        second, third = app.upload("v2", slow_s=0.3), app.upload("v3", slow_s=0.3)
        answer = app.ask()
    assert [result["status"] for result in (first, second, third)] == ["deployed"] * 3
    # The agent cannot look into the app's processes, and knows by their PIDs.
    assert details(third, "restart") == ["reloaded: 2 processes were replaced"]
    assert (answer["version"], answer["cwd"]) == ("v3", f"{app.site.root}/releases/{third['release']}")
    assert main_pid(app) == before
    assert seen.failures == {}
    assert seen.releases == {result["release"] for result in (first, second, third)}


def test_a_reload_that_changes_nothing_is_taken_back(own_server: Server, apps: dict[str, Activated]) -> None:
    app = apps["reload"]
    good = app.upload("good")
    dropin = f"/etc/systemd/system/{app.site.unit}.d/deaf.conf"
    app.box.write(dropin, "[Service]\nExecReload=\nExecReload=/bin/true\n")
    config = app.box.path(f"/etc/dropdeploy/apps.d/{app.site.name}.toml")
    patient = config.read_text()
    config.write_text(patient.replace('"30s"', '"3s"'))
    app.box.run("systemctl", "daemon-reload")
    own_server.agent("reload")
    try:
        with app.load() as seen:
            bad = app.upload("unnoticed")
    finally:
        app.box.path(dropin).unlink()
        config.write_text(patient)
        app.box.run("systemctl", "daemon-reload")
        own_server.agent("reload")
    assert (bad["status"], bad["error"]["code"], bad["live"]) == ("rolled-back", "restart-failed", good["release"])
    assert "of 2 processes from before it 2 did not end" in bad["error"]["message"]
    assert details(bad, "restart")[-1] == f"back to {good['release']}; reloaded: no process had been replaced"
    assert seen.failures == {}
    assert seen.releases == {good["release"]}


def test_a_reload_that_brings_the_server_down_is_taken_back(apps: dict[str, Activated]) -> None:
    app = apps["reload"]
    good = app.upload("well")
    bad = app.upload("bad", needs="DATABASE_URL")
    assert (bad["status"], bad["live"], bad["live_healthy"]) == ("rolled-back", good["release"], True)
    assert bad["error"]["code"] == "unit-crashed"
    assert bad["error"]["step"] in ("restart", "health"), "whether systemd has started it again by then"
    assert "DATABASE_URL" in bad["error"]["log"]
    assert app.ask()["version"] == "well"
