"""A trial: the new release boots beside the live one, on a socket of its own, and is asked there before it goes live.

It is over when its unit is stopped: a release that does not end when it is told to is refused too, as every restart
after it would have to wait for it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.gate import pass_gate
from dropdeploy.instances import instance_of
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState

LEAST_ASKING_S = 1.0
"""What is left of the timeout for asking, however long the start took."""


class Trial:
    """The trials of one app."""

    def __init__(self, app: App, ports: Ports) -> None:
        self._app = app
        self._units = ports.units
        self._probe = ports.probe
        self._unit = app.trial.unit.replace("@.", ".")

    async def run(self, release: str) -> Good | Bad:
        """Try the release out; afterwards nothing of the trial runs. Fault: ``trial-failed``."""
        left = await self.clear()
        unit = instance_of(self._unit, release)
        cursor = await self._units.log_cursor(unit)
        try:
            fault = left or await self._find_fault(unit)
        finally:
            ended = await self._units.stop(unit)
        fault = fault or _find_bad_end(unit, ended)
        if fault is None:
            return Good(detail=unit)
        log = fault.log or await self._units.log_tail(unit, cursor)
        hint = "the live release was not touched; look at the log below"
        return Bad(Fault(ErrorCode.TRIAL_FAILED, f"on trial, {fault.message}", hint, log))

    async def clear(self) -> Fault | None:
        """Stop what an agent that was killed has left: it would answer in the place of the next trial."""
        standing = await self._units.standing(self._unit)
        if isinstance(standing, Fault):
            return standing
        for left in standing:
            stopped = await self._units.stop(left.unit)
            if isinstance(stopped, Fault):
                return stopped
        return None

    async def _find_fault(self, unit: str) -> Fault | None:
        trial = self._app.trial
        give_up = time.monotonic() + trial.timeout_s
        try:
            async with asyncio.timeout(trial.timeout_s):
                run = await self._units.start(unit)
        except TimeoutError:
            message = f"{unit} did not say that it is ready within {trial.timeout_s:g} s"
            return Fault(ErrorCode.TRIAL_FAILED, message)
        if isinstance(run, Fault):
            return run
        asking_s = max(LEAST_ASKING_S, give_up - time.monotonic())
        check = replace(self._app.health, url=trial.url, timeout_s=asking_s)
        return (await pass_gate(self._units, self._probe, check, run))[1]


def _find_bad_end(unit: str, ended: UnitState | Fault) -> Fault | None:
    if isinstance(ended, Fault):
        return ended
    if ended.result == "timeout":
        message = f"{unit} was well, but did not end when it was told to (SIGTERM), and was killed"
        return Fault(ErrorCode.TRIAL_FAILED, message)
    return None
