"""What counts as a failed run of a unit, and how it is told to the person who uploaded.

Pure, and the same for systemd and for the embedded supervisor, so that both fail in the same words.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState

CRASH_LOOP: Final = 2
"""So many crashes since the restart make a crash loop: one may be bad luck, the second one is a habit."""

SEE_LOG: Final = "the last lines of its log, below, tell what it said before it ended"

_OUT_OF_MEMORY: Final = (
    "oom-kill"  # systemd.exec(5), $SERVICE_RESULT: the kernel or systemd-oomd ended one of its processes
)
_MORE_MEMORY: Final = (
    "the app needs more memory than it may have: have it need less, or give the unit (MemoryMax=) or the machine more; "
    "`journalctl -k` on the server tells which limit was reached"
)
_KILLED: Final = (
    "SIGKILL comes from outside: most likely the memory was used up, which `journalctl -k` on the server tells, or "
    "somebody killed it; what it said last is below"
)

# systemd.exec(5), "Process exit codes": what systemd itself reports when it could not run the command.
_EXEC_STATUS: Final = {
    200: ("CHDIR", "the unit's WorkingDirectory= cannot be entered: is it in the release?"),
    203: (
        "EXEC",
        "the program that the unit's ExecStart= names could not be run: is it in the release, and executable?",
    ),
    216: ("GROUP", "the unit's Group= does not exist on this machine"),
    217: ("USER", "the unit's User= does not exist on this machine"),
    226: ("NAMESPACE", "a path that the unit's sandbox settings name does not exist"),
}

_JOB_ENDS: Final = {
    "canceled": "was cancelled by another job: somebody stopped or started the unit meanwhile",
    "timeout": "timed out",
    "failed": "failed",
    "dependency": "failed because a unit that it depends on failed",
    "skipped": "was skipped",
    "invalid": "does not apply to the unit's state",
    "assert": "failed because an Assert…= of the unit is not met",
    "unsupported": "is not supported for this kind of unit",
    "collected": "was dropped before it ran",
    "once": "was refused because the unit can be started once only",
}


@dataclass(frozen=True, slots=True)
class Exit:
    """How the main process last ended, as waitid(2) has it.

    ``code`` is "exited", "killed" or "dumped", ``status`` then the exit status or the signal's number.
    ``ran_s``: for how long it ran, None when unknown.
    """

    code: str
    status: int
    ran_s: float | None = None

    @property
    def is_clean(self) -> bool:
        """Ended as Restart=on-failure counts success (systemd.service(5), SuccessExitStatus=)."""
        if self.code == "exited":
            return self.status == 0
        clean = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
        return self.code == "killed" and self.status in clean

    def __str__(self) -> str:
        if self.code == "exited":
            name, _ = _EXEC_STATUS.get(self.status, ("", ""))
            return f"exit status {self.status}" + (f"/{name}" if name else "")
        return f"signal {_signal_name(self.status)}" + (", core dumped" if self.code == "dumped" else "")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A unit at one moment, with what a verdict needs beyond its state.

    ``exit`` is None while the main process of this run has not ended. ``has_job``: something is queued for the unit;
    systemd counts an automatic restart when it queues its job, while the state still says "auto-restart".
    """

    state: UnitState
    exit: Exit | None = None
    has_job: bool = False


def judge_run(since: UnitState, seen: Sighting) -> Fault | None:
    """``unit-crashed`` when the run that began with ``since`` has failed by ``seen``, else None."""
    state = seen.state
    restarts = state.restarts - since.restarts
    if seen.has_job and state.active_state in ("failed", "inactive"):
        return None  # on its way: every restart passes through "inactive"
    if state.active_state == "failed":
        # With automatic restarts before it, it is their limit that ended the loop: the last crash is counted already.
        return _crashed(seen, max(1, restarts), gave_up=restarts >= 1)
    if state.active_state == "inactive":
        return _crashed(seen, restarts + 1)
    is_waiting = state.sub_state == "auto-restart" and not seen.has_job
    return _crashed(seen, restarts + is_waiting) if restarts + is_waiting >= CRASH_LOOP else None


def _crashed(seen: Sighting, crashes: int, *, gave_up: bool = False) -> Fault:
    state, unit, end = seen.state, seen.state.unit, seen.exit
    message = describe_end(seen)
    if gave_up or crashes >= CRASH_LOOP:
        verb = "exited" if end is not None and end.is_clean else "crashed"
        times = "once" if crashes == 1 else f"{crashes} times"
        last = f" (last: {_how(state.result, end)})" if end is not None else ""
        message = f"{unit} has {verb} {times} since the restart{last}"
        if gave_up:
            message += " and is not restarted any more"
    return Fault(ErrorCode.UNIT_CRASHED, message, hint_for(seen))


def describe_end(seen: Sighting) -> str:
    """A sentence: what became of the unit, with state, result and exit status or signal."""
    state, end = seen.state, seen.exit
    if end is None:
        if state.active_state == "failed":
            return f"{state.unit} failed before its main process was started (result {state.result})"
        return f"{state.unit} is {state.active_state} ({state.sub_state}, result {state.result})"
    if state.result == _OUT_OF_MEMORY:
        how = "was killed because the memory was used up"
    elif end.code == "exited":
        how = f"exited with status {str(end).removeprefix('exit status ')}"
    else:
        how = f"was killed by {end}"
    after = f" {_span(end.ran_s)} after it was started" if end.ran_s is not None else ""
    return f"{state.unit} {how} (result {state.result}){after}"


def describe_state(seen: Sighting) -> str:
    """Half a sentence: "it is failed (failed, result exit-code, exit status 1)"."""
    state = seen.state
    parts = [state.sub_state] if state.sub_state != state.active_state else []
    if state.result != "success":
        parts.append(f"result {state.result}")
    if seen.exit is not None:
        parts.append(str(seen.exit))
    return f"it is {state.active_state}" + (f" ({', '.join(parts)})" if parts else "")


def _how(result: str, end: Exit) -> str:
    return "the memory was used up" if result == _OUT_OF_MEMORY else str(end)


def hint_for(seen: Sighting) -> str:
    """Where to look, by how the process ended."""
    end, result = seen.exit, seen.state.result
    if result == _OUT_OF_MEMORY:
        return _MORE_MEMORY
    if end is not None and end.code == "killed" and end.status == signal.SIGKILL and result in ("signal", "success"):
        return _KILLED
    if end is not None and end.code == "exited" and end.status in _EXEC_STATUS:
        return _EXEC_STATUS[end.status][1]
    return SEE_LOG


def job_failed(verb: str, result: str, seen: Sighting) -> Fault:
    """``restart-failed`` for a job that ended otherwise than "done" (systemd's JobRemoved names the results)."""
    how = _JOB_ENDS.get(result, f"ended as {result!r}")
    message = f"the {verb} job of {seen.state.unit} {how}; {describe_state(seen)}"
    return Fault(ErrorCode.RESTART_FAILED, message, hint_for(seen))


def not_found(unit: str, hint: str) -> Fault:
    """``unit-not-found``."""
    return Fault(ErrorCode.UNIT_NOT_FOUND, f"{unit} does not exist", hint)


def cannot_reload(state: UnitState) -> Fault:
    """``restart-failed`` for a reload of what does not run."""
    message = f"{state.unit} cannot be reloaded: it is {state.active_state}"
    return Fault(ErrorCode.RESTART_FAILED, message, "only a running unit can be reloaded: restart it first")


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
