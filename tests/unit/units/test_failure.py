from __future__ import annotations

from dataclasses import replace

import pytest

from dropdeploy.model.fault import ErrorCode
from dropdeploy.model.unit import UnitState
from dropdeploy.units.failure import Exit, Sighting, describe_state, job_failed, judge_run

SINCE = UnitState("app.service", active_state="active", sub_state="running", invocation_id="a" * 32)


def sighting(active: str, sub: str, *, restarts: int = 0, has_job: bool = False, **more: object) -> Sighting:
    end = more.pop("exit", None)
    assert end is None or isinstance(end, Exit)
    state = replace(SINCE, active_state=active, sub_state=sub, restarts=restarts, **more)  # type: ignore[arg-type]
    return Sighting(state, end, has_job)


FAILED_ONCE = Exit("exited", 1, 0.31)


@pytest.mark.parametrize(
    "seen",
    [
        sighting("active", "running"),
        sighting("active", "running", restarts=1),
        sighting("reloading", "reload"),
        sighting("activating", "auto-restart", exit=FAILED_ONCE),
        # The restart is counted when its job is queued, and the state follows: one crash, not two.
        sighting("activating", "auto-restart", restarts=1, has_job=True, exit=FAILED_ONCE),
        sighting("inactive", "dead", restarts=1, has_job=True, exit=FAILED_ONCE),
        sighting("deactivating", "stop-sigterm", has_job=True),
    ],
)
def test_a_run_that_goes_on(seen: Sighting) -> None:
    assert judge_run(SINCE, seen) is None


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (
            sighting("failed", "failed", result="exit-code", exit=FAILED_ONCE),
            "app.service exited with status 1 (result exit-code) 0.3 s after it was started",
        ),
        (
            sighting("failed", "failed", result="core-dump", exit=Exit("dumped", 11, 75.0)),
            "app.service was killed by signal SEGV, core dumped (result core-dump) 1 min 15 s after it was started",
        ),
        (
            sighting("failed", "failed", result="exit-code", exit=Exit("exited", 203, 0.0)),
            "app.service exited with status 203/EXEC (result exit-code) 0.0 s after it was started",
        ),
        (
            sighting("inactive", "dead", exit=Exit("exited", 0, 2.0)),
            "app.service exited with status 0 (result success) 2.0 s after it was started",
        ),
        (sighting("inactive", "dead"), "app.service is inactive (dead, result success)"),
        (
            sighting("failed", "failed", result="timeout"),
            "app.service failed before its main process was started (result timeout)",
        ),
        (
            sighting("activating", "auto-restart", restarts=1, result="exit-code", exit=FAILED_ONCE),
            "app.service has crashed 2 times since the restart (last: exit status 1)",
        ),
        (sighting("active", "running", restarts=2), "app.service has crashed 2 times since the restart"),
        (
            sighting("activating", "auto-restart", restarts=1, exit=Exit("exited", 0)),
            "app.service has exited 2 times since the restart (last: exit status 0)",
        ),
        (
            sighting("failed", "failed", restarts=5, result="exit-code", exit=FAILED_ONCE),
            "app.service has crashed 5 times since the restart (last: exit status 1) and is not restarted any more",
        ),
        (
            sighting("failed", "failed", restarts=1, result="signal", exit=Exit("killed", 50)),
            "app.service has crashed once since the restart (last: signal 50) and is not restarted any more",
        ),
        (
            sighting("failed", "failed", result="oom-kill", exit=Exit("killed", 9, 1.4)),
            "app.service was killed because the memory was used up (result oom-kill) 1.4 s after it was started",
        ),
        (
            sighting("activating", "auto-restart", restarts=1, result="oom-kill", exit=Exit("killed", 9)),
            "app.service has crashed 2 times since the restart (last: the memory was used up)",
        ),
    ],
)
def test_a_run_that_has_failed(seen: Sighting, message: str) -> None:
    fault = judge_run(SINCE, seen)
    assert fault is not None
    assert fault.code is ErrorCode.UNIT_CRASHED
    assert fault.message == message
    assert fault.hint


def test_restarts_before_the_run_do_not_count() -> None:
    since = replace(SINCE, restarts=7)
    assert judge_run(since, sighting("active", "running", restarts=8)) is None
    assert judge_run(since, sighting("active", "running", restarts=9)) is not None


def test_what_systemd_could_not_run_has_a_hint_of_its_own() -> None:
    fault = judge_run(SINCE, sighting("failed", "failed", exit=Exit("exited", 200)))
    assert fault is not None
    assert "WorkingDirectory=" in fault.hint


@pytest.mark.parametrize(
    ("result", "end", "told"),
    [
        ("oom-kill", Exit("killed", 9), "needs more memory than it may have"),
        # A worker was killed, and systemd stopped the rest (OOMPolicy=stop).
        ("oom-kill", Exit("exited", 0), "needs more memory than it may have"),
        # Where systemd has no memory controller it cannot know.
        ("signal", Exit("killed", 9), "most likely the memory was used up"),
        ("timeout", Exit("killed", 9), "the last lines of its log"),
        ("signal", Exit("killed", 11), "the last lines of its log"),
    ],
)
def test_memory_that_is_used_up_is_told(result: str, end: Exit, told: str) -> None:
    fault = judge_run(SINCE, sighting("failed", "failed", result=result, exit=end))
    assert fault is not None
    assert told in fault.hint
    assert told in job_failed("restart", "failed", sighting("failed", "failed", result=result, exit=end)).hint


def test_clean_ends() -> None:
    assert Exit("exited", 0).is_clean
    assert Exit("killed", 15).is_clean
    assert not Exit("exited", 143).is_clean
    assert not Exit("killed", 9).is_clean
    assert not Exit("dumped", 15).is_clean


def test_a_job_that_failed() -> None:
    seen = sighting("failed", "failed", result="timeout", exit=Exit("killed", 15))
    fault = job_failed("restart", "timeout", seen)
    assert fault.code is ErrorCode.RESTART_FAILED
    assert fault.message == ("the restart job of app.service timed out; it is failed (result timeout, signal TERM)")
    assert "ended as 'unheard-of'" in job_failed("start", "unheard-of", seen).message


def test_a_state_in_words() -> None:
    assert describe_state(sighting("active", "running")) == "it is active (running)"
    assert describe_state(sighting("failed", "failed")) == "it is failed"
