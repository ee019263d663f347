"""The roster: one file in the state directory in which the agent tells of all apps at once.

``dropdeploy status`` reads it in place of each app's file and ``status.toml``, thousands where there are many apps. It
is no second truth: the agent says of which files it speaks, whoever reads it holds that against what is on disk, and
what has changed since is read anew. Lines of JSON: the head, then one an app. Imports next to nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dropdeploy.config.files import Identity, Sources

ROSTER_NAME = "roster"
STATUS_FILE = "status.toml"
SCHEMA = 1


class Entry(NamedTuple):
    """An app. ``told`` is what ``status.toml`` told, with times as text, when that was the file ``told_as``; None where
    the agent has told nothing yet."""

    app: str
    root: str
    drop: str
    told: Mapping[str, Any] | None = None
    told_as: Identity | None = None


class Roster(NamedTuple):
    """All apps, in order of name, as the configuration in ``sources`` describes them. ``bus`` is the setting."""

    bus: str
    sources: Sources
    entries: tuple[Entry, ...]


def head_line(bus: str, sources: Sources) -> str:
    """The first line."""
    return json.dumps({"schema": SCHEMA, "bus": bus, "sources": sources}, separators=(",", ":"))


def entry_line(app: str, root: Path, drop: Path, told: str = "null", told_as: Identity | None = None) -> str:
    """The line of one app; ``told`` is JSON."""
    start = json.dumps([app, str(root), str(drop)], separators=(",", ":"))
    return f"{start[:-1]},{told},{json.dumps(told_as)}]"


def read_roster(state: Path) -> Roster | None:
    """What the agent has written there; None where there is none, or one that this user or this version cannot read."""
    try:
        with open(os.path.join(state, ROSTER_NAME), "rb") as file:
            head, *lines = file.read().splitlines()
        table = json.loads(head)
        if table["schema"] != SCHEMA:
            return None
        sources = {path: tuple(identity) for path, identity in table["sources"].items()}
        entries = json.loads(b"[%s]" % b",".join(lines))
        return Roster(table["bus"], sources, tuple(map(_entry, entries)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entry(fields: list[Any]) -> Entry:
    app, root, drop, told, told_as = fields
    return Entry(app, root, drop, told, told_as and tuple(told_as))
