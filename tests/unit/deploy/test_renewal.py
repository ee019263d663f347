"""Which differences between a unit's processes before and after a reload prove that the new release runs."""

from __future__ import annotations

import pytest

from dropdeploy.deploy.renewal import Crew, Renewal, judge
from dropdeploy.model.unit import Process

OLD, NEW = "20260122-091545", "20260123-143022"
MASTER = 10


def crew(*workers: int, main: int = MASTER, at: str = "", main_at: str = "") -> Crew:
    """A main process and its workers, and where they are seen to work."""
    processes = [Process(pid, frozenset({at} if at else ())) for pid in workers]
    if main:
        processes.append(Process(main, frozenset({main_at} if main_at else ())))
    return Crew(main, frozenset(processes))


RENEWED, PENDING, UNKNOWN = Renewal.RENEWED, Renewal.PENDING, Renewal.UNKNOWN

# before, after, verdict, why
CASES = {
    "workers replaced": (crew(11, 12), crew(21, 22), RENEWED, "2 processes were replaced"),
    "one worker replaced": (crew(11), crew(21), RENEWED, "1 process was replaced"),
    "nothing yet": (crew(11, 12), crew(11, 12), PENDING, "of 2 processes from before it 2 did not end (PID 11, 12)"),
    "new beside old": (
        crew(11, 12),
        crew(12, 21, 22),
        PENDING,
        "of 2 processes from before it 1 did not end (PID 12)",
    ),
    "old gone, none new": (crew(11), crew(), PENDING, "no process has taken the place of those from before it"),
    "main re-executed under another PID": (crew(11), crew(21, main=20), RENEWED, "the main process was replaced"),
    "the old main is still there": (
        crew(11),
        crew(10, 21, main=20),
        PENDING,
        "of 2 processes from before it 1 did not end (PID 10)",
    ),
    "one process, another PID": (crew(), crew(main=20), RENEWED, "the main process was replaced"),
    "between two runs": (crew(), crew(main=0), PENDING, "its main process is gone"),
    "one process, the same": (
        crew(),
        crew(),
        UNKNOWN,
        "the one process is still the same: whether it runs the new release cannot be seen from outside",
    ),
    "one process that has moved": (
        crew(main_at=OLD),
        crew(main_at=NEW),
        RENEWED,
        f"the main process runs from {NEW}",
    ),
    "one process that has not moved": (
        crew(main_at=OLD),
        crew(main_at=OLD),
        PENDING,
        f"PID 10 runs from {OLD} and not from {NEW}",
    ),
    "one process that was there already": (crew(main_at=NEW), crew(main_at=NEW), UNKNOWN, None),
    "new workers of the old release": (
        crew(11, at=OLD),
        crew(21, at=OLD),
        PENDING,
        f"PID 21 runs from {OLD} and not from {NEW}",
    ),
    "a new main of the old release": (
        crew(main_at=OLD),
        crew(main=20, main_at=OLD),
        PENDING,
        f"PID 20 runs from {OLD} and not from {NEW}",
    ),
    "a main that only leads": (crew(11, at=OLD), crew(21, at=NEW, main_at=OLD), RENEWED, "1 process was replaced"),
    "the same release once more": (crew(11, at=NEW), crew(21, at=NEW), RENEWED, "1 process was replaced"),
    "the same release, not yet": (
        crew(11, at=NEW),
        crew(11, at=NEW),
        PENDING,
        "of 1 process from before it 1 did not end (PID 11)",
    ),
    "no main process that systemd knows": (crew(11, main=0), crew(21, main=0), RENEWED, "1 process was replaced"),
    "nobody can be asked": (crew(11), Crew(MASTER), PENDING, "no process has taken the place of those from before it"),
}


@pytest.mark.parametrize(("before", "after", "renewal", "why"), CASES.values(), ids=CASES.keys())
def test_the_way_forth(before: Crew, after: Crew, renewal: Renewal, why: str | None) -> None:
    verdict, text = judge(before, after, NEW)
    assert verdict is renewal
    if why is not None:
        assert text == why


# Old workers of the release that is gone back to, which a reload did not reach, are 11 and 12.
BACK = {
    "nothing had been replaced": (crew(11, 12), crew(11, 12), RENEWED, "no process had been replaced"),
    "half of it had been": (crew(12, 21), crew(12, 21), PENDING, "of 1 process from before it 1 did not end (PID 21)"),
    "and is no more": (crew(12, 21), crew(12), RENEWED, "1 process was replaced"),
    "all of it had been": (crew(21, 22), crew(31, 32), RENEWED, "2 processes were replaced"),
    "a server that ignores reloads": (crew(), crew(), UNKNOWN, None),
}


@pytest.mark.parametrize(("before", "after", "renewal", "why"), BACK.values(), ids=BACK.keys())
def test_the_way_back(before: Crew, after: Crew, renewal: Renewal, why: str | None) -> None:
    verdict, text = judge(before, after, OLD, trusted=frozenset({MASTER, 11, 12}))
    assert verdict is renewal
    if why is not None:
        assert text == why
