"""After a power cut: what is on the disk, and what the agent makes of it.

    after.py DISK OPTIONS

runs in a mount namespace of its own. For each line on its standard input (a ``Cut`` as JSON) it mounts the image in the
place of DISK, looks, and prints a line: what is wrong, as a JSON list of sentences.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.agent.world import World
from tests.durability import disk

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Cut:
    """One power cut: the disk's image, and what was known before it.

    ``told``: the results that were readable, by upload, oldest first. ``is_working``: something else was under way.
    ``with_agent``: see what the agent makes of it, too.
    """

    image: str
    moment: str
    told: dict[str, dict[str, Any]]
    is_working: bool
    with_agent: bool

    def dump(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self)) + "\n"


class Site(World):
    """The world as it is on the disk: nothing is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.state, self.root, self.drop = (path / name for name in ("etc", "state", "home", "drop"))
        self.socket, self.log, self.process = path / "app.sock", path / "after.log", None


def unwhole(release: Path) -> str:
    """What is wrong with a release, by its manifest; "" when nothing is."""
    try:
        manifest = json.loads((release / "manifest.json").read_text())
        for name, digest in manifest["files"].items():
            if hashlib.sha256((release / name).read_bytes()).hexdigest() != digest:
                return f"{name} has other content"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def on_disk(site: Site, cut: Cut) -> Iterator[str]:
    """What is wrong before the agent comes."""
    live = site.live()
    last = list(cut.told.values())[-1] if cut.told else None
    if last is not None and not cut.is_working and live != last["live"]:
        yield f"app leads to {live!r}, and the verdict said {last['live']!r}"
    if last is not None and not live:
        yield "there is no link"
    for release in site.releases():
        if not release.startswith(".") and (problem := unwhole(site.root / "releases" / release)):
            yield f"release {release}{' (live)' if release == live else ''} is not whole: {problem}"
    if not cut.told:
        return
    with closing(sqlite3.connect(site.state / "history.db")) as history:
        try:
            (integrity,) = history.execute("PRAGMA integrity_check").fetchone()
            known = dict(history.execute("SELECT id, status FROM deploys"))
        except sqlite3.Error as error:
            yield f"the history: {error}"
            return
    if integrity != "ok":
        yield f"the history: {integrity}"
    for name, result in cut.told.items():
        if known.get(result["id"]) != result["status"]:
            yield f"{name}: the verdict was {result['status']}, the history has {known.get(result['id'])}"


def with_agent(site: Site, cut: Cut) -> Iterator[str]:
    """What is wrong once it has recovered."""
    try:
        site.start()
        deadline = time.monotonic() + TIMEOUT_S
        while (undecided := _undecided(site)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if undecided:
            yield f"there is no verdict on {undecided}"
            return
        for name, result in cut.told.items():
            path = site.drop / f"{name}.result.toml"
            # A rollback that was under way has the name of the one before.
            if not path.exists() or tomllib.loads(path.read_text())["id"] < result["id"]:
                yield f"the result of {name} is not there"
        live = site.live()
        if live and (problem := unwhole(site.root / "releases" / live)):
            yield f"{live} is live and not whole: {problem}"
        if live and (answer := site.ask())["cwd"] != f"{site.root}/releases/{live}":
            yield f"app leads to {live}, and {answer} answers"
    finally:
        if site.stop() != 0 or "Traceback" in site.log.read_text():
            yield f"the agent: {site.log.read_text()}"


def _undecided(site: Site) -> list[str]:
    """What is under way or waits; uploads too that a client did not see to be on disk, and that are short now."""
    names = os.listdir(site.drop)
    own = [name for name in names if name.endswith(".deploying")]
    answered = {name.removesuffix(".result.toml") for name in names if name.endswith(".result.toml")}
    uploads = {name for name in names if name.endswith(".tar.gz") and name not in answered}
    return sorted({*own, *uploads, *({"rollback"} & set(names))})


def look(cut: Cut, site: Site) -> list[str]:
    """All that is wrong."""
    problems: list[str] = []
    try:
        problems += on_disk(site, cut)
        problems += with_agent(site, cut) if cut.with_agent else ()
    except (OSError, ValueError, KeyError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    return [f"cut at {cut.moment}: {problem}" for problem in problems]


def main() -> None:
    mounted, options = sys.argv[1:]
    for line in sys.stdin:
        cut = Cut(**json.loads(line))
        disk.mount(Path(cut.image), Path(mounted), options)
        print(json.dumps(look(cut, Site(Path(mounted, "world")))), flush=True)
        subprocess.run(["umount", "--lazy", mounted], check=True)
        Path(cut.image).unlink()


if __name__ == "__main__":
    main()
