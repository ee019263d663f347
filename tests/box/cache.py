"""Where what is slow to make is kept between runs, and how it stays small."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNUSED_S = 30 * 24 * 3600.0


def directory(name: str) -> Path:
    """A directory below $DROPDEPLOY_TEST_CACHE or ~/.cache/dropdeploy-tests; made when missing."""
    home = os.environ.get("DROPDEPLOY_TEST_CACHE")
    path = (Path(home) if home else Path("~/.cache/dropdeploy-tests").expanduser()) / name
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


@contextmanager
def entry(parent: Path, name: str) -> Iterator[Path]:
    """The place of one entry, locked against everybody who wants the same; making it is the caller's affair.

    Entries that nobody has asked for in a month are removed.
    """
    with (parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield parent / name
        os.utime(lock.fileno())
    for other in parent.glob("*.lock"):
        if time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other.with_suffix(""), ignore_errors=True)
