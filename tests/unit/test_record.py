from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dropdeploy import record
from dropdeploy.deploy.phase import Phase
from dropdeploy.deploy.plan import begin
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action, Format, Marker, Upload, Version
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked

VERSION = Version(1, 2, 3, 4, 5)
NOW = datetime(2026, 1, 23, 14, 30, 22, 104_000, tzinfo=UTC)
FULL = replace(
    begin(
        id=7,
        app="myapp",
        request=Upload("b\udce4h.zip", Format.ZIP, VERSION, VERSION, ((".sha256", VERSION),)),
        started=NOW,
    ),
    phase=Phase.HEALTH,
    run=UnitState("myapp.service", invocation_id="ab" * 16),
    unpacked=Unpacked(1, "cd", 2, 3),
    meta=(("commit", "1a2b"),),
    health=HealthReport(False, 3, 1.5, 500, "answered 500"),
    steps=(Step(StepName.PREFLIGHT, StepStatus.OK, 0.25),),
    fault=Fault(ErrorCode.HEALTH_TIMEOUT, "ill", "look", "log\nlines"),
    fault_step=StepName.HEALTH,
    is_live_healthy=False,
)
OUTCOME = Outcome(Status.DEPLOYED, "fine", "myapp", Action.DEPLOY, 7, NOW, NOW, steps=FULL.steps)


@pytest.mark.parametrize(
    "value", [FULL, replace(FULL, request=Marker("rollback", Action.ROLLBACK, VERSION, "id")), OUTCOME]
)
def test_what_is_written_down_can_be_taken_up(value: Deploy | Outcome) -> None:
    assert record.load(type(value), record.dump(value)) == value


def test_a_record_of_a_newer_or_older_version_is_still_read() -> None:
    data = json.loads(record.dump(OUTCOME))
    data["invented_later"] = {"x": 1}
    del data["meta"]
    assert record.load(Outcome, json.dumps(data)) == OUTCOME


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type":"Outcome"}', record.dump(VERSION)])
def test_what_is_no_record(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a record|Expecting"):
        record.load(Outcome, text)
