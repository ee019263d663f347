"""Where an app's releases are: its directory, ``releases/`` in it, and the names that stand there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dropdeploy.model.release import Survey, parse_release_id
from dropdeploy.releases import swap

STAGING = ".staging-"
"""Before the id of a release that is being made."""
PRUNED = ".pruned-"
"""Before the id of one that goes."""
_OPEN_MODE = 0o755  # the app, another user, goes through it


@dataclass(frozen=True, slots=True)
class Places:
    """Descriptors of the app's directory and of its ``releases/``."""

    root: int
    releases: int


@contextmanager
def open_places(root_name: str, *, is_making: bool = False) -> Iterator[Places]:
    """Descriptors of where the releases are, ``releases/`` being made first if so asked."""
    root = os.open(root_name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if is_making:
            _make_releases(root)
        releases = os.open(swap.RELEASES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        try:
            yield Places(root, releases)
        finally:
            os.close(releases)
    finally:
        os.close(root)


def _make_releases(root: int) -> None:
    try:
        os.mkdir(swap.RELEASES, _OPEN_MODE, dir_fd=root)
    except FileExistsError:
        return
    os.chmod(swap.RELEASES, _OPEN_MODE, dir_fd=root)  # whatever the agent's umask is
    os.fsync(root)


def list_releases(root: int) -> tuple[str, ...]:
    """The ids of the releases there are, in ascending order, which is the order of their making."""
    try:
        fd = os.open(swap.RELEASES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    try:
        with os.scandir(fd) as entries:
            return tuple(
                sorted(
                    entry.name
                    for entry in entries
                    if parse_release_id(entry.name) is not None and entry.is_dir(follow_symlinks=False)
                )
            )
    finally:
        os.close(fd)


def look(root_name: str) -> Survey:
    """What is there of the app in the directory ``root_name``."""
    try:
        root = os.open(root_name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Survey(False, False, "", False, (), 0)
    try:
        live = swap.live_release(root)
        system = os.fstatvfs(root)
        return Survey(
            has_root=True,
            is_blocked=swap.is_blocked(root),
            live=live,
            live_is_whole=bool(live) and os.path.isdir(f"{root_name}/{swap.RELEASES}/{live}"),
            releases=list_releases(root),
            free_bytes=system.f_bavail * system.f_frsize,
            strays_to=swap.strays_to(root),
        )
    finally:
        os.close(root)
