"""What is counted for whoever measures the agent, and how the agent is at one moment.   (pure)"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dropdeploy.model.outcome import Outcome, Status, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.status import AppNow

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the spans that are told apart: a swap takes milliseconds, a large build or a trial minutes."""

USUAL = (Status.DEPLOYED, Status.ROLLED_BACK, Status.FAILED, Status.REJECTED)
"""Of each app's deploys these are told even where there was none."""

Verdict = tuple[str, str, str]
"""App, action and status."""


@dataclass(frozen=True, slots=True)
class Spans:
    """How many spans were at most as long as each of BOUNDS_S and longer than the one before; last the longer ones."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def with_one(self, seconds: float) -> Spans:
        """One more."""
        place = bisect_left(BOUNDS_S, seconds)
        counts = tuple(count + (at == place) for at, count in enumerate(self.counts))
        return Spans(counts, self.sum_s + seconds)


@dataclass(frozen=True, slots=True)
class Tally:
    """``verdicts`` since the history began; ``steps``, by name, and ``deploys``, by action, since the agent started."""

    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    steps: Mapping[str, Spans] = field(default_factory=dict)
    deploys: Mapping[str, Spans] = field(default_factory=dict)


class Counter:
    """Counts verdicts as they are given."""

    def __init__(self) -> None:
        self._verdicts: dict[Verdict, int] = {}
        # What has not happened yet is told as 0, or the first time would be no increase.
        self._steps = {step.value: Spans() for step in StepName}
        self._deploys = {action.value: Spans() for action in Action}

    def begin(self, verdicts: Mapping[Verdict, int]) -> None:
        """So many there were before."""
        for verdict, count in verdicts.items():
            self._verdicts[verdict] = self._verdicts.get(verdict, 0) + count

    def add(self, outcome: Outcome) -> None:
        """One more verdict."""
        verdict = (outcome.app, outcome.action.value, outcome.status.value)
        self._verdicts[verdict] = self._verdicts.get(verdict, 0) + 1
        if not outcome.steps:
            return  # it was answered, and not worked on
        action = outcome.action.value
        self._deploys[action] = self._deploys.get(action, Spans()).with_one(outcome.seconds)
        for step in outcome.steps:
            if step.status is not StepStatus.SKIPPED:
                self._steps[step.name] = self._steps.get(step.name, Spans()).with_one(step.seconds)

    def tally(self, apps: Iterable[str]) -> Tally:
        """All that is known of these apps, as it is now."""
        usual = {(app, Action.DEPLOY.value, status.value): 0 for app in apps for status in USUAL}
        return Tally(usual | self._verdicts, dict(self._steps), dict(self._deploys))


@dataclass(frozen=True, slots=True)
class Glance:
    """The agent at one moment. ``unwatched`` are apps whose drop directories inotify does not watch; ``overflows`` is
    how often the kernel lost events; ``last_round_at`` (Unix time) when all directories were looked after last."""

    apps: Sequence[AppNow]
    tally: Tally
    unwatched: frozenset[str] = frozenset()
    overflows: int = 0
    last_round_at: float | None = None
