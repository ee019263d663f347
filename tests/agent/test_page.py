"""The status page of a real agent, asked as a browser and a program ask."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.agent.world import World, build, wait_for


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers by their names in lower case, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, told, answer.read().decode()
    finally:
        connection.close()


def told(port: int, path: str) -> dict[str, Any]:
    status, _, body = ask(port, path)
    assert status == 200, body
    table: dict[str, Any] = json.loads(body)
    return table


@pytest.fixture
def port(world: World) -> int:
    port = free_port()
    world.configure(main=f'listen = "127.0.0.1:{port}"\n')
    return port


def test_the_page_answers_what_people_ask(world: World, port: int) -> None:
    world.start()
    assert "nothing live" in ask(port, "/")[2]
    world.put("v1.tar.gz.meta.toml", b'author = "Ada <ada@example.org>"\ncommit = "1a2b3c4"\n')
    first = world.deploy("v1")
    second = world.deploy("v2")
    broken = world.deploy("v3", exit=1)
    # What is live is looked at when all is told.
    app = wait_for("look", lambda: (it := told(port, "/apps/myapp.json"))["last"]["id"] == broken["id"] and it)
    page = ask(port, "/apps/myapp")[2]
    for needed in (
        second["release"],  # live
        "healthy",
        "A rollback would go to",
        first["release"],
        "by <b>Ada &lt;ada@example.org&gt;</b>",
        "rolled back",
        broken["error"]["message"],
        "cannot go on: DATABASE_URL is not set",
    ):
        assert needed in page
    assert app["live"] == second["release"]
    assert app["live_healthy"] is True
    assert app["rollback_to"] == first["release"]
    assert [deploy["status"] for deploy in app["deploys"]] == ["rolled-back", "deployed", "deployed"]
    deploy = told(port, f"/apps/myapp/deploys/{broken['id']}.json")
    assert deploy["error"]["log"] == broken["error"]["log"]
    assert deploy["before"] == second["id"]
    assert ask(port, "/apps/myapp", Accept="application/json")[1]["content-type"].startswith("application/json")
    for missing in ("/apps/other", "/apps/myapp/deploys/99", "/apps/myapp/deploys/x", "/static/x", "/../etc/passwd"):
        assert ask(port, missing)[0] == 404


def test_aiohttps_server_is_loaded_only_where_it_is_wanted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    world.start()
    world.stop()
    assert " dropdeploy.agent\n" in world.log.read_text()
    assert " aiohttp" not in world.log.read_text()
    world.configure(main=f'listen = "{world.path}/page.sock"\n')
    world.start()
    assert " aiohttp.web\n" in world.log.read_text()


def test_a_socket(world: World) -> None:
    path = world.path / "page.sock"
    world.configure(main=f'listen = "{path}"\n')
    world.start()
    assert path.stat().st_mode & 0o777 == 0o666
    world.stop(9)
    world.start()  # over what was left behind
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    world.stop()
    assert not path.exists()


def test_an_address_that_is_taken_is_told(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        world.configure(main=f'listen = "127.0.0.1:{taken.getsockname()[1]}"\n')
        done = world.run("run")
    assert done.returncode == 3
    assert 'listen = "127.0.0.1:' in done.stderr
    assert "Address already in use" in done.stderr or "address already in use" in done.stderr


def test_a_page_for_others_needs_a_token(world: World, tmp_path: Path) -> None:
    port, token = free_port(), tmp_path / "token"
    world.configure(main=f'listen = "0.0.0.0:{port}"\n')
    done = world.run("run")
    assert done.returncode == 2
    assert "listen_token_file" in done.stderr
    world.configure(main=f'listen = "0.0.0.0:{port}"\nlisten_token_file = "{token}"\n')
    assert "openssl rand -hex 32" in world.run("run").stderr  # there is no such file
    token.write_text("0123456789abcdef\n")
    world.start()
    assert ask(port, "/")[0] == 401
    assert ask(port, "/apps/myapp.json")[0] == 401
    assert ask(port, "/events")[0] == 401
    assert ask(port, "/healthz")[0] == 200
    assert ask(port, "/", Authorization="Bearer 0123456789abcdef")[0] == 200
    status, headers, _ = ask(port, "/apps/myapp?token=0123456789abcdef&before=3")
    assert (status, headers["location"]) == (303, "/apps/myapp?before=3")
    cookie = headers["set-cookie"].partition(";")[0]
    assert ask(port, "/", Cookie=cookie, Host="deploys.example.com")[0] == 200


def test_nobody_can_change_anything(agent_with_page: int) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/apps/myapp", "/events"):
            assert ask(agent_with_page, path, method)[0] == 405
    status, headers, body = ask(agent_with_page, "/", "HEAD")
    assert (status, body) == (200, "")
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert ask(agent_with_page, "/", Host="evil.example")[0] == 421


@pytest.fixture
def agent_with_page(world: World, port: int) -> int:
    world.start()
    return port


def test_whoever_listens_hears_of_a_deploy(world: World, agent_with_page: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", agent_with_page, timeout=30)
    connection.request("GET", "/events")
    stream = connection.getresponse()
    assert stream.getheader("Content-Type", "").startswith("text/event-stream")
    world.put("v1.tar.gz", build("v1"))
    said = ""
    while "is live and healthy" not in said:
        line = stream.readline().decode()
        assert line, "the stream has ended"
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            assert event["app"] == "myapp"
            said = event["say"]
    connection.close()
    world.result("v1.tar.gz")


def test_who_stops_reading_holds_nobody_up(world: World, agent_with_page: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", agent_with_page)) for _ in range(5)]
    for connection in silent:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert world.deploy("v1")["status"] == "deployed"
    assert told(agent_with_page, "/healthz")["status"] == "ok"
    assert world.stop() == 0  # soon, although they are still there
    for connection in silent:
        connection.close()


def test_the_work_in_progress(world: World, port: int) -> None:
    world.start()
    world.put("v1.tar.gz", build("v1", boot_s=10))
    working = wait_for("work", lambda: told(port, "/apps.json")["apps"][0].get("progress"))
    assert working["upload"] == "v1.tar.gz"
    wait_for("the health check", lambda: "health" in str(told(port, "/apps.json")["apps"][0].get("progress")))
    page = ask(port, f"/apps/myapp/deploys/{working['id']}")[2]
    assert "going on" in page
    assert "extract" in page
    assert world.result("v1.tar.gz")["error"]["code"] == "health-timeout"
