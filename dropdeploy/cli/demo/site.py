"""The app of the demo: a small web server that needs a moment to start and can be ill. It runs as a release, by itself.

Its socket comes from the supervisor as file descriptor 3 (sd_listen_fds(3)), so connections wait while it is restarted
instead of being refused. On SIGTERM it answers what it has accepted, and exits.
"""

import http.server
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

# The link that this was started through will lead to another release one day.
RELEASE = Path(__file__).resolve().parent
VERSION = (
    RELEASE.joinpath("VERSION").read_text(encoding="utf-8").strip() if RELEASE.joinpath("VERSION").exists() else ""
)
BOOT_S = 0.3
TOLD: set[str] = set()
TELLING = threading.Lock()


class Site(http.server.BaseHTTPRequestHandler):
    """``/`` is the page, ``/health`` says whether there is one."""

    def do_GET(self) -> None:
        """Answer."""
        try:
            page = (RELEASE / "page.html").read_text(encoding="utf-8")
        except OSError as error:
            self._answer(500, f"{VERSION} is ill: {error.strerror}\n")
            say_once(f"GET {self.path}: 500: {error.strerror}: {error.filename}")
        else:
            self._answer(200, f"{VERSION} is healthy\n" if self.path == "/health" else page)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: there are thousands."""


class Server(http.server.ThreadingHTTPServer):
    """Waits for the answers in progress when it is closed."""

    daemon_threads = False


def say_once(line: str) -> None:
    """One line of log, however often it happens, in however many threads."""
    with TELLING:
        if line not in TOLD:
            TOLD.add(line)
            say(line)


def say(line: str) -> None:
    """One line of log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until SIGTERM."""
    # Blocked in every thread and waited for below: a handler runs in the main thread only, and a signal that the
    # kernel gives to another thread would not wake it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    say(f"{VERSION} starts")
    time.sleep(BOOT_S)  # what a real app does now: read its configuration, connect to its database
    if os.environ.get("LISTEN_FDS") != "1":
        sys.exit("expected one listening socket, LISTEN_FDS=1")
    server = Server(("", 0), Site, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    say(f"{VERSION} serves")
    signal.sigwait({signal.SIGTERM})
    server.shutdown()
    serving.join()
    server.server_close()
    say(f"{VERSION} has answered everything and stops")


if __name__ == "__main__":
    main()
