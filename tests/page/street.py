"""Several apps on one machine, each in another state that the page has to tell: a real agent, real deploys."""

from __future__ import annotations

import json
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.agent.world import World, build, wait_for

HOSTILE = '<img src=x onerror="document.title=1">\u202e & "x"'

STRANGER = {"author": HOSTILE, "commit": HOSTILE}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Street(World):
    """Apps by name, each with lines of its own file."""

    def __init__(self, path: Path, apps: dict[str, str]) -> None:
        self.port = free_port()
        super().__init__(path)
        (self.config / "apps.d" / "myapp.toml").unlink()
        for name, lines in apps.items():
            for directory in (self.root_of(name), self.drop_of(name)):
                directory.mkdir(parents=True)
            address = path / f"{name}.sock"
            (self.config / "apps.d" / f"{name}.toml").write_text(
                f'settle = "50ms"\nroot = "{self.root_of(name)}"\ndrop = "{self.drop_of(name)}"\n{lines}\n'
                f'[health]\nurl = "unix:{address}:/health"\ninterval = "200ms"\ntimeout = "20s"\n'
                f'[embedded]\ncommand = ["{sys.executable}", "-SE", "app.py"]\nlisten = "{address}"\n'
            )

    def configure(self, text: str = "", *, main: str = "", health: str = "") -> None:
        super().configure(text, main=f'listen = "127.0.0.1:{self.port}"\n{main}', health=health)

    def root_of(self, name: str) -> Path:
        return self.path / "roots" / name

    def drop_of(self, name: str) -> Path:
        return self.path / "drops" / name

    def at(self, path: str) -> str:
        """An address of the page."""
        return f"http://127.0.0.1:{self.port}{path}"

    # --- uploads ---

    def upload(self, name: str, file: str, content: bytes, **meta: str) -> None:
        """Put a file into an app's drop directory, with metadata before it."""
        drop = self.drop_of(name)
        if meta:
            lines = (f"{key} = {json.dumps(value)}\n" for key, value in meta.items())
            (drop / f"{file}.meta.toml").write_text("".join(lines))
        temporary = drop / ".upload.part"
        temporary.write_bytes(content)
        temporary.rename(drop / file)

    def verdict_of(self, name: str, file: str) -> dict[str, Any]:
        """Wait for a result, and for the end of the work."""
        path = self.drop_of(name) / f"{file}.result.toml"
        wait_for(str(path), path.exists, 60)
        wait_for("the end of the work", lambda: not (self.drop_of(name) / f"{file}.deploying").exists(), 60)
        return tomllib.loads(path.read_text())


def furnished(path: Path, stranger: dict[str, str] = STRANGER) -> Street:
    """A street with an agent that runs, where something has happened in each house. ``stranger`` has signed one."""
    street = Street(
        path,
        {"api": "", "blog": "", "docs": "", "intranet": 'on_failure = "keep"\n', "landing": "", "shop": "keep = 3\n"},
    )
    street.start()
    ada = {"author": "Ada Lovelace", "commit": "1a2b3c4d5e6f70819203"}
    grace = {"author": "Grace Hopper", "commit": "9f8e7d6c5b4a39281706", "message": "Faster search"}
    for name, file, content, meta in (
        ("shop", "shop-1.4.0.tar.gz", build("1.4.0"), ada),
        ("shop", "shop-1.5.0.tar.gz", build("1.5.0"), grace),
        ("shop", "shop-1.6.0.tar.gz", build("1.6.0", exit=1), ada | {"message": "New checkout"}),
        ("api", "api-41.tar.gz", build("41"), grace),
        ("blog", "blog.tar.gz", build("blog"), {}),
        ("docs", "docs-7.tar.gz", build("docs-7"), stranger),
        ("intranet", "intranet-2.tar.gz", build("2"), ada),
        ("intranet", "intranet-3.tar.gz", build("3", exit=1), grace),
        ("landing", "Landing page.pdf", b"%PDF", {}),
    ):
        street.upload(name, file, content, **meta)
        street.verdict_of(name, file)
    (street.drop_of("docs") / "hold").touch()
    street.upload("docs", "docs-8.tar.gz", build("docs-8"))
    wait_for("the hold", (street.drop_of("docs") / "docs-8.tar.gz.deploying").exists)
    return street
