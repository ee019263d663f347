from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action
from dropdeploy.report.status import AppNow, status_line

NOON = datetime(2026, 1, 23, 12, 0, tzinfo=UTC)
OUTCOME = Outcome(Status.DEPLOYED, "", "shop", Action.DEPLOY, 1, NOON, NOON, upload="v1.zip")
IDLE = AppNow("shop")


def test_what_is_watched() -> None:
    assert status_line([]) == "watching 0 apps"
    assert status_line([IDLE]) == "watching 1 app"
    assert status_line([IDLE, IDLE]) == "watching 2 apps"


def test_what_is_going_on() -> None:
    busy = AppNow("chat", working="v2.zip: health", last=OUTCOME)
    assert status_line([busy, IDLE, replace(busy, app="blog")]) == "chat: v2.zip: health; blog: v2.zip: health"


def test_the_newest_verdict() -> None:
    fault = Fault(ErrorCode.HEALTH_TIMEOUT, "it answered 500")
    newer = replace(
        OUTCOME, app="chat", status=Status.ROLLED_BACK, fault=fault, upload="v\n2.zip", finished=NOON.replace(hour=13)
    )
    apps = [AppNow("chat", last=newer), AppNow("shop", last=OUTCOME)]
    assert status_line(apps[1:]) == "watching 1 app; last: shop: v1.zip deployed, 2026-01-23 12:00 UTC"
    assert status_line(apps) == (
        "watching 2 apps; last: chat: v 2.zip rolled-back (health-timeout), 2026-01-23 13:00 UTC"
    )
