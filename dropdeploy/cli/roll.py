"""Which apps there are, and where: by the agent's roster, where it speaks of the configuration as it is now.

Else by the configuration itself, which takes far longer where there are many.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from dropdeploy.config.files import MAIN_FILE
from dropdeploy.config.identity import identify_sources
from dropdeploy.roster import Entry, Roster, read_roster

DEFAULT_STATE = "/var/lib/dropdeploy"


def call_roll(directory: Path, name: str | None) -> tuple[Path, str, tuple[Entry, ...]]:
    """The state directory, the setting ``bus``, and the app of this name, or all.

    Raises a Refusal with every mistake in the configuration, or where there is no such app.
    """
    directory = directory.absolute()
    state = _state_of(directory)
    roster = _known(directory, state) if state else None
    if state and roster:
        asked = [entry for entry in roster.entries if name in (None, entry.app)]
        if asked or name is None:
            return state, roster.bus, tuple(asked)
    # All that the configuration's language takes: it is not needed when the agent vouches for it.
    from dropdeploy.cli.configured import apps_asked, load  # noqa: PLC0415

    config = load(directory)
    entries = tuple(Entry(app.name, str(app.root), str(app.drop)) for app in apps_asked(config, name))
    return config.settings.state, config.settings.bus, entries


def _known(directory: Path, state: Path) -> Roster | None:
    """What the agent has read, if it read what is there now."""
    roster = read_roster(state)
    try:
        return roster if roster and roster.sources == identify_sources(directory) else None
    except OSError:
        return None  # whoever reads the files can say what is wrong


def _state_of(directory: Path) -> Path | None:
    """The setting ``state``; None where something is wrong with it or its file."""
    try:
        fd = os.open(os.path.join(directory, MAIN_FILE), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Path(DEFAULT_STATE)
    except OSError:
        return None
    try:
        with open(fd, encoding="utf-8-sig") as file:
            state = tomllib.loads(file.read()).get("state", DEFAULT_STATE)
    except (OSError, ValueError, RecursionError):
        return None
    return Path(state) if isinstance(state, str) and state.startswith("/") else None
