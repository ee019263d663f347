"""What systemd's D-Bus API says, in this project's words: properties to a look at a unit, refusals to faults.

Pure: no bus is touched here. Properties and results are those of org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState
from dropdeploy.units import failure
from dropdeploy.units.failure import Exit, Sighting

Verb = Literal["inspect", "start", "stop", "restart", "reload", "reset-failed"]

METHODS: Final[Mapping[Verb, str]] = {
    "start": "StartUnit",
    "stop": "StopUnit",
    "restart": "RestartUnit",
    "reload": "ReloadUnit",
    "reset-failed": "ResetFailedUnit",
}

MANAGER_PATH: Final = "/org/freedesktop/systemd1"
STOPPING: Final = "stopping"  # the Manager's SystemState while shutdown.target is active or has its job

NO_SUCH_UNIT: Final = "org.freedesktop.systemd1.NoSuchUnit"
SHUTTING_DOWN: Final = "org.freedesktop.systemd1.ShuttingDown"  # for systemd, which has left the bus by then
NO_SUCH_JOB: Final = "org.freedesktop.systemd1.NoSuchJob"
_MASKED: Final = "org.freedesktop.systemd1.UnitMasked"
_INVALID: Final = "org.freedesktop.DBus.Error.InvalidArgs"
_NOT_APPLICABLE: Final = "org.freedesktop.systemd1.JobTypeNotApplicable"
# polkit asks nobody when nobody could answer; the bus' own policy denies what polkit is never asked about.
_NOT_AUTHORISED: Final = frozenset(
    {"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "org.freedesktop.DBus.Error.AccessDenied"}
)
# The bus' answers while systemd's place on it is empty; "Spawn" is the bus trying to activate it.
_AWAY: Final = ("NoReply", "Disconnected", "ServiceUnknown", "NameHasNoOwner", "TimedOut", "Timeout", "Spawn")

_CLD: Final = {1: "exited", 2: "killed", 3: "dumped"}  # waitid(2), si_code
_INFINITY: Final = 2**64 - 1

TRIGGER_LIMIT_HIT: Final = "trigger-limit-hit"
TRIGGER_LIMIT_S: Final = 2.1  # systemd.socket(5), TriggerLimitIntervalSec=, and a little

JOB_SLACK_S: Final = 30.0
JOB_AT_LEAST_S: Final = 600.0
JOB_AT_MOST_S: Final = 86_400.0  # TimeoutStartSec=infinity (Type=oneshot): whoever waits has a bound of their own

PROPERTIES: Final = (
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "InvocationID",
    "Job",
    "CanReload",
    "TriggeredBy",
    "Wants",
    "ConditionResult",
    "ConditionTimestampMonotonic",
    "NRestarts",
    "MainPID",
    "Result",
    "User",
    "DynamicUser",
    "ExecMainCode",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
    "TimeoutStartUSec",
    "TimeoutStopUSec",
    # What a handover needs is read from these.
    "Type",
    "NonBlocking",
    "WorkingDirectory",
    "SystemState",  # the Manager's
)


@dataclass(frozen=True, slots=True)
class Look:
    """One atomic look at a unit: what the port tells, and what only the way to systemd needs.

    ``sockets`` are the socket units that trigger it, ``wants`` what its start brings with it; ``job_timeout_s`` bounds
    the wait for any one job of it.
    """

    sighting: Sighting
    path: str
    load_error: str
    job_timeout_s: float
    sockets: tuple[str, ...]
    wants: frozenset[str]
    is_condition_met: bool

    @property
    def state(self) -> UnitState:
        """The port's part."""
        return self.sighting.state


def parse_look(unit: str, path: str, properties: Mapping[str, Any]) -> Look:
    """The unit's properties as GetAll gave them; those that its kind of unit lacks are absent."""
    state = UnitState(
        unit=unit,
        load_state=properties["LoadState"],
        active_state=properties["ActiveState"],
        sub_state=properties["SubState"],
        invocation_id=bytes(properties["InvocationID"]).hex(),
        restarts=properties.get("NRestarts", 0),
        main_pid=properties.get("MainPID", 0),
        result=properties.get("Result", "success"),
        user="*" if properties.get("DynamicUser") else properties.get("User", ""),
        can_reload=properties.get("CanReload", True),
    )
    _, load_error = properties["LoadError"]
    return Look(
        Sighting(state, parse_exit(properties), has_job=properties["Job"][0] != 0),
        path=path,
        load_error=load_error,
        job_timeout_s=_job_timeout_s(properties),
        sockets=tuple(name for name in properties["TriggeredBy"] if name.endswith(".socket")),
        wants=frozenset(properties.get("Wants", ())),
        # False also of a unit that was forgotten since, and of one that was never started.
        is_condition_met=properties["ConditionResult"] or not properties["ConditionTimestampMonotonic"],
    )


def parse_exit(properties: Mapping[str, Any]) -> Exit | None:
    """How the main process ended, None while it runs or when there was none. A start resets it (in 252 and 257)."""
    code = _CLD.get(properties.get("ExecMainCode", 0))
    started = properties.get("ExecMainStartTimestampMonotonic", 0)
    ended = properties.get("ExecMainExitTimestampMonotonic", 0)
    if code is None or ended < started:
        return None
    return Exit(code, properties["ExecMainStatus"], ran_s=(ended - started) / 1e6)


def _job_timeout_s(properties: Mapping[str, Any]) -> float:
    spans: list[int] = [properties.get(name, _INFINITY) for name in ("TimeoutStartUSec", "TimeoutStopUSec")]
    if _INFINITY in spans:
        return JOB_AT_MOST_S
    # Each of a service's commands has the span to itself (ExecStartPre=, SIGTERM and then SIGKILL, …).
    return min(max(3 * sum(spans) / 1e6 + JOB_SLACK_S, JOB_AT_LEAST_S), JOB_AT_MOST_S)


def is_away(error: str) -> bool:
    """The D-Bus error says that systemd cannot be reached at the moment."""
    return error.removeprefix("org.freedesktop.DBus.Error.").partition(".")[0] in _AWAY


def unfit(look: Look, verb: Verb) -> Fault | None:
    """Why ``verb`` need not be tried on the unit."""
    state = look.state
    if verb == "stop":
        return None
    if state.load_state == "masked":
        return masked(state.unit)
    if state.load_state == "not-found":
        return failure.not_found(state.unit, "create the unit (and run systemctl daemon-reload), or correct `unit`")
    if state.load_state in ("bad-setting", "error"):
        message = f"{state.unit} cannot be loaded: {look.load_error.removesuffix('.') or state.load_state}"
        return Fault(ErrorCode.RESTART_FAILED, message, f"systemd-analyze verify {state.unit} names the mistake")
    if verb == "reload" and state.active_state not in ("active", "reloading"):
        return failure.cannot_reload(state)
    return None


def masked(unit: str) -> Fault:
    """``unit-masked``."""
    return Fault(ErrorCode.UNIT_MASKED, f"{unit} is masked", f"systemctl unmask {unit} allows it to be started again")


def refused(error: str, text: str, *, verb: Verb, unit: str, user: str) -> Fault:
    """systemd answered the call for ``verb`` with a D-Bus error; ``user`` is whom the agent runs as."""
    if error in _NOT_AUTHORISED:
        doing = "reset the start limit of" if verb == "reset-failed" else verb
        return Fault(
            ErrorCode.NOT_AUTHORISED,
            f"the agent (user {user}) may not {doing} {unit}: {text.removesuffix('.')}",
            "a polkit rule must allow the action org.freedesktop.systemd1.manage-units "
            f'for user "{user}", unit "{unit}" and verb "{verb}"',
        )
    if "polkit" in text and unit not in text:
        # systemd passes on what became of asking polkit, such as UnitMasked: that is not about this unit.
        return Fault(
            ErrorCode.NOT_AUTHORISED,
            f"the agent (user {user}) may not {verb} {unit}, as polkit could not be asked: {text.removesuffix('.')}",
            "polkit has to run: see `systemctl status polkit.service`",
        )
    if error == NO_SUCH_UNIT:
        return failure.not_found(unit, "create the unit (and run systemctl daemon-reload), or correct `unit`")
    if error == _INVALID:
        return Fault(ErrorCode.UNIT_NOT_FOUND, text.removesuffix("."), "`unit` is a full name, such as myapp.service")
    if error == _MASKED:
        return masked(unit)
    hint = f"systemctl status {unit} tells more"
    if error == _NOT_APPLICABLE and verb == "reload":
        hint = 'the unit has no ExecReload=: add one, or use strategy = "restart"'
    return Fault(ErrorCode.RESTART_FAILED, f"systemd would not {verb} {unit}: {text}", hint)


def judge_job(verb: Verb, result: str, before: Look, after: Look) -> UnitState | Fault:
    """The verdict on a job. ``result`` is JobRemoved's, "overdue" when it was not waited for any longer, or "lost"
    when its end was not seen: the unit itself then tells."""
    state = after.state
    if result == "overdue":
        message = f"the {verb} job of {state.unit} did not end within {before.job_timeout_s:.0f} s; "
        message += failure.describe_state(after.sighting)
        return Fault(ErrorCode.RESTART_FAILED, message, "systemctl list-jobs shows what it waits for")
    if result == "lost":
        result = "failed" if state.active_state == "failed" else "done"
    if result != "done":
        return failure.job_failed(verb, result, after.sighting)
    if verb in ("start", "restart") and state.active_state == "inactive" and not after.is_condition_met:
        message = f"{state.unit} was not started: a Condition…= of the unit is not met"
        return Fault(ErrorCode.RESTART_FAILED, message, f"systemctl status {state.unit} names the condition")
    if verb == "restart" and state.invocation_id == before.state.invocation_id:
        message = f"{state.unit} does not run after its restart; {failure.describe_state(after.sighting)}"
        hint = "it ended at once, or a Condition…= of it is not met: its log, below, may tell"
        return Fault(ErrorCode.RESTART_FAILED, message, hint)
    return state
