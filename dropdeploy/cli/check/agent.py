"""The agent itself: whether it runs, comes with the machine, and knows what was changed since it was started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.agent_state import Agent, how_to_start
from dropdeploy.cli.check.findings import Finding, denied, good, poor
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.place import Place
from dropdeploy.cli.init.look import account_named, group_name, user_name
from dropdeploy.cli.init.wish import AGENT_UNIT
from dropdeploy.cli.parser import DEFAULT_DIRECTORY
from dropdeploy.cli.programs import tell
from dropdeploy.model.config import Bus

_RESTART = f"`systemctl restart {AGENT_UNIT}`"
_RELOAD = f"`systemctl reload {AGENT_UNIT}`"


def check_agent(ground: Ground, place: Place | None) -> Iterator[Finding]:
    """Nothing happens without it."""
    match ground.agent:
        case Agent.RUNNING:
            who = f" (pid {ground.agent_pid})" if ground.agent_pid else ""
            yield good("agent", f"it is running{who}")
        case Agent.STOPPED:
            yield denied("agent", "it is not running", _how_to_start(ground, place))
        case Agent.UNKNOWN:
            state = ground.config.settings.state
            yield poor("agent", f"whether it runs cannot be seen: {state} may not be read", "run this as root")


def check_who(ground: Ground, place: Place | None) -> Iterator[Finding]:
    """What this user may do says little of what the agent's may."""
    is_of_root = os.geteuid() == 0 and ground.config.settings.bus is Bus.SYSTEM
    if place is None and is_of_root and not ground.agent_pid and ground.directory == DEFAULT_DIRECTORY:
        yield poor("agent", f"all this was tried as root: there is no {AGENT_UNIT}", "`dropdeploy init APP` makes one")
    if place is not None or not ground.agent_pid:
        return
    try:
        agent_uid = Path("/proc", str(ground.agent_pid)).stat().st_uid
    except OSError:
        return
    if agent_uid != os.geteuid():
        agent, here = user_name(agent_uid), user_name(os.geteuid())
        mend = (
            "run this as root"
            if os.geteuid()
            else f"`runuser -u {agent} -- dropdeploy check --config {ground.directory}`"
        )
        yield poor("agent", f"checked as {here}, but the agent runs as {agent}", mend)


def check_unit(ground: Ground, place: Place | None) -> Iterator[Finding]:
    """That it comes back after a boot, and as its files say."""
    if place is None:
        return
    state = place.facts["LoadState"]
    if state == "masked":
        yield denied("agent", f"{AGENT_UNIT} is masked", f"`systemctl unmask {AGENT_UNIT}`")
    elif state != "loaded":
        mend = f"`systemd-analyze verify {AGENT_UNIT}` names the mistake"
        yield denied("agent", f"{AGENT_UNIT} cannot be loaded ({place.facts['LoadError'] or state})", mend)
    elif place.facts["UnitFileState"] == "disabled":
        yield poor("agent", f"{AGENT_UNIT} does not start with the machine", f"`systemctl enable {AGENT_UNIT}`")
    if state == "loaded" and place.facts["NeedDaemonReload"] == "yes":
        mend = f"`systemctl daemon-reload && systemctl restart {AGENT_UNIT}`"
        yield poor("agent", f"systemd has not read {AGENT_UNIT} since it was changed", mend)


def check_age(ground: Ground, place: Place | None) -> Iterator[Finding]:
    """Groups and mounts of a process are those of its start, and configuration is read when somebody says so."""
    if place is None or not ground.agent_pid:
        return
    if missing := sorted(_groups_of_user(place.user) - _groups_of_process(ground.agent_pid)):
        names = ", ".join(map(group_name, missing))
        yield denied("agent", f"it was started before {place.user} became a member of {names}", _RESTART)
    root = Path(f"/proc/{ground.agent_pid}/root")
    for app in ground.config.apps:
        for path in (app.root, app.drop):
            if path.is_dir() and not (root / path.relative_to("/")).is_dir():
                yield denied(app.name, f"the agent was started before its unit showed it {path}", _RESTART)
    if changed := _changed_files(ground.directory, _epoch_s(place.facts["StateChangeTimestamp"])):
        yield poor("agent", f"{', '.join(changed)} changed after it was read", _RELOAD)


def _how_to_start(ground: Ground, place: Place | None) -> str:
    if place is not None and place.facts["ActiveState"] in ("failed", "activating"):
        return f"`journalctl -u {AGENT_UNIT} -n 20` says why it ended; then `systemctl restart {AGENT_UNIT}`"
    return how_to_start(ground.config.settings.bus, ground.directory)


def _groups_of_user(user: str) -> frozenset[int]:
    account = account_named(user)
    return frozenset(os.getgrouplist(user, account.pw_gid)) if account else frozenset()


def _groups_of_process(pid: int) -> frozenset[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.partition(":")[0]: line.split()[1:] for line in lines}
    return frozenset(int(number) for number in (*fields["Groups"], *fields["Gid"]))


def _changed_files(directory: Path, since_s: float | None) -> list[str]:
    if since_s is None:
        return []
    files = [directory / "dropdeploy.toml", directory / "apps.d", *(directory / "apps.d").glob("*.toml")]
    return sorted(str(path) for path in files if path.exists() and path.stat().st_mtime > since_s)


def _epoch_s(timestamp: str) -> float | None:
    """A moment as systemctl prints it, in whatever zone; None where there is none."""
    if not timestamp or timestamp == "n/a":
        return None
    shown = tell("date", f"--date={timestamp}", "+%s.%N")
    # To the second: what is written in the same second is taken as read.
    return float(shown.out) + 1.0 if shown.code == 0 else None
