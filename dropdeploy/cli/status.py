"""``dropdeploy status``."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dropdeploy.cli.agent_state import Agent, agent_on, how_to_start
from dropdeploy.cli.moments import show_age
from dropdeploy.cli.painting import health_word, paint_health, paint_status
from dropdeploy.cli.reading import read_file
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.roll import call_roll
from dropdeploy.cli.screen import Screen, plain, standard_error, standard_output
from dropdeploy.cli.tables import Column, table
from dropdeploy.config.identity import identity_of
from dropdeploy.roster import STATUS_FILE, Entry

Told = Mapping[str, Any]
"""``status.toml`` as it was read."""

_SHAPE: Mapping[str, Any] = {
    "live": str,
    "live_healthy": bool,
    "since": datetime,
    "working": str,
    "held": bool,
    "queue": list,
    "last": {"status": str, "summary": str, "upload": str, "finished": datetime},
}


def run(asked: argparse.Namespace) -> int:
    """Print how the apps are. Exit code 3 when the agent that should tell is known not to run."""
    state, bus, entries = call_roll(asked.config, asked.app)
    agent = agent_on(state)
    told = [_read(entry) for entry in entries]
    output, errors = standard_output(), standard_error()
    if asked.json:
        output.line(json.dumps({"agent": agent, "apps": told}, indent=2, default=_moment))
    elif told:
        for line in _table(told, output):
            output.line(line)
        if asked.app and {"status", "summary"} <= (last := told[0].get("last", {})).keys():
            output.line()
            output.line(f"last: {paint_status(plain(last['status']), output)}: {plain(last['summary'])}")
    else:
        errors.line("no apps are configured")
    if agent is Agent.STOPPED:
        errors.line(f"the agent is not running: this is how things were; {how_to_start(bus, asked.config)}")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE


def _read(entry: Entry) -> Told:
    path = f"{entry.drop}/{STATUS_FILE}"
    return _as_on_disk(entry, {**(_as_rolled(entry, path) or _as_told(path)), "app": entry.app})


def _as_rolled(entry: Entry, path: str) -> Told | None:
    """What the agent wrote in ``status.toml``, if that is what stands there."""
    try:
        if entry.told is None or identity_of(os.lstat(path)) != entry.told_as:
            return None
    except OSError:
        return None
    return _with_moments(entry.told, ("since",)) | {
        key: _with_moments(table, ("finished",)) for key, table in entry.told.items() if key == "last"
    }


def _with_moments(table: Told, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: datetime.fromisoformat(value) if key in keys else value for key, value in table.items()}


def _as_told(path: str) -> Told:
    try:
        text = read_file(path) or ""  # the agent may not have looked at it yet
    except OSError as error:
        raise Refusal(
            ExitCode.UNAVAILABLE, f"{path}: {error.strerror}; run this as root, or as a user who may read there"
        ) from error
    try:
        return _sound(tomllib.loads(text), _SHAPE)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _sound(told: dict[str, Any], shape: Mapping[str, Any]) -> dict[str, Any]:
    """What is of the kind that the agent writes; an uploader may write there as well."""
    sound: dict[str, Any] = {}
    for key, value in told.items():
        kind = shape.get(key, object)
        if isinstance(kind, Mapping):
            sound |= {key: _sound(value, kind)} if isinstance(value, dict) else {}
        elif isinstance(value, kind):
            sound[key] = value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value
    return sound


def _as_on_disk(entry: Entry, told: dict[str, Any]) -> Told:
    """What the link says is true, whenever ``status.toml`` was written."""
    try:
        live = os.path.basename(os.readlink(f"{entry.root}/app"))
    except OSError:
        return told
    if told.get("live") == live:
        return told
    return {key: value for key, value in told.items() if key not in ("live_healthy", "since")} | {"live": live}


def _table(told: list[Told], screen: Screen) -> list[str]:
    columns = (
        Column("APP"),
        Column("LIVE", least=15),
        Column("HEALTH", least=9, paint=lambda text: paint_health(text, screen)),
        Column("SINCE", is_number=True, goes=4),
        Column("NOW", least=12, goes=1),
        Column("LAST", least=12, goes=2, paint=lambda text: paint_status(text, screen)),
        Column("WHEN", is_number=True, goes=3),
        Column("WHAT", goes=5),
    )
    now = datetime.now(UTC)
    return table(columns, [_row(app, now) for app in told], screen.width)


def _row(told: Told, now: datetime) -> tuple[str, ...]:
    last = told.get("last", {})
    live = told.get("live", "")
    since = told.get("since")
    finished = last.get("finished")
    return (
        told["app"],
        plain(live) or "nothing",
        health_word(told.get("live_healthy")) if live else "",
        show_age(since, now) if since else "",
        plain(_doing(told)),
        plain(last.get("status", "")),
        f"{show_age(finished, now)} ago" if finished else "",
        plain(last.get("upload", "")),
    )


def _doing(told: Told) -> str:
    queue = told.get("queue", [])
    parts = [
        told.get("working", ""),
        "on hold" if told.get("held") else "",
        f"{len(queue)} waiting" if queue else "",
    ]
    return ", ".join(part for part in parts if part) or "idle"


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)  # TOML's other dates and times, which an uploader may write
