"""Releases that come and go under contrib's units, by the packaged agent, with every request accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.box.activated import Activated, open_activated
from tests.box.machine import wait_until
from tests.box.server import AGENT_UNIT, Server

# What the units of each strategy run, and for how long a stopping instance keeps connections that are idle.
APPS = {"reload": ("flask", 5), "restart": ("express", 0.25)}
TRIAL = '[trial]\nunit = "{0}-trial@.service"\nurl = "unix:/run/{0}-trial.sock:/health"\ntimeout = "{1}"\n'


@pytest.fixture(scope="module")
def apps(own_server: Server) -> dict[str, Activated]:
    """An app for each strategy, and an agent that watches for them."""
    opened = {}
    for port, (strategy, (app, grace_s)) in enumerate(APPS.items(), 4300):
        opened[strategy] = open_activated(own_server, app, strategy, port, idle_grace_s=grace_s)
        configure(opened[strategy])
    own_server.agent("start")
    return opened


def configure(app: Activated, *, timeout: str = "30s", more: str = "") -> None:
    """Write the app's file; the agent is not told."""
    health = f'[health]\nurl = "{app.url}/health"\ninterval = "200ms"\ntimeout = "{timeout}"\n'
    text = f'rate_limit = "off"\nstrategy = "{app.site.name}"\n{health}{more}'
    app.box.path(f"/etc/dropdeploy/apps.d/{app.site.name}.toml").write_text(text)


@contextmanager
def changed(server: Server, app: Activated, dropin: str, **config: str) -> Iterator[None]:
    """Within it the app's unit and its file say something else."""
    place = f"/etc/systemd/system/{app.site.unit}.d/changed.conf"
    app.box.write(place, dropin)
    configure(app, **config)
    app.box.run("systemctl", "daemon-reload")
    server.agent("reload")
    try:
        yield
    finally:
        app.box.path(place).unlink()
        configure(app)
        app.box.run("systemctl", "daemon-reload")
        server.agent("reload")


def main_pid(app: Activated) -> str:
    return app.box.unit(app.site.unit, "MainPID")["MainPID"]


def details(result: dict[str, Any], step: str) -> list[str]:
    """Of the steps of this name."""
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
    deaf = "[Service]\nExecReload=\nExecReload=/bin/true\n"
    with changed(own_server, app, deaf, timeout="3s"), app.load() as seen:
        bad = app.upload("unnoticed")
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


def test_a_unit_that_knows_no_reload_is_not_touched(own_server: Server, apps: dict[str, Activated]) -> None:
    app = apps["reload"]
    before = main_pid(app)
    with changed(own_server, app, "[Service]\nExecReload=\n"):
        rejected = app.upload("not-reloaded")
    assert (rejected["status"], rejected["error"]["code"]) == ("rejected", "restart-failed")
    assert "ExecReload=" in rejected["error"]["hint"]
    assert main_pid(app) == before


def test_a_restart_behind_a_socket_refuses_nobody(apps: dict[str, Activated]) -> None:
    app = apps["restart"]
    app.upload("v1")
    with app.load(new=4, keep_alive=0, slow=0) as seen:
        releases = {app.upload(version, boot_s=0.3)["release"] for version in ("v2", "v3", "v4")}
    assert seen.failures == {}
    assert seen.releases >= releases


def test_a_socket_that_a_crash_loop_took_down_is_there_again(own_server: Server, apps: dict[str, Activated]) -> None:
    app = apps["restart"]
    app.upload("v5")
    limited = "[Unit]\nStartLimitIntervalSec=1min\nStartLimitBurst=2\n[Service]\nRestartSec=50ms\n"
    with changed(own_server, app, limited):
        app.box.write(f"{app.site.root}/app/behaviour.json", '{"needs": "DATABASE_URL"}')
        app.box.run("systemctl", "kill", "--signal=KILL", app.site.unit)

        def is_down() -> bool:
            # Somebody asks: the socket starts the service, which may not be started any more.
            app.box.run("curl", "--silent", "--max-time", "1", app.url, check=False)
            return app.box.unit(f"{app.site.name}.socket", "ActiveState")["ActiveState"] == "failed"

        wait_until(is_down, "the end of the socket", 60)
        mended = app.upload("mended")
    assert mended["status"] == "deployed"
    assert app.ask()["version"] == "mended"


# Releases that are ill in one way each, and what is said of them on trial.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "does-not-start": ({"needs": "DATABASE_URL"}, " failed; it is failed (result exit-code"),
    "crashes-in-soak": ({"crash_after_s": 0.4}, ""),  # told by who notices first
    "hangs-on-sigterm": ({"hangs": True}, " was well, but did not end when it was told to (SIGTERM), and was killed"),
    "answers-500": ({"column": "price"}, ""),  # or is not there yet
    "never-gets-ready": ({"boot_s": 3600}, " did not say that it is ready within 2 s"),
}


@pytest.mark.parametrize(
    ("strategy", "timeout", "kinds"),
    [
        ("restart", "1min", ["does-not-start", "crashes-in-soak", "hangs-on-sigterm"]),
        ("restart", "2s", ["answers-500", "never-gets-ready"]),
        ("reload", "1min", ["does-not-start", "crashes-in-soak"]),
    ],
)
def test_nobody_sees_a_broken_release_that_is_tried_first(
    own_server: Server, apps: dict[str, Activated], strategy: str, timeout: str, kinds: list[str]
) -> None:
    app = apps[strategy]
    good = app.upload("before-the-trials")
    trial = 'soak = "600ms"\n' + TRIAL.format(strategy, timeout)
    with changed(own_server, app, "", more=trial), app.load() as seen:
        results = {kind: app.upload(kind, **BROKEN[kind][0]) for kind in kinds}
    assert seen.failures == {}
    assert seen.releases == {good["release"]}
    for kind, result in results.items():
        error = result["error"]
        assert (result["status"], error["code"], error["step"]) == ("failed", "trial-failed", "trial")
        assert BROKEN[kind][1] in error["message"]
        assert result["live"] == good["release"]
    assert app.is_failed() == ""


def test_what_is_well_on_trial_goes_live(own_server: Server, apps: dict[str, Activated]) -> None:
    app = apps["reload"]
    with changed(own_server, app, "", more=TRIAL.format("reload", "30s")):
        result = app.upload("tried")
    assert result["status"] == "deployed"
    assert details(result, "trial") == [app.trial(result["release"])]
    assert app.ask()["version"] == "tried"
    assert app.box.unit(app.trial(result["release"]), "ActiveState")["ActiveState"] == "inactive"


def test_nothing_is_left_of_a_trial_over_which_the_agent_was_killed(
    own_server: Server, apps: dict[str, Activated]
) -> None:
    app = apps["restart"]
    good = app.upload("before-the-kill")
    with changed(own_server, app, "", more=TRIAL.format("restart", "4s")):
        app.drop("never", boot_s=3600)
        step = app.box.path(f"{app.site.drop}/never.tar.gz.deploying")
        wait_until(lambda: step.exists() and 'step = "trial"' in step.read_text(), "the trial", 60)
        app.box.run("systemctl", "kill", "--signal=KILL", AGENT_UNIT)
        again = app.site.result("never.tar.gz", 120)  # by the agent that systemd has started instead
    assert (again["status"], again["error"]["code"], again["live"]) == ("failed", "trial-failed", good["release"])
    running = ("list-units", "--plain", "--no-legend", "--state=active,activating,deactivating")
    assert app.box.run("systemctl", *running, "restart-trial@*").out == ""
