"""Whether a release is exactly one build: what the app asks itself when it boots, and the guard all the time."""

from __future__ import annotations

import hashlib
import json
import os

MANIFEST = "MANIFEST.json"


def manifest(build: str, files: dict[str, bytes]) -> bytes:
    """The file that goes with a build: its name, and the SHA-256 of each of its other files.

    Builds of different sizes have manifests of different sizes, for clients that pass over what has the same size.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"build": build, "files": digests}).encode() + b" " * (sum(map(len, files.values())) // 1000)


def examine(release: str) -> tuple[str, list[str]]:
    """The build that this directory calls itself, and what of it is missing, other than it should be, or too much."""
    try:
        with open(os.path.join(release, MANIFEST), "rb") as file:
            told = json.load(file)
        build, digests = str(told["build"]), dict(told["files"])
    except (OSError, ValueError, KeyError) as error:
        return "?", [f"{MANIFEST}: {error!r}"]
    found = {
        os.path.relpath(os.path.join(directory, name), release)
        for directory, _, names in os.walk(release)
        for name in names
    }
    flaws = [f"{name} is too much" for name in found - digests.keys() - {MANIFEST}]
    for name, digest in digests.items():
        try:
            with open(os.path.join(release, name), "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    flaws.append(f"{name} is not the one of {build}")
        except OSError as error:
            flaws.append(f"{name}: {error.strerror}")
    return build, flaws
