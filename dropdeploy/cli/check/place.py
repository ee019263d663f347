"""The agent's place: its unit, and how something is tried there with all that the unit allows and forbids."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, denied
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.sandbox import configuration_directory, parse_settings, surroundings
from dropdeploy.cli.check.systemctl import Facts, cat, show
from dropdeploy.cli.init.look import account_named
from dropdeploy.cli.init.wish import AGENT, AGENT_UNIT
from dropdeploy.cli.parser import DEFAULT_DIRECTORY
from dropdeploy.cli.programs import Told, tell
from dropdeploy.model.config import Bus

_PROPERTIES = (
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "MainPID",
    "UnitFileState",
    "NeedDaemonReload",
    "Result",
    "StateChangeTimestamp",
)
# systemd.exec(5), PROCESS EXIT CODES: what systemd could not do before the program began.
_SET_UP_CODES = range(200, 244)


@dataclass(frozen=True, slots=True)
class Place:
    """``user``: as whom the unit runs. ``facts``: its properties; ``settings``: what its files say, nothing when it is
    masked."""

    user: str
    facts: Facts
    settings: tuple[tuple[str, str], ...]

    @property
    def pid(self) -> int:
        """The main process, 0 when none runs."""
        return int(self.facts.get("MainPID", "0") or 0)


def find_place(ground: Ground) -> Place | None:
    """The agent's unit, where this configuration is its and root asks; None where the agent is somebody else's."""
    if ground.config.settings.bus is Bus.USER or os.geteuid() != 0:
        return None
    facts = show([AGENT_UNIT], _PROPERTIES).get(AGENT_UNIT, {})
    state = facts.get("LoadState", "not-found")
    settings = parse_settings(cat(AGENT_UNIT)) if state not in ("not-found", "masked") else ()
    directory = Path(configuration_directory(settings, str(DEFAULT_DIRECTORY)))
    if state == "not-found" or not _is_same(directory, ground.directory):
        return None
    place = Place(dict(settings).get("User", "root" if settings else AGENT), facts, settings)
    is_another = ground.agent_pid and place.pid and ground.agent_pid != place.pid
    return None if is_another else place


def try_inside(place: Place, ground: Ground, names: Iterable[str]) -> list[Finding]:
    """What ``inside`` finds in this place."""
    if account_named(place.user) is None:
        mend = f"`useradd --system --user-group --no-create-home --home-dir /var/lib/dropdeploy {place.user}`"
        return [denied("agent", f"there is no user {place.user}, as whom {AGENT_UNIT} runs", mend)]
    unit = f"dropdeploy-check-{os.getpid()}"
    told = _run(unit, place, sys.executable, "-P", "-m", "dropdeploy.cli.check", str(ground.directory), *names)
    try:
        return [Finding.from_json(each) for each in json.loads(told.out)]
    except ValueError:
        return [_failure(unit, told)]


def _run(unit: str, place: Place, *command: str) -> Told:
    properties = [f"--property={key}={value}" for key, value in surroundings(place.settings)]
    options = ("--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--description=dropdeploy check")
    return tell("systemd-run", *options, *properties, "--", *command)


def _failure(unit: str, told: Told) -> Finding:
    """Nothing could be tried, and where the place itself is at fault the agent cannot start either."""
    said = told.err.strip().splitlines()[-1:] or [f"it ended with {told.code}"]
    if told.code not in _SET_UP_CODES:
        return denied("agent", f"nothing could be tried in the agent's place: {said[0]}", "see `systemctl --failed`")
    logged = tell("journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}").out
    why = next((line.partition(": ")[2] for line in logged.splitlines() if "Failed" in line and unit not in line), "")
    why = why or next((line for line in logged.splitlines() if "Failed" in line), said[0])
    mend = f"correct the unit or its drop-ins: `systemctl cat {AGENT_UNIT}` shows them"
    return denied("agent", f"{AGENT_UNIT} cannot be started by systemd (status {told.code}): {why}", mend)


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
