"""Builds of real apps, with what PyPI and npm have for them, packed on the uploader's machine with its own tools.

The packages are fetched here, outside the box, with pip and npm, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.box import cache
from tests.box.machine import Box

APPS = Path(__file__).with_name("apps")

PACKERS = {
    ".tar.gz": ("tar", "-czf"),
    ".tar.zst": ("tar", "--zstd", "-cf"),
    ".zip": ("zip", "-qry"),
}


@dataclass(frozen=True)
class Checkout:
    """An app's source tree on the laptop, its dependencies beside it."""

    box: Box
    place: str

    def pack(self, name: str, version: str, *, without: str = "", **behaviour: object) -> str:
        """Pack a build that calls itself ``version`` and behaves so; returns its path on the laptop."""
        self.box.path(f"{self.place}/behaviour.json").write_text(json.dumps({"version": version, **behaviour}))
        archive = f"/home/laptop/{name}"
        packer = next(command for ending, command in PACKERS.items() if name.endswith(ending))
        entries = sorted(entry.name for entry in self.box.path(self.place).iterdir() if entry.name != without)
        command = ("env", f"--chdir={self.place}", *packer, archive, *entries)
        # zip(1) would add to an archive that is there.
        self.box.path(archive).unlink(missing_ok=True)
        self.box.run(*command, user="laptop")
        return archive


def check_out(box: Box, kind: str, name: str) -> Checkout:
    """Put an app (a kind of PACKAGES) on the box's laptop, as it will be uploaded."""
    checkout = Checkout(box, f"/home/laptop/{name}")
    if kind in PACKAGES:
        box.copy_in(PACKAGES[kind](box), checkout.place)
    if kind != "next":
        for source in APPS.joinpath(kind).iterdir():
            if not source.name.endswith(".in"):
                box.copy_in(source, f"{checkout.place}/{source.name}")
    box.run("chown", "-R", "laptop:laptop", checkout.place)
    return checkout


def _python_packages(kind: str, box: Box) -> Path:
    """A directory with ``vendor``: what requirements.txt names, for the box's Python."""
    requirements = APPS / kind / "requirements.txt"
    version = box.run("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").out.strip()
    machine = platform.machine()
    wheels = ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    wheels += [f"--platform={kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    return _fetched(
        f"{kind}-{version}-{machine}",
        [requirements],
        [[*pip, *wheels, "--target=vendor", f"--requirement={requirements}"]],
    )


NPM = ["npm", "install", "--no-fund", "--no-audit", "--no-package-lock", "--loglevel=error"]


def _node_packages(kind: str) -> Path:
    """A directory with ``node_modules``: what package.json names."""
    return _fetched(kind, [APPS / kind / "package.json"], [NPM])


def express_packages() -> Path:
    """What the Express app needs, without the app."""
    return _node_packages("express")


def next_build() -> Path:
    """What ``next build`` makes with output: "standalone", which is all that a server needs."""
    commands = [NPM, ["npm", "run", "--silent", "build"], ["rm", "-rf", "node_modules"]]
    return _fetched("next", sorted(APPS.joinpath("next").iterdir()), commands) / ".next/standalone"


PACKAGES: dict[str, Callable[[Box], Path]] = {
    "flask": lambda box: _python_packages("flask", box),
    "starlette": lambda box: _python_packages("starlette", box),
    "express": lambda _: express_packages(),
    "fastify": lambda _: _node_packages("fastify"),
    "next": lambda _: next_build(),
}


def node(major: int) -> Path:
    """The program of this version of Node, as npm has it. (Its packages carry the name of their platform.)"""
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    packed = f"node-linux-{machine}"
    command = [*NPM, "--ignore-scripts", "--no-save", f"{packed}@{major}"]
    return _fetched(f"node-{major}", [], [command]) / f"node_modules/{packed}/bin/node"


def _fetched(name: str, sources: Sequence[Path], commands: Sequence[list[str]]) -> Path:
    """The directory in which ``commands`` were run, with ``sources`` in it; from the cache, if it is there."""
    files = sorted(file for source in sources for file in ([source] if source.is_file() else source.rglob("*")))
    content = [(str(file.relative_to(APPS)), file.read_text()) for file in files if file.is_file()]
    key = hashlib.sha256(repr([commands, content]).encode()).hexdigest()[:12]
    packages = cache.directory("packages")
    with cache.entry(packages, f"{name}-{key}") as place:
        if not place.exists():
            building = packages / f".building-{place.name}"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            for source in sources:
                if source.is_dir():
                    shutil.copytree(source, building / source.name)
                else:
                    shutil.copy(source, building)
            for command in commands:
                done = subprocess.run(
                    command,
                    cwd=building,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                    env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1"},
                )
                assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
            building.rename(place)
    return place
