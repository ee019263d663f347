"""An app on the server and the person who uploads it: what both see from outside."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.box.builds import APPS, Checkout, check_out
from tests.box.machine import Box, wait_until
from tests.box.server import Server, Site


@dataclass(frozen=True)
class Shop:
    """One app: its place on the server, its sources on the laptop."""

    site: Site
    checkout: Checkout
    curl: tuple[str, ...]
    ending: str

    @property
    def box(self) -> Box:
        return self.site.box

    # --- the uploader, who has sftp and nothing else ---

    def upload(self, version: str, name: str = "", *, without: str = "", **behaviour: object) -> str:
        """Pack a build and upload it; returns the upload's name."""
        name = name or version + self.ending
        self.checkout.pack(name, version, without=without, **behaviour)
        self._put(name)
        return name

    def mark(self, name: str, text: str = "") -> None:
        """Upload a marker."""
        self.box.write(f"/home/laptop/{name}", text, owner="laptop")
        self._put(name)

    def _put(self, name: str) -> None:
        # The leading "-": there may be none. What is there would be read before the agent has seen the new bytes.
        self.site.sftp(f"-rm {name}.result.toml", f"put {name}")

    def result(self, name: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait for the result of an upload or marker and for the end of the work, and fetch the result."""
        self.site.result(name, timeout_s)
        wait_until(lambda: not self.path(f"{self.site.drop}/{name}.deploying").exists(), f"the end of {name}")
        self.site.sftp(f"get {name}.result.toml")
        told = tomllib.loads(self.box.path(f"/home/laptop/{name}.result.toml").read_text())
        upload = self.path(f"{self.site.drop}/{name}")
        config = self.path(f"/etc/dropdeploy/apps.d/{self.site.name}.toml").read_text()
        if told["status"] == "deployed" and 'after = "keep"' not in config:
            wait_until(lambda: not upload.is_file(), f"{name} to be cleared away")
        return told

    def dropped(self) -> list[str]:
        """What the uploader sees, but for what the agent wrote."""
        listed = self.site.sftp("ls -1a").out.splitlines()[1:]
        return [name for name in listed if name not in (".", "..", "status.toml") and not name.endswith(".result.toml")]

    def deploy(self, version: str, name: str = "", *, without: str = "", **behaviour: object) -> dict[str, Any]:
        """Upload a build and wait for its result."""
        return self.result(self.upload(version, name, without=without, **behaviour))

    def good(self) -> str:
        """A good release is live; returns its id."""
        live = self.live().removeprefix("releases/")
        if live:
            return live
        release: str = self.deploy("good")["release"]
        return release

    def roll_back(self, release: str = "") -> dict[str, Any]:
        """Upload a rollback marker and wait for its result."""
        self.mark("rollback", release)
        return self.result("rollback")

    # --- from outside ---

    def ask(self, path: str = "/") -> dict[str, Any]:
        """What the app answers now."""
        answer: dict[str, Any] = json.loads(self.box.run(*self.curl, f"http://localhost{path}").out)
        return answer

    def path(self, inside: str) -> Path:
        """The same file seen from outside the box."""
        return self.box.path(inside)

    def live(self) -> str:
        """What the link names, "" when there is none."""
        link = self.path(f"{self.site.root}/app")
        return os.readlink(link) if link.is_symlink() else ""

    def releases(self) -> list[str]:
        """What is on disk."""
        return sorted(os.listdir(self.path(f"{self.site.root}/releases")))

    def deploying(self, name: str) -> dict[str, Any]:
        """What the agent tells while it works."""
        try:
            return tomllib.loads(self.path(f"{self.site.drop}/{name}.deploying").read_text())
        except FileNotFoundError:
            return {}


def open_shop(server: Server, kind: str, name: str, config: str = "", units: Sequence[str] = ()) -> Shop:
    """An app of this kind ("flask" or "express") on the server, with its unit; the agent is not told.

    The agent may manage ``units``, by default that unit only.
    """
    if kind == "flask":
        curl: tuple[str, ...] = ("curl", "-fsS", "--unix-socket", f"/run/{name}/http.sock")
        url, ending, timeout = f"unix:/run/{name}/http.sock:/health", ".tar.gz", "7s"
    else:
        curl = ("curl", "-fsS", "--connect-to", "::127.0.0.1:3000")
        url, ending, timeout = "http://127.0.0.1:3000/health", ".zip", "4s"
    config = config if "settle" in config else f'settle = "300ms"\n{config}'
    health = f'[health]\nurl = "{url}"\ninterval = "500ms"\ntimeout = "{timeout}"\n'
    site = server.add_app(name, config + "\n" + health, units)
    server.add_unit(site.unit, APPS.joinpath(kind, "app.service.in").read_text().replace("@APP@", name))
    server.box.run("systemctl", "enable", "--quiet", site.unit)
    return Shop(site, check_out(server.box, kind, name), curl, ending)
