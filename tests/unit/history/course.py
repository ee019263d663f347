"""Deploys as a history has them."""

from __future__ import annotations

from datetime import UTC, datetime

from dropdeploy.history.keeping import History
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action, Answer, Format, Upload, Version

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
UPLOAD = Upload("b\udce4h.zip", Format.ZIP, Version(1, 2, 3, 4, 5))


def outcome(number: int, status: Status = Status.DEPLOYED, app: str = "myapp", release: str = "") -> Outcome:
    return Outcome(status, "told", app, Action.DEPLOY, number, NOW, NOW, upload=UPLOAD.name, release=release)


def conclude(history: History, upload: Upload = UPLOAD, status: Status = Status.DEPLOYED, **healthy: bool) -> int:
    number = history.begin("myapp", Action.DEPLOY, upload, NOW)
    release = next(iter(healthy), "")
    history.conclude(outcome(number, status, release=release), Answer(upload), healthy)
    return number
