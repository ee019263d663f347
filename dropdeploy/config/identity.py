"""Whether the configuration's files are still the ones that were read.

Imports next to nothing, so that a command can ask this without reading them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dropdeploy.config.files import APPS_DIRECTORY, MAIN_FILE, Identity, Sources, is_app_file


def identity_of(status: os.stat_result) -> Identity:
    """Which file a stat(2) was of."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def identify_sources(directory: Path) -> Sources:
    """The files that are there now. Raises OSError."""
    sources: dict[str, Identity] = {}
    with contextlib.suppress(FileNotFoundError):  # every setting has a default
        sources[MAIN_FILE] = identity_of(os.stat(os.path.join(directory, MAIN_FILE)))
    with os.scandir(os.path.join(directory, APPS_DIRECTORY)) as entries:
        for entry in entries:
            if is_app_file(entry.name):
                sources[f"{APPS_DIRECTORY}/{entry.name}"] = identity_of(os.stat(entry.path))
    return sources
