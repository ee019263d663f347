"""A disk whose power can be cut: an image whose copy, made at any moment, holds what had reached the disk by then.

The image is a file on a file system that shares blocks between files, so that ``cp --reflink=always`` copies it at one
instant. What is still in memory, of the file system on the image, is not in the copy, as after a power cut. All mounts
are in a mount namespace that goes with the program (``in_namespace``). Root is needed, and loop devices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PLACE = "DROPDEPLOY_DURABILITY_PLACE"
SOURCES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kind:
    """A file system: how it is made, and how a copy of it is mounted."""

    mkfs: tuple[str, ...]
    megabytes: int
    options: str


KINDS = {
    "ext4": Kind(("mkfs.ext4", "-q"), 96, "loop"),
    # Two file systems of one identity are mounted only if one is told not to mind.
    "xfs": Kind(("mkfs.xfs", "-q"), 320, "loop,nouuid"),
}
_DEPOT_MEGABYTES = 4096


def obstacle() -> str | None:
    """Why this cannot be done here, in one sentence; None when it can."""
    if os.geteuid() != 0:
        return "power cuts need root"
    for program in ("unshare", "mount", "losetup", "mkfs.xfs", "mkfs.ext4"):
        if shutil.which(program) is None:
            return f"power cuts need the program {program}"
    found = subprocess.run(["unshare", "--mount", "losetup", "--find"], capture_output=True, text=True, check=False)
    return f"power cuts need loop devices ({found.stderr.strip()})" if found.returncode != 0 else None


def in_namespace(*arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run cuts.py in namespaces whose mounts and processes go with it; it finds an empty directory in ``place``."""
    until_it_dies = ("setpriv", "--pdeathsig=KILL")
    alone = (*until_it_dies, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    with tempfile.TemporaryDirectory(prefix="cuts-") as place:
        return subprocess.run(
            [*alone, sys.executable, "-m", "tests.durability.cuts", *arguments],
            env={**os.environ, PLACE: place},
            cwd=SOURCES,
            stdout=stdout,
            text=True,
            check=False,
        )


def place() -> Path | None:
    """The directory for all that is made and mounted; None where nobody has made one."""
    return Path(os.environ[PLACE]) if PLACE in os.environ else None


def _make(kind: Kind, image: Path, megabytes: int, place: Path) -> None:
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run([*kind.mkfs, str(image)], check=True)
    place.mkdir()
    mount(image, place, "loop")


def mount(image: Path, place: Path, options: str) -> None:
    """mount(8)."""
    subprocess.run(["mount", "-o", options, str(image), str(place)], check=True)


class Disk:
    """A file system of this kind, mounted at ``mounted``. ``place`` is an empty directory for all of it."""

    def __init__(self, name: str, place: Path) -> None:
        self.kind = KINDS[name]
        self._depot = place / "depot"
        _make(KINDS["xfs"], place / "depot.img", _DEPOT_MEGABYTES, self._depot)
        self._image = self._depot / "disk.img"
        self.mounted = place / "disk"
        _make(self.kind, self._image, self.kind.megabytes, self.mounted)
        self._cuts = 0

    def cut(self) -> Path:
        """What is on the disk at this instant: an image."""
        self._cuts += 1
        copy = self._depot / f"cut-{self._cuts}.img"
        subprocess.run(["cp", "--reflink=always", str(self._image), str(copy)], check=True)
        return copy
