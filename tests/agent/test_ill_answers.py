"""Health addresses that answer as nobody expects, and what the uploader reads of it."""

from __future__ import annotations

import os

import pytest

from tests.agent.world import World


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("never", "did not answer within 0.3 s"),
        ("drips", "did not answer within 0.3 s"),
        ("redirects", "answered 302 (a redirect to /health)"),
    ],
)
def test_back_to_what_was_live(world: World, how: str, told: str) -> None:
    world.configure(health='attempt_timeout = "300ms"')
    world.start()
    first = world.deploy("v1")
    assert first["status"] == "deployed"
    ill = world.deploy("v2", health=how)
    assert (ill["status"], ill["live"], ill["live_healthy"]) == ("rolled-back", first["release"], True)
    assert (ill["error"]["code"], ill["error"]["step"]) == ("health-timeout", "health")
    assert told in ill["error"]["message"]
    assert "health.url" in ill["error"]["hint"]
    assert "booting v2" in ill["error"]["log"]
    assert world.ask()["version"] == "v1"


def test_ten_gigabytes_are_not_taken(agent: World) -> None:
    assert agent.process is not None
    found = agent.deploy("v1", health="10 GB")
    assert (found["status"], found["health"]["last_status"]) == ("deployed", 200)
    with open(f"/proc/{agent.process.pid}/io") as file:
        read = int(next(line for line in file if line.startswith("rchar")).split()[1])
    assert read < 1 << 30
    assert os.path.exists(agent.root / "app")
