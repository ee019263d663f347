"""``dropdeploy check``: what would fail later and is tried now, as the agent where root asks.

The tables say what is tried: here what anybody may look at and what only root can, in ``inside`` what is tried in the
agent's place.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from dropdeploy.cli.check import agent, polkit, sshd, units
from dropdeploy.cli.check.findings import Finding, Level, exit_code, finding_lines
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.place import Place, find_place, try_inside
from dropdeploy.cli.check.systemctl import Facts
from dropdeploy.cli.configured import blames_permission
from dropdeploy.cli.screen import standard_output
from dropdeploy.config.directory import check_paths, not_built_yet, read_config
from dropdeploy.config.parse import Mistake
from dropdeploy.model.config import Bus, Config

AGENT_CHECKS = (agent.check_agent, agent.check_who, agent.check_unit, agent.check_age)


def run(asked: argparse.Namespace) -> int:
    """Print one line a finding. The exit code is that of the worst of them."""
    findings = in_order(_find(asked.config.absolute()))
    output = standard_output()
    if asked.json:
        output.line(json.dumps({"findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        for line in finding_lines(findings, output):
            output.line(line)
    return exit_code(findings)


def in_order(findings: Iterator[Finding]) -> list[Finding]:
    """What belongs to one subject stands together, where the subject first came up."""
    by_subject: dict[str, list[Finding]] = {}
    for finding in findings:
        by_subject.setdefault(finding.subject, []).append(finding)
    return [finding for found in by_subject.values() for finding in found]


def _find(directory: Path) -> Iterator[Finding]:
    config = read_config(directory)
    if isinstance(config, tuple):
        for mistake in config:
            yield Finding(Level.FAIL, "config", str(mistake), _correct(mistake), blames_permission(mistake))
        return
    count = len(config.apps)
    yield Finding(Level.OK, "config", f"{directory}: no mistakes, {count} app{'' if count == 1 else 's'}")
    astray = (*not_built_yet(config, directory), *check_paths(config, directory))
    yield from (Finding(Level.FAIL, "config", str(mistake), _correct(mistake)) for mistake in astray)
    files = {mistake.file for mistake in astray}
    names = [app.name for app in config.apps if str(directory / f"apps.d/{app.name}.toml") not in files]
    ground = Ground.of(config, directory)
    place = find_place(ground)
    for check in AGENT_CHECKS:
        yield from check(ground, place)
    if place is not None and place.settings:
        yield from try_inside(place, ground, names)
    elif place is None:
        from dropdeploy.cli.check import inside  # noqa: PLC0415 - brings most of what the agent has

        yield from inside.try_all(ground, names)
    facts = units.facts_of(config)
    for app in config.apps:
        yield from units.check_units(app, ground, facts)
    if place is not None:
        yield from _of_root(config, place, facts)


def _correct(mistake: Mistake) -> str:
    return (
        f"run this as root, or mend the modes of {mistake.file}"
        if blames_permission(mistake)
        else f"correct {mistake.file}"
    )


def _of_root(config: Config, place: Place, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    if config.settings.bus is Bus.SYSTEM:
        yield from polkit.check_polkit(config, place, facts)
    yield from sshd.check_uploaders(config, place)
