"""A handover, phase by phase: the new release beside the old one, on the same socket, until it is known to be well.

What must hold in every phase, whatever fails and whenever the agent is killed: something that answers goes on running.
So nothing is ever stopped before the unit that stays is seen to run, and each phase can be performed twice.

An HTTP check beside the old one asks the shared socket, and either may answer. Such a check is repeated, so that a new
one that answers badly is most likely seen before anything else is done; only the check after the old one has withdrawn
is answered by the new one for certain, and that one decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.event import Started
from dropdeploy.deploy.gate import pass_gate
from dropdeploy.deploy.standing import choose_keeper, is_same_run, is_up
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.app import App, HealthCheck
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport
from dropdeploy.model.request import Action
from dropdeploy.model.unit import UnitState

BESIDE_SUCCESSES = 8
"""So many good answers in a row, where either may answer: half a second, and a new one that is ill is rarely missed."""

OLD_ANSWERS_S = 1.0
"""What does not answer well within this is no help in judging what runs beside it."""


class Handover:
    """The effects of one app's handovers."""

    def __init__(self, app: App, ports: Ports) -> None:
        self._app = app
        self._units = ports.units
        self._probe = ports.probe
        self._cursor = ""

    # --- forward ---

    async def start(self, state: Deploy) -> Good | Bad:
        """Have the new unit ready. What runs already because this was begun before is left running."""
        standing = await self._units.standing(self._app.unit)
        if isinstance(standing, Fault):
            return Bad(standing)
        others = [other.unit for other in standing if is_up(other) and other.unit != state.unit]
        is_up_already = any(is_up(each) for each in standing if each.unit == state.unit)
        is_old_well = await self._is_old_well(state, others, is_up_already=is_up_already)
        self._cursor = await self._units.log_cursor(state.unit)
        # Where both ran already, a restart renews one of them; what is not in that run any more was renewed by us.
        has_to_renew = state.action is Action.RESTART and any(
            is_same_run(now, then) for now in standing for then in state.before if now.unit == state.unit
        )
        try:
            async with asyncio.timeout(self._app.health.timeout_s):
                run = await (self._units.restart(state.unit) if has_to_renew else self._units.start(state.unit))
        except TimeoutError:
            run = Fault(
                ErrorCode.HEALTH_TIMEOUT,
                f"{state.unit} did not say that it is ready within {self._app.health.timeout_s:g} s",
                "look at the log below; health.timeout is in the app's file, and the app has to tell systemd "
                "(READY=1, sd_notify(3)) when it can answer",
            )
        if isinstance(run, Fault):
            return Bad(await self._with_log(run, state.unit))
        detail = f"{run.unit} is ready" + (f" beside {', '.join(others)}" if others else "")
        return Good(Started(run, is_old_well), detail)

    async def beside(self, state: Deploy) -> Good | Bad:
        """Is the new one well, as far as can be told while the old one answers on the same socket?"""
        assert state.run is not None
        check, told = self._app.health, "on the socket that both have"
        if check.url and state.is_old_well:
            check = replace(check, successes=max(check.successes, BESIDE_SUCCESSES))
        elif check.url and await self._has_company(state.run):
            check, told = replace(check, url=""), "what ran before does not answer well, so only the unit was watched"
        else:
            told = ""
        return await self._judge(check, state.run, told)

    async def withdraw(self, state: Deploy) -> Good | Bad:
        """Stop what ran before, each as its unit says: it drains for TimeoutStopSec= at most."""
        return await self._leave_alone(state, "")

    async def confirm(self, state: Deploy) -> Good | Bad:
        """The new one is asked once more, now that nobody else can answer."""
        return await self._confirm(state, f"{self._name(state)} alone")

    # --- back ---

    async def back_start(self, state: Deploy) -> Good | Bad:
        """Have the release before run: mostly it still does."""
        standing = await self._units.standing(self._app.unit)
        if isinstance(standing, Fault):
            return Bad(standing)
        keeper = choose_keeper(state, self._app.unit, standing)
        if keeper.is_up:
            run = await self._units.inspect(keeper.unit)
            if isinstance(run, Fault):
                return Bad(run)
            return Good(run, f"back to {state.back_to}: {keeper.unit} still runs")
        self._cursor = await self._units.log_cursor(keeper.unit)
        started = await self._units.start(keeper.unit)
        if isinstance(started, Fault):
            return Bad(await self._with_log(started, keeper.unit))
        return Good(started, f"back to {state.back_to}: {keeper.unit} is ready")

    async def back_withdraw(self, state: Deploy) -> Good | Bad:
        """Stop the new one."""
        return await self._leave_alone(state, f"back to {state.back_to}: ")

    async def back_confirm(self, state: Deploy) -> Good | Bad:
        """The one before is asked, alone."""
        return await self._confirm(state, f"back to {state.back_to}: {self._name(state)} alone")

    async def off(self) -> Fault | None:
        """Nothing of the app is to run."""
        standing = await self._units.standing(self._app.unit)
        if isinstance(standing, Fault):
            return standing
        return await self._stop([each.unit for each in standing])

    # --- what they are made of ---

    async def _leave_alone(self, state: Deploy, told: str) -> Good | Bad:
        """Stop everything but ``state.run``, if that runs."""
        assert state.run is not None
        keeper = await self._units.inspect(state.run.unit)
        if isinstance(keeper, Fault):
            return Bad(keeper)
        if not is_up(keeper):
            message = f"{keeper.unit} does not run any more ({keeper.active_state}), so nothing else was stopped"
            fault = Fault(ErrorCode.UNIT_CRASHED, message, "look at its log, below")
            return Bad(await self._with_log(fault, keeper.unit))
        standing = await self._units.standing(self._app.unit)
        if isinstance(standing, Fault):
            return Bad(standing)
        others = [other.unit for other in standing if other.unit != keeper.unit]
        fault_of_stop = await self._stop(others)
        if fault_of_stop is not None:
            return Bad(fault_of_stop)
        return Good(detail=f"{told}{', '.join(others)} stopped" if others else f"{told}nothing else ran")

    async def _stop(self, units: list[str]) -> Fault | None:
        ended = await asyncio.gather(*(self._units.stop(unit) for unit in units))
        return next((end for end in ended if isinstance(end, Fault)), None)

    async def _confirm(self, state: Deploy, told: str) -> Good | Bad:
        assert state.run is not None
        check = replace(self._app.health, soak_s=0.0)
        if check.url:
            return await self._judge(check, state.run, told)
        now = await self._units.inspect(state.run.unit)
        if isinstance(now, UnitState) and is_up(now):
            return Good(HealthReport(True, 1, 0.0, detail="the unit is active"), f"{told}: the unit is active")
        return await self._judge(check, state.run, told)

    async def _judge(self, check: HealthCheck, run: UnitState, told: str) -> Good | Bad:
        report, fault = await pass_gate(self._units, self._probe, check, run)
        if fault is not None:
            return Bad(await self._with_log(fault, run.unit), report)
        return Good(report, f"{report.detail}, {told}" if told else report.detail)

    async def _is_old_well(self, state: Deploy, others: list[str], *, is_up_already: bool) -> bool:
        """What ran before answers well, as was seen before anything else could answer."""
        if state.is_old_well is not None or not others:
            return bool(state.is_old_well)
        # Where the agent was killed before it could write that down, the benefit of the doubt is the old one's.
        return is_up_already or await self._is_well()

    async def _is_well(self) -> bool:
        """What answers now, answers well; without a URL nobody knows better."""
        check = self._app.health
        if not check.url:
            return True
        short = replace(check, timeout_s=min(OLD_ANSWERS_S, check.attempt_timeout_s), successes=1, soak_s=0.0)
        report = await self._probe.check(short, is_same_run=_always)
        return report.healthy

    async def _has_company(self, run: UnitState) -> bool:
        standing = await self._units.standing(self._app.unit)
        return not isinstance(standing, Fault) and any(is_up(other) for other in standing if other.unit != run.unit)

    async def _with_log(self, fault: Fault, unit: str) -> Fault:
        return fault if fault.log else replace(fault, log=await self._units.log_tail(unit, self._cursor))

    @staticmethod
    def _name(state: Deploy) -> str:
        assert state.run is not None
        return state.run.unit


async def _always() -> bool:
    return True
