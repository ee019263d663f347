"""The app of the chaos run: it tells of each answer whether it is whole, by the manifest of its release.

It runs in the box, under the packaged units for a plain Python app: it takes the socket that systemd passed, says when
it is ready, and drains on SIGTERM. ``behaviour`` in the manifest: "good", "ill" (answers 500), "crash" (does not
boot); on trial these two are well, and "unfit" does not boot. Where the unit is reloaded, the process that systemd has
started looks after a worker, and replaces it on SIGHUP by one of the release that the link names then.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIRST_FD = 3  # SD_LISTEN_FDS_START
MANIFEST = json.loads(Path("manifest.json").read_text())
IS_ON_TRIAL = "DROPDEPLOY_TRIAL" in os.environ
LINK_TO_RELOAD = os.environ.pop("LINK_TO_RELOAD", "")
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
        self.send_response(500 if MANIFEST["behaviour"] == "ill" and not IS_ON_TRIAL else 200)
        self.send_header("Content-Length", str(len(body)))
        if draining.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """On trial nobody has one: it is a Unix socket."""
        return "-"

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


def start_worker() -> subprocess.Popen[bytes]:
    """Of the release that is live now."""
    return subprocess.Popen(
        [sys.executable, "main.py"],
        cwd=os.path.realpath(LINK_TO_RELOAD),
        pass_fds=(FIRST_FD,),
    )


def look_after_workers() -> None:
    """For ever; a worker that ends without being told to is the end of all."""
    awaited = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    worker, retired = start_worker(), []
    while True:
        number = signal.sigwait(awaited)
        if number == signal.SIGHUP:
            worker.terminate()
            retired.append(worker)
            worker = start_worker()
        if number == signal.SIGTERM:
            worker.terminate()
            worker.wait()
            sys.exit()
        retired = [each for each in retired if each.poll() is None]
        if worker.poll() is not None:
            sys.exit("the worker has ended")


if LINK_TO_RELOAD:
    look_after_workers()
signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a worker starts with what was blocked
RELEASE = Path.cwd().name
if IS_ON_TRIAL:
    with Path("../../shared/tried").open("a") as file:
        file.write(f"{RELEASE}\n")
    if MANIFEST["behaviour"] == "unfit":
        sys.exit("on trial: cannot go on")
elif MANIFEST["behaviour"] == "crash":
    sys.exit("cannot go on: DATABASE_URL is not set")
if not is_whole():
    sys.exit("this release is not whole")
with Server(socket.socket(fileno=FIRST_FD)) as server:
    signal.signal(signal.SIGTERM, server.drain)
    notify("READY=1")
    server.serve_forever(poll_interval=0.05)
