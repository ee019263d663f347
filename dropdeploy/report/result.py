"""An outcome as the result file tells it, in TOML and in JSON, and back. The only user of tomli_w.

One mapping serves the file, ``--json`` and the webhook; keys that do not apply are absent.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import tomli_w

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Outcome, Status, Step, StepName, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.harmless import end_of_log, harmless, one_line

SCHEMA = 1


# --- writing -------------------------------------------------------------------------------------------


def result_text(outcome: Outcome) -> str:
    """``NAME.result.toml``."""
    return to_toml(outcome_table(outcome))


def deploying_text(step: str, started: datetime, steps: Sequence[Step], percent: float | None = None) -> str:
    """``NAME.deploying``: the step now (a step's name, or "held" or "queued") and those that ended."""
    table: dict[str, object] = {"step": step}
    if percent is not None:
        table["percent"] = int(min(max(percent, 0), 100))
    return to_toml(table | {"started": started} | _steps_table(steps))


def outcome_table(outcome: Outcome) -> dict[str, object]:
    """The outcome's keys in the result file's order; times are datetimes."""
    fault, health = outcome.fault, outcome.health
    started, finished = _in_milliseconds(outcome.started), _in_milliseconds(outcome.finished)
    table = {
        "schema": SCHEMA,
        "status": outcome.status.value,
        "summary": one_line(outcome.summary),
        "app": outcome.app,
        "action": outcome.action.value,
        "id": outcome.id or None,
        "upload": outcome.upload,
        "bytes": outcome.bytes,
        "sha256": outcome.sha256,
        "release": outcome.release,
        "live": outcome.live,
        "live_healthy": outcome.live_healthy,
        "previous": outcome.previous,
        "started": started,
        "finished": finished,
        "seconds": round(max(0.0, (finished - started).total_seconds()), 3),
        "error": _error_table(fault, outcome.fault_step) if fault and outcome.status is not Status.DEPLOYED else None,
        "health": _known({"attempts": health.attempts, "last_status": health.last_status}) if health else None,
        "meta": dict(outcome.meta) or None,
    }
    return _known(table) | _steps_table(outcome.steps)


def outcome_as_json(outcome: Outcome) -> dict[str, object]:
    """The same for JSON: times are strings, as TOML writes them."""
    table = _for_output(outcome_table(outcome))
    assert isinstance(table, dict)
    return {key: str(value) if isinstance(value, datetime) else value for key, value in table.items()}


def to_json(table: Mapping[str, object]) -> str:
    """What TOML would tell, in one line of JSON: times are strings, as TOML writes them."""
    return json.dumps(_for_output(table), separators=(",", ":"), default=str)


def to_toml(table: Mapping[str, object]) -> str:
    """TOML with times in UTC to the millisecond, and harmless text; arrays of tables come last, one table each.

    tomli_w by itself would set short tables inline.
    """
    fit = _for_output(table)
    assert isinstance(fit, dict)
    arrays = {key: value for key, value in fit.items() if isinstance(value, list) and value and _are_tables(value)}
    rest = {key: value for key, value in fit.items() if key not in arrays}
    parts = [tomli_w.dumps(rest, multiline_strings=True)]
    for name, tables in arrays.items():
        parts += [f"\n[[{name}]]\n{tomli_w.dumps(entry, multiline_strings=True)}" for entry in tables]
    return "".join(parts)


class _Moment(datetime):
    """A time that tomli_w, which takes ``str``, writes as 2026-01-23T14:30:22.104Z."""

    def __str__(self) -> str:
        return self.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _for_output(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, datetime):
        utc = value.astimezone(UTC)
        return _Moment.combine(utc.date(), utc.timetz())
    if isinstance(value, Mapping):
        return {harmless(str(key)): _for_output(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_for_output(entry) for entry in value]
    return value


def _in_milliseconds(moment: datetime) -> datetime:
    """Cut, as the file shows it, so that what it says adds up."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _are_tables(values: Sequence[object]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _known(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None and value != ""}


def _error_table(fault: Fault, step: StepName | None) -> dict[str, object]:
    table = {
        "code": fault.code.value,
        "step": step.value if step else None,
        "message": one_line(fault.message),
        "hint": one_line(fault.hint),
        "log": end_of_log(fault.log),
    }
    return _known(table)


def _steps_table(steps: Sequence[Step]) -> dict[str, object]:
    tables = [
        {
            "name": step.name.value,
            "status": step.status.value,
            "seconds": round(step.seconds, 3),
            "detail": one_line(step.detail),
        }
        for step in steps
    ]
    return {"steps": tables} if tables else {}


# --- reading -------------------------------------------------------------------------------------------


def parse_result(text: str) -> Outcome | None:
    """The outcome that a result file tells; None when it is none, or of a schema that is not known.

    Times come back to the millisecond, and of the health check only what the file holds.
    """
    try:
        return _read_outcome(tomllib.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _read_outcome(table: dict[str, Any]) -> Outcome | None:
    if table["schema"] != SCHEMA:
        return None
    status = Status(table["status"])
    error = table.get("error")
    health = table.get("health")
    return Outcome(
        status=status,
        summary=str(table.get("summary", "")),
        app=str(table["app"]),
        action=Action(table["action"]),
        id=int(table.get("id", 0)),
        started=_read_moment(table["started"]),
        finished=_read_moment(table["finished"]),
        upload=str(table.get("upload", "")),
        bytes=table.get("bytes"),
        sha256=str(table.get("sha256", "")),
        release=str(table.get("release", "")),
        live=str(table.get("live", "")),
        live_healthy=table.get("live_healthy"),
        previous=str(table.get("previous", "")),
        fault=_read_fault(error) if error else None,
        fault_step=StepName(error["step"]) if error and "step" in error else None,
        health=HealthReport(status is Status.DEPLOYED, health["attempts"], 0.0, health.get("last_status"))
        if health
        else None,
        meta=tuple((str(key), str(value)) for key, value in table.get("meta", {}).items()),
        steps=tuple(_read_step(step) for step in table.get("steps", ())),
    )


def _read_moment(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{value!r} is no time with an offset")
    return value.astimezone(UTC)


def _read_fault(error: dict[str, Any]) -> Fault:
    message, hint, log = (str(error.get(key, "")) for key in ("message", "hint", "log"))
    return Fault(ErrorCode(error["code"]), message, hint, log)


def _read_step(step: dict[str, Any]) -> Step:
    return Step(StepName(step["name"]), StepStatus(step["status"]), float(step["seconds"]), str(step.get("detail", "")))
