"""The agent's own life: start, reload, stop, crash, and what it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tomllib
from typing import Any

import pytest

from tests.agent.world import World, build, files_of, tar, wait_for


def test_uploads_that_came_while_it_was_down_are_found(world: World) -> None:
    world.put("v1.tar.gz", build("v1"))
    world.start()
    assert world.result("v1.tar.gz")["status"] == "deployed"


def test_what_was_answered_is_not_answered_again(world: World) -> None:
    world.start()
    world.deploy("v1")
    bad = world.deploy("v2", exit=1)
    assert world.stop() == 0
    world.start()
    after = world.deploy("v3")
    assert after["id"] == bad["id"] + 1
    world.await_dropped("v2.tar.gz")


def test_the_app_runs_again_after_a_restart_of_the_agent(world: World) -> None:
    world.start()
    world.deploy("v1")
    assert world.stop() == 0
    with pytest.raises(OSError, match=r"No such file|refused"):
        world.ask()
    world.start()
    assert world.ask()["version"] == "v1"  # its socket is there as soon as the agent is ready


def test_a_kill_before_the_swap_is_as_before(world: World) -> None:
    world.start()
    world.deploy("v1")
    before = world.live()
    world.put("v2.tar.gz", build("v2", boot_s=0.3) + b"")
    wait_for("work", (world.drop / "v2.tar.gz.deploying").exists)
    world.stop(signal.SIGKILL)
    assert world.live() >= before
    world.start()
    assert world.result("v2.tar.gz")["status"] == "deployed"
    assert world.ask()["version"] == "v2"
    assert not [name for name in world.releases() if name.startswith(".")]


def test_what_was_taken_away_after_a_kill_before_the_swap_has_a_verdict(world: World) -> None:
    files = {f"data/{number}": "x" for number in range(3000)}

    def step() -> str:
        try:
            return str(tomllib.loads((world.drop / "v2.tar.gz.deploying").read_text())["step"])
        except (FileNotFoundError, tomllib.TOMLDecodeError):
            return "over" if (world.drop / "v2.tar.gz.result.toml").exists() else ""

    world.start()
    first = world.deploy("v1")
    for _ in range(20):
        (world.drop / "v2.tar.gz.result.toml").unlink(missing_ok=True)
        world.put("v2.tar.gz", tar({**files_of("v2"), **files}))
        wait_for("work", step)
        world.stop(signal.SIGKILL)
        if world.live() == first["release"]:
            break
        world.start()  # too late: it has swapped
        world.result("v2.tar.gz")
        first = world.deploy("v1")
    (world.drop / "v2.tar.gz").unlink()
    world.start()
    result = world.result("v2.tar.gz")
    assert (result["status"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert "the agent was stopped during" in result["error"]["message"]
    assert (result["live"], result["live_healthy"]) == (first["release"], True)
    assert world.dropped() == []
    # It is over, and not in the way of the same name.
    assert world.deploy("v2")["status"] == "deployed"
    assert world.stop() == 0


def test_a_kill_during_health_ends_in_a_verdict(world: World) -> None:
    world.start()
    first = world.deploy("v1")
    world.put("v2.tar.gz", build("v2", status=500))

    def step() -> bool:
        try:
            return tomllib.loads((world.drop / "v2.tar.gz.deploying").read_text())["step"] == "health"
        except FileNotFoundError:
            return False

    wait_for("health", step)
    world.stop(signal.SIGKILL)
    assert world.live() != first["release"]
    world.start()
    result = world.result("v2.tar.gz")
    assert (result["status"], result["live"]) == ("rolled-back", first["release"])
    assert world.ask()["version"] == "v1"


def test_sigterm_lets_a_deploy_finish(world: World) -> None:
    world.start()
    world.put("v1.tar.gz", build("v1", boot_s=0.8))

    def step() -> bool:
        try:
            return tomllib.loads((world.drop / "v1.tar.gz.deploying").read_text())["step"] in ("restart", "health")
        except FileNotFoundError:
            return False

    wait_for("restart", step)
    assert world.stop() == 0
    assert tomllib.loads((world.drop / "v1.tar.gz.result.toml").read_text())["status"] == "deployed"


def test_a_second_agent_refuses_to_start(agent: World) -> None:
    assert agent.process is not None
    second = agent.run("run")
    assert second.returncode == 3
    assert f"another agent (pid {agent.process.pid}) is running on {agent.state}" in second.stderr


def test_every_mistake_is_listed_and_nothing_starts(world: World) -> None:
    (world.config / "dropdeploy.toml").write_text(f'state = "{world.state}"\nbus = "embeded"\nconcurency = 2\n')
    (world.config / "apps.d" / "other.toml").write_text(f'root = "{world.root}"\ndrop = "/nowhere"\nkeep = "5"\n')
    done = world.run("run")
    assert done.returncode == 2
    for told in ("embeded", 'did you mean "concurrency"', "keep", "other.toml"):
        assert told in done.stderr, done.stderr


def test_a_root_and_a_unit_that_are_missing_are_refused(world: World) -> None:
    shutil.rmtree(world.root)
    (world.config / "apps.d" / "other.toml").write_text('keeep = 3\n[embedded]\ncommand = ["true"]\n')
    (world.config / "apps.d" / "third.toml").write_text('strategy = "handover"\n[embedded]\ncommand = ["true"]\n')
    done = world.run("run")
    assert done.returncode == 2
    assert f'myapp.toml: root = "{world.root}": there is no such directory' in done.stderr
    assert 'other.toml: keeep = 3: unknown key, did you mean "keep"?' in done.stderr
    assert 'other.toml: root = "/home/other": there is no such directory' in done.stderr
    assert 'third.toml: strategy = "handover": not available with bus = "embedded"' in done.stderr
    assert 'third.toml: drop = "/srv/drop/third": there is no such directory' in done.stderr


def test_an_app_whose_directories_are_missing_keeps_no_other_from_deploying(world: World) -> None:
    root, drop, socket = world.path / "other", world.path / "other-drop", world.path / "other.sock"
    (world.config / "apps.d" / "other.toml").write_text(
        f'root = "{root}"\ndrop = "{drop}"\n[health]\nurl = "unix:{socket}:/"\ntimeout = "4s"\n'
        f'[embedded]\ncommand = ["{sys.executable}", "-SE", "app.py"]\nlisten = "{socket}"\n'
    )
    (world.config / "dropdeploy.toml").write_text(f'state = "{world.state}"\nbus = "embedded"\nrescan = "200ms"\n')
    world.start()
    assert world.deploy("v1")["status"] == "deployed"
    told = "there is no such directory; create it, or name another; until that is mended its deploys are rejected"
    for key, path in (("root", root), ("drop", drop)):
        assert f'other.toml: {key} = "{path}": {told}' in world.log.read_text()

    def upload(name: str) -> dict[str, Any]:
        (drop / f".{name}").write_bytes(build(name))
        (drop / f".{name}").rename(drop / name)
        result = drop / f"{name}.result.toml"
        wait_for(result.name, result.exists)
        return tomllib.loads(result.read_text())

    drop.mkdir()
    rejected = upload("early.tar.gz")
    assert (rejected["status"], rejected["error"]["code"]) == ("rejected", "app-not-found")
    root.mkdir()
    assert upload("mended.tar.gz")["status"] == "deployed"


def test_reload_takes_a_new_configuration_and_keeps_the_old_on_a_mistake(world: World) -> None:
    world.start()
    world.deploy("v1")
    assert world.process is not None
    world.configure("keeep = 3")
    world.process.send_signal(signal.SIGHUP)
    wait_for("mistake in the log", lambda: 'did you mean "keep"' in world.log.read_text())
    assert world.deploy("v2")["status"] == "deployed"
    world.configure('rate_limit = "1/1h"')
    world.process.send_signal(signal.SIGHUP)
    wait_for("reload in the log", lambda: "configuration read again" in world.log.read_text())
    rejected = world.deploy("v3")
    assert rejected["error"]["code"] == "rate-limited"
    assert world.ask()["version"] == "v2"


def test_a_drop_directory_that_vanishes_and_returns(world: World) -> None:
    world.configure(main="")
    (world.config / "dropdeploy.toml").write_text(f'state = "{world.state}"\nbus = "embedded"\nrescan = "200ms"\n')
    world.start()
    world.deploy("v1")
    wait_for("upload to be cleared away", lambda: world.dropped() == [])
    shutil.rmtree(world.drop)
    wait_for("trouble in the log", lambda: "cannot be read" in world.log.read_text())
    world.drop.mkdir()
    assert world.deploy("v2")["status"] == "deployed"


def test_old_builds_of_a_drop_directory_that_returns_are_not_deployed_again(world: World) -> None:
    world.configure('after = "keep"')
    (world.config / "dropdeploy.toml").write_text(f'state = "{world.state}"\nbus = "embedded"\nrescan = "100ms"\n')
    world.start()
    world.deploy("v1")
    away = world.path / "away"
    world.drop.rename(away)
    wait_for("news of it", lambda: "cannot be read" in world.log.read_text())
    world.drop.mkdir()
    world.deploy("v2")
    other = world.path / "other"
    world.drop.rename(other)
    away.rename(world.drop)
    # A failed deploy tells that it has looked.
    world.put("notes.pdf", b"x")
    assert world.result("notes.pdf")["id"] == 3
    assert world.ask()["version"] == "v2"


def test_nobody_else_can_read_the_history(agent: World) -> None:
    agent.deploy("v1")
    assert os.stat(agent.state / "history.db").st_mode & 0o007 == 0


def test_what_status_toml_told_before_a_crash_is_put_right(world: World) -> None:
    told = world.drop / "status.toml"
    told.write_text('schema = 1\napp = "myapp"\nworking = "v1.tar.gz: health"\n')
    world.start()
    wait_for("status as it is now", lambda: "working" not in told.read_text())


def test_a_page_beside_the_status(world: World) -> None:
    page = world.drop / "status.html"
    world.configure("status_page = true")
    world.start()
    wait_for("page of an app without a release", lambda: page.exists() and "nothing live" in page.read_text())
    release = world.deploy("v1")["release"]
    wait_for("page with the release", lambda: release in page.read_text() and "healthy" in page.read_text())
    world.configure()
    assert world.process is not None
    world.process.send_signal(signal.SIGHUP)
    wait_for("end of the page", lambda: not page.exists())
    assert world.deploy("v2")["status"] == "deployed"
    assert not page.exists()


def test_the_latest_verdict_is_the_last_one_and_since_outlives_a_restart(agent: World) -> None:
    def status() -> dict[str, Any]:
        return tomllib.loads((agent.drop / "status.toml").read_text())

    first = agent.deploy("v1")
    agent.put("slow.tar.gz", build("v2", boot_s=2.0))
    wait_for("slow deploy", lambda: status().get("working", "").startswith("slow.tar.gz: health"))
    agent.put("notes.pdf", b"%PDF")
    refused = agent.result("notes.pdf")
    wait_for("refusal to be told", lambda: status()["last"]["id"] == refused["id"])
    assert status()["working"].startswith("slow.tar.gz: ")
    slow = agent.result("slow.tar.gz")
    assert first["id"] < slow["id"] < refused["id"]
    wait_for("slow verdict", lambda: status()["last"]["id"] == slow["id"])
    agent.put("notes.pdf", b"%PDF again")
    wait_for("another refusal", lambda: status()["last"]["id"] > refused["id"])
    assert status()["since"] == slow["finished"]
    assert agent.stop() == 0
    agent.start()
    wait_for("status of the new agent", lambda: status().get("live") == slow["release"])
    assert status()["since"] == slow["finished"]
