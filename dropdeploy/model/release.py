"""Releases: their ids, which only grow, and what is on disk of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

RELEASE_ID_FORMAT = "%Y%m%d-%H%M%S"


def parse_release_id(text: str) -> datetime | None:
    """The moment that a release id names, in UTC; None when ``text`` is not a release id."""
    try:
        moment = datetime.strptime(text, RELEASE_ID_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    # strptime takes "2026123-1" forms too: only the canonical spelling is an id.
    return moment if moment.strftime(RELEASE_ID_FORMAT) == text else None


def next_release_id(now: datetime, newest: str | None) -> str:
    """The id for a release made ``now``, greater than ``newest`` even when the clock is not.

    Ids only ever grow: when the clock stands still or runs backwards, the next id is one second past the newest.
    """
    moment = now.astimezone(UTC).replace(microsecond=0)
    latest = parse_release_id(newest) if newest else None
    if latest is not None and latest >= moment:
        moment = latest + timedelta(seconds=1)
    return moment.strftime(RELEASE_ID_FORMAT)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is on disk. ``releases`` are ids in ascending order; ``live`` is what `app` points to, "" if nothing.

    ``is_blocked``: `app` exists and is no symbolic link; ``strays_to``: it is one that leads out of ``releases/``, and
    there. ``has_root``: the app's directory is there. ``live_is_whole``: the release that `app` names exists as a
    directory.
    """

    has_root: bool
    is_blocked: bool
    live: str
    live_is_whole: bool
    releases: tuple[str, ...]
    free_bytes: int
    strays_to: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, and what could not be (message by release id)."""

    removed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()
