"""The contract's bench on a real systemd: the machine's for root, the user's own for anybody else."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Literal

from dropdeploy.units.systemd import SystemdUnits
from tests.unit.units.contract import RELEASE

BUS: Literal["system", "user"] = "user" if os.geteuid() else "system"
UNIT_FILES = Path("/run/systemd/system" if BUS == "system" else f"/run/user/{os.geteuid()}/systemd/user")

# KillMode=mixed: else what a trap starts may get a SIGTERM too.
SERVICE = """
[Service]
ExecStart={command}
ExecReload=/bin/kill -s HUP $MAINPID
WorkingDirectory={directory}
Restart=on-failure
KillMode=mixed
TimeoutStopSec=2s
"""


def run(*command: str, check: bool = True) -> str:
    """What it printed."""
    return subprocess.run(command, check=check, stdout=subprocess.PIPE, text=True).stdout


def systemctl(*arguments: str, check: bool = True) -> str:
    return run("systemctl", f"--{BUS}", "--quiet", *arguments, check=check)


def quoted(argument: str) -> str:
    """As systemd.service(5), "Command lines", wants it."""
    escaped = re.sub(r'(["\\])', r"\\\1", argument)
    return f'"{escaped}"'.replace("%", "%%").replace("$", "$$")


class SystemdBench:
    def __init__(self, units: SystemdUnits, root: Path) -> None:
        self.units = units
        self.directory = root / "releases" / RELEASE
        self.directory.mkdir(parents=True)
        self._defined: set[str] = set()

    async def define(self, unit: str, *command: str) -> None:
        self.write(unit, SERVICE.format(command=" ".join(map(quoted, command)), directory=self.directory))

    def write(self, unit: str, content: str) -> None:
        """A unit file of any content."""
        UNIT_FILES.mkdir(parents=True, exist_ok=True)
        (UNIT_FILES / unit).write_text(content)
        self._defined.add(unit)
        systemctl("daemon-reload")

    async def subscriptions(self) -> int:
        stats = (
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Debug.Stats",
            "GetAllMatchRules",
        )
        rules = json.loads(run("busctl", f"--{BUS}", "--json=short", "call", *stats))["data"][0]
        return sum("PropertiesChanged" in rule and "systemd1" in rule for owner in rules.values() for rule in owner)

    def clear(self) -> None:
        """Everything as it was."""
        systemctl("stop", *(unit for unit in self._defined if "@." not in unit), check=False)
        for unit in self._defined:
            (UNIT_FILES / unit).unlink(missing_ok=True)
        systemctl("daemon-reload")
        systemctl("reset-failed")
