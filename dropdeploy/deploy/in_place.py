"""Going live in place: the unit is restarted, or reloaded, and asked how it is; and the same back."""

from __future__ import annotations

from dataclasses import replace

from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.gate import pass_gate
from dropdeploy.deploy.reloading import Reloading
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.fault import Fault
from dropdeploy.model.unit import UnitState


class InPlace:
    """The effects of going live in place, for one app."""

    def __init__(self, app: App, ports: Ports) -> None:
        self._app = app
        self._units = ports.units
        self._probe = ports.probe
        self._log_cursor = ""
        self._reloading = Reloading(ports.units, app.unit, app.health.timeout_s)

    async def restart(self, state: Deploy) -> Good | Bad:
        """Have the unit run what the link names."""
        return await self._bring_up(state.release, "")

    async def back_restart(self, state: Deploy) -> Good | Bad:
        """As ``restart``, when the link names the release before again."""
        return await self._bring_up(state.back_to, f"back to {state.back_to}", is_back=True)

    async def confirm(self, state: Deploy) -> Good | Bad:
        """Wait for a verdict on the run that was begun."""
        return await self._check_health(state, "")

    async def back_confirm(self, state: Deploy) -> Good | Bad:
        """As ``confirm``, of the release before."""
        return await self._check_health(state, f"back to {state.back_to}")

    async def off(self) -> Fault | None:
        """Stop what was started of a release that nothing is before."""
        stopped = await self._units.stop(self._app.unit)
        return stopped if isinstance(stopped, Fault) else None

    async def _bring_up(self, release: str, detail: str, *, is_back: bool = False) -> Good | Bad:
        units, unit = self._units, self._app.unit
        self._log_cursor = await units.log_cursor(unit)
        if self._app.strategy is Strategy.RELOAD and await self._is_running():
            reload = self._reloading.back if is_back else self._reloading.forth
            reloaded = await reload(release)
            if isinstance(reloaded, Fault):
                return Bad(await self._with_log(reloaded))
            return Good(reloaded.run, "; ".join(filter(None, (detail, reloaded.detail))))
        self._reloading.forget()
        run = await units.restart(unit)
        return Bad(await self._with_log(run)) if isinstance(run, Fault) else Good(run, detail)

    async def _is_running(self) -> bool:
        """What does not run (the first deploy, a crash) cannot be reloaded."""
        now = await self._units.inspect(self._app.unit)
        return isinstance(now, UnitState) and now.is_running

    async def _check_health(self, state: Deploy, detail: str) -> Good | Bad:
        run = state.run
        if run is None or not self._log_cursor:
            # Taken up again after a crash: whatever runs now was started from the link as it is.
            now = await self._units.inspect(self._app.unit)
            if isinstance(now, Fault):
                return Bad(now)
            run = now
        report, fault = await pass_gate(self._units, self._probe, self._app.health, run)
        if fault is not None:
            return Bad(await self._with_log(fault), report)
        return Good(report, "; ".join(filter(None, (detail, report.detail))))

    async def _with_log(self, fault: Fault) -> Fault:
        if fault.log:
            return fault
        return replace(fault, log=await self._units.log_tail(self._app.unit, self._log_cursor))
