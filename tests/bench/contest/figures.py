"""What was measured, kept in a file of JSON lines over several runs; and the table of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FLOOR = "floor"
WAYS = (FLOOR, "floor, to disk", "dropdeploy", "path unit", "incron", "webhook", "Ansible", "Capistrano")


@dataclass(frozen=True)
class Race:
    """One deploy (or several at once), in seconds from the last byte: until the new release of every app had answered
    200, and until whoever deployed it said so. ``cpu_s`` is the processor time of the whole machine until then."""

    load: str
    way: str
    live_s: float
    told_s: float
    cpu_s: float


SPANS = {
    "live_s": "seconds until live and healthy",
    "told_s": "seconds until the deployer said so",
    "cpu_s": "seconds of processor time",
}
"""What there is a table of."""


@dataclass(frozen=True)
class Spread:
    """One span of the races of one way with one load."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def text(self) -> str:
        return f"{show(self.median)} ({show(min(self.values))}–{show(max(self.values))})"


def show(seconds: float) -> str:
    """Three digits or so."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def read(file: Path) -> list[Race]:
    return [Race(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def append(file: Path, race: Race) -> None:
    with file.open("a") as opened:
        opened.write(json.dumps(asdict(race)) + "\n")


def spreads(races: Iterable[Race], span: str) -> dict[tuple[str, str], Spread]:
    """By load and way. ``span`` is one of SPANS."""
    found: dict[tuple[str, str], list[float]] = {}
    for race in races:
        found.setdefault((race.load, race.way), []).append(getattr(race, span))
    return {key: Spread(tuple(values)) for key, values in found.items()}


def table(races: Sequence[Race], loads: Sequence[tuple[str, str]], span: str) -> str:
    """A table for README: a line for each way, a column for each load that was measured, given as (name, title)."""
    found = spreads(races, span)
    shown = [(name, title) for name, title in loads if any(load == name for load, _ in found)]
    lines = [
        f"| {SPANS[span]} | " + " | ".join(title for _, title in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for way in WAYS:
        row = []
        for name, _ in shown:
            cell, floor = found.get((name, way)), found.get((name, FLOOR))
            ratio = f", × {cell.median / floor.median:.2f}" if cell and floor and way != FLOOR else ""
            row.append(f"{cell.text}{ratio}" if cell else "")
        if any(row):
            lines.append(f"| {way} | " + " | ".join(row) + " |")
    return "\n".join(lines)
