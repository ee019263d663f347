"""From a decided deploy to the outcome that people read."""

from __future__ import annotations

from datetime import datetime

from dropdeploy.deploy.state import Deploy
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status, StepName
from dropdeploy.model.request import Action

_REJECTED = {
    Action.DEPLOY: "{} was not deployed",
    Action.ROLLBACK: "nothing was rolled back",
    Action.RESTART: "nothing was restarted",
}
STALLED = frozenset({ErrorCode.TRUNCATED_UPLOAD, ErrorCode.CHECKSUM_MISSING, ErrorCode.SIGNATURE_MISSING})
"""The upload goes on when what is missing arrives."""
UNTOUCHED = frozenset({StepName.PREFLIGHT, StepName.EXTRACT, StepName.LINK})
"""What fails there has changed nothing that outlives the deploy: it may as well be begun anew."""
_ILL_STEPS = frozenset({StepName.HOOKS, StepName.TRIAL, StepName.RESTART, StepName.HEALTH})
_UNPROVED_STEPS = _ILL_STEPS | {StepName.SWAP}
"""What fails there leaves a release behind that was never seen to be well."""


def is_release_healthy(state: Deploy) -> bool | None:
    """What a deploy proved about the release it made or aimed at; None when that was never tried.

    Known from the phase ``health`` on, thus also while pruning. A restart proves nothing about the release: it was
    healthy once, and stays a place to return to; nor does a rollback for which the machine had no more of something.
    What a deploy has made and not found well is none to go back to, whoever is to blame.
    """
    if state.is_left:
        return False  # nothing is known of it, and it is not to be gone back to
    if state.action is Action.RESTART or state.is_cancelled:
        return None
    if state.fault is not None:
        return _what_failed_proves(state.action, state.fault, state.fault_step)
    return True if state.is_live_healthy else None


def release_proved(outcome: Outcome) -> bool | None:
    """The same, read from a verdict."""
    if outcome.action is Action.RESTART or not outcome.release or outcome.status is Status.CANCELLED:
        return None
    if outcome.fault is not None:
        return _what_failed_proves(outcome.action, outcome.fault, outcome.fault_step)
    return True if outcome.status is Status.DEPLOYED and outcome.live == outcome.release else None


def _what_failed_proves(action: Action, fault: Fault, step: StepName | None) -> bool | None:
    if action is Action.DEPLOY:
        return False if step in _UNPROVED_STEPS else None
    return False if step in _ILL_STEPS and not fault.is_shortage else None


def status_of(state: Deploy) -> Status:
    """The verdict's status."""
    if state.is_cancelled:
        return Status.CANCELLED if state.back_fault is None else Status.FAILED
    if state.fault is None:
        return Status.DEPLOYED
    if state.fault.code in STALLED:
        return Status.INCOMPLETE
    if state.fault_step in (StepName.PREFLIGHT, StepName.EXTRACT):
        return Status.REJECTED
    is_back = state.has_restarted and state.action is not Action.RESTART and state.live == state.back_to != ""
    return Status.ROLLED_BACK if is_back and state.is_live_healthy and state.back_fault is None else Status.FAILED


def decide(state: Deploy, finished: datetime) -> Outcome:
    """The outcome of a decided deploy. ``finished`` is aware; a clock that ran backwards counts as no time."""
    status = status_of(state)
    finished = max(finished, state.started)
    return Outcome(
        status=status,
        summary=_summary(state, status, (finished - state.started).total_seconds()),
        app=state.app,
        action=state.action,
        id=state.id,
        started=state.started,
        finished=finished,
        upload=state.request.name,
        bytes=state.unpacked.bytes if state.unpacked else None,
        sha256=state.unpacked.sha256 if state.unpacked else "",
        release=state.release,
        live=state.live,
        live_healthy=state.is_live_healthy,
        previous=state.previous,
        fault=_fault(state, status),
        fault_step=state.fault_step,
        health=state.health,
        meta=state.meta,
        steps=state.steps,
    )


def _fault(state: Deploy, status: Status) -> Fault | None:
    if status is Status.CANCELLED and state.fault is None:
        return Fault(
            ErrorCode.CANCELLED,
            f"cancelled during {state.fault_step} because a file named cancel was uploaded",
            "upload the build again, or upload its .ready marker, to deploy it after all",
        )
    if state.back_fault is None:
        return state.fault
    why = state.fault or Fault(ErrorCode.CANCELLED, f"cancelled during {state.fault_step}")
    where = f"to {state.back_to}" if state.back_to else "to no release at all"
    return Fault(
        ErrorCode.ROLLBACK_FAILED,
        f"{why.message}; and the way back {where} failed too: {state.back_fault.message}",
        state.back_fault.hint or why.hint,
        "\n".join(filter(None, (why.log, state.back_fault.log))),
    )


def _summary(state: Deploy, status: Status, seconds: float) -> str:
    """One line for a person who sees nothing else."""
    took = f"{seconds:.1f} s"
    match status:
        case Status.DEPLOYED if state.action is Action.RESTART:
            return f"{state.release} was restarted and is healthy after {took}"
        case Status.DEPLOYED:
            return f"{state.release} is live and healthy after {took}"
        case Status.ROLLED_BACK:
            return f"{state.release} was ill, {state.back_to} is live and healthy again after {took}"
        case Status.REJECTED:
            return f"{_REJECTED[state.action].format(state.request.name)}, nothing was touched"
        case Status.INCOMPLETE:
            return f"{state.request.name} is not complete, nothing was touched"
        case Status.CANCELLED:
            how = "was cancelled" if state.fault is None else "was interrupted and taken away"
            return f"{state.request.name} {how}, {_still(state)}"
        case _:
            return f"{_what(state)} failed during {state.fault_step}, {_still(state)}"


def _what(state: Deploy) -> str:
    match state.action:
        case Action.ROLLBACK:
            return f"the rollback to {state.release}"
        case Action.RESTART:
            return f"the restart of {state.release}"
        case Action.DEPLOY:
            return state.release or state.request.name


def _still(state: Deploy) -> str:
    if not state.live:
        return "nothing is live"
    if state.is_live_healthy is False:
        return f"{state.live} is live and ill"
    return f"{state.live} is live as before"
