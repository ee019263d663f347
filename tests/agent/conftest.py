from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.world import World


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    if world.process is not None:
        assert world.stop() == 0
    log = world.log.read_text() if world.log.exists() else ""
    assert "Traceback" not in log, log
    if request.session.testsfailed:
        print(log)


@pytest.fixture
def agent(world: World) -> World:
    """A world whose agent runs."""
    world.start()
    return world
