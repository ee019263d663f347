"""Whether the agent runs, and what to do if it does not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from dropdeploy.lock import is_held


class Agent(StrEnum):
    """Whether an agent runs on the state directory."""

    RUNNING = "running"
    STOPPED = "not running"
    UNKNOWN = "unknown"


_STARTS: Mapping[str, str] = {
    "system": "systemctl start dropdeploy",
    "user": "systemctl --user start dropdeploy",
    "embedded": "dropdeploy run --config {directory}",
}


def agent_on(state: Path) -> Agent:
    """Whether an agent runs on this state directory, as far as this user can know."""
    try:
        return Agent.RUNNING if is_held(state) else Agent.STOPPED
    except PermissionError:
        return Agent.UNKNOWN


def how_to_start(bus: str, directory: Path) -> str:
    """What to do about an agent that does not run. ``bus`` is the setting, ``directory`` the configuration's."""
    return f"start it with `{_STARTS[bus].format(directory=directory)}`"
