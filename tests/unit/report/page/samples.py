"""Apps and deploys for pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.page.frame import Frame
from dropdeploy.report.status import AppNow, Progress, Seen

NOW = datetime(2026, 1, 23, 15, 0, tzinfo=UTC)
FRAME = Frame("server", "/static/page.css", "/static/page.js", "/static/icon.svg")
FAULT = Fault(ErrorCode.UNIT_CRASHED, "it crashed", "look at the log", "one\ntwo")
STEPS = (Step(StepName.PREFLIGHT, StepStatus.OK, 0.1), Step(StepName.HEALTH, StepStatus.FAILED, 0.9, "it crashed"))


def outcome(number: int = 1, status: Status = Status.DEPLOYED, **more: Any) -> Outcome:
    fault = None if status is Status.DEPLOYED else FAULT
    fields: dict[str, Any] = {
        "status": status,
        "summary": f"summary {number}",
        "app": "myapp",
        "action": Action.DEPLOY,
        "id": number,
        "started": NOW - timedelta(minutes=10),
        "finished": NOW - timedelta(minutes=9),
        "upload": f"build-{number}.tar.gz",
        "bytes": 2048,
        "release": f"20260123-14000{number % 10}",
        "fault": fault,
        "fault_step": StepName.HEALTH if fault else None,
        "health": HealthReport(fault is None, 3, 0.9, 500 if fault else 200),
        "steps": STEPS,
    }
    return Outcome(**(fields | more))


def seen(app: str = "myapp", *, progress: Progress | None = None, **more: Any) -> Seen:
    fields: dict[str, Any] = {
        "live": "20260123-140001",
        "is_healthy": True,
        "since": NOW - timedelta(hours=3),
        "releases": (("20260123-140001", True), ("20260123-130000", True)),
        "rollback_to": "20260123-130000",
        "last": outcome(app=app),
        "maker": outcome(app=app),
    }
    return Seen(AppNow(app, **(fields | more)), progress)


def progress(**more: Any) -> Progress:
    fields: dict[str, Any] = {
        "deploy": 7,
        "action": Action.DEPLOY,
        "request": "build-7.tar.gz",
        "started": NOW - timedelta(seconds=3),
        "step": "extract",
        "steps": STEPS[:1],
        "percent": 41.7,
    }
    return Progress(**(fields | more))
