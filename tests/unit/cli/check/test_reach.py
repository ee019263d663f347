"""Ports and URLs, tried with real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.reach import check_health, check_listen
from dropdeploy.model.app import App, HealthCheck
from dropdeploy.model.config import Config, Settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port at which nobody does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def ground(listen: str = "", pid: int = 0) -> Ground:
    return Ground(Config(Settings(listen=listen), ()), Path("/etc/dropdeploy"), Agent.STOPPED, pid)


def health(tmp_path: Path, url: str) -> list[str]:
    app = App("shop", tmp_path, tmp_path, "shop.service", health=HealthCheck(url))
    return [f"{finding.level.lower()} {finding.what}" for finding in check_health(app, ground())]


def test_where_the_status_page_listens(taken: int, free: int) -> None:
    told = {port: [finding.what for finding in check_listen(ground(f"127.0.0.1:{port}"))] for port in (taken, free)}
    assert told == {
        taken: [f"127.0.0.1:{taken} cannot be listened at: address already in use"],
        free: [f"127.0.0.1:{free} is free for the status page"],
    }
    assert list(check_listen(ground())) == list(check_listen(ground("/run/x.sock"))) == []
    assert list(check_listen(ground(f"127.0.0.1:{taken}", pid=1))) == []  # it is the agent that has it


def test_nobody_needs_to_answer_before_the_first_release(tmp_path: Path, free: int) -> None:
    assert health(tmp_path, f"http://127.0.0.1:{free}/") == [f"ok http://127.0.0.1:{free}/ can be asked"]
    assert health(tmp_path, f"unix:{tmp_path}/app.sock:/")[0].startswith("ok ")
    assert health(tmp_path, "") == []


def test_somebody_must_when_a_release_is_live(tmp_path: Path, free: int, taken: int) -> None:
    (tmp_path / "app").mkdir()
    assert health(tmp_path, f"http://127.0.0.1:{taken}/")[0].startswith("ok ")
    what = "a release is live, and nobody can be asked there (connection refused)"
    assert health(tmp_path, f"http://127.0.0.1:{free}/") == [f"warn http://127.0.0.1:{free}/: {what}"]
    (unix,) = health(tmp_path, f"unix:{tmp_path}/app.sock:/")
    assert unix.endswith("nobody can be asked there (no such file or directory)")


def test_what_no_deploy_can_mend(tmp_path: Path) -> None:
    name = 64 * "x"  # too long to be asked for: no query leaves this machine
    (host,) = health(tmp_path, f"http://{name}/")
    assert host.startswith(f"fail http://{name}/: the host {name} has no address")
    (directory,) = health(tmp_path, "unix:/nowhere/app.sock:/")
    assert directory.startswith("warn unix:/nowhere/app.sock:/: there is no directory /nowhere for the socket")
