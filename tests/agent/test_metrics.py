"""What Prometheus reads from a real agent."""

from __future__ import annotations

import http.client
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.world import World, wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def scrape(port: int, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def samples(port: int) -> Samples:
    """Every sample by its name and labels."""
    status, kind, body = scrape(port, Accept="text/plain;version=0.0.4")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = text_string_to_metric_families(body)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def deploys(status: str, action: str = "deploy") -> tuple[str, frozenset[tuple[str, str]]]:
    return key("dropdeploy_deploys_total", app="myapp", action=action, status=status)


def test_a_scrape_tells_what_happened_and_counts_over_restarts(world: World) -> None:
    port = free_port()
    world.configure(main=f'listen = "127.0.0.1:{port}"\n')
    world.start()
    before = samples(port)
    assert before[deploys("deployed")] == 0
    assert before[key("dropdeploy_watched_directories")] == 1
    first = world.deploy("v1")["release"]
    world.deploy("v2", exit=1)
    wait_for("verdict", lambda: samples(port)[deploys("rolled-back")] == 1)
    after = samples(port)
    assert after[deploys("deployed")] == 1
    assert after[key("dropdeploy_live_release_info", app="myapp", release=first)] == 1
    assert after[key("dropdeploy_live_release_healthy", app="myapp")] == 1
    assert after[key("dropdeploy_step_duration_seconds_count", step="swap")] == 3
    assert after[key("dropdeploy_queue_length", app="myapp")] == 0
    assert after[key("dropdeploy_unwatched_directories")] == 0
    assert world.stop() == 0
    world.start()
    again = samples(port)
    assert again[deploys("deployed")] == 1
    assert again[deploys("rolled-back")] == 1
    assert again[key("dropdeploy_step_duration_seconds_count", step="swap")] == 0


def test_figures_ask_for_the_token_too(world: World) -> None:
    port, token = free_port(), world.path / "token"
    token.write_text("a-token-of-sufficient-length-0123456789\n")
    token.chmod(0o600)
    world.configure(main=f'listen = "127.0.0.1:{port}"\nlisten_token_file = "{token}"\n')
    world.start()
    assert scrape(port)[0] == 401
    status, _, body = scrape(port, Authorization="Bearer a-token-of-sufficient-length-0123456789")
    assert status == 200
    assert "dropdeploy_build_info" in body


def test_the_clients_library_is_loaded_only_where_it_is_wanted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    world.start()
    assert world.stop() == 0
    assert " prometheus_client\n" not in world.log.read_text()
