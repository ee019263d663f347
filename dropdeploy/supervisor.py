"""Whoever runs the units, as ``bus`` says: systemd, the user's or the machine's, or the supervisor inside the agent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from dropdeploy.deploy.ports import Units
from dropdeploy.diary import Kind, about
from dropdeploy.model.app import EmbeddedUnit
from dropdeploy.model.config import Bus, Config
from dropdeploy.units.embedded import EmbeddedUnits

logger = logging.getLogger(__name__)


class UnavailableError(Exception):
    """Something that the agent needs is not there; the message says what."""


class RunningUnits(Units, Protocol):
    """Units with a life of their own."""

    async def close(self) -> None:
        """The end of it."""


async def open_units(config: Config) -> RunningUnits:
    """Whoever runs the units, as ``bus`` says. Raises UnavailableError."""
    bus = config.settings.bus
    if bus is Bus.EMBEDDED:
        embedded = EmbeddedUnits(embedded_definitions(config), state=config.settings.state)
        await embedded.open()
        return embedded
    # The bindings are megabytes, and need not be installed where the supervisor is the embedded one.
    from dropdeploy.units.systemd import BindingsError, SystemdUnits  # noqa: PLC0415
    from dropdeploy.units.systemd_jobs import BusAwayError  # noqa: PLC0415

    try:
        systemd = SystemdUnits("user" if bus is Bus.USER else "system")
        await systemd.open()
    except (BindingsError, BusAwayError) as error:
        raise UnavailableError(str(error)) from error
    return systemd


async def take_up(units: Units, config: Config) -> None:
    """Where the supervisor is the embedded one: define the units, and start what has a release, as a boot would."""
    if not isinstance(units, EmbeddedUnits):
        return
    await units.redefine(embedded_definitions(config))
    for unit, fault in (await units.start_all()).items():
        logger.error("%s does not start: %s", unit, fault.message, extra=about(Kind.TROUBLE, unit=unit))


def embedded_definitions(config: Config) -> dict[str, tuple[EmbeddedUnit, Path]]:
    """The units that the embedded supervisor runs: each in the directory that the app's link names."""
    return {app.unit: (app.embedded, app.root / "app") for app in config.apps if app.embedded is not None}
