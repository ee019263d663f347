"""deploy, rollback and restart as people and CI jobs run them, against a real agent."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.agent.world import World, build, files_of, wait_for


def pack(world: World, name: str, version: str, **behaviour: object) -> Path:
    """A build on the administrator's side."""
    path = world.path / name
    path.write_bytes(build(version, **behaviour))
    return path


@contextmanager
def running(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        world.command(*arguments),
        env=world.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# --- what it says ------------------------------------------------------------------------------------------


def test_a_deploy_shows_its_steps_and_its_verdict(agent: World) -> None:
    told = agent.run("deploy", "myapp", str(pack(agent, "build.tar.gz", "v1")))
    assert (told.returncode, told.stderr) == (0, "")
    *steps, verdict = told.stdout.splitlines()
    expected = ["preflight", "extract", "link", "swap", "restart", "health", "prune"]
    assert [line.split()[:2] for line in steps if line.startswith("ok ")] == [["ok", step] for step in expected]
    assert re.fullmatch(r"deployed: \d{8}-\d{6} is live and healthy after [\d.]+ s", verdict)
    assert agent.ask()["version"] == "v1"


def test_json_is_the_result_and_nothing_else(agent: World) -> None:
    told = agent.run("deploy", "myapp", str(pack(agent, "build.tar.gz", "v1")), "--json")
    assert told.returncode == 0
    outcome = json.loads(told.stdout)
    result = tomllib.loads((agent.drop / "build.tar.gz.result.toml").read_text())
    assert {key: outcome[key] for key in ("status", "release", "sha256", "seconds", "steps")} == {
        key: result[key] for key in ("status", "release", "sha256", "seconds", "steps")
    }
    assert "health" in told.stderr


def test_a_deploy_that_fails_says_why_and_shows_the_log(agent: World) -> None:
    agent.deploy("v1")
    told = agent.run("deploy", "myapp", str(pack(agent, "build.tar.gz", "v2", exit=1)))
    assert told.returncode == 1
    assert "\nrolled-back: " in told.stdout
    assert "unit-crashed" in told.stdout
    assert "hint: " in told.stdout
    assert "cannot go on: DATABASE_URL is not set" in told.stdout


def test_a_result_from_before_is_not_taken_for_the_new_one(agent: World) -> None:
    agent.put("build.tar.gz", b"this is no gzip")
    assert agent.result("build.tar.gz")["status"] == "rejected"
    told = agent.run("deploy", "myapp", str(pack(agent, "build.tar.gz", "v1")))
    assert told.returncode == 0, told.stdout


def test_what_an_uploader_wrote_cannot_move_the_cursor(agent: World) -> None:
    file = agent.path / "bad\x1b[2J.tar.gz"
    file.write_bytes(b"this is no gzip")
    told = agent.run("deploy", "myapp", str(file))
    assert told.returncode == 1
    assert "\x1b" not in told.stdout
    assert "bad" in told.stdout


# --- rollback and restart ----------------------------------------------------------------------------------


def test_rollback_and_restart(agent: World) -> None:
    first, second = agent.deploy("v1")["release"], agent.deploy("v2")["release"]
    back = agent.run("rollback", "myapp")
    assert back.returncode == 0
    assert f"deployed: {first} is live" in back.stdout
    forth = agent.run("rollback", "myapp", second)
    assert (forth.returncode, agent.live()) == (0, second)
    pid = agent.ask()["pid"]
    assert agent.run("restart", "myapp").returncode == 0
    assert agent.ask()["pid"] != pid
    nowhere = agent.run("rollback", "myapp", "20010101-000000")
    assert nowhere.returncode == 1
    assert "no-such-release" in nowhere.stdout
    agent.await_dropped()


# --- uploads -----------------------------------------------------------------------------------------------


def test_a_directory_is_uploaded_whole_and_replaces_what_stands_there(agent: World) -> None:
    for version in ("v1", "v2"):
        source = agent.path / "site"
        source.mkdir(exist_ok=True)
        source.chmod(0o700)
        for name, text in files_of(version).items():
            (source / name).write_text(text)
        told = agent.run("deploy", "myapp", f"{source}/")
        assert told.returncode == 0, told.stdout + told.stderr
        assert agent.ask()["version"] == version
    agent.await_dropped("site")


def test_sidecars_go_along(agent: World) -> None:
    file = pack(agent, "build.tar.gz", "v1")
    (agent.path / "build.tar.gz.meta.toml").write_text('commit = "1a2b3c4"\n')
    (agent.path / "build.tar.gz.sha256").write_text("0" * 64)
    told = agent.run("deploy", "myapp", str(file), "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["error"]["code"] == "checksum-mismatch"
    (agent.path / "build.tar.gz.sha256").write_text(
        subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout
    )
    told = agent.run("deploy", "myapp", str(file), "--json")
    assert told.returncode == 0
    assert json.loads(told.stdout)["meta"] == {"commit": "1a2b3c4"}


def test_what_the_app_requires_is_asked_for_before_anything_is_dropped(world: World) -> None:
    world.configure('[accept]\nchecksum = "required"\ncompletion = "ready"')
    world.start()
    file = pack(world, "build.tar.gz", "v1")
    told = world.run("deploy", "myapp", str(file))
    assert told.returncode == 2
    assert told.stderr == f"myapp requires a checksum: make it with `sha256sum {file} > {file}.sha256`\n"
    world.await_dropped()
    checksum = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout
    Path(f"{file}.sha256").write_text(checksum)
    assert world.run("deploy", "myapp", str(file)).returncode == 0


def test_files_that_are_no_builds(agent: World) -> None:
    text, own = agent.path / "notes.pdf", agent.path / "status.toml"
    text.touch()
    own.touch()
    os.mkfifo(agent.path / "pipe.tar")
    for file, complaint in (
        (agent.path / "gone.zip", "No such file or directory"),
        (text, "not a build; expected a directory, or a file that ends in .tar.gz, .tgz,"),
        (own, "not a build"),
        (agent.path / "pipe.tar", "neither a file nor a directory"),
    ):
        told = agent.run("deploy", "myapp", str(file))
        assert told.returncode == 2
        assert told.stderr.startswith(f"{file}: {complaint}")
    agent.await_dropped()


# --- when it does not go straight on -----------------------------------------------------------------------


def test_without_an_agent_nothing_is_dropped(world: World) -> None:
    file = pack(world, "build.tar.gz", "v1")
    for arguments in (("deploy", "myapp", str(file)), ("rollback", "myapp"), ("restart", "myapp")):
        told = world.run(*arguments)
        assert told.returncode == 3
        assert told.stderr.startswith("the agent is not running, so nothing was dropped; start it with `dropdeploy run")
    assert list(world.drop.iterdir()) == []


def test_on_hold_it_says_so_and_goes_on_when_that_ends(agent: World) -> None:
    agent.run("hold", "myapp")
    with running(agent, "deploy", "myapp", str(pack(agent, "build.tar.gz", "v1"))) as deploy:
        assert deploy.stdout is not None
        held = iter(deploy.stdout.readline, "")
        assert "`dropdeploy unhold myapp`" in next(line for line in held if "held" in line)
        assert agent.run("unhold", "myapp").returncode == 0
        assert deploy.stdout.read().splitlines()[-1].startswith("deployed: ")
        assert deploy.wait() == 0


def test_ctrl_c_stops_the_watching_only(agent: World) -> None:
    with running(agent, "deploy", "myapp", str(pack(agent, "build.tar.gz", "v1", boot_s=1.5))) as deploy:
        wait_for("restart", lambda: "restart" in _deploying(agent))
        deploy.send_signal(signal.SIGINT)
        assert deploy.wait() == 130
        assert deploy.stderr is not None
        told = deploy.stderr.read()
    assert "the agent goes on with it" in told
    assert f"{agent.drop}/build.tar.gz.result.toml" in told
    assert agent.result("build.tar.gz")["status"] == "deployed"


def test_a_timeout_stops_the_watching_only(agent: World) -> None:
    file = pack(agent, "build.tar.gz", "v1", boot_s=1.5)
    told = agent.run("deploy", "myapp", str(file), "--timeout", "500ms")
    assert told.returncode == 1
    assert "not decided after 0.5 s; it goes on" in told.stderr
    assert agent.result("build.tar.gz")["status"] == "deployed"


def _deploying(world: World) -> str:
    try:
        return (world.drop / "build.tar.gz.deploying").read_text()
    except FileNotFoundError:
        return ""


# --- on a terminal -----------------------------------------------------------------------------------------


def test_a_terminal_sees_each_step_once_and_the_present_one_in_place(agent: World) -> None:
    file = pack(agent, "build.tar.gz", "v1", boot_s=1.0)
    ours, theirs = pty.openpty()
    environment = {**agent.environment(), "TERM": "xterm", "COLUMNS": "60", "LC_ALL": "C.UTF-8"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        agent.command("deploy", "myapp", str(file)), env=environment, stdout=theirs, stderr=theirs
    ) as deploy:
        os.close(theirs)
        written = _read_all(ours)
        assert deploy.wait() == 0
    assert "\x1b[32m✓\x1b[0m" in written
    assert re.search(r"\r\x1b\[K[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]  health +0\.\d s", written), written
    lines = [_as_seen(line) for line in written.rstrip("\n").split("\n")]
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["✓", step] for step in ("preflight", "extract", "link", "swap", "restart", "health", "prune")
    ]
    assert all(len(line) < 60 for line in lines[:-1])
    assert lines[-1].startswith("deployed: ")


def _read_all(terminal: int) -> str:
    chunks = []
    try:
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)
    except OSError:  # EIO: nobody has the other end open any more (pty(7))
        pass
    os.close(terminal)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def _as_seen(line: str) -> str:
    """What is left on the screen of a line that was rewritten."""
    return re.sub(r"\x1b\[[\d;]*m", "", line.rpartition("\r\x1b[K")[2])
