"""A real agent with its embedded supervisor, a real app behind it, and an uploader who has only files."""

from __future__ import annotations

import bz2
import gzip
import http.client
import io
import json
import lzma
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

APP = Path(__file__).with_name("app.py").read_text()
SOURCES = Path(__file__).parents[2]
DEADLINE_S = 30.0
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """The first true answer. Fails when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"no {what} within {deadline_s:g} s")
        time.sleep(0.005)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


def tar(files: dict[str, str], packing: str = "gz") -> bytes:
    """An archive of these files, in memory."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return PACKERS[packing](packed.getvalue())


def zipped(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def files_of(version: str, **behaviour: object) -> dict[str, str]:
    """The files of a build that calls itself ``version`` and behaves so."""
    return {"app.py": APP, "behaviour.json": json.dumps({"version": version, **behaviour})}


def build(version: str, **behaviour: object) -> bytes:
    return tar(files_of(version, **behaviour))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("app", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class World:
    """One app on one machine. ``app_options`` are lines of its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "etc"
        self.state = path / "state"
        self.root = path / "home"
        self.drop = path / "drop"
        self.socket = path / "app.sock"
        self.process: subprocess.Popen[str] | None = None
        self.log = path / "agent.log"
        for directory in (self.config / "apps.d", self.state, self.root, self.drop):
            directory.mkdir(parents=True)
        self.configure()

    # --- the administrator ---

    def configure(self, text: str = "", *, main: str = "", health: str = "") -> None:
        (self.config / "dropdeploy.toml").write_text(f'state = "{self.state}"\nbus = "embedded"\nrescan = "1h"\n{main}')
        settle = "" if "settle" in text else 'settle = "50ms"\n'
        (self.config / "apps.d" / "myapp.toml").write_text(
            f'{settle}root = "{self.root}"\ndrop = "{self.drop}"\n{text}\n'
            f'[health]\nurl = "unix:{self.socket}:/health"\ninterval = "200ms"\ntimeout = "4s"\n{health}\n'
            f'[embedded]\ncommand = ["{sys.executable}", "-SE", "app.py"]\nlisten = "{self.socket}"\n'
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dropdeploy", *arguments, "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONWARNINGS": "error", "PYTHONASYNCIODEBUG": ""}

    def start(self) -> None:
        """Start the agent and wait until it is ready."""
        notify = self.path / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self.log.open("a") as log:
            manager.bind(str(notify))
            manager.settimeout(DEADLINE_S)
            self.process = subprocess.Popen(
                self.command("run"),
                env={**self.environment(), "NOTIFY_SOCKET": str(notify)},
                stdout=log,
                stderr=log,
                text=True,
            )
            told = b""
            while b"READY=1" not in told:
                told = manager.recv(4096)

    def run(self, *arguments: str, timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the agent; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    # --- the uploader ---

    def put(self, name: str, content: bytes = b"") -> Path:
        """Upload a file as a careful client does: under a temporary name, then renamed."""
        temporary = self.drop / f".{name[:40]}.part"
        temporary.write_bytes(content)
        temporary.rename(self.drop / name)
        return self.drop / name

    def result(self, name: str) -> dict[str, Any]:
        """Wait for the result of an upload or marker, and for everything that follows from it."""
        path = self.drop / f"{name}.result.toml"
        wait_for(path.name, path.exists)
        wait_for("end of the work", lambda: not (self.drop / f"{name}.deploying").exists())
        result = tomllib.loads(path.read_text())
        upload = self.drop / name
        if result["status"] == "deployed" and upload.is_file() and not self.keeps_uploads:
            wait_for(f"end of {name}", lambda: not upload.exists() or not path.exists())
        return result

    @property
    def keeps_uploads(self) -> bool:
        return 'after = "keep"' in (self.config / "apps.d" / "myapp.toml").read_text()

    def deploy(self, version: str, name: str = "", **behaviour: object) -> dict[str, Any]:
        """Upload a build and wait for its result."""
        name = name or f"{version}.tar.gz"
        (self.drop / f"{name}.result.toml").unlink(missing_ok=True)
        self.put(name, build(version, **behaviour))
        return self.result(name)

    def ask(self) -> dict[str, Any]:
        """What the app answers now."""
        connection = _UnixConnection(str(self.socket))
        try:
            connection.request("GET", "/")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    # --- the disk ---

    def live(self) -> str:
        """The id of the live release, "" when there is none."""
        link = self.root / "app"
        return os.readlink(link).removeprefix("releases/") if link.is_symlink() else ""

    def releases(self) -> list[str]:
        return sorted(os.listdir(self.root / "releases")) if (self.root / "releases").exists() else []

    def dropped(self) -> list[str]:
        """What is in the drop directory, but for what the agent wrote."""
        own = re.compile(r"\.dropdeploy-.*|.*\.result\.toml|status\.toml", re.DOTALL)
        return sorted(name for name in os.listdir(self.drop) if not own.fullmatch(name))

    def await_dropped(self, *names: str) -> None:
        """Wait until just these are in the drop directory: sidecars go a moment after their upload."""
        wait_for(f"drop directory with {names} only", lambda: self.dropped() == list(names))
