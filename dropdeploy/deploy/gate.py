"""The gate: when does a unit that was just restarted count as healthy?

Two things run side by side: the unit is watched for failing, and the app is asked how it is. Whichever is decided first
decides. A success counts only while the unit is in the run that the restart began: same InvocationID, same NRestarts.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from dropdeploy.deploy.ports import HealthProbe, Units
from dropdeploy.model.app import HealthCheck
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport
from dropdeploy.model.unit import UnitState

LEAST_SOAK_S = 1.0
"""Without a URL to ask, a unit must have stayed up for at least so long."""
_LOOK_S = 0.1


async def pass_gate(
    units: Units, probe: HealthProbe, check: HealthCheck, run: UnitState
) -> tuple[HealthReport, Fault | None]:
    """Wait for a verdict on ``run``: a report, and the fault when it is not healthy (codes ``unit-crashed``,
    ``health-timeout``)."""
    began = time.monotonic()
    same = _SameRun(units, run)
    crash = asyncio.ensure_future(units.await_failure(run))
    asking = asyncio.ensure_future(probe.check(check, is_same_run=same.holds) if check.url else _stay_up(same, check))
    try:
        await asyncio.wait((crash, asking), return_when=asyncio.FIRST_COMPLETED)
        if crash.done():
            fault = crash.result()
            return HealthReport(False, 0, time.monotonic() - began, detail=fault.message), fault
        report = asking.result()
    finally:
        for task in (crash, asking):
            task.cancel()
        await asyncio.gather(crash, asking, return_exceptions=True)
    return report, None if report.healthy else _ill(report, check)


class _SameRun:
    """Whether the unit is still in the run it was restarted into.

    An app that died once while it booted and was started again by systemd is in a new run: nothing that was seen
    before counts, what is seen from now on does. That it does not go on so is ``await_failure``'s affair.
    """

    def __init__(self, units: Units, run: UnitState) -> None:
        self._units = units
        self._run = run

    async def holds(self) -> bool:
        now = await self._units.inspect(self._run.unit)
        if isinstance(now, Fault) or not now.is_running:
            return False
        is_same = (now.invocation_id, now.restarts) == (self._run.invocation_id, self._run.restarts)
        self._run = replace(self._run, invocation_id=now.invocation_id, restarts=now.restarts)
        return is_same


async def _stay_up(same: _SameRun, check: HealthCheck) -> HealthReport:
    """The unit is active, and stays so."""
    soak_s = max(LEAST_SOAK_S, check.soak_s)
    began = up_since = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        is_up = await same.holds()
        now = time.monotonic()
        if not is_up:
            up_since = now
        if now - up_since >= soak_s:
            return HealthReport(True, attempts, now - began, detail=f"the unit stayed active for {soak_s:g} s")
        if now - began >= check.timeout_s:
            detail = f"the unit did not stay active for {soak_s:g} s within {check.timeout_s:g} s"
            return HealthReport(False, attempts, now - began, detail=detail)
        await asyncio.sleep(_LOOK_S)


def _ill(report: HealthReport, check: HealthCheck) -> Fault:
    hint = (
        "look at the log below and at what the app answers there; health.url, health.status and health.timeout are "
        "in the app's file"
        if check.url
        else "look at the log below; set health.url in the app's file to have the app itself asked"
    )
    return Fault(ErrorCode.HEALTH_TIMEOUT, report.detail, hint)
