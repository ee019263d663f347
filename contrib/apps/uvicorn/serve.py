#!/usr/bin/env python3
"""uvicorn on the socket that systemd passed: serve.py MODULE:APP

What ``uvicorn --fd 3`` leaves open: systemd is told when the app is ready (sd_notify(3)); the socket is used as what it
is (with --fd uvicorn takes it for a Unix socket); and a stop loses no request. uvicorn's own closes every connection
that has no request under way, also one whose request is just arriving. Here connections are asked to go with their next
answer ("Connection: close"), and what is still idle after DRAIN_IDLE_SEC is closed.
"""

import asyncio
import os
import socket
import sys

import uvicorn

FIRST_FD = 3  # SD_LISTEN_FDS_START
IDLE_S = float(os.environ.get("DRAIN_IDLE_SEC", "5"))
LIMIT_S = float(os.environ.get("DRAIN_SEC", "25"))


class DrainingServer(uvicorn.Server):
    """Says when it listens, and drains before it shuts down."""

    is_draining = False

    async def startup(self, sockets=None):
        await super().startup(sockets)
        notify("READY=1")

    async def shutdown(self, sockets=None):
        self.is_draining = True
        for server in self.servers:
            server.close()
        # A connection that was accepted a moment ago shows up in the next rounds of the loop.
        await asyncio.sleep(0.05)
        for _ in range(int(IDLE_S / 0.02)):
            if self.server_state.connections:
                await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def closing(app, server):
    """The ASGI app, whose answers end their connection while the server drains."""

    async def asked(scope, receive, send):
        async def answer(message):
            if server.is_draining and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, answer if scope["type"] == "http" else send)

    return asked


def notify(state):
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1))


def main():
    """Serve the app that the command line names."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("serve.py: no socket was passed (LISTEN_PID is not set to this process): start it through its unit")
    sys.path.insert(0, os.getcwd())
    passed = [socket.socket(fileno=FIRST_FD + number) for number in range(int(os.environ["LISTEN_FDS"]))]
    config = uvicorn.Config(sys.argv[1], timeout_graceful_shutdown=max(1, int(LIMIT_S - IDLE_S)), backlog=65535)
    server = DrainingServer(config)
    config.load()
    config.loaded_app = closing(config.loaded_app, server)
    server.run(sockets=passed)
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
