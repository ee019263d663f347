"""What is fuzzed: any bytes, unpacked as any format, and what must hold whatever they are.

The first byte of an input chooses the format, the rest is the archive. Two ways help the fuzzer past sums that it would
never guess: the sums of tar headers are put right, and a zip's are not looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from dropdeploy.releases import refusal as refusals
from dropdeploy.releases.deflate import deflate
from dropdeploy.releases.refusal import INTERNAL, Refusal
from dropdeploy.releases.tree import Tree
from dropdeploy.releases.unpacker import Job, refusal_of, run

WAYS = (".tar", ".tar with right sums", ".zip", ".zip without sums", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2")
MAX_BYTES = 1 << 20
MAX_ENTRIES = 300
MAX_INPUT = 64 << 10

CODES = {value for name, value in vars(refusals).items() if name.isupper() and isinstance(value, str)}


class FindingError(AssertionError):
    """What must never be."""


def unpack(data: bytes, place: Path) -> str:
    """Unpack into an empty directory below ``place``, which exists; returns the code, "" for a release.

    Raises FindingError, or whatever the unpacker raises that it should not.
    """
    if not data:
        return ""
    way = WAYS[data[0] % len(WAYS)]
    archive = data[1:]
    if way == ".tar with right sums":
        archive = with_right_sums(archive)
    staging = place / "staging"
    staging.mkdir()
    upload = place / "upload"
    upload.write_bytes(archive)
    try:
        with blind_to_sums() if way == ".zip without sums" else mock.patch.dict({}):
            code = _unpack(upload, staging, way.split(" ", maxsplit=1)[0], len(archive))
        if not code:
            judge_release(staging)
        if sorted(os.listdir(place)) != ["staging", "upload"]:
            raise FindingError(f"something was written beside the release: {os.listdir(place)}")
    finally:
        shutil.rmtree(staging)
    return code


def _unpack(upload: Path, staging: Path, format_: str, size: int) -> str:
    source, root = os.open(upload, os.O_RDONLY), os.open(staging, os.O_RDONLY)
    tree = Tree(root, max_bytes=MAX_BYTES, max_entries=MAX_ENTRIES)
    job = {"source": source, "staging": root, "tap": None, "format": format_, "size": size, "strip": 0}
    job |= {"max_bytes": MAX_BYTES, "max_entries": MAX_ENTRIES, "beyond": []}
    try:
        run(Job(json.dumps(job)), tree, lambda _: None)
    except Refusal as refusal:
        _judge_refusal(refusal)
        return refusal.code
    except OSError as error:
        refusal = refusal_of(error, tree, root)
        if refusal.code == INTERNAL:
            raise
        return refusal.code
    finally:
        tree.close()
        os.close(source)
        os.close(root)
    return ""


def _judge_refusal(refusal: Refusal) -> None:
    text = refusal.message + refusal.hint
    if refusal.code not in CODES - {INTERNAL} or not refusal.message or not refusal.hint:
        raise FindingError(f"no answer for an uploader: {refusal.code}: {text!r}")
    if len(refusal.message) > 1500 or not all(letter.isprintable() for letter in text):
        raise FindingError(f"not fit to be shown: {text[:3000]!r}")


def judge_release(staging: Path) -> None:
    """What dropdeploy(7) promises of what an archive becomes."""
    size = count = 0
    root = os.path.realpath(staging)
    for directory, directories, files in os.walk(staging):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            count += 1
            if stat.S_ISLNK(status.st_mode):
                resolved = os.path.realpath(path)
                if resolved != root and not resolved.startswith(root + "/"):
                    raise FindingError(f"{path!r} leads to {resolved!r}")
            elif not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise FindingError(f"{path!r} is {stat.filemode(status.st_mode)}")
            elif status.st_mode & 0o7022 or not status.st_mode & 0o200:
                raise FindingError(f"{path!r} has the mode {stat.filemode(status.st_mode)}")
            size += status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
    if size > MAX_BYTES or count > MAX_ENTRIES:
        raise FindingError(f"{size} bytes in {count} entries are more than was allowed")


def with_right_sums(archive: bytes) -> bytes:
    """Every block that has a header's magic gets a header's sum."""
    blocks = [archive[at : at + 512] for at in range(0, len(archive), 512)]
    return b"".join(_summed(block) if block[257:262] == b"ustar" and len(block) == 512 else block for block in blocks)


def _summed(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


@contextmanager
def blind_to_sums() -> Iterator[None]:
    """CRC-32 is always 0."""
    with mock.patch.object(deflate, "crc32", return_value=0):
        yield
