"""The configuration, read and held against the machine: its directories and its units.

A mistake keeps the agent from starting (and a reload from being taken up). What is only not there, or not fit yet,
keeps nobody but its own app: the agent says so, and its preflight looks again at each deploy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from pathlib import Path

from dropdeploy.config.directory import not_built_yet, survey_directory, survey_paths
from dropdeploy.config.files import APPS_DIRECTORY
from dropdeploy.config.parse import Mistake
from dropdeploy.deploy.ports import Units
from dropdeploy.diary import Kind, about
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.config import Bus, Config
from dropdeploy.model.fault import Fault
from dropdeploy.model.unit import UnitState

logger = logging.getLogger(__name__)


async def load(
    directory: Path, units: Units, surveyed: tuple[Config, tuple[Mistake, ...]] | None = None
) -> Config | tuple[Mistake, ...]:
    """The configuration, or every mistake in it and whatever else is wrong. ``surveyed``: it was read already."""
    config, mistakes = surveyed if surveyed else await asyncio.to_thread(survey_directory, directory)
    mistakes += not_built_yet(config, directory)
    conflicts, missing = await asyncio.to_thread(survey_paths, config, directory)
    mistakes += conflicts
    if config.settings.bus is not Bus.EMBEDDED:  # there the units are what the configuration defines
        states = await units.load_states([app.unit for app in config.apps])
        looks = (_look_at_unit(app, directory, units, states.get(app.unit)) for app in config.apps)
        for wrong, unfit in await asyncio.gather(*looks):  # a bus that is away is waited for once, and not for each
            mistakes += wrong
            missing += unfit
    if mistakes:
        return tuple(dict.fromkeys((*mistakes, *missing)))  # what two checks have found is told once
    for obstacle in dict.fromkeys(missing):
        told = "until that is mended its deploys are rejected"
        logger.error("%s; %s", obstacle, told, extra=about(Kind.TROUBLE, Path(obstacle.file).stem))
    return config


async def _look_at_unit(
    app: App, directory: Path, units: Units, load_state: str | None
) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """What is wrong with the configuration, and what with the units. ``load_state`` may be known."""
    if load_state == "loaded" and not app.dedupe and app.strategy is Strategy.RESTART:
        return (), ()
    file = str(directory / APPS_DIRECTORY / f"{app.name}.toml")
    unit = await units.inspect(app.unit)
    if isinstance(unit, Fault):
        return (), ()
    if unit.load_state == "not-found":
        message = "there is no such unit; install it, or name another"
        return (), (Mistake(file, "unit", f'"{app.unit}"', message),)
    wrong: tuple[Mistake, ...] = ()
    if app.dedupe and unit.load_state == "loaded" and (who := _writer(unit)):
        message = (
            f"not while {app.unit} runs as {who}, which could change files that several releases share; "
            "give it a User= of its own"
        )
        wrong = (Mistake(file, "dedupe", "true", message),)
    if app.strategy is Strategy.RELOAD and not unit.can_reload:
        message = f"{app.unit} cannot be reloaded; give it an ExecReload=, or choose another"
        return wrong, (Mistake(file, "strategy", '"reload"', message),)
    unmet = await units.unmet_for_handover(app.unit) if app.strategy is Strategy.HANDOVER else ()
    return wrong, tuple(Mistake(file, "strategy", '"handover"', f"{fault.message}; {fault.hint}") for fault in unmet)


def _writer(unit: UnitState) -> str:
    """As whom the unit runs, where that is somebody who may write the agent's files; else ""."""
    own = pwd.getpwuid(os.geteuid()).pw_name
    return (unit.user or "root") if unit.user in ("", "root", "0", own, str(os.geteuid())) else ""
