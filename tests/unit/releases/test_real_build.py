"""A real build, packed by the tools that people use, and cut or changed at 200 random places: never another release.

What each format promises: a compressed stream and a zip member have a checksum, so no changed byte gets through. A
plain tar has one for each header only; of its content the ``.sha256`` beside it tells, and is asked for with
``checksum = "required"``.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import zstandard

import dropdeploy
from dropdeploy.intake.proof import check_sha256
from dropdeploy.releases.refusal import CORRUPT, TOO_LARGE, TRUNCATED, UNSAFE, UNSUPPORTED, Refusal
from tests.unit.releases.archives import Bench, Snapshot

PLACES = 200
FORMATS = (".tar", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".zip")
REFUSALS = {CORRUPT, TRUNCATED, TOO_LARGE, UNSAFE, UNSUPPORTED}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Part of dropdeploy itself, with a link and a program, by format."""
    place = tmp_path_factory.mktemp("build")
    tree = place / "tree"
    shutil.copytree(Path(dropdeploy.__file__).parent / "deploy", tree / "deploy", ignore=shutil.ignore_patterns("_*"))
    (tree / "bin").mkdir()
    (tree / "bin/run").write_text("#!/bin/sh\nexec python3 deploy/plan.py\n")
    (tree / "bin/run").chmod(0o755)
    (tree / "latest").symlink_to("deploy/plan.py")
    packed = {}
    for format_, option in ((".tar", ""), (".tar.gz", "z"), (".tar.xz", "J"), (".tar.bz2", "j")):
        made = place / f"build{format_}"
        subprocess.run(["tar", "-C", str(tree), f"-c{option}f", str(made), "."], check=True)
        packed[format_] = made.read_bytes()
    packed[".tar.zst"] = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(packed[".tar"])
    with zipfile.ZipFile(place / "build.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            archive.write(path, path.relative_to(tree))
    packed[".zip"] = (place / "build.zip").read_bytes()
    return packed


def contents(found: Snapshot) -> dict[str, tuple[str, bytes]]:
    return {name: (kind, content) for name, (kind, _, content) in found.items()}


@pytest.fixture
def memory_bench() -> object:
    """In memory where that is possible: thousands of small trees are made."""
    import tempfile

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Bench(Path(directory))


@pytest.mark.parametrize("format_", FORMATS)
def test_cut_at_200_random_places(format_: str, builds: dict[str, bytes], memory_bench: Bench) -> None:
    whole = builds[format_]
    good = contents(memory_bench.unpacked(whole, format_))
    assert len(good) > 8
    chosen = random.Random(format_)
    refused = 0
    for at in chosen.sample(range(len(whole)), PLACES):
        found = memory_bench.unpack(whole[:at], format_)
        if isinstance(found, Refusal):
            refused += 1
            assert found.code == TRUNCATED, (at, found.message)
        else:  # only in the zeros to which tar fills up its last record
            assert format_ == ".tar"
            assert contents(found) == good, at
        shutil.rmtree(memory_bench.root)
    assert refused > PLACES * 0.8


@pytest.mark.parametrize("format_", FORMATS)
def test_a_byte_changed_at_200_random_places(format_: str, builds: dict[str, bytes], memory_bench: Bench) -> None:
    whole = builds[format_]
    good = contents(memory_bench.unpacked(whole, format_))
    digest = str(memory_bench.done["sha256"])
    chosen = random.Random(format_)
    refused = 0
    for at in chosen.sample(range(len(whole)), PLACES):
        changed = bytearray(whole)
        changed[at] ^= chosen.randrange(1, 256)
        found = memory_bench.unpack(bytes(changed), format_)
        if isinstance(found, Refusal):
            refused += 1
            assert found.code in REFUSALS, (at, found.message)
        elif format_ == ".tar":
            fault = check_sha256("build.tar", digest, str(memory_bench.done["sha256"]))
            assert fault is not None
            assert fault.code == "checksum-mismatch"
        else:
            assert contents(found) == good, at
        shutil.rmtree(memory_bench.root)
    assert refused > (0 if format_ == ".tar" else PLACES * 0.8)
