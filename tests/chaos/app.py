"""The app of the chaos run: it tells of each answer whether it is whole, by the manifest of its release.

It runs in the box, under the packaged units for a plain Python app: it takes the socket that systemd passed, says when
it is ready, and drains on SIGTERM. ``behaviour`` in the manifest: "good", "ill" (answers 500), "crash" (does not boot).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIRST_FD = 3  # SD_LISTEN_FDS_START
MANIFEST = json.loads(Path("manifest.json").read_text())
draining = threading.Event()


def is_whole() -> bool:
    """Whether every file of the release is there and has the content that it was built with."""
    try:
        return all(
            hashlib.sha256(Path(name).read_bytes()).hexdigest() == digest for name, digest in MANIFEST["files"].items()
        )
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self) -> None:
        told = {"build": MANIFEST["build"], "release": RELEASE, "whole": is_whole(), "pid": os.getpid()}
        body = json.dumps(told).encode()
        self.send_response(500 if MANIFEST["behaviour"] == "ill" else 200)
        self.send_header("Content-Length", str(len(body)))
        if draining.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not every request."""


class Server(ThreadingHTTPServer):
    """On a socket that listens already."""

    daemon_threads = False  # those that answer are waited for

    def __init__(self, passed: socket.socket) -> None:
        super().__init__(passed.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = passed

    def drain(self, *_: object) -> None:
        """The handler of SIGTERM."""
        draining.set()
        # Waits for serve_forever(), which the signal has interrupted.
        threading.Thread(target=self.shutdown).start()


def notify(state: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1))


RELEASE = Path.cwd().name
if MANIFEST["behaviour"] == "crash":
    sys.exit("cannot go on: DATABASE_URL is not set")
if not is_whole():
    sys.exit("this release is not whole")
with Server(socket.socket(fileno=FIRST_FD)) as server:
    signal.signal(signal.SIGTERM, server.drain)
    notify("READY=1")
    server.serve_forever(poll_interval=0.05)
