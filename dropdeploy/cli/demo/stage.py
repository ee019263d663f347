"""Where the demo plays: a temporary directory, a free port, the agent as a process; and the cleaning up."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import dropdeploy
from dropdeploy.lock import is_held

APP = "hello"
_PATIENCE_S = 15.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Stage:
    """A context: on entering the agent runs, on leaving nothing of it is left."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.gettempdir(), f"dropdeploy-demo-{secrets.token_hex(4)}")
        self.port, self.page_port = _free_ports(2)
        self.config = self.directory / "etc"
        self.root = self.directory / "home" / APP
        self.drop = self.directory / "drop" / APP
        self.builds = self.directory / "builds"
        self._log = self.directory / "agent.log"
        self.agent: subprocess.Popen[bytes]

    def __enter__(self) -> Stage:
        try:
            self.directory.mkdir(mode=0o700)
            self._furnish()
            self._write_command()
            # Whatever loses its parent becomes a child of this process, and is found when it is time to clean up.
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            self.agent = self._start_agent()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not stop the cleaning up
        finally:
            self.agent.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.agent.wait(_PATIENCE_S)
            _end_children()
            shutil.rmtree(self.directory, ignore_errors=True)

    def is_agent_ready(self) -> bool:
        """Whether the agent holds its state directory, waiting for that a while."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and self.agent.poll() is None:
            if is_held(self.directory / "state"):
                return True
            time.sleep(0.02)
        return False

    def agent_log(self, lines: int = 40) -> list[str]:
        """What the agent said last."""
        return self._log.read_text(errors="replace").splitlines()[-lines:]

    def remains(self) -> list[str]:
        """What was not cleaned up, in words; to be asked after leaving."""
        found = []
        if self.directory.exists():
            found.append(f"{self.directory} could not be removed")
        for port in (self.port, self.page_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    found.append(f"somebody still listens on port {port}")
        return found

    # --- building it up ---

    def _furnish(self) -> None:
        for directory in (self.config / "apps.d", self.root, self.drop, self.builds, self.directory / "state"):
            directory.mkdir(parents=True)
        (self.config / "dropdeploy.toml").write_text(
            f'bus = "embedded"\nstate = {_quote(self.directory / "state")}\ndrop = {_quote(self.drop.parent)}\n'
            f'listen = "127.0.0.1:{self.page_port}"\n'
        )
        (self.config / "apps.d" / f"{APP}.toml").write_text(
            f"root = {_quote(self.root)}\n\n"
            f'[health]\nurl = "http://127.0.0.1:{self.port}/health"\ninterval = "500ms"\ntimeout = "5s"\n\n'
            f'[embedded]\ncommand = [{_quote(sys.executable)}, "server.py"]\n'
            f'listen = "127.0.0.1:{self.port}"\n'
        )

    @property
    def environment(self) -> dict[str, str]:
        """For ``python3 -m dropdeploy``: the same dropdeploy as this one, wherever it was started from."""
        package = Path(dropdeploy.__file__).parent.parent
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path}

    def _write_command(self) -> None:
        """``./dropdeploy`` for whoever is invited to play: it may not be installed, and needs its configuration."""
        command = [f"PYTHONPATH={self.environment['PYTHONPATH']}", sys.executable, "-m", "dropdeploy"]
        script = self.directory / "dropdeploy"
        script.write_text(f'#!/bin/sh\nexec env {shlex.join([*command, "--config", str(self.config)])} "$@"\n')
        script.chmod(0o755)

    def _start_agent(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dropdeploy", "run", "--config", str(self.config)]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which stops the agent as systemd would.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )


def _quote(path: Path | str) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in servers]


def _end_children() -> None:
    """Kill what is left of the agent and of the app, and collect it; what that orphans becomes a child in turn."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    """Processes whose parent is this one, as proc(5) lists them."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                # The name in parentheses may itself hold spaces and parentheses.
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    yield int(entry)
