"""What all checks look at, gathered once."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.cli.agent_state import Agent, agent_on
from dropdeploy.cli.init.look import group_name, user_name
from dropdeploy.lock import LOCK_NAME
from dropdeploy.model.config import Config

_CAP_LEASE = 28  # linux/capability.h
_CAPS_READ = 1 << 1 | 1 << 2


@dataclass(frozen=True, slots=True)
class Ground:
    """``agent_pid`` is the running agent's, 0 when none runs or it cannot be known. ``is_in_its_place``: this process
    has the agent's user, groups, capabilities and view of the disk."""

    config: Config
    directory: Path
    agent: Agent
    agent_pid: int
    is_in_its_place: bool = False

    @classmethod
    def of(cls, config: Config, directory: Path, *, is_in_its_place: bool = False) -> Ground:
        """As it is now."""
        agent = agent_on(config.settings.state)
        pid = 0
        if agent is Agent.RUNNING:
            with contextlib.suppress(OSError, ValueError):
                pid = int((config.settings.state / LOCK_NAME).read_text())
        return cls(config, directory, agent, pid, is_in_its_place)

    @property
    def can_lease_others_files(self) -> bool | None:
        """Whether the agent, or who would be the agent here, has CAP_LEASE; None when that cannot be known."""
        capabilities = self._capabilities()
        return None if capabilities is None else bool(capabilities >> _CAP_LEASE & 1)

    @property
    def can_read_others_files(self) -> bool | None:
        """The same for CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE."""
        capabilities = self._capabilities()
        return None if capabilities is None else bool(capabilities & _CAPS_READ)

    def _capabilities(self) -> int | None:
        whose = "self" if self.is_in_its_place or not self.agent_pid else str(self.agent_pid)
        try:
            lines = Path("/proc", whose, "status").read_text().splitlines()
        except OSError:
            return None
        effective = next((line.partition(":")[2] for line in lines if line.startswith("CapEff:")), "0")
        return int(effective, 16)


def own_name() -> str:
    """As whom this is checked."""
    return user_name(os.geteuid())


def owner_text(path: Path) -> str:
    """As in ``root:root 0755``."""
    status = path.stat()
    return f"{user_name(status.st_uid)}:{group_name(status.st_gid)} {status.st_mode & 0o7777:04o}"
