"""What the administrator asked for, and what of the server decides how it is to be done: values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dropdeploy.model.app import Strategy

AGENT = "dropdeploy"
AGENT_UNIT = "dropdeploy.service"
SYSTEM_UNITS = Path("/etc/systemd/system")
SSHD_BLOCKS = Path("/etc/ssh/sshd_config.d")
SSHD_KEYS = Path("/etc/ssh/authorized_keys.d")
POLKIT_RULES = Path("/etc/polkit-1/rules.d")


@dataclass(frozen=True, slots=True)
class Wish:
    """One app as it is to be. ``uploader`` is empty where there are some already and no other was asked for; ``key`` is
    the text of a public key; ``kind`` is empty where the app's units are the administrator's."""

    app: str
    root: Path
    drop: Path
    unit: str
    user: str
    uploader: str
    key: str
    strategy: Strategy
    port: int
    health: str
    kind: str

    @property
    def uploaders(self) -> str:
        """The group of those who may upload."""
        return f"drop-{self.app}"


@dataclass(frozen=True, slots=True)
class Templates:
    """The texts that files are made of, with their @NAMES@."""

    polkit: str
    sshd: str
    drop_in: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there and decides. ``app_file`` and ``sshd_block``: their text, empty where there is none.

    ``group`` is the primary group of the app's user, ``missing`` the directories on the way to ``root`` and ``drop``
    that are not there, outermost first. ``agent_unit``: the text of the agent's unit where nothing has installed one.
    ``units``: names and texts of the app's own units, where they are asked for or were made before.
    """

    directory: Path
    group: str
    app_file: str = ""
    sshd_block: str = ""
    agent_unit: str = ""
    missing: tuple[Path, ...] = ()
    units: tuple[tuple[str, str], ...] = ()
