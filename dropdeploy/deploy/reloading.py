"""strategy = "reload": ReloadUnit, and a wait until the processes of the release before have made way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from dropdeploy.deploy.ports import Units
from dropdeploy.deploy.renewal import Crew, Renewal, judge
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState

FIRST_PAUSE_S: Final = 0.02
LAST_PAUSE_S: Final = 0.5
SILENCE_S: Final = 2.0
"""A server of which nothing can be seen has so long to show something: another main process, workers."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The unit's run, which goes on, and what was seen of its processes."""

    run: UnitState
    detail: str


class Reloading:
    """Reloads one app's unit, forth and, when the release turns out ill, back."""

    def __init__(self, units: Units, unit: str, timeout_s: float) -> None:
        self._units = units
        self._unit = unit
        self._timeout_s = timeout_s
        self._former: frozenset[int] = frozenset()

    async def forth(self, release: str) -> Reloaded | Fault:
        """Have ``release`` run. Faults: those of ``Units.reload``, ``unit-crashed``, and ``restart-failed`` where what
        ran before runs on for longer than ``timeout_s``."""
        before = await self._look()
        self._former = before.pids
        return await self._reload(before, release, frozenset())

    async def back(self, release: str) -> Reloaded | Fault:
        """Have the release run that ran before ``forth``: whoever has not gone meanwhile may stay."""
        return await self._reload(await self._look(), release, self._former)

    def forget(self) -> None:
        """The way forth was another one."""
        self._former = frozenset()

    async def _reload(self, before: Crew, release: str, trusted: frozenset[int]) -> Reloaded | Fault:
        run = await self._units.reload(self._unit)
        if isinstance(run, Fault):
            return run
        crash = asyncio.ensure_future(self._units.await_failure(run))
        try:
            return await self._await_renewal(run, before, release, trusted, crash)
        finally:
            crash.cancel()
            await asyncio.gather(crash, return_exceptions=True)

    async def _await_renewal(
        self, run: UnitState, before: Crew, release: str, trusted: frozenset[int], crash: asyncio.Future[Fault]
    ) -> Reloaded | Fault:
        began = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            renewal, text = judge(before, await self._look(), release, trusted=trusted)
            waited_s = time.monotonic() - began
            if renewal is Renewal.RENEWED or (renewal is Renewal.UNKNOWN and waited_s >= SILENCE_S):
                return Reloaded(run, f"reloaded: {text}")
            if waited_s >= self._timeout_s:
                return _stale(self._unit, waited_s, text)
            await asyncio.wait((crash,), timeout=pause_s)
            if crash.done():
                return crash.result()
            pause_s = min(1.5 * pause_s, LAST_PAUSE_S)

    async def _look(self) -> Crew:
        now = await self._units.inspect(self._unit)
        return Crew(0 if isinstance(now, Fault) else now.main_pid, await self._units.processes(self._unit))


def _stale(unit: str, seconds: float, text: str) -> Fault:
    return Fault(
        ErrorCode.RESTART_FAILED,
        f"{unit} was reloaded, but the release before still runs {seconds:.0f} s later: {text}",
        'strategy = "reload" needs an ExecReload= at which the server replaces its processes by ones that run the live '
        "release, and old ones must not take longer than health.timeout to finish; where that cannot be, use "
        'strategy = "restart"',
    )
