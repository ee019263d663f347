"""What the watcher says when nobody answers, or the wrong file does. A scripted agent: one function a poll."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropdeploy.cli import watching
from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.following import Progress, Request
from dropdeploy.cli.refusal import Refusal
from dropdeploy.cli.screen import Screen
from dropdeploy.cli.watching import LiveView, watch
from dropdeploy.model.outcome import Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.result import deploying_text, result_text

EXTRACTED = Step(StepName.EXTRACT, StepStatus.OK, 0.25, "3 entries")


def outcome(started: datetime) -> Outcome:
    return Outcome(Status.DEPLOYED, "live", "myapp", Action.DEPLOY, 7, started, started, upload="a.zip")


def follow(
    request: Request,
    *scenes: Callable[[], object],
    agent: Agent = Agent.RUNNING,
    patience_s: float = 5.0,
    timeout_s: float = math.inf,
) -> tuple[Outcome | Refusal, str]:
    """Watch while the scenes pass, one a poll; the verdict, and what was shown."""
    shown = io.StringIO()
    script = iter(scenes)

    def ask_agent() -> Agent:
        next(script, lambda: None)()
        return agent

    try:
        found: Outcome | Refusal = watch(
            request,
            LiveView(Screen.of(shown), "myapp"),
            ask_agent=ask_agent,
            patience_s=patience_s,
            timeout_s=timeout_s,
        )
    except Refusal as refusal:
        found = refusal
    return found, shown.getvalue()


def test_a_result_that_was_there_before_is_no_answer_even_when_written_again(tmp_path: Path) -> None:
    result, earlier = tmp_path / "a.zip.result.toml", datetime.now(UTC) - timedelta(seconds=1)
    result.write_text(result_text(outcome(earlier)))
    request = Request.about(tmp_path, "a.zip")
    assert request.look() is None

    def of_an_earlier_upload() -> None:
        result.unlink()
        result.write_text(result_text(outcome(earlier)))

    found, _ = follow(request, of_an_earlier_upload, lambda: result.write_text(result_text(outcome(datetime.now(UTC)))))
    assert isinstance(found, Outcome)
    assert found.started >= datetime.fromtimestamp(request.asked_at, UTC) - timedelta(milliseconds=2)


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_does_not_hide_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    request = Request.about(tmp_path, "a.zip")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump_s)
    started = datetime.fromtimestamp(now + min(jump_s, 0.1), UTC)
    (tmp_path / "a.zip.result.toml").write_text(result_text(outcome(started)))
    assert isinstance(request.look(), Outcome)


def test_steps_are_told_once_each(tmp_path: Path) -> None:
    request = Request.about(tmp_path, "a.zip")
    deploying = tmp_path / "a.zip.deploying"
    now = datetime.now(UTC)
    found, shown = follow(
        request,
        lambda: deploying.write_text(deploying_text("held", now, ())),
        lambda: deploying.write_text(deploying_text("extract", now, (), 42.0)),
        lambda: deploying.write_text(deploying_text("link", now, (EXTRACTED,))),
        lambda: None,
        lambda: (tmp_path / "a.zip.result.toml").write_text(result_text(outcome(now))),
    )
    assert isinstance(found, Outcome)
    assert shown.splitlines() == [
        "held: it goes on when the file `hold` is removed, or with `dropdeploy unhold myapp`",
        "ok       extract      0.2 s  3 entries",
    ]


def test_percent_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.zip.deploying").write_text(deploying_text("extract", datetime.now(UTC), (), 42.0))
    request = Request(tmp_path, "a.zip", None, time.time() - 1, time.monotonic() - 1)
    assert request.look() == Progress("extract", 42.0)
    shown = io.StringIO()
    LiveView(Screen(shown, is_live=True, has_colour=False, has_marks=True), "myapp").show(Progress("extract", 42.0))
    assert shown.getvalue().endswith("extract      0.0 s  42 %")


def test_the_agent_stops_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "AGENT_IS_AWAY_AFTER_S", 0.3)
    request = Request.about(tmp_path, "a.zip")
    found, _ = follow(request, agent=Agent.STOPPED)
    assert isinstance(found, Refusal)
    assert (found.code, len(found.lines)) == (3, 1)
    assert f"takes this up again when it runs: the result will be in {request.result}" in found.lines[0]


def test_nobody_notices_and_it_cannot_be_known_why(tmp_path: Path) -> None:
    found, _ = follow(Request.about(tmp_path, "a.zip"), agent=Agent.UNKNOWN, patience_s=0.3)
    assert isinstance(found, Refusal)
    assert found.code == 3
    assert "is the agent running?" in found.lines[0]
    assert found.lines[1] == f"it waits in {tmp_path} and will be taken when the agent runs"


def test_an_agent_that_is_busy_with_something_else_is_alive(tmp_path: Path) -> None:
    (tmp_path / "other.zip.deploying").write_text(deploying_text("extract", datetime.now(UTC), ()))
    found, shown = follow(Request.about(tmp_path, "a.zip"), agent=Agent.UNKNOWN, patience_s=0.2, timeout_s=1.5)
    assert isinstance(found, Refusal)
    assert found.code == 1
    assert shown == "waiting for other.zip\n"


def test_a_result_of_another_schema_is_not_waited_past(tmp_path: Path) -> None:
    request = Request.about(tmp_path, "a.zip")
    (tmp_path / "a.zip.result.toml").write_text("schema = 99\n")
    found, _ = follow(request)
    assert isinstance(found, Refusal)
    assert "not a result that this dropdeploy knows" in str(found)
