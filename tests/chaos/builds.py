"""Builds for the chaos run: each carries a manifest, by which anybody can tell whether a release of it is whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

APP = Path(__file__).with_name("app.py").read_bytes()
FILES, FILE_BYTES = 40, 6000


@dataclass(frozen=True)
class Build:
    """One archive. No two have the same content."""

    name: str
    behaviour: str
    content: bytes

    @property
    def sha256(self) -> str:
        """As the result file tells it."""
        return hashlib.sha256(self.content).hexdigest()


def make(name: str, behaviour: str, random: Random) -> Build:
    """A build that behaves so: the app, and files of its own."""
    files = {f"data/{number:02}": random.randbytes(FILE_BYTES) for number in range(FILES)} | {"main.py": APP}
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    manifest = {"build": f"{name} {random.getrandbits(64):016x}", "behaviour": behaviour, "files": digests}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Build(name, behaviour, gzip.compress(packed.getvalue(), 1))
