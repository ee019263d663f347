from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A configured app; no agent runs."""
    world = World(tmp_path)
    yield world
    if world.process is not None:
        assert world.stop() == 0


@pytest.fixture
def agent(world: World) -> World:
    """The same with a real agent."""
    world.start()
    return world
