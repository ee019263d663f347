"""Builds of real apps, with what PyPI and npm have for them, packed on the uploader's machine with its own tools.

The packages are fetched here, outside the box, with pip and npm, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
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
    """Put an app ("flask" or "express") on the box's laptop."""
    checkout = Checkout(box, f"/home/laptop/{name}")
    packages = _flask_packages(box) if kind == "flask" else _express_packages()
    box.copy_in(packages, checkout.place)
    for source in APPS.joinpath(kind).iterdir():
        if not source.name.endswith(".in"):
            box.copy_in(source, f"{checkout.place}/{source.name}")
    box.run("chown", "-R", "laptop:laptop", checkout.place)
    return checkout


def _flask_packages(box: Box) -> Path:
    """A directory with ``vendor``: what requirements.txt names, for the box's Python."""
    requirements = APPS / "flask/requirements.txt"
    version = box.run("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").out.strip()
    machine = platform.machine()
    wheels = ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    wheels += [f"--platform={kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    return _fetched(
        f"flask-{version}-{machine}", requirements, [*pip, *wheels, "--target=vendor", f"--requirement={requirements}"]
    )


def _express_packages() -> Path:
    """A directory with ``node_modules``: what package.json names."""
    npm = ["npm", "install", "--no-fund", "--no-audit", "--no-package-lock", "--loglevel=error"]
    return _fetched("express", APPS / "express/package.json", npm)


def _fetched(name: str, wanted: Path, command: list[str]) -> Path:
    """The directory in which ``command`` was run, with the file ``wanted`` in it; from the cache, if it is there."""
    key = hashlib.sha256(repr([command, wanted.read_text()]).encode()).hexdigest()[:12]
    packages = cache.directory("packages")
    with cache.entry(packages, f"{name}-{key}") as place:
        if not place.exists():
            building = packages / f".building-{place.name}"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            shutil.copy(wanted, building)
            done = subprocess.run(
                command,
                cwd=building,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
            building.rename(place)
    return place
