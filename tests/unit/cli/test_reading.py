"""Commands that read a drop directory, where an uploader has planted something in the place of the agent's files."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dropdeploy.cli.following import Request
from dropdeploy.cli.reading import LIMIT_BYTES, identify, read_file
from tests.agent.world import World

SECRET = 'summary = "the secret"\nlive = "the secret"\nstep = "the secret"\n'


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret")


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def unix_socket(path: Path) -> None:
    directory = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{directory}/{path.name}")  # 107 bytes are all there is room for: unix(7)
    finally:
        os.close(directory)


PLANTED: list[Callable[[Path], None]] = [link, dangling, loop, os.mkfifo, Path.mkdir, unix_socket]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_no_file_of_the_agents_is_not_read(plant: Callable[[Path], None], tmp_path: Path) -> None:
    drop = tmp_path / "d"
    drop.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    for name in ("rollback.result.toml", "rollback.deploying"):
        plant(drop / name)
    assert read_file(drop / "rollback.deploying") is None
    request = Request(drop, "rollback", None, 0.0, 0.0)
    assert request.look() is None


def test_the_planted_link_itself_is_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    found = identify(tmp_path / "link")
    assert found is not None
    assert found[0] == (tmp_path / "link").lstat().st_ino


def test_a_file_without_end_is_read_up_to_the_limit(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1024**4)
    assert len(read_file(tmp_path / "large") or "") == LIMIT_BYTES


NONSENSE = (
    "steps = 3",
    "steps = [3]",
    'steps = [{name = "x"}]',
    "step = 3",
    "started = 2026-01-01",
    "a = " + "[" * 5000,
)


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_no_progress(text: str, tmp_path: Path) -> None:
    (tmp_path / "rollback.deploying").write_text(text)
    assert Request(tmp_path, "rollback", None, 0.0, 0.0).look() is None


@pytest.mark.parametrize("plant", PLANTED)
def test_status_does_not_follow_and_does_not_wait(plant: Callable[[Path], None], world: World) -> None:
    (world.path / "secret").write_text(SECRET)
    (world.drop.parent / "secret").write_text(SECRET)
    plant(world.drop / "status.toml")
    told = world.run("status", "--json")
    assert json.loads(told.stdout)["apps"] == [{"app": "myapp"}]
    assert "the secret" not in told.stdout + told.stderr


def test_status_of_the_wrong_kinds_is_left_out(world: World) -> None:
    (world.drop / "status.toml").write_text(
        'live = 3\nsince = "x"\nqueue = "x"\nworking = []\nother = 2026-01-01\n'
        "last = {status = 3, finished = 2026-01-01T00:00:00}\n"
    )
    told = world.run("status", "myapp")
    assert (told.returncode, told.stderr.count("\n")) == (3, 1)
    assert "myapp  nothing" in told.stdout
    assert json.loads(world.run("status", "--json").stdout)["apps"][0]["other"] == "2026-01-01"
