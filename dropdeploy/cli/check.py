"""``dropdeploy check``: what would fail later and can be tried now. The tables at the end say what is tried."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dropdeploy.cli.check_machine import Ground, check_agent, check_state, check_user
from dropdeploy.cli.check_paths import (
    check_drop,
    check_file_system,
    check_group,
    check_lease,
    check_link,
    check_notify,
    check_root,
    check_shared,
    check_signers,
)
from dropdeploy.cli.findings import Finding, Level, finding_lines
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import standard_output
from dropdeploy.config.directory import check_paths, read_config
from dropdeploy.model import App, Bus, Config, Fault, UnitState
from dropdeploy.report.notice import MAIL_UNIT

States = Mapping[str, UnitState | Fault]


def run(asked: argparse.Namespace) -> int:
    """Print one line a finding. Exit code 2 when any of them is a failure."""
    findings = list(_find(asked.config.absolute()))
    output = standard_output()
    if asked.json:
        output.line(json.dumps({"findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        for line in finding_lines(findings, output):
            output.line(line)
    has_failed = any(finding.level is Level.FAIL for finding in findings)
    return ExitCode.USAGE if has_failed else ExitCode.DONE


def _find(directory: Path) -> Iterator[Finding]:
    config = read_config(directory)
    if isinstance(config, tuple):
        yield from (Finding(Level.FAIL, "config", str(mistake)) for mistake in config)
        return
    count = len(config.apps)
    yield Finding(Level.OK, "config", f"{directory}: no mistakes, {count} app{'' if count == 1 else 's'}")
    yield from (Finding(Level.FAIL, "config", str(mistake)) for mistake in check_paths(config, directory))
    ground = Ground.of(config, directory)
    for check in MACHINE_CHECKS:
        yield from check(ground)
    states = _states(config)
    if isinstance(states, Finding):
        yield states
        states = {}
    for app in config.apps:
        for app_check in APP_CHECKS:
            yield from app_check(app, ground)
        yield from (_unit_finding(app, unit, states[unit]) for unit in units_of(app) if unit in states)


def units_of(app: App) -> tuple[str, ...]:
    """The units that must be there for this app."""
    return (app.unit, *([MAIL_UNIT.format(1)] if app.notify.email else []))


def _states(config: Config) -> States | Finding:
    """Every app's unit as the bus knows it, or why nothing is known."""
    if config.settings.bus is Bus.EMBEDDED:
        return {}
    from dropdeploy.units.systemd import BindingsError, SystemdUnits  # noqa: PLC0415 - brings GLib
    from dropdeploy.units.systemd_jobs import BusAwayError  # noqa: PLC0415 - its company

    async def ask() -> States:
        async with SystemdUnits("user" if config.settings.bus is Bus.USER else "system") as units:
            return {unit: await units.inspect(unit) for app in config.apps for unit in units_of(app)}

    try:
        return asyncio.run(ask())
    except (BindingsError, BusAwayError) as error:
        return Finding(Level.FAIL, "bus", str(error))


def _unit_finding(app: App, unit: str, state: UnitState | Fault) -> Finding:
    if isinstance(state, Fault):
        return Finding(Level.FAIL, app.name, state.message, state.hint)
    match state.load_state:
        case "loaded":
            return Finding(Level.OK, app.name, f"{unit} is there ({state.active_state}, {state.sub_state})")
        case "not-found":
            mend = "install it and `systemctl daemon-reload`, or name another with `unit`"
            return Finding(Level.FAIL, app.name, f"there is no unit {unit}", mend)
        case "masked":
            return Finding(Level.FAIL, app.name, f"{unit} is masked", f"`systemctl unmask {unit}`")
        case other:
            mend = f"`systemctl status {unit}` says why"
            return Finding(Level.FAIL, app.name, f"{unit} could not be loaded ({other})", mend)


MACHINE_CHECKS: tuple[Callable[[Ground], Iterator[Finding]], ...] = (check_user, check_state, check_agent)
APP_CHECKS: tuple[Callable[[App, Ground], Iterator[Finding]], ...] = (
    check_root,
    check_file_system,
    check_link,
    check_group,
    check_shared,
    check_drop,
    check_lease,
    check_signers,
    check_notify,
)
