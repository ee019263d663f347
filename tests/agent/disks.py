"""A world whose directories are small file systems of their own, in a mount namespace that goes with the test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.agent.world import World, wait_for

MIB = 1024 * 1024
HOLD = """
for place in state home drop; do
    mount -t tmpfs -o "size=$2,nr_inodes=$3" none "$1/$place"
done
echo ready; exec sleep infinity
"""


class SmallDisks(World):
    """``state``, ``home`` and ``drop`` are tmpfs. Paths are as the test sees them; the agent has the short ones."""

    def __init__(self, path: Path, size: str = "24M", inodes: int = 500) -> None:
        super().__init__(path)
        hold = ["setpriv", "--pdeathsig=KILL", "unshare", "--user", "--map-root-user", "--mount"]
        self.holder = subprocess.Popen(
            [*hold, "sh", "-ec", HOLD, "hold", str(path), size, str(inodes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"
        view = Path(f"/proc/{self.holder.pid}/root") / path.relative_to("/")
        self.state, self.root, self.drop = view / "state", view / "home", view / "drop"

    def configure(self, text: str = "", *, main: str = "", health: str = "") -> None:
        seen = self.state, self.root, self.drop
        self.state, self.root, self.drop = (self.path / name for name in ("state", "home", "drop"))
        super().configure(text, main=main, health=health)
        self.state, self.root, self.drop = seen

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()

    def _enter(self) -> list[str]:
        return ["nsenter", "--preserve-credentials", "-t", str(self.holder.pid), "-U", "-m", "--"]

    def command(self, *arguments: str) -> list[str]:
        return [*self._enter(), *super().command(*arguments)]

    def inside(self, *command: str) -> None:
        """Run a command where the agent runs."""
        subprocess.run([*self._enter(), *command], check=True)

    # --- the disks ---

    def fill(self, place: Path, leave: int = 0) -> Path:
        """Write a file until nothing more fits, but for ``leave`` bytes; returns it, for the test to remove."""
        filler = place / ".filler"
        with filler.open("ab", buffering=0) as file:
            chunk = MIB
            while chunk:
                system = os.statvfs(place)
                if system.f_bavail * system.f_frsize <= leave:
                    break
                try:
                    file.write(bytes(min(chunk, max(1, system.f_bavail * system.f_frsize - leave))))
                except OSError:
                    chunk //= 2
        return filler

    def use_up_inodes(self, place: Path) -> Path:
        """Make empty files until there is no inode; returns their directory."""
        crowd = place / ".crowd"
        crowd.mkdir()
        for number in range(100_000):
            try:
                (crowd / str(number)).touch()
            except OSError:
                return crowd
        raise AssertionError("inodes without end")

    def read_only(self, place: str, *, on: bool) -> None:
        """Make one of the mounts read-only, or writable again.

        The mount and not the file system: of that mount(8) repeats the options that it has, and `uid=`, as the kernel
        shows it to a user who is not root, is no user of this namespace.
        """
        mode = "ro" if on else "rw"
        self.inside("mount", "-o", f"remount,bind,{mode}", str(self.path / place))

    def log_says(self, text: str) -> None:
        wait_for(f"log line {text!r}", lambda: text in self.log.read_text())
