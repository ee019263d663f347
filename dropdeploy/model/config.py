"""The configuration: the agent's own settings, and its apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dropdeploy.model.app import App


class Bus(StrEnum):
    """Who runs the units: the machine's systemd, the user's, or the supervisor inside the agent."""

    SYSTEM = "system"
    USER = "user"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Settings:
    """``dropdeploy.toml``."""

    state: Path = Path("/var/lib/dropdeploy")
    drop: Path = Path("/srv/drop")
    concurrency: int = 2
    rescan_s: float = 30.0
    bus: Bus = Bus.SYSTEM
    listen: str = ""
    listen_token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. ``apps`` is in order of name; ``sources`` are the files that it was read from, as ``config.files`` has
    them."""

    settings: Settings
    apps: tuple[App, ...]
    sources: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict, compare=False)
