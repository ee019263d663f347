"""``dropdeploy logs``: what the app's unit has logged, since a deploy restarted it."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import plain, standard_output
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.config import Bus, Config
from dropdeploy.model.outcome import Outcome, StepName
from dropdeploy.units.journal import why_unreadable
from dropdeploy.units.logfile import LogLine, log_path, read_log

LINES = 100
_ENOUGH = 10_000
"""Among so many of the app's newest deploys the one is looked for that came after another."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when; None is for ever."""

    since: datetime | None = None
    until: datetime | None = None


def run(asked: argparse.Namespace) -> int:
    """Print the log. Where it is in the journal, journalctl(1) follows and shows it."""
    config = load(asked.config)
    app = find_app(config, asked.app)
    with open_history(config) as history:
        outcomes = history.outcomes(app.name, _ENOUGH) if history else ()
    span = span_of(outcomes, app, asked.deploy)
    lines = asked.lines or (None if asked.deploy else LINES)
    if config.settings.bus is Bus.EMBEDDED:
        return _show_file(config, app, span, lines, asked)
    is_user = config.settings.bus is Bus.USER
    if reason := why_unreadable(app.unit, is_user=is_user):
        raise Refusal(ExitCode.UNAVAILABLE, *reason)
    command = journal_command(app, span, lines, is_user=is_user, is_json=asked.json, follows=asked.follow)
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return ExitCode.DONE


def span_of(outcomes: Sequence[Outcome], app: App, deploy: int | None) -> Span:
    """When the run of the unit was that ``deploy`` began (None: that the newest one did). ``outcomes`` are of ``app``,
    newest first. Raises a Refusal where there is no such run."""
    restarts = [(outcome.id, moment) for outcome in outcomes if (moment := _restarted(outcome)) is not None]
    if deploy is None:
        return Span(restarts[0][1] if restarts else None)
    outcome = next((outcome for outcome in outcomes if outcome.id == deploy), None)
    if outcome is None:
        raise Refusal(ExitCode.USAGE, f"{app.name} has no deploy {deploy}: `dropdeploy history {app.name}` shows which")
    since = _restarted(outcome)
    if since is None:
        raise Refusal(
            ExitCode.USAGE, f"deploy {deploy} has not restarted {app.unit}: {outcome.status}: {plain(outcome.summary)}"
        )
    return Span(since, min((moment for number, moment in restarts if number > deploy), default=None))


def _restarted(outcome: Outcome) -> datetime | None:
    """When the deploy's first restart began: not before its earlier steps had their time."""
    before = timedelta()
    for step in outcome.steps:
        if step.name is StepName.RESTART:
            return outcome.started + before
        before += timedelta(seconds=step.seconds)
    return None


def journal_command(
    app: App, span: Span, lines: int | None, *, is_user: bool, is_json: bool, follows: bool
) -> list[str]:
    """journalctl(1) for the app's unit, and for the instances that a handover starts."""
    units = [app.unit]
    if app.strategy is Strategy.HANDOVER:
        units.append(f"{app.unit.removesuffix('.service')}@*.service")
    option = "--user-unit" if is_user else "--unit"
    command = ["journalctl", "--no-pager", *(f"{option}={unit}" for unit in units)]
    command += [f"--since=@{span.since.timestamp():.6f}"] if span.since else []
    command += [f"--until=@{span.until.timestamp():.6f}"] if span.until else []
    command += [f"--lines={lines}" if lines else "--lines=all"] if lines or follows else []
    return command + ["--output=json"] * is_json + ["--follow"] * follows


def _show_file(config: Config, app: App, span: Span, lines: int | None, asked: argparse.Namespace) -> int:
    path = log_path(config.settings.state, app.unit)
    screen = standard_output()

    def show(found: Sequence[LogLine]) -> None:
        for line in found:
            text = {"time": line.at.isoformat(), "unit": app.unit, "message": line.text}
            screen.line(json.dumps(text) if asked.json else f"{line.at.astimezone():%b %d %H:%M:%S} {plain(line.text)}")

    try:
        for found in read_log(path, since=span.since, until=span.until, lines=lines, follows=asked.follow):
            show(found)
            if asked.follow and not found and not screen.wait(0.2):
                break
    except KeyboardInterrupt:
        return ExitCode.DONE
    except OSError as error:
        raise Refusal(
            ExitCode.UNAVAILABLE, f"{path}: {error.strerror}; run this as root, or as the agent's user"
        ) from error
    return ExitCode.DONE
