"""Many apps on one machine, one agent for all of them; what the agent costs is read from /proc."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.agent.world import World, wait_for


class Crowd(World):
    """``app000`` and its brothers. Each has a root, a drop directory and a unit that sleeps until it is stopped.

    ``prefix`` is a command that runs the agent; it must become it, so that its process is the agent's.
    """

    prefix: Sequence[str] = ()
    names: Sequence[str] = ()

    def configure_many(self, count: int, *, main: str = "", rescan: str = "1h") -> None:
        """``main`` are more lines of dropdeploy.toml."""
        apps = self.config / "apps.d"
        (apps / "myapp.toml").unlink(missing_ok=True)
        self.names = [f"app{number:03d}" for number in range(count)]
        (self.config / "dropdeploy.toml").write_text(
            f'state = "{self.state}"\nbus = "embedded"\nrescan = "{rescan}"\n{main}\n'
        )
        for name in self.names:
            for directory in (self.root_of(name), self.drop_of(name)):
                directory.mkdir(parents=True, exist_ok=True)
            (apps / f"{name}.toml").write_text(
                f'root = "{self.root_of(name)}"\ndrop = "{self.drop_of(name)}"\n'
                f'[embedded]\ncommand = ["/bin/sleep", "1d"]\n'
            )

    def command(self, *arguments: str) -> list[str]:
        return [*(self.prefix if arguments == ("run",) else ()), *super().command(*arguments)]

    def root_of(self, name: str) -> Path:
        return self.path / "roots" / name

    def drop_of(self, name: str) -> Path:
        return self.path / "drops" / name

    def wait_for_log(self, line: str, deadline_s: float = 30.0) -> None:
        """Wait until the agent has said this."""
        wait_for(f"log line {line!r}", lambda: line in self.log.read_text(), deadline_s)

    # --- uploads ---

    def upload(self, name: str, content: bytes, file: str = "build.tar.gz") -> Path:
        """As sftp does it: under the final name, open while it grows."""
        path = self.drop_of(name) / file
        path.write_bytes(content)
        return path

    def result_of(self, name: str, file: str = "build.tar.gz", deadline_s: float = 30.0) -> dict[str, Any]:
        """Wait for the result of an upload."""
        path = self.drop_of(name) / f"{file}.result.toml"
        wait_for(str(path), path.exists, deadline_s)
        return tomllib.loads(path.read_text())

    def started(self) -> dict[tuple[str, str], float]:
        """When work on each upload began (Unix time), by app and upload."""
        history = sqlite3.connect(f"{(self.state / 'history.db').as_uri()}?mode=ro", uri=True)
        try:
            rows = history.execute("SELECT app, upload, started FROM deploys").fetchall()
        finally:
            history.close()
        return {(app, upload): datetime.fromisoformat(started).timestamp() for app, upload, started in rows}

    # --- the machine, as the agent sees it ---

    def inside(self, *command: str) -> None:
        """Run a command in the agent's namespaces."""
        assert self.process is not None
        enter = ["nsenter", "--preserve-credentials", "-t", str(self.process.pid), "-U", "-m"]
        subprocess.run([*enter, *command], check=True)

    @property
    def view(self) -> Path:
        """Where the agent's mounts are seen from outside."""
        return self._proc / "root"

    # --- what the agent costs ---

    @property
    def _proc(self) -> Path:
        assert self.process is not None
        return Path("/proc") / str(self.process.pid)

    def threads(self) -> int:
        return len(os.listdir(self._proc / "task"))

    def descriptors(self) -> list[str]:
        """What the agent has open, as links of /proc/PID/fd show it."""
        found = []
        for entry in (self._proc / "fd").iterdir():
            try:
                found.append(os.readlink(entry))
            except FileNotFoundError:
                continue
        return found

    def watched_inodes(self) -> list[int]:
        """The inodes that the agent's inotify watches stand on; proc(5), /proc/PID/fdinfo."""
        inodes = []
        for entry in (self._proc / "fdinfo").iterdir():
            try:
                lines = entry.read_text().splitlines()
            except FileNotFoundError:
                continue
            fields = [line.split() for line in lines if line.startswith("inotify wd:")]
            inodes += [int(field[2].removeprefix("ino:"), 16) for field in fields]
        return inodes

    def memory_kib(self) -> int:
        """Resident, in KiB."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    def sleeps(self) -> int:
        """How often its threads went to sleep by themselves: voluntary context switches, proc(5)."""
        total = 0
        for task in (self._proc / "task").iterdir():
            lines = (task / "status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
        return total

    def cpu_s(self) -> float:
        """Seconds of processor time since it started."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
