"""What an uploader sees of the agent, in a real directory."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dropdeploy.model.outcome import Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.desk import Desk
from dropdeploy.report.status import AppNow

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
STEPS = (Step(StepName.PREFLIGHT, StepStatus.OK, 0.004),)
OUTCOME = Outcome(
    Status.DEPLOYED, "fine", "myapp", Action.DEPLOY, 7, NOW, NOW, upload="b.zip", release="20260123-143022"
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, 2)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


async def test_the_work_is_told_and_taken_down_with_the_verdict(desk: Desk, tmp_path: Path) -> None:
    desk.working("b.zip", "extract", NOW, STEPS, 0)
    await desk.close()
    told = tomllib.loads((tmp_path / "b.zip.deploying").read_text())
    assert (told["step"], told["percent"], told["started"]) == ("extract", 0, NOW)
    assert [step["name"] for step in told["steps"]] == ["preflight"]
    assert await desk.tell(OUTCOME) == ""
    assert names(tmp_path) == ["b.zip.deploying", "b.zip.result.toml"]
    await desk.take_down("b.zip")
    assert names(tmp_path) == ["b.zip.result.toml"]


async def test_what_is_refused_while_it_is_written_in_passing_is_made_up_for(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "status.toml").mkdir()
    desk.show(AppNow("myapp", is_held=True))
    assert not await desk.catch_up()
    (tmp_path / "status.toml").rmdir()
    assert await desk.catch_up()
    assert tomllib.loads((tmp_path / "status.toml").read_text())["held"] is True


async def test_a_percentage_is_told_once_a_second_and_a_step_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.working("b.zip", "extract", NOW, STEPS, 0)
    desk.working("b.zip", "extract", NOW, STEPS, 50)
    await desk.close()
    assert tomllib.loads((tmp_path / "b.zip.deploying").read_text())["percent"] == 0
    desk.working("b.zip", "link", NOW, STEPS)
    await desk.close()
    assert tomllib.loads((tmp_path / "b.zip.deploying").read_text())["step"] == "link"


async def test_what_waits_is_told_until_it_is_worked_on_or_gone(desk: Desk, tmp_path: Path) -> None:
    await desk.show_waiting({"a.zip": "queued", "b.zip": "held"}, "")
    await desk.close()
    assert tomllib.loads((tmp_path / "b.zip.deploying").read_text())["step"] == "held"
    await desk.show_waiting({}, "a.zip")
    await desk.close()
    assert names(tmp_path) == ["a.zip.deploying"]


async def test_the_newest_results_stay(desk: Desk, tmp_path: Path) -> None:
    for number, name in enumerate(("a.zip", "b.zip", "c.zip")):
        await desk.tell(replace(OUTCOME, upload=name))
        os.utime(tmp_path / f"{name}.result.toml", (number, number))
    await desk.tell(replace(OUTCOME, upload="d.zip"))
    assert names(tmp_path) == ["c.zip.result.toml", "d.zip.result.toml"]


async def test_what_a_crash_left_is_swept_away(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "b.zip.deploying").write_text("x")
    (tmp_path / ".dropdeploy-0123456789abcdef.tmp").write_text("x")
    (tmp_path / "b.zip").write_text("x")
    await desk.sweep()
    assert names(tmp_path) == ["b.zip"]


async def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "gone", 2)
    desk.show(AppNow("myapp"))
    trouble = await desk.tell(OUTCOME)
    assert trouble == f"b.zip.result.toml in {tmp_path / 'gone'} cannot be written: No such file or directory"
    await desk.forget_result("b.zip")
    await desk.sweep()


async def test_status(desk: Desk, tmp_path: Path) -> None:
    now = AppNow(
        "myapp",
        live="20260123-143022",
        is_healthy=True,
        since=NOW,
        releases=(("20260123-143022", True), ("20260122-091545", None)),
        queue=("c.zip",),
        last=OUTCOME,
    )
    desk.show(now)
    await desk.close()
    told = tomllib.loads((tmp_path / "status.toml").read_text())
    assert told["live"] == "20260123-143022"
    assert told["queue"] == ["c.zip"]
    assert told["held"] is False
    assert told["last"]["status"] == "deployed"
    assert told["releases"] == [
        {"release": "20260123-143022", "live": True, "healthy": True},
        {"release": "20260122-091545", "live": False},
    ]
