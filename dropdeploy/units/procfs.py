"""What /proc shows of running processes (proc(5)): the releases they run from, and whether a group has any left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from itertools import pairwise

from dropdeploy.model.release import parse_release_id
from dropdeploy.model.unit import Process


def releases_of_processes(pids: Iterable[int]) -> frozenset[str]:
    """Release ids in working directories and executables; processes of other users cannot be looked into."""
    return frozenset().union(*(process.releases for process in look_at_processes(pids)))


def look_at_processes(pids: Iterable[int]) -> frozenset[Process]:
    """Each with the releases that its working directory and its executable are in, as far as that can be seen."""
    return frozenset(Process(pid, _releases_of(pid)) for pid in pids)


def _releases_of(pid: int) -> frozenset[str]:
    found: set[str] = set()
    for link in ("cwd", "exe"):
        with contextlib.suppress(OSError):
            found |= releases_in_path(os.readlink(f"/proc/{pid}/{link}"))
    return frozenset(found)


def is_group_alive(group: int) -> bool:
    """The process group has a process that is no zombie: those do nothing more, and may wait long for their parent."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(_group_of_living(pid) == group for pid in os.listdir("/proc") if pid.isdigit())


def members_of_group(group: int) -> tuple[int, ...]:
    """The processes of a group that are no zombies."""
    return tuple(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _group_of_living(pid) == group)


def _group_of_living(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # pid (name) state ppid pgrp …, and the name may have parentheses of its own.
            state, _, group = file.read().rpartition(")")[2].split()[:3]
    except OSError:
        return 0
    return 0 if state in ("Z", "X") else int(group)


def releases_in_path(path: str) -> frozenset[str]:
    """``…/releases/<id>[/…]`` names the release <id>; one that was removed already has " (deleted)" at its end."""
    parts = path.removesuffix(" (deleted)").split("/")
    return frozenset(name for parent, name in pairwise(parts) if parent == "releases" and parse_release_id(name))
