"""The verdict of a deploy and the steps that led to it, in the words of a result file (README, "The drop protocol")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dropdeploy.model.fault import Fault
from dropdeploy.model.request import Action


class Status(StrEnum):
    """The verdict of a deploy, rollback or restart."""

    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    REJECTED = "rejected"
    INCOMPLETE = "incomplete"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    """The steps of a deploy, in the order in which they run."""

    PREFLIGHT = "preflight"
    EXTRACT = "extract"
    LINK = "link"
    HOOKS = "hooks"
    TRIAL = "trial"
    SWAP = "swap"
    RESTART = "restart"
    HEALTH = "health"
    PRUNE = "prune"


class StepStatus(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ran: how it ended, after how many seconds, and what is worth knowing of it."""

    name: StepName
    status: StepStatus
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the health check saw. ``detail`` is a sentence: "http://… answered 500 for 120 s"."""

    healthy: bool
    attempts: int
    seconds: float
    last_status: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with all that the result file tells. Times are aware and in UTC."""

    status: Status
    summary: str
    app: str
    action: Action
    id: int
    started: datetime
    finished: datetime
    upload: str = ""
    bytes: int | None = None
    sha256: str = ""
    release: str = ""
    live: str = ""
    live_healthy: bool | None = None
    previous: str = ""
    fault: Fault | None = None
    fault_step: StepName | None = None
    health: HealthReport | None = None
    meta: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took, in seconds."""
        return max(0.0, (self.finished - self.started).total_seconds())
