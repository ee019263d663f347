"""bus = "user": somebody without any rights on the server deploys what their own systemd runs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from tests.agent.world import tar
from tests.box.machine import Box, wait_until
from tests.box.server import Server

USER = "laptop"
HOME = f"/home/{USER}"
AGENT = """
[Service]
Type=notify
ExecStart=/usr/bin/dropdeploy run --config %h/dropdeploy
Restart=always

[Install]
WantedBy=default.target
"""
APP = """
[Service]
WorkingDirectory=%h/site/app
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8000
Restart=always
RestartSec=50ms

[Install]
WantedBy=default.target
"""


class Own:
    """A user's own agent, app and drop directory."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._environment = box.start_own_systemd(USER)
        self.run("mkdir", "-p", "dropdeploy/apps.d", "state", "site", "drop")
        health = '[health]\nurl = "http://127.0.0.1:8000/version"\ninterval = "500ms"\ntimeout = "5s"\n'
        self.write("dropdeploy/dropdeploy.toml", f'bus = "user"\nstate = "{HOME}/state"\n')
        self.write("dropdeploy/apps.d/site.toml", f'root = "{HOME}/site"\ndrop = "{HOME}/drop"\n{health}')
        self.write(".config/systemd/user/dropdeploy.service", AGENT)
        self.write(".config/systemd/user/site.service", APP)
        self.systemctl("daemon-reload")
        self.systemctl("enable", "--now", "--quiet", "dropdeploy.service")
        self.systemctl("enable", "--quiet", "site.service")

    def run(self, *command: str) -> str:
        return self.box.run(*command, user=USER, env=self._environment).out

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", "--user", *arguments)

    def write(self, name: str, text: str) -> None:
        self.run("install", "-D", "/dev/null", name)
        self.box.path(f"{HOME}/{name}").write_text(text)

    def deploy(self, name: str, **files: str) -> dict[str, Any]:
        """Drop a build and wait for its result."""
        self.box.path(f"{HOME}/{name}").write_bytes(tar(files))
        self.box.run("chown", USER, f"{HOME}/{name}")
        self.run("mv", name, "drop")
        result = self.box.path(f"{HOME}/drop/{name}.result.toml")
        wait_until(result.exists, f"a result for {name}")
        return tomllib.loads(result.read_text())

    def ask(self) -> Any:
        return json.loads(self.box.run("curl", "-fsS", "http://127.0.0.1:8000/version").out)


@pytest.fixture
def own(new_box: Callable[[], Box]) -> Own:
    return Own(Server(new_box()).box)


def test_the_users_own_systemd(own: Own) -> None:
    first = own.deploy("v1.tar.gz", version="1")
    assert first["status"] == "deployed", first
    assert own.ask() == 1
    second = own.deploy("v2.tar.gz", version="2")
    assert (second["status"], second["previous"]) == ("deployed", first["release"])
    assert own.ask() == 2
    ill = own.deploy("v3.tar.gz", nothing="of use")
    assert (ill["status"], ill["error"]["code"]) == ("rolled-back", "health-timeout"), ill
    assert "answered 404" in ill["error"]["message"]
    assert '"GET /version HTTP/1.1" 404' in ill["error"]["log"]
    assert own.ask() == 2
    assert own.systemctl("show", "-P", "StatusText", "dropdeploy.service").startswith("watching 1 app; last: site: v3")
    own.box.reboot()
    wait_until(lambda: own.box.run("curl", "-fsS", "http://127.0.0.1:8000/", check=False).code == 0, "the app")
    assert own.ask() == 2
    assert own.deploy("v4.tar.gz", version="4")["status"] == "deployed"
    assert own.ask() == 4
