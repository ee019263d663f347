"""Has a reload brought the new release? Judged by the unit's processes before and after it.

A reload keeps the unit's run, so its InvocationID tells nothing; and systemd's job is done when ExecReload= is, which
may be before anything has changed. What tells is who runs: servers that reload gracefully replace their workers
(gunicorn, nginx, uvicorn) or their main process (unicorn, re-exec under another PID). From which release a process runs
is known where /proc may be looked into, and then has to be right too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from dropdeploy.model.unit import Process


class Renewal(Enum):
    """PENDING may still become RENEWED; UNKNOWN is a server of which nothing can be seen from outside."""

    PENDING = "pending"
    RENEWED = "renewed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Crew:
    """A unit's processes at one moment. ``main`` is its main process, 0 when there is none."""

    main: int
    processes: Collection[Process] = ()

    @property
    def pids(self) -> frozenset[int]:
        """All of them."""
        return frozenset(process.pid for process in self.processes)

    @property
    def workers(self) -> tuple[Process, ...]:
        """All but the main process."""
        return tuple(process for process in self.processes if process.pid != self.main)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs. ``former`` are those who have to go, ``staying`` those of them who have not; ``elsewhere`` are
    seen to run from another release, ``arrived`` from this one, and did not before."""

    release: str
    is_main_lost: bool
    is_main_new: bool
    has_workers: bool
    former: frozenset[int]
    staying: frozenset[int]
    fresh: frozenset[int]
    elsewhere: Mapping[int, str]
    arrived: frozenset[int]


Rule = tuple[Callable[[Comparison], bool], Renewal, Callable[[Comparison], str]]

RULES: tuple[Rule, ...] = (
    (lambda it: it.is_main_lost, Renewal.PENDING, lambda _: "its main process is gone"),
    (
        lambda it: bool(it.staying),
        Renewal.PENDING,
        lambda it: f"of {_processes(it.former)} from before it {len(it.staying)} did not end ({_pids(it.staying)})",
    ),
    (
        lambda it: bool(it.elsewhere),
        Renewal.PENDING,
        lambda it: f"{_pids(it.elsewhere)} runs from {next(iter(it.elsewhere.values()))} and not from {it.release}",
    ),
    (lambda it: it.is_main_new, Renewal.RENEWED, lambda _: "the main process was replaced"),
    (
        lambda it: bool(it.former and it.fresh),
        Renewal.RENEWED,
        lambda it: f"{_processes(it.former)} {'was' if len(it.former) == 1 else 'were'} replaced",
    ),
    (lambda it: bool(it.former), Renewal.PENDING, lambda _: "no process has taken the place of those from before it"),
    (lambda it: it.has_workers, Renewal.RENEWED, lambda _: "no process had been replaced"),
    (lambda it: bool(it.arrived), Renewal.RENEWED, lambda it: f"the main process runs from {it.release}"),
    (
        lambda _: True,
        Renewal.UNKNOWN,
        lambda _: "the one process is still the same: whether it runs the new release cannot be seen from outside",
    ),
)
"""The first that holds is the verdict."""


def judge(before: Crew, after: Crew, release: str, *, trusted: frozenset[int] = frozenset()) -> tuple[Renewal, str]:
    """The verdict and what speaks for it, to follow "the reload": ``release`` is the one that is to run now.

    ``trusted`` are processes that may stay: on the way back those who were never replaced on the way there.
    """
    it = compare(before, after, release, trusted)
    return next((renewal, text(it)) for holds, renewal, text in RULES if holds(it))


def compare(before: Crew, after: Crew, release: str, trusted: frozenset[int]) -> Comparison:
    """The differences between the two moments."""
    former = before.pids - {after.main} - trusted
    settled = {process.pid for process in before.processes if release in process.releases}
    # The main process of a server with workers only looks after them, and may stay where it was started.
    working = after.workers or after.processes
    seen = [process for process in working if process.releases]
    return Comparison(
        release=release,
        is_main_lost=before.main != 0 and after.main == 0,
        is_main_new=after.main != before.main,
        has_workers=bool(before.workers),
        former=former,
        staying=former & after.pids,
        # Those who may stay are no worse than new ones.
        fresh=frozenset(process.pid for process in after.workers if process.pid not in before.pids - trusted),
        elsewhere={process.pid: min(process.releases) for process in seen if release not in process.releases},
        arrived=frozenset(process.pid for process in seen if release in process.releases) - settled,
    )


def _processes(pids: Collection[int]) -> str:
    return "1 process" if len(pids) == 1 else f"{len(pids)} processes"


def _pids(pids: Collection[int]) -> str:
    return f"PID {', '.join(map(str, sorted(pids)))}"
