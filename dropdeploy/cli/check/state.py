"""The directory where the history is. Tried as the agent."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dropdeploy.cli.check.findings import Finding, denied, good, wrong
from dropdeploy.cli.check.ground import Ground, own_name, owner_text
from dropdeploy.cli.check.trying import show_to_agent, try_directory
from dropdeploy.deploy.preflight import LEAST_STATE_BYTES
from dropdeploy.history.database import HISTORY_NAME
from dropdeploy.history.failure import HistoryError, UnfitHistoryError
from dropdeploy.history.reading import HistoryReader

_KIB = 1024


def check_state(ground: Ground) -> Iterator[Finding]:
    """The history must be written somewhere."""
    state = ground.config.settings.state
    if state.is_dir():
        yield try_directory("state", state, ground)
        yield from _files(ground)
        yield from _room(ground)
    elif os.path.lexists(state):
        yield wrong("state", f"{state} is no directory", f"`mv {state} {state}.away`, or name another with `state`")
    elif os.access(state.parent, os.W_OK | os.X_OK, effective_ids=True):
        yield good("state", f"{state} will be made when the agent starts")
    elif ground.is_in_its_place:
        mend = f"`install -d -o {own_name()} {state}`; if it is there, {show_to_agent('state', state)}"
        yield denied("state", f"{state} is not there, or hidden from the agent by its unit", mend)
    else:
        yield wrong("state", f"{state} is not there", f"`install -d -o {own_name()} {state}`")


def _files(ground: Ground) -> Iterator[Finding]:
    """Whoever runs an agent as root leaves files of root's there."""
    state = ground.config.settings.state
    with os.scandir(state) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in sorted(names):
        path = state / name
        if not os.access(path, os.W_OK, effective_ids=True):
            what = f"{own_name()} may not write {path}, which belongs to {owner_text(path)}"
            yield denied("state", what, f"`chown {own_name()}: {path} && chmod u+rw {path}`")
            return
    if HISTORY_NAME in names:
        try:
            HistoryReader(state / HISTORY_NAME).close()
        except UnfitHistoryError as error:
            yield wrong("state", str(error), "the agent sets it aside when it starts, and begins a new one")
        except HistoryError as error:
            yield wrong("state", str(error), f"look at {state}")


def _room(ground: Ground) -> Iterator[Finding]:
    state = ground.config.settings.state
    system = os.statvfs(state)
    free = system.f_bavail * system.f_frsize
    if free < LEAST_STATE_BYTES:
        what = f"{free // _KIB} KiB are free in {state}: uploads are refused"
        yield wrong("state", what, f"make room: `df -h {state}` tells which file system is full")
