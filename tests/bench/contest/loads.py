"""What is deployed: builds as .tar.gz, each with the app's server in it. A small one and a large one are real."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.box import builds

BENCH = Path(__file__).resolve().parents[1]
MANY = 80_000

SERVER_JS = """
const { createServer } = require("node:http");
createServer((request, response) => response.end("fine\\n")).listen(process.env.PORT, "127.0.0.1");
"""


@dataclass(frozen=True)
class Load:
    """A build. ``apps`` is how many apps deploy it at once."""

    name: str
    title: str
    build: str
    apps: int = 1
    is_cold: bool = False


LOADS = (
    Load("small", "a small app", "express"),
    Load("next", "a 40 MB Next.js build", "next"),
    Load("next-cold", "a 40 MB Next.js build, cold cache", "next", is_cold=True),
    Load("many", "80,000 files, 639 MB", "many"),
    Load("many-cold", "80,000 files, 639 MB, cold cache", "many", is_cold=True),
    Load("crowd", "20 small apps at once", "express", apps=20),
)


def pack(build: str, archive: Path) -> None:
    """Make the archive of this build."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        MAKERS[build](tree)
        subprocess.run(["tar", "-C", str(tree), "-czf", str(archive), "."], check=True)


def _express(tree: Path) -> None:
    shutil.copytree(builds.express_packages(), tree, symlinks=True)
    for source in builds.APPS.joinpath("express").iterdir():
        shutil.copy(source, tree)
    (tree / "behaviour.json").write_text('{"version": "v1"}')


def _next(tree: Path) -> None:
    shutil.copytree(builds.next_build(), tree, symlinks=True)


def _many(tree: Path) -> None:
    make_tree = runpy.run_path(str(BENCH / "unpack"))["make_tree"]
    make_tree(tree, MANY, 8_000)
    (tree / "server.js").write_text(SERVER_JS)


MAKERS: dict[str, Callable[[Path], None]] = {"express": _express, "next": _next, "many": _many}
