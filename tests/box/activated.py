"""Apps under the units of contrib/apps: a socket that stays, and releases that come and go on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropdeploy.units.templates import AppUnits, render_units
from tests.box import visitors
from tests.box.builds import Checkout, check_out
from tests.box.machine import REPOSITORY, Box
from tests.box.server import Server, Site

CONTRIB = REPOSITORY / "contrib/apps"
SHARE = "/usr/share/dropdeploy/apps"

# An app of tests/box/apps (or contrib's own example) → the kind of its units.
KINDS = {
    "express": "node",
    "fastify": "node",
    "next": "node",
    "cluster": "node",
    "wires": "node",
    "flask": "gunicorn",
    "starlette": "uvicorn",
    "python": "python",
    "program": "program",
}


@dataclass(frozen=True)
class Activated:
    """One app with its units; ``checkout`` is what is uploaded."""

    site: Site
    checkout: Checkout
    port: int

    @property
    def box(self) -> Box:
        return self.site.box

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def instance(self, release: str) -> str:
        return f"{self.site.name}@{release}.service"

    def trial(self, release: str) -> str:
        return f"{self.site.name}-trial@{release}.service"

    # --- without the agent ---

    def put(self, release: str, **behaviour: object) -> None:
        """A release on disk."""
        place = f"{self.site.root}/releases/{release}"
        self.box.run("mkdir", "-p", f"{self.site.root}/releases")
        self.box.run("cp", "--recursive", "--no-target-directory", self.checkout.place, place)
        self.box.write(f"{place}/behaviour.json", json.dumps({"version": release, **behaviour}))

    def link(self, release: str) -> None:
        """Make it the live one."""
        self.box.run("ln", "-sfn", f"releases/{release}", f"{self.site.root}/app")

    def hand_over(self, old: str, new: str) -> None:
        """From one unit to the instance of another release, as the agent does it."""
        self.box.run("systemctl", "start", self.instance(new))
        self.link(new)
        self.box.run("systemctl", "stop", old)

    def is_failed(self) -> str:
        """The app's units that systemd counts as failed."""
        return self.box.run("systemctl", "--failed", "--plain", "--no-legend", "list-units", f"{self.site.name}*").out

    # --- the uploader ---

    def drop(self, version: str, *, without: str = "", **behaviour: object) -> str:
        """Upload a build, with rename as the last step; returns the upload's name."""
        archive = self.checkout.pack("build.tar.gz", version, without=without, **behaviour)
        drop, name = self.box.path(self.site.drop), f"{version}.tar.gz"
        # The agent takes the one of an earlier upload away, but whoever waits for this one may be faster.
        drop.joinpath(f"{name}.result.toml").unlink(missing_ok=True)
        shutil.copy(self.box.path(archive), drop / ".uploading")
        drop.joinpath(".uploading").rename(drop / name)
        return name

    def upload(self, version: str, *, without: str = "", **behaviour: object) -> dict[str, Any]:
        """The same; returns the upload's result when that is there."""
        return self.site.result(self.drop(version, without=without, **behaviour), timeout_s=120)

    # --- from outside ---

    def ask(self) -> dict[str, Any]:
        """What the app answers: version, pid, cwd."""
        answer: dict[str, Any] = json.loads(self.box.run("curl", "-fsS", "--max-time", "30", f"{self.url}/").out)
        return answer

    @contextmanager
    def load(self, *, new: int = 2, keep_alive: int = 2, slow: int = 1, pause_s: float = 0.02) -> Iterator[Seen]:
        """A constant load (see visitors.py) for as long as the block runs; what it saw is there when that has ended."""
        counts = (f"--new={new}", f"--keep-alive={keep_alive}", f"--slow={slow}", f"--pause={pause_s}")
        seen = Seen()
        # In the box's network and otherwise outside, before everybody else: what is measured is the server.
        inside = ("nice", "-n", "-10", "nsenter", f"--target={self.box.leader}", "--net", "--")
        process = subprocess.Popen(
            [*inside, sys.executable, "-P", visitors.__file__, f"127.0.0.1:{self.port}", *counts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield seen
            finally:
                out, _ = process.communicate()
        assert process.returncode == 0
        seen.update(json.loads(out))


class Seen(dict[str, Any]):
    """What a load saw, by kind of client: the summaries of visitors.py's tallies."""

    @property
    def failures(self) -> dict[str, int]:
        """All of them, by class."""
        total: dict[str, int] = {}
        for summary in self.values():
            for reason, count in summary["failures"].items():
                total[reason] = total.get(reason, 0) + count
        return total

    @property
    def releases(self) -> set[str]:
        """Those that answered."""
        return {release for summary in self.values() for release in summary["releases"]}


def open_activated(
    server: Server, app: str, name: str, port: int, config: str = "", *, idle_grace_s: float = 5
) -> Activated:
    """An app on the server, under units for its kind; nothing runs yet and the agent is not told."""
    units = AppUnits(
        kind=KINDS[app],
        app=name,
        root=f"/home/{name}",
        user=name,
        port=port,
        share=SHARE,
        idle_grace_s=idle_grace_s,
    )
    texts = render_units(units, lambda template: (CONTRIB / template).read_text())
    site = server.add_app(name, config, list(texts), is_sshd_told=False)
    for unit, text in texts.items():
        server.box.write(f"/etc/systemd/system/{unit}", text)
    if not server.box.path(SHARE).exists():
        server.box.copy_in(CONTRIB, SHARE)
    server.box.run("systemctl", "daemon-reload")
    server.box.run("systemctl", "enable", "--quiet", f"{name}.socket", f"{name}.service")
    return Activated(site, check_out(server.box, app, name), port)


def use_node(activated: Activated, program: Path) -> None:
    """Another version of Node than the distribution's."""
    box, name = activated.box, activated.site.name
    box.copy_in(program, f"/opt/{name}/node")
    for unit in (f"{name}.service", f"{name}@.service", f"{name}-trial@.service"):
        command = f"/opt/{name}/node --require {SHARE}/node/listen-fds.cjs server.js"
        box.write(f"/etc/systemd/system/{unit}.d/node.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    box.run("systemctl", "daemon-reload")
