"""Who else is told a verdict: beside the deploys, over a crash of the agent."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.agent.world import World, wait_for


class Receiver:
    """A web server for webhooks. Its port is taken from the beginning, and nobody listens there until ``start``."""

    def __init__(self) -> None:
        told: list[tuple[dict[str, str], bytes]] = []
        self.told = told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.append((dict(self.headers), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        self.port = self._server.server_port

    def start(self) -> None:
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_verdict_is_told_although_the_receiver_was_away_and_the_agent_was_killed(world: World) -> None:
    receiver = Receiver()
    secret = world.path / "secret"
    secret.write_text("s3cret\n")
    world.configure(f'[notify]\nwebhook = "http://127.0.0.1:{receiver.port}/T0K3N"\nsecret_file = "{secret}"')
    world.start()
    first = world.deploy("v1")
    assert first["status"] == "deployed"  # nothing waits for the receiver
    wait_for("trouble in the log", lambda: "refused the connection; it is tried again" in world.log.read_text())
    world.stop(signal.SIGKILL)
    receiver.start()
    world.start()
    second = world.deploy("v2", exit=1)
    wait_for("both verdicts", lambda: len(receiver.told) == 2)
    assert [json.loads(body)["id"] for _, body in receiver.told] == [first["id"], second["id"]]
    headers, body = receiver.told[1]
    assert json.loads(body)["status"] == "rolled-back"
    assert json.loads(body)["error"]["log"] == second["error"]["log"]
    assert headers["X-Dropdeploy-Signature"] == f"sha256={hmac.new(b's3cret', body, hashlib.sha256).hexdigest()}"
    assert "T0K3N" not in world.log.read_text()
    receiver.stop()


def test_a_receiver_that_never_answers_does_not_hold_up_the_end(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world.configure(f'[notify]\nwebhook = "http://127.0.0.1:{silent.getsockname()[1]}/"\non = "deployed"')
        world.start()
        assert world.deploy("v1")["status"] == "deployed"
        connection, _ = silent.accept()
        assert world.stop() == 0
        connection.close()


def test_another_shape(world: World) -> None:
    receiver = Receiver()
    receiver.start()
    world.configure(f'[notify]\nwebhook = "http://127.0.0.1:{receiver.port}/"\nformat = "ntfy"')
    world.start()
    world.put("notes.pdf")  # the quickest verdict there is
    wait_for("the verdict", lambda: receiver.told)
    headers, body = receiver.told[0]
    assert headers["Title"] == "myapp: rejected"
    assert b"notes.pdf" in body
    receiver.stop()
