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
    200, and until whoever deployed it said so."""

    load: str
    way: str
    live_s: float
    told_s: float


@dataclass(frozen=True)
class Cell:
    """The races of one way with one load."""

    live_s: tuple[float, ...]
    told_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.live_s)

    @property
    def text(self) -> str:
        return f"{show(self.median_s)} ({show(min(self.live_s))}–{show(max(self.live_s))})"


def show(seconds: float) -> str:
    """Three digits or so."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def read(file: Path) -> list[Race]:
    return [Race(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def append(file: Path, race: Race) -> None:
    with file.open("a") as opened:
        opened.write(json.dumps(asdict(race)) + "\n")


def cells(races: Iterable[Race]) -> dict[tuple[str, str], Cell]:
    """By load and way."""
    found: dict[tuple[str, str], list[Race]] = {}
    for race in races:
        found.setdefault((race.load, race.way), []).append(race)
    return {
        key: Cell(tuple(race.live_s for race in those), tuple(race.told_s for race in those))
        for key, those in found.items()
    }


def table(races: Sequence[Race], loads: Sequence[tuple[str, str]]) -> str:
    """A table for README: a line for each way, a column for each load that was measured, given as (name, title)."""
    found = cells(races)
    shown = [(name, title) for name, title in loads if any(load == name for load, _ in found)]
    lines = [
        "| seconds until live and healthy | " + " | ".join(title for _, title in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for way in WAYS:
        row = []
        for name, _ in shown:
            cell, floor = found.get((name, way)), found.get((name, FLOOR))
            ratio = f" × {cell.median_s / floor.median_s:.2f}" if cell and floor and way != FLOOR else ""
            row.append(f"{cell.text}{ratio}" if cell else "")
        if any(row):
            lines.append(f"| {way} | " + " | ".join(row) + " |")
    return "\n".join(lines)
