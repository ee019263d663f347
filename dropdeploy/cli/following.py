"""What a drop directory tells about one request: read, not remembered; the files are the agent's only voice."""

from __future__ import annotations

import os
import time
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dropdeploy.cli.reading import Identity, identify, read_file
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.model.outcome import Outcome, Step, StepName, StepStatus
from dropdeploy.report.dropfiles import DEPLOYING, deploying_name, result_name
from dropdeploy.report.result import parse_result

# Results give their times in milliseconds, cut off.
_GRAIN_S = 0.002


@dataclass(frozen=True, slots=True)
class Progress:
    """``NAME.deploying``. ``step`` is a StepName, "queued" or "held"; ``done`` are the steps that ended."""

    step: str
    percent: float | None = None
    done: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Something that is asked of the agent under a name in a drop directory, and what was there before.

    ``asked_at`` is on the wall clock, which the agent's results use, ``asked_monotonic`` is not; both in seconds.
    """

    drop: Path
    name: str
    former: Identity | None
    asked_at: float
    asked_monotonic: float

    @classmethod
    def about(cls, drop: Path, name: str) -> Request:
        """To be made before anything is dropped: the result that stands there now answers something else."""
        former = _identity(drop / result_name(name))
        return cls(drop, name, former, time.time(), time.monotonic())

    @property
    def result(self) -> Path:
        """Where the answer will stand."""
        return self.drop / result_name(self.name)

    def look(self) -> Outcome | Progress | None:
        """The answer, or how far it is, or None while the agent has not said anything."""
        return self._answer() or self._progress()

    def others(self) -> tuple[str, ...]:
        """What else the agent is working on there, or has in its queue."""
        names = (name.removesuffix(DEPLOYING) for name in os.listdir(self.drop) if name.endswith(DEPLOYING))
        return tuple(sorted(name for name in names if name != self.name and not name.startswith(".")))

    def _answer(self) -> Outcome | None:
        if _identity(self.result) in (None, self.former):
            return None
        text = _read(self.result)
        if text is None:
            return None
        outcome = parse_result(text)
        if outcome is None:
            raise Refusal(
                ExitCode.NOT_DEPLOYED, f"{self.result}: not a result that this dropdeploy knows; look into it"
            )
        return outcome if self._is_after(outcome.started) else None

    def _progress(self) -> Progress | None:
        text = _read(self.drop / deploying_name(self.name))
        try:
            told = tomllib.loads(text or "")
            done = tuple(_step(step) for step in told.get("steps", ()))
        except (tomllib.TOMLDecodeError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return None  # an uploader may write there as well
        started = told.get("started")
        if not isinstance(told.get("step"), str) or (isinstance(started, datetime) and not self._is_after(started)):
            return None
        percent = told.get("percent")
        return Progress(told["step"], float(percent) if isinstance(percent, int | float) else None, done)

    def _is_after(self, moment: datetime) -> bool:
        """Whether something that began then can be about this request, even when the clock was set meanwhile."""
        asked_by_now = time.time() - (time.monotonic() - self.asked_monotonic)
        return moment.astimezone(UTC).timestamp() >= min(self.asked_at, asked_by_now) - _GRAIN_S


def _step(told: dict[str, Any]) -> Step:
    return Step(StepName(told["name"]), StepStatus(told["status"]), float(told["seconds"]), told.get("detail", ""))


def _identity(path: Path) -> Identity | None:
    try:
        return identify(path)
    except OSError as error:
        raise _unseen(path, error) from error


def _read(path: Path) -> str | None:
    try:
        return read_file(path)
    except OSError as error:
        raise _unseen(path, error) from error


def _unseen(path: Path, error: OSError) -> Refusal:
    return Refusal(ExitCode.UNAVAILABLE, f"{path}: {error.strerror}; run this as root, or as a user who may read there")
