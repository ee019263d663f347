"""A world whose agent runs on a kernel that refuses; its app is a process that sleeps, for which the test answers."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
from pathlib import Path

from tests.agent.refusing import Call, Kernel
from tests.agent.world import World, tar

ANSWER = b"HTTP/1.1 %s it is\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
WHOLE = {"version", "one", "two", "sub"}


class RefusedWorld(World):
    """Its builds are small: what the agent does is in question, not what it deploys."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kernel = Kernel(path / "kernel.sock", self.look_at_link)
        self._app = socket.socket(socket.AF_UNIX)
        self._app.bind(str(self.socket))
        self._app.listen()
        threading.Thread(target=self._answer, name="app", daemon=True).start()
        self.is_first = True

    def configure(self, text: str = "", *, main: str = "", health: str = "") -> None:
        (self.config / "dropdeploy.toml").write_text(f'state = "{self.state}"\nbus = "embedded"\nrescan = "1s"\n')
        (self.config / "apps.d" / "myapp.toml").write_text(
            f'settle = "50ms"\nrate_limit = "off"\nkeep = 2\nroot = "{self.root}"\ndrop = "{self.drop}"\n'
            f'[health]\nurl = "unix:{self.socket}:/"\ninterval = "50ms"\ntimeout = "300ms"\n'
            '[embedded]\ncommand = ["/bin/sleep", "1d"]\n'
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.agent.refusing", *arguments, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"REFUSING_KERNEL": str(self.path / "kernel.sock")}

    def build(self, version: str, **behaviour: object) -> bytes:
        files = {"version": version, "one": "1" * 5000, "two": "2", "sub/three": "3"}
        return tar({**files, **dict.fromkeys(behaviour, "")})

    def deploy(self, version: str, name: str = "", **behaviour: object):
        name = name or f"{version}.tar.gz"
        (self.drop / f"{name}.result.toml").unlink(missing_ok=True)
        self.put(name, self.build(version, **behaviour))
        return self.result(name)

    def running(self) -> str:
        """The release in which the app's process runs."""
        found = [
            os.readlink(f"/proc/{pid}/cwd").rpartition("/")[2]
            for pid in os.listdir("/proc")
            if pid.isdecimal() and self._is_app(pid)
        ]
        return ",".join(found)

    def _is_app(self, pid: str) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/bin/sleep") and os.readlink(
                f"/proc/{pid}/cwd"
            ).startswith(str(self.root))
        return False

    def kind(self, call: Call) -> str:
        if not call.path.startswith(str(self.path)):  # of programs and libraries one is as good as another
            return call.path and "elsewhere"
        return re.sub(r"[0-9a-f]{16}|\d{8}-\d{6}|\d+", "#", call.path.removeprefix(str(self.path)))

    def look_at_link(self) -> None:
        if (self.root / "app").is_symlink():
            assert set(os.listdir(self.root / "app")) >= WHOLE, "app leads to what is no whole release"
        else:
            assert self.is_first, "app is gone"

    def _answer(self) -> None:
        while True:
            try:
                client = self._app.accept()[0]
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(ANSWER % (b"500" if (self.root / "app/ill").exists() else b"200"))

    def close(self) -> None:
        self._app.close()
        self.kernel.close()
