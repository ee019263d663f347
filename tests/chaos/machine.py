"""The machine of the chaos run: a box with the packaged agent and one app under the packaged units."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from dropdeploy.units.templates import AppUnits, render_units
from tests.box.machine import REPOSITORY
from tests.box.server import AGENT_UNIT, Server
from tests.chaos import observer

NAME, PORT, KEEP = "shop", 3000, 3
OBSERVER = observer.__file__
CONFIG = """
rate_limit = "off"
keep = {keep}
settle = "100ms"
stall = "700ms"
strategy = "{strategy}"
[health]
url = "http://127.0.0.1:{port}/"
interval = "200ms"
timeout = "4s"
[hooks]
before_swap = ["shop-before@.service"]
after_live = ["shop-after@.service"]
[trial]
unit = "shop-trial@.service"
url = "unix:/run/shop-trial.sock:/"
timeout = "4s"
"""
# They leave a line for the observer, and take long enough to be in the midst of.
HOOK = """
[Service]
Type=oneshot
User=shop
WorkingDirectory=/home/shop/releases/%i
ExecStart=/bin/sh -c 'sleep 0.08; echo %i >> ../../shared/{marks}; ! grep -q "behaviour.: .{fails}.," manifest.json'
"""
HOOKS = {"shop-before@.service": ("hooked", "unhooked"), "shop-after@.service": ("hooked-after", "unhooked-after")}
RELOADED = """
[Service]
Environment=LINK_TO_RELOAD=/home/shop/app
ExecReload=/bin/kill -HUP $MAINPID
"""
# Where the agent runs with points in it; the rest of its unit is as it is packaged.
DOOMED = """
[Service]
Environment=PYTHONPATH=/src
ExecStart=
ExecStart=/usr/bin/python3 -P /src/tests/chaos/doomed.py run
"""
DROP_IN = f"/etc/systemd/system/{AGENT_UNIT}.d/doomed.conf"
STATE = "/var/lib/dropdeploy"


class Machine:
    """It is set up when it is made: the agent and the observer run, nothing is deployed."""

    def __init__(self, server: Server, strategy: str, seen: Path) -> None:
        self.server, self.box, self.seen = server, server.box, seen
        units = AppUnits("python", NAME, f"/home/{NAME}", NAME, PORT, "/usr/share/dropdeploy/apps")
        contrib = REPOSITORY / "contrib/apps"
        texts = render_units(units, lambda template: (contrib / template).read_text())
        config = CONFIG.format(keep=KEEP, strategy=strategy, port=PORT)
        texts |= {hook: HOOK.format(marks=marks, fails=fails) for hook, (marks, fails) in HOOKS.items()}
        self.site = server.add_app(NAME, config, list(texts), is_sshd_told=False)
        for unit, text in texts.items():
            self.box.write(f"/etc/systemd/system/{unit}", text)
        if strategy == "reload":
            self.box.write(f"/etc/systemd/system/{NAME}.service.d/reload.conf", RELOADED)
        self.box.run("systemctl", "daemon-reload")
        self.box.run("systemctl", "enable", "--quiet", "--now", f"{NAME}.socket", AGENT_UNIT)
        self.box.run("systemctl", "enable", "--quiet", f"{NAME}.service")
        self.watcher: subprocess.Popen[str] | None = None
        self.watch()

    # --- the observer --------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Start it: outside, but for the network."""
        machine = f"/proc/{self.box.leader}/root"
        slice_ = self.box.cgroup / "payload/system.slice"
        arguments = (self.seen, machine, self.site.root, self.site.drop, PORT, KEEP, slice_)
        inside = ("nsenter", f"--target={self.box.leader}", "--net", "--")
        self.watcher = subprocess.Popen(
            [*inside, sys.executable, "-I", OBSERVER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def unwatch(self) -> None:
        """End it; what it has seen is in the file."""
        assert self.watcher is not None
        self.watcher.communicate()
        assert self.watcher.returncode == 0, "the observer itself failed"

    def settle(self) -> None:
        """Nothing is under way: have the observer check what must hold then, and wait until it has."""
        assert self.watcher is not None
        assert self.watcher.stdin is not None
        assert self.watcher.stdout is not None
        self.watcher.stdin.write("quiet\n")
        self.watcher.stdin.flush()
        for line in self.watcher.stdout:
            told = json.loads(line)
            if "settled" in told:
                return
            print(told["violation"], file=sys.stderr, flush=True)
        raise AssertionError("the observer has ended")

    # --- the uploader ----------------------------------------------------------------------------------------

    def drop(self, name: str) -> Path:
        """A file in the drop directory."""
        return self.box.path(f"{self.site.drop}/{name}")

    def put(self, name: str, content: bytes) -> None:
        """Upload as a careful client does."""
        temporary = self.drop(f".{name}.part")
        temporary.write_bytes(content)
        temporary.rename(self.drop(name))

    def result(self, name: str) -> dict[str, Any]:
        """The result under this name, {} when there is none."""
        try:
            return tomllib.loads(self.drop(f"{name}.result.toml").read_text())
        except FileNotFoundError:
            return {}

    def step(self) -> str:
        """What the agent says that it does; "" when it does nothing. A way back is called so."""
        with suppress(FileNotFoundError, ValueError, KeyError):
            for name in os.listdir(self.drop("")):
                if name.endswith(".deploying"):
                    told = tomllib.loads(self.drop(name).read_text())
                    is_back = any(step["status"] == "failed" for step in told.get("steps", ()))
                    return ("back-" if is_back else "") + str(told["step"])
        return ""

    def releases(self) -> list[str]:
        """What is on disk."""
        return os.listdir(self.box.path(f"{self.site.root}/releases"))

    # --- the agent --------------------------------------------------------------------------------------------

    def agent(self) -> int:
        """Its process, as this machine counts them; 0 when it is down."""
        pids: list[int] = []
        with suppress(OSError):  # the group goes with the last of them
            pids += map(int, (self.box.cgroup / f"payload/system.slice/{AGENT_UNIT}/cgroup.procs").read_text().split())
        for pid in pids:
            with suppress(OSError):
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if int(status[1]) not in pids and status[0] != "Z":
                    return pid
        return 0

    def started(self, pid: int) -> float:
        """When a process was started, as a Unix time."""
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        ago = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - ago

    def kill(self) -> bool:
        """SIGKILL; False when there was nothing to kill."""
        pid = self.agent()
        with suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def doom(self, is_doomed: bool) -> None:
        """Have the agent run with points in it, or plain."""
        if is_doomed:
            self.box.write(DROP_IN, DOOMED)
        else:
            self.box.path(DROP_IN).unlink(missing_ok=True)
        self.box.run("systemctl", "daemon-reload")
        self.server.agent("restart")

    def order(self, *lines: str) -> None:
        """What is to happen at which points."""
        self.box.path(f"{STATE}/hangs").unlink(missing_ok=True)
        self.box.write(f"{STATE}/die-at", "".join(f"{line}\n" for line in lines), owner="dropdeploy")

    def is_ordered(self) -> bool:
        """Whether something is still to happen."""
        with suppress(FileNotFoundError):
            return bool(self.box.path(f"{STATE}/die-at").read_text())
        return False

    # --- the plug ----------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The power is cut, and comes again."""
        self.box.crash()
        self._again()

    def shut_down(self) -> None:
        """Down in an orderly way, and up again. Raises TimeoutError when it does not go down."""
        try:
            self.box.shut_down()
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the machine does not go down within {error.timeout:g} s") from error
        self._again()

    def _again(self) -> None:
        self.unwatch()
        self.box.boot()
        self.watch()

    def hangs(self) -> bool:
        """Whether the agent hangs at the point it was told to; only the plug helps."""
        return self.box.path(f"{STATE}/hangs").exists()
