"""Which files are the configuration."""

from __future__ import annotations

from collections.abc import Mapping

MAIN_FILE = "dropdeploy.toml"
APPS_DIRECTORY = "apps.d"

Identity = tuple[int, int, int, int]
"""Inode, size, times of modification and of change (ns): another file, or other content.

No device: the agent may see the same file through a mount of its own."""

Sources = Mapping[str, Identity]
"""The configuration's files, by path below its directory."""


def is_app_file(name: str) -> bool:
    """Hidden files, and those that do not end in ``.toml`` (editors' and dpkg's copies), are not read."""
    return name.endswith(".toml") and not name.startswith(".")
