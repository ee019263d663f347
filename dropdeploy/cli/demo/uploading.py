"""The demo's uploads: OpenSSH's own SFTP server and client, throttled, and cut off in the middle when asked to.

``sftp -D PROGRAM`` runs the server program directly, without ssh: what writes into the drop directory is what writes
there on a real server. Where the programs are missing, a plain copy with pauses stands in.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

RATE = 100 * 1024
"""Bytes a second of a slow line."""

SERVERS = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/libexec/openssh/sftp-server",  # Fedora
    "/usr/lib/ssh/sftp-server",  # Arch, openSUSE, Alpine
    "/usr/libexec/sftp-server",
)

Watch = Callable[[int], bool]
"""Told from time to time how many bytes have arrived; False cuts the line."""


class UploadError(Exception):
    """The upload did not end as it should; the message says how."""


class Uploader(Protocol):
    """Somebody who can only upload files."""

    name: str

    def put(self, file: Path, directory: Path, *, rate: int | None = None, watch: Watch | None = None) -> bool:
        """Upload FILE under its name, going on where an earlier attempt stopped. False when ``watch`` cut it off."""


def find_uploader() -> Uploader:
    """The real one if it is installed."""
    client = shutil.which("sftp")
    server = next((path for path in SERVERS if Path(path).exists()), None)
    return Sftp(client, server) if client and server else SlowCopy()


class Sftp:
    """sftp(1) with sftp-server(8)."""

    name = "sftp"

    def __init__(self, client: str, server: str) -> None:
        self._client = client
        self._server = server

    def put(self, file: Path, directory: Path, *, rate: int | None = None, watch: Watch | None = None) -> bool:
        """See the protocol."""
        target = directory / file.name
        verb = "reput" if target.exists() else "put"
        command = [self._client, "-q", "-b", "-", "-D", self._server]
        if rate is not None:
            # Small packets, one at a time: the client would send the whole file at once and sleep afterwards.
            command[1:1] = ["-l", str(rate * 8 // 1000), "-B", "4096", "-R", "1"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        with process:
            try:
                assert process.stdin is not None
                assert process.stderr is not None
                process.stdin.write(f'{verb} "{file}" "{target}"\n'.encode())
                process.stdin.close()
                is_whole = self._wait(process, target, watch)
                trouble = process.stderr.read().decode(errors="replace").strip()
            finally:
                process.kill()
        if is_whole and process.returncode != 0:
            raise UploadError(f"sftp ended with code {process.returncode}: {trouble}")
        return is_whole

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], target: Path, watch: Watch | None) -> bool:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                return True
            if watch is not None and not watch(_size(target)):
                process.kill()  # the server sees the end of its input, and closes the file as it is
                return False


class SlowCopy:
    """Stands in where there is no SFTP."""

    name = "a slow copy"

    def put(self, file: Path, directory: Path, *, rate: int | None = None, watch: Watch | None = None) -> bool:
        """See the protocol."""
        target = directory / file.name
        step = 4096
        with file.open("rb") as source, target.open("ab") as copy:
            source.seek(copy.tell())
            while piece := source.read(step):
                copy.write(piece)
                copy.flush()
                if rate is not None:
                    time.sleep(step / rate)
                if watch is not None and not watch(copy.tell()):
                    return False
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
