"""What a chaos run found, as a person reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

SLOWEST = 8


@dataclass
class Report:
    """Counts. ``recoveries``: seconds from the agent's start to the interrupted deploy's verdict, less the app's
    ``shares`` of that, and where it was interrupted."""

    strategy: str
    seed: int
    requests: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)
    reboots: Counter[str] = field(default_factory=Counter)
    recoveries: list[tuple[float, str]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def text(self) -> str:
        """All of it, in a table of two columns."""
        recoveries = [seconds for seconds, _ in self.recoveries]
        slowest = sorted(self.recoveries, reverse=True)[:SLOWEST]
        lines = [
            ("strategy, seed", f"{self.strategy}, {self.seed}"),
            ("time", f"{self.seconds / 60:.1f} min"),
            ("deploys", f"{self.requests.total()}: {_counted(self.requests)}"),
            ("kills by step", f"{self.kills.total()}: {_counted(self.kills)}"),
            ("kills at named points", f"{self.points.total()}: {_counted(self.points)}"),
            *([("points not reached", ", ".join(self.unreached))] if self.unreached else []),
            ("reboots", f"{self.reboots.total()}: {_counted(self.reboots)}"),
            ("answers of the app", f"{self.answers}; requests without one: {_counted(self.failures) or 'none'}"),
            ("recovery", f"{_spread(recoveries)}, the app's own boot not counted ({_spread(self.shares)})"),
            ("  the slowest", ", ".join(f"{seconds:.2f} s ({where})" for seconds, where in slowest) or "none"),
            ("invariants checked", f"{self.checks.total()} times"),
            *((f"  {name}", str(count)) for name, count in sorted(self.checks.items())),
            ("violations", str(len(self.violations))),
            *(("", violation) for violation in self.violations),
        ]
        width = max(len(name) for name, _ in lines) + 2
        return "\n".join(f"{name:{width}}{value}".rstrip() for name, value in lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _spread(seconds: Sequence[float]) -> str:
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s of {len(seconds)}" if seconds else "none"
