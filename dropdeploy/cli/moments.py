"""Times as people read them: local, and how long ago."""

from __future__ import annotations

from datetime import datetime

_AGES = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (60 * 2, 60, "min"), (0, 1, "s"))


def show_time(moment: datetime) -> str:
    """In the local time zone, to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def show_age(moment: datetime, now: datetime) -> str:
    """How long ago, in the unit that one would say: 50 s, 110 s, 3 min, 47 h, 2 d. What is in the future is 0 s."""
    seconds = max(0, int((now - moment).total_seconds()))
    _, size, unit = next(age for age in _AGES if seconds >= age[0])
    return f"{seconds // size} {unit}"
