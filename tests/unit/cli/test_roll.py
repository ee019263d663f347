"""``dropdeploy status`` by the agent's roster: it tells what the apps' own files tell, and is not believed further."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dropdeploy.cli.painting import STATUS_COLOURS
from dropdeploy.cli.parser import KINDS, STRATEGIES
from dropdeploy.cli.roll import DEFAULT_STATE
from dropdeploy.model.app import Strategy
from dropdeploy.model.config import Settings
from dropdeploy.model.outcome import Status
from dropdeploy.roster import ROSTER_NAME, Entry, read_roster
from dropdeploy.units import templates
from tests.agent.world import World, wait_for

HEAVY = ("dropdeploy.model", "dropdeploy.config.parse", "asyncio", "sqlite3", "logging")


def entry_of(world: World) -> Entry | None:
    """The app's line, once the agent has told of it."""
    roster = read_roster(world.state)
    return next((entry for entry in roster.entries if entry.told), None) if roster else None


def status(world: World) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(world.run("status", "--json").stdout)["apps"][0]
    return told


@pytest.fixture
def rolled(agent: World) -> World:
    """An agent that has deployed, and has told so in its roster."""
    assert agent.deploy("v1")["status"] == "deployed"
    live = agent.live()
    wait_for("roster", lambda: (entry := entry_of(agent)) and (entry.told or {}).get("last", {}).get("release") == live)
    return agent


def test_the_roster_tells_what_the_files_tell(rolled: World) -> None:
    by_roster, shown = status(rolled), rolled.run("status").stdout
    assert rolled.stop() == 0  # or it would write another
    (rolled.state / ROSTER_NAME).unlink()
    assert status(rolled) == by_roster
    assert by_roster["last"]["release"] == rolled.live()
    assert {rolled.live(), "healthy", "deployed"} <= set(shown.split())


def test_it_is_as_confidential_as_the_history(rolled: World) -> None:
    assert (rolled.state / ROSTER_NAME).stat().st_mode & 0o777 == 0o640


def test_a_status_file_that_is_another_one_is_read(rolled: World) -> None:
    file = rolled.drop / "status.toml"
    text = file.read_text()
    file.write_text(text.replace('"deployed"', '"rejected"'))
    assert status(rolled)["last"]["status"] == "rejected"
    file.unlink()
    assert status(rolled) == {"app": "myapp", "live": rolled.live()}


def test_what_the_link_says_is_true(rolled: World) -> None:
    link = rolled.root / "app"
    link.unlink()
    link.symlink_to("releases/20200101-000000")
    assert status(rolled)["live"] == "20200101-000000"
    assert "live_healthy" not in status(rolled)


def test_a_configuration_that_was_changed_is_read(rolled: World) -> None:
    other = rolled.config / "apps.d" / "other.toml"
    other.write_text('[embedded]\ncommand = ["true"]\n')
    assert [app["app"] for app in json.loads(rolled.run("status", "--json").stdout)["apps"]] == ["myapp", "other"]
    other.write_text("keeep = 3\n")
    told = rolled.run("status")
    assert (told.returncode, "keeep" in told.stderr) == (2, True)
    other.unlink()
    main = rolled.config / "dropdeploy.toml"
    main.write_text("concurrency = 0\n" + main.read_text())
    assert "concurrency" in rolled.run("status").stderr


def test_it_follows_a_reload(rolled: World) -> None:
    (rolled.config / "apps.d" / "other.toml").write_text('[embedded]\ncommand = ["true"]\n')
    assert rolled.process is not None
    rolled.process.send_signal(1)
    wait_for("new roster", lambda: (roster := read_roster(rolled.state)) and len(roster.entries) == 2)
    assert [app["app"] for app in json.loads(rolled.run("status", "--json").stdout)["apps"]] == ["myapp", "other"]


def test_what_nobody_may_read_is_no_obstacle(rolled: World) -> None:
    roster = rolled.state / ROSTER_NAME
    roster.unlink()
    os.mkdir(roster)
    assert status(rolled)["live_healthy"] is True
    roster.rmdir()


def test_an_app_that_is_not_there_is_answered_by_the_configuration(rolled: World) -> None:
    assert 'did you mean "myapp"?' in rolled.run("status", "myap").stderr


def test_status_imports_little(rolled: World) -> None:
    program = "import sys; from dropdeploy.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    told = subprocess.run(
        [sys.executable, "-c", program, "status", "--config", str(rolled.config)],
        capture_output=True,
        text=True,
        check=True,
        env=rolled.environment(),
    )
    assert not set(HEAVY) & set(told.stderr.split())


def test_words_that_are_written_twice_are_the_same() -> None:
    assert tuple(strategy.value for strategy in Strategy) == STRATEGIES
    assert templates.KINDS == KINDS
    assert {status.value for status in Status} == STATUS_COLOURS.keys()
    assert Settings().state == Path(DEFAULT_STATE)
