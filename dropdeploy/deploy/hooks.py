"""Hooks: template units of the administrator's, started with the release as instance and awaited, one by one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dropdeploy.deploy.effect import Bad, Good
from dropdeploy.deploy.ports import Units
from dropdeploy.deploy.preflight import span_text
from dropdeploy.instances import instance_of
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState


async def before_swap(app: App, units: Units, release: str) -> Good | Bad:
    """Those that must succeed before ``release`` goes live."""
    return await _run_hooks(units, app.hooks.before_swap, release, app.hooks.timeout_s)


async def after_live(app: App, units: Units, release: str) -> Good | Bad:
    """Those that are told of ``release`` once it is live and well."""
    ended = await _run_hooks(units, app.hooks.after_live, release, app.hooks.timeout_s)
    if isinstance(ended, Bad):  # it fails nothing, so its step is where it is told
        return Bad(replace(ended.fault, message=f"{ended.fault.message}; its log:\n{ended.fault.log}"))
    return ended


async def _run_hooks(units: Units, templates: tuple[str, ...], release: str, timeout_s: float) -> Good | Bad:
    """Each has ``timeout_s``; the first that fails is the end. Fault: ``hook-failed``, with the hook's journal.

    A hook that is not waited for any longer (it took too long, the deploy was cancelled) is stopped.
    """
    for template in templates:
        unit = instance_of(template.replace("@.", "."), release)
        cursor = await units.log_cursor(unit)
        fault = await _find_fault(units, unit, timeout_s)
        if fault is not None:
            log = fault.log or await units.log_tail(unit, cursor)
            hint = fault.hint or f"look at the log below; the unit is {template} on the server"
            return Bad(Fault(ErrorCode.HOOK_FAILED, f"a hook failed: {fault.message}", hint, log))
    return Good(detail=", ".join(templates))


async def stop_hooks(units: Units, templates: tuple[str, ...], release: str) -> None:
    """Stop those that an agent before this one, which was killed, has left running."""
    for template in templates:
        await units.stop(instance_of(template.replace("@.", "."), release))


async def _find_fault(units: Units, unit: str, timeout_s: float) -> Fault | None:
    try:
        async with asyncio.timeout(timeout_s):
            ended = await units.start(unit)
    except TimeoutError:
        await units.stop(unit)
        return Fault(ErrorCode.HOOK_FAILED, f"{unit} did not finish within {span_text(timeout_s)}")
    except asyncio.CancelledError:
        await units.stop(unit)
        raise
    if isinstance(ended, UnitState) and ended.active_state == "failed":
        return Fault(ErrorCode.HOOK_FAILED, f"{unit} failed ({ended.result})")
    return ended if isinstance(ended, Fault) else None
