"""Many apps on one machine, one agent for all of them; what the agent costs is read from /proc."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.agent.world import World


class Crowd(World):
    """``app000`` and its brothers. Each has a root, a drop directory and a unit that runs until it is stopped."""

    names: list[str]

    def configure_many(self, count: int, *, main: str = "", app: str = "", rescan: str = "1h") -> None:
        """An embedded supervisor and ``count`` apps; ``main`` and ``app`` are more lines of their files."""
        apps = self.config / "apps.d"
        (apps / "myapp.toml").unlink(missing_ok=True)
        self.names = [f"app{number:03d}" for number in range(count)]
        (self.config / "dropdeploy.toml").write_text(
            f'state = "{self.state}"\nbus = "embedded"\nrescan = "{rescan}"\n{main}'
        )
        for name in self.names:
            for directory in (self.root_of(name), self.drop_of(name)):
                directory.mkdir(parents=True, exist_ok=True)
            (apps / f"{name}.toml").write_text(
                f'root = "{self.root_of(name)}"\ndrop = "{self.drop_of(name)}"\n{app}\n'
                f'[embedded]\ncommand = ["{sys.executable}", "-SE", "app.py"]\nlisten = "{self.socket_of(name)}"\n'
                f'[health]\nurl = "unix:{self.socket_of(name)}:/"\n'
            )

    def root_of(self, name: str) -> Path:
        return self.path / "roots" / name

    def drop_of(self, name: str) -> Path:
        return self.path / "drops" / name

    def socket_of(self, name: str) -> Path:
        return self.path / f"{name}.sock"

    # --- what the agent costs ---

    @property
    def proc(self) -> Path:
        assert self.process is not None
        return Path("/proc") / str(self.process.pid)

    def threads(self) -> int:
        return len(os.listdir(self.proc / "task"))

    def descriptors(self) -> list[str]:
        """What the agent has open, as links of /proc/PID/fd show it."""
        found = []
        for entry in (self.proc / "fd").iterdir():
            try:
                found.append(os.readlink(entry))
            except FileNotFoundError:
                continue
        return found

    def watches(self) -> int:
        """How many inotify watches the agent has."""
        count = 0
        for entry in (self.proc / "fdinfo").iterdir():
            try:
                count += entry.read_text().count("inotify wd:")
            except FileNotFoundError:
                continue
        return count

    def memory_kib(self) -> int:
        """Resident, in KiB."""
        for line in (self.proc / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def cpu_s(self) -> float:
        """Seconds of processor time since it started."""
        fields = (self.proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
