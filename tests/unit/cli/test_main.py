"""The command as a process: its grammar, exit codes and what it imports."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys

import pytest

from dropdeploy import __version__
from dropdeploy.cli import COMMANDS
from dropdeploy.cli.parser import build_parser
from tests.agent.world import World


def test_version(world: World) -> None:
    told = subprocess.run([sys.executable, "-m", "dropdeploy", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"dropdeploy {__version__}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["status"], ["history"], ["hold", "myapp"]])
def test_what_is_asked_often_imports_nothing_heavy(world: World, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom dropdeploy.cli import main\nmain(sys.argv[1:])\n"
        "sys.exit(str([name for name in ('aiohttp', 'asyncio', 'pydbus', 'watchdog', 'gi') if name in sys.modules]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        *arguments,
        *(["--config", str(world.config)] * (arguments[0] != "--version")),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=world.environment())
    assert told.stderr.splitlines()[-1] == "[]"


def test_every_command_of_the_grammar_has_its_function() -> None:
    parser = build_parser()
    commands = next(action.choices for action in parser._actions if action.dest == "command")
    assert commands is not None
    assert set(commands) == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "usage: dropdeploy"),
        (["deplyo"], "invalid choice: 'deplyo'"),
        (["deploy", "myapp"], "the following arguments are required: FILE"),
        (["history", "--limit", "0"], 'expected a whole number of at least 1, found "0"'),
        (["restart", "myapp", "--timeout", "soon"], 'expected a time span such as "90s" or "5min", found "soon"'),
        (["rollback", "myapp", "v1"], '"v1" is no release, expected one such as 20260123-143022'),
    ],
)
def test_usage(world: World, arguments: list[str], complaint: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "dropdeploy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=world.environment(),
    )
    assert told.returncode == 2
    assert told.stdout == ""
    assert complaint in told.stderr


def test_config_stands_before_or_after_the_command(world: World) -> None:
    before = subprocess.run(
        [sys.executable, "-m", "dropdeploy", "--config", str(world.config), "hold", "myapp"],
        capture_output=True,
        text=True,
        check=False,
        env=world.environment(),
    )
    assert (before.returncode, before.stdout) == (0, "myapp is on hold: uploads wait until `dropdeploy unhold myapp`\n")
    after = world.run("unhold", "myapp")
    assert (after.returncode, after.stdout) == (0, "myapp goes on\n")


def test_every_mistake_of_the_configuration_is_told(world: World) -> None:
    world.configure('keeep = 3\nunit = "myapp"')
    (world.config / "apps.d" / "other.toml").write_text("keep = 0\n")
    told = world.run("status")
    assert told.returncode == 2
    lines = told.stderr.splitlines()
    assert any("keeep" in line and '"keep"' in line for line in lines)
    assert any("unit" in line and "myapp.service" in line for line in lines)
    assert any("other.toml" in line and "keep = 0" in line for line in lines)


def test_an_unknown_app_is_answered_with_the_known_ones(world: World) -> None:
    told = world.run("status", "myap")
    assert told.returncode == 2
    assert told.stderr == 'there is no app "myap": did you mean "myapp"? known: myapp\n'


def test_a_missing_configuration_names_where_it_was_looked_for(world: World) -> None:
    world.config.rename(world.path / "elsewhere")
    told = world.run("status")
    assert told.returncode == 2
    assert str(world.config) in told.stderr


def test_a_reader_that_has_read_enough_is_no_fault(world: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    told = subprocess.run(
        world.command("check"), env=world.environment(), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (told.returncode, told.stderr) == (3, "")


def test_hold_knows_every_spelling(world: World) -> None:
    (world.drop / "Hold.TXT").touch()
    (world.drop / "hold").touch()
    assert world.run("hold", "myapp").stdout == "myapp was on hold already\n"
    assert world.run("unhold", "myapp").stdout == "myapp goes on\n"
    assert not list(world.drop.iterdir())
    assert world.run("unhold", "myapp").stdout == "myapp was not on hold\n"


def test_a_missing_drop_directory_is_told(world: World) -> None:
    world.drop.rmdir()
    told = world.run("hold", "myapp")
    assert told.returncode == 2
    assert told.stderr.startswith(f"myapp: there is no drop directory {world.drop}; ")


def test_permission_that_is_missing_is_told_with_its_remedy(world: World) -> None:
    """As nobody, in a drop directory that is not nobody's."""
    world.path.chmod(0o755)
    for directory in world.path.parents:
        if directory.stat().st_uid != os.getuid() or directory.stat().st_mode & stat.S_ISVTX:
            break  # never /tmp itself
        directory.chmod(0o755)
    world.drop.chmod(0o755)
    code = "import locale, os, sys, dropdeploy.cli.holding\n"  # nobody may not be able to read where Python is
    code += "if os.getuid() == 0: os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
    code += "sys.exit(dropdeploy.cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "hold", "myapp", "--config", str(world.config)]
    if os.getuid() != 0:
        world.drop.chmod(0o555)
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=world.environment())
    assert told.returncode == 3
    assert f"may not write in {world.drop}" in told.stderr
    assert "run this as root" in told.stderr


def test_check_tells_every_finding_and_what_to_do(world: World) -> None:
    told = world.run("check")
    assert told.returncode == 3, told.stdout
    assert re.search(f"ok    myapp +{world.drop} is readable and writable", told.stdout)
    assert re.search("FAIL  agent +it is not running: start it with `dropdeploy run --config", told.stdout)
    world.configure('shared = [".env"]\ngroup = "no-such-group"')
    (world.root / "app").mkdir()
    told = world.run("check", "--json")
    assert told.returncode == 2
    failed = {finding["what"] for finding in json.loads(told.stdout)["findings"] if finding["level"] == "fail"}
    assert failed == {
        "it is not running",
        f"{world.root}/app is no symbolic link",
        "there is no group no-such-group",
        f"the shared file {world.root}/shared/.env is not there",
    }


def test_check_tells_mistakes_of_the_configuration(world: World) -> None:
    world.configure("keep = 0")
    told = world.run("check")
    assert told.returncode == 2
    assert told.stdout.startswith("FAIL  config  ")
    assert "keep = 0" in told.stdout


def test_check_sees_the_agent(agent: World) -> None:
    assert agent.process is not None
    told = agent.run("check")
    assert re.search(rf"ok    agent +it is running \(pid {agent.process.pid}\)", told.stdout)
    assert told.returncode == 0
