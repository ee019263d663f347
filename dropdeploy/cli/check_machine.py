"""Checks of the machine: who checks, the state directory, the agent."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.cli.configured import Agent, agent_of, how_to_start
from dropdeploy.cli.findings import Finding, Level
from dropdeploy.lock import LOCK_NAME
from dropdeploy.model import Config

_CAP_LEASE = 28  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Ground:
    """What all checks look at. ``agent_pid`` is the running agent's, 0 when none runs or it cannot be known."""

    config: Config
    directory: Path
    agent: Agent
    agent_pid: int

    @classmethod
    def of(cls, config: Config, directory: Path) -> Ground:
        """As it is now."""
        agent = agent_of(config)
        pid = 0
        if agent is Agent.RUNNING:
            with contextlib.suppress(OSError, ValueError):
                pid = int((config.settings.state / LOCK_NAME).read_text())
        return cls(config, directory, agent, pid)

    @property
    def can_lease_others_files(self) -> bool | None:
        """Whether the agent, or who would be the agent here, has CAP_LEASE; None when that cannot be known."""
        try:
            lines = Path("/proc", str(self.agent_pid or "self"), "status").read_text().splitlines()
        except OSError:
            return None
        effective = next((line.partition(":")[2] for line in lines if line.startswith("CapEff:")), "0")
        return bool(int(effective, 16) >> _CAP_LEASE & 1)


def check_user(ground: Ground) -> Iterator[Finding]:
    """What this user may do says little of what the agent's may."""
    if not ground.agent_pid:
        return
    try:
        agent_uid = Path("/proc", str(ground.agent_pid)).stat().st_uid
    except OSError:
        return
    if agent_uid != os.geteuid():
        agent, here = _user_name(agent_uid), _user_name(os.geteuid())
        what = f"checked as {here}, but the agent runs as {agent}"
        yield Finding(
            Level.WARN, "agent", what, f"`runuser -u {agent} -- dropdeploy check --config {ground.directory}`"
        )


def check_state(ground: Ground) -> Iterator[Finding]:
    """The history must be written somewhere."""
    state = ground.config.settings.state
    if state.is_dir():
        if os.access(state, os.W_OK | os.X_OK):
            yield Finding(Level.OK, "state", f"{state} is writable")
        else:
            yield Finding(Level.FAIL, "state", f"{state} is not writable", "give it to the agent's user with chown")
    elif state.exists():
        yield Finding(Level.FAIL, "state", f"{state} is no directory", "move it away, or name another with `state`")
    elif os.access(state.parent, os.W_OK | os.X_OK):
        yield Finding(Level.OK, "state", f"{state} will be made when the agent starts")
    else:
        yield Finding(Level.FAIL, "state", f"{state} is not there", "make it, and give it to the agent's user")


def check_agent(ground: Ground) -> Iterator[Finding]:
    """Nothing happens without it."""
    match ground.agent:
        case Agent.RUNNING:
            who = f" (pid {ground.agent_pid})" if ground.agent_pid else ""
            yield Finding(Level.OK, "agent", f"it is running{who}")
        case Agent.STOPPED:
            mend = how_to_start(ground.config, ground.directory)
            yield Finding(Level.WARN, "agent", "it is not running", mend)
        case Agent.UNKNOWN:
            state = ground.config.settings.state
            yield Finding(
                Level.WARN, "agent", f"whether it runs cannot be seen: {state} may not be read", "run as root"
            )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
