#!/usr/bin/env python3
"""A plain Python server that is replaced without losing a request. Put your own answers into ``do_GET``.

It takes the listening socket that systemd passed (sd_listen_fds(3)) and says READY=1 (sd_notify(3)). On SIGTERM it
stops accepting, answers what is under way with "Connection: close", and ends when the last connection has.
"""

import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST_FD = 3  # SD_LISTEN_FDS_START
draining = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = max(0.1, float(os.environ.get("DRAIN_IDLE_SEC", "5")))  # seconds for which a connection may be idle

    def do_GET(self):
        """Tell who answers."""
        body = f"{os.path.basename(os.getcwd())} {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self):
        """The last answer on a connection says so."""
        if draining.is_set():
            self.send_header("Connection", "close")
        super().end_headers()

    def log_message(self, format, *args):
        """Not every request."""


class Server(ThreadingHTTPServer):
    """On a socket that listens already."""

    daemon_threads = False  # those that answer are waited for

    def __init__(self, passed):
        super().__init__(passed.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = passed

    def drain(self, *_):
        """The handler of SIGTERM."""
        draining.set()
        # Waits for serve_forever(), which the signal has interrupted.
        threading.Thread(target=self.shutdown).start()


def notify(state):
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1))


def main():
    """Serve until SIGTERM."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("main.py: no socket was passed (LISTEN_PID is not set to this process): start it through its unit")
    with Server(socket.socket(fileno=FIRST_FD)) as server:
        signal.signal(signal.SIGTERM, server.drain)
        notify("READY=1")
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
