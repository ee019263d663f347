"""The box where it happens: one app for each way to deploy (or twenty), all alike but for who deploys them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.contest.loads import Load, pack
from tests.box.machine import Box
from tests.box.server import Server

PEERS = Path(__file__).with_name("peers")
KEEP = 2

APP_UNIT = """
[Service]
Type=exec
User={app}
WorkingDirectory=/home/{app}/app
Environment=NODE_ENV=production PORT={port} HOSTNAME=127.0.0.1
ExecStart=/usr/bin/node server.js
StartLimitIntervalSec=0
"""
CONFIG = """
keep = {keep}
rate_limit = "off"
[health]
url = "http://127.0.0.1:{port}/health"
"""
PATH_UNIT = """
[Path]
PathExistsGlob=/srv/in/{app}/*.tar.gz
Unit={app}-deploy.service
[Install]
WantedBy=multi-user.target
"""
DEPLOY_UNIT = """
[Service]
Type=oneshot
ExecStart=/opt/peers/deploy-all {app} {port}
"""
INCRON_LINE = "/srv/in/{app} IN_CLOSE_WRITE,IN_MOVED_TO /opt/peers/deploy {app} {port} $@/$#\n"


class Ground:
    """The box, with the agent and its neighbours running."""

    def __init__(self, box: Box, scratch: Path) -> None:
        self.box = box
        self._server = Server(box)
        self._scratch = scratch
        self._packed: set[str] = set()
        self._ports: dict[str, int] = {}
        box.run("mkdir", "-p", "/srv/in", "/srv/staged", "/srv/builds", "/opt/peers/cap/config/deploy")
        for file, place in (
            ("deploy", "/opt/peers/deploy"),
            ("deploy-all", "/opt/peers/deploy-all"),
            ("deploy.yml", "/opt/peers/deploy.yml"),
            ("Capfile", "/opt/peers/cap/Capfile"),
            ("deploy.rb", "/opt/peers/cap/config/deploy.rb"),
            ("production.rb", "/opt/peers/cap/config/deploy/production.rb"),
            ("webhook.service", "/etc/systemd/system/contest-webhook.service"),
        ):
            box.copy_in(PEERS / file, place)
        box.write("/etc/dropdeploy/dropdeploy.toml", "concurrency = 4\n", mode=0o640, owner="root:dropdeploy")

    def runners(self, way: str, load: Load) -> list[dict[str, Any]]:
        """The apps that this way deploys, as racer.py wants them; made when they are not there yet."""
        if load.build not in self._packed:
            archive = self._scratch / f"{load.build}.tar.gz"
            if not archive.exists():
                pack(load.build, archive)
            self.box.copy_in(archive, f"/srv/builds/{load.build}.tar.gz")
            self._packed.add(load.build)
        slug = "".join(letter for letter in way.lower() if letter.isalpha())
        names = [f"{slug}-{load.build}-{number}" for number in range(1, load.apps + 1)]
        new = [name for name in names if name not in self._ports]
        for name in new:
            self._ports[name] = 3000 + len(self._ports)
            (self._add_ours if way == "dropdeploy" else self._add)(name, self._ports[name])
        if new:
            self._introduce(way, new)
        archive_inside = f"/srv/builds/{load.build}.tar.gz"
        return [{"app": name, "port": self._ports[name], "archive": archive_inside} for name in names]

    def _add_ours(self, name: str, port: int) -> None:
        site = self._server.add_app(name, CONFIG.format(keep=KEEP, port=port), is_sshd_told=False)
        self.box.path(f"/etc/systemd/system/{site.unit}").write_text(APP_UNIT.format(app=name, port=port))

    def _add(self, name: str, port: int) -> None:
        self.box.run("useradd", "--system", "--no-create-home", name)
        self.box.run("mkdir", "-p", f"/home/{name}/releases", f"/srv/in/{name}")
        units = {f"{name}.service": APP_UNIT, f"{name}-deploy.service": DEPLOY_UNIT, f"{name}.path": PATH_UNIT}
        for unit, text in units.items():
            self.box.path(f"/etc/systemd/system/{unit}").write_text(text.format(app=name, port=port))

    def _introduce(self, way: str, new: list[str]) -> None:
        """Whoever deploys them is told."""
        self.box.run("systemctl", "daemon-reload")
        match way:
            case "dropdeploy":
                self._server.agent("restart")
            case "path unit":
                self.box.run("systemctl", "start", *(f"{name}.path" for name in new))
            case "incron":
                lines = [INCRON_LINE.format(app=name, port=self._ports[name]) for name in new]
                self.box.write(f"/etc/incron.d/{new[0]}", "".join(lines))
                self.box.run("systemctl", "restart", "incron.service")
            case "webhook":
                hooks = [self._hook(name) for name in self._ports if name.startswith("webhook-")]
                self.box.write("/etc/hooks.json", json.dumps(hooks))
                self.box.run("systemctl", "restart", "contest-webhook.service")
                answers = "until curl -sS -o /dev/null http://127.0.0.1:9000/; do sleep 0.1; done"
                self.box.run("sh", "-c", answers)

    def _hook(self, name: str) -> dict[str, Any]:
        words = (name, str(self._ports[name]), f"/srv/in/{name}/build.tar.gz")
        return {
            "id": name,
            "execute-command": "/opt/peers/deploy",
            "pass-arguments-to-command": [{"source": "string", "name": word} for word in words],
        }

    def stop(self, runners: list[dict[str, Any]]) -> None:
        """The apps end: what is measured next has the machine to itself."""
        for runner in runners:
            self.box.run("systemctl", "stop", f"{runner['app']}.service")


@contextmanager
def racer(box: Box) -> Iterator[subprocess.Popen[str]]:
    """The program in the box that starts deploys and sees them end."""
    with box.popen("python3", "-S", "-P", "/src/tests/bench/contest/racer.py") as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def ask(process: subprocess.Popen[str], question: dict[str, Any]) -> Any:
    """One line to the racer, and its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        _, told = process.communicate()
        raise SystemExit(f"{question}: {told}")
    return json.loads(line)


def forget_cache() -> None:
    """The whole machine's page cache: only whoever has it to himself does this (proc(5), drop_caches)."""
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
