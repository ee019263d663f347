"""A client at work in the box, to be interrupted: its processes and the server's."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.box.clients.builds import Cargo
from tests.box.clients.ground import Place
from tests.box.clients.table import Call
from tests.box.machine import wait_until

CLIENT_TIMEOUT_S = 60.0


class Session:
    """One run of a client. It is slow enough to be met midway."""

    def __init__(self, place: Place, process: subprocess.Popen[str]) -> None:
        self._place = place
        self._process = process

    def await_share(self, cargo: Cargo, share: float) -> None:
        """Wait until so much of the cargo has arrived on the server; the client must not be through by then."""
        wait_until(
            lambda: cargo.has_arrived(self._place.drop, share) or self._process.poll() is not None,
            f"{share:.0%} of {cargo.label}",
        )
        assert self._process.poll() is None, f"it ended too soon: {self._process.communicate()}"

    @property
    def has_ended(self) -> bool:
        """It is through, one way or the other."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to the client with all its processes, and wait until the server's have noticed."""
        self._signal_client(signal.SIGKILL)
        self._process.communicate()
        self._place.await_server()

    @contextmanager
    def frozen_client(self) -> Iterator[None]:
        """The client stands still, its connection open, as that of a laptop that was closed."""
        self._signal_client(signal.SIGSTOP)
        yield
        self._signal_client(signal.SIGCONT)
        # nsenter(1) stops itself when it sees that its child has been stopped.
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen_server(self) -> Iterator[None]:
        """The server's side stands still, with the file open."""
        user = self._place.site.uploader
        self._place.box.run("pkill", "-STOP", "-u", user)
        yield
        self._place.box.run("pkill", "-CONT", "-u", user)

    def finish(self) -> None:
        """Let it come to its end, which must be a good one."""
        out, err = self._process.communicate(timeout=CLIENT_TIMEOUT_S)
        assert self._process.returncode == 0, f"it ended with {self._process.returncode}: {out}{err}"

    def _signal_client(self, number: signal.Signals) -> None:
        for pid in _descendants(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(place: Place, call: Call) -> Iterator[Session]:
    """Start a client on the laptop. Whatever happens, nothing of it is left at the end."""
    with place.box.popen(*call.argv, user="laptop") as process:
        assert isinstance(process.stdin, io.TextIOWrapper)
        session = Session(place, process)
        try:
            process.stdin.buffer.write(os.fsencode(call.stdin))
            process.stdin.close()
            process.stdin = None  # what communicate() is not to close again
            yield session
        finally:
            for pid in [*_descendants(process.pid), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*children, *(deeper for child in children for deeper in _descendants(child))]
