"""Performs the plan: each phase's effect through the ports, its intent written down first, its result an event.

The order of things is the plan's; here is only how each thing is done. One runner works for one app, on one deploy at
a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from dropdeploy import record
from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.event import Cancelled, Done, Event, Extracted, Failed
from dropdeploy.deploy.gate import pass_gate
from dropdeploy.deploy.handover import Handover
from dropdeploy.deploy.hooks import run_hooks, stop_hooks
from dropdeploy.deploy.phase import BEFORE_SWAP, Phase, Way
from dropdeploy.deploy.plan import advance
from dropdeploy.deploy.ports import OpenUpload
from dropdeploy.deploy.preflight import preflight
from dropdeploy.deploy.reloading import Reloading
from dropdeploy.deploy.settling import Settled, settle
from dropdeploy.deploy.state import Deploy, is_cancellable
from dropdeploy.deploy.trial import Trial
from dropdeploy.deploy.verdict import is_release_healthy
from dropdeploy.diary import Kind, about
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History
from dropdeploy.model.app import App, HealthCheck, Strategy
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport
from dropdeploy.model.request import Upload
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked
from dropdeploy.shortage import is_shortage

logger = logging.getLogger(__name__)

Effect = Callable[["Runner", Deploy], Awaitable[Good | Bad]]
Tell = Callable[[Deploy, float | None], None]
"""Told the state at each phase's begin, and again with the percentage where that is known."""


NEEDS_UNITS = frozenset(
    {
        Phase.HOOKS,
        Phase.TRIAL,
        Phase.START,
        Phase.BESIDE,
        Phase.RESTART,
        Phase.WITHDRAW,
        Phase.HEALTH,
        Phase.AFTER_LIVE,
        Phase.BACK_START,
        Phase.BACK_RESTART,
        Phase.BACK_WITHDRAW,
        Phase.BACK_HEALTH,
        Phase.OFF,
    }
)
"""Phases that cannot succeed while systemd stops everything."""


class GoingDownError(Exception):
    """The machine is being shut down, so what just failed says nothing: the deploy is left as its last intent says."""


class Runner:
    """Drives deploys of one app from their state to the verdict."""

    def __init__(self, app: App, ports: Ports, tell: Tell) -> None:
        self.app = app
        self._ports = ports
        self._tell = tell
        self._held: OpenUpload | None = None
        self._effect: asyncio.Future[Good | Bad] | None = None
        self._phase = Phase.DECIDED
        self._is_cancellable = False
        self._is_cancel_wanted = False
        self._log_cursor = ""
        self._handover = Handover(app, ports)
        self._trial_of_app = Trial(app, ports)
        self._reloading = Reloading(ports.units, app.unit, app.health.timeout_s)

    def cancel(self) -> bool:
        """Stop the deploy in progress if it has not swapped yet. False when there is none, or it is too late."""
        if not self._is_cancellable:
            return False
        self._is_cancel_wanted = True
        if self._effect is not None:
            self._effect.cancel()
        return True

    @property
    def can_be_interrupted(self) -> bool:
        """Nothing of the live release was touched yet: stopping now loses nothing."""
        return self._phase in BEFORE_SWAP or self._phase is Phase.DECIDED

    async def run(self, state: Deploy) -> Deploy:
        """Perform until decided. Cancelling the task leaves the deploy as its last intent says, to be recovered, and so
        does GoingDownError."""
        self._is_cancel_wanted = False
        try:
            while state.phase is not Phase.DECIDED:
                self._phase, self._is_cancellable = state.phase, is_cancellable(state)
                obstacle = await self._intend(state)
                self._tell(state, None)
                state = advance(
                    state, Failed(0.0, obstacle, has_begun=False) if obstacle else await self._perform(state)
                )
        finally:
            self._phase, self._is_cancellable = Phase.DECIDED, False
            self._let_go()
        return state

    async def _intend(self, state: Deploy) -> Fault | None:
        """Write down what is about to be done. Returns why it must not be done, if that cannot be written down.

        From the swap on nothing is worse than to stop: it goes on, and after a crash ``recovery`` finds an older
        intent, from which everything is done again.
        """
        try:
            await self._ports.history.ask(partial(History.intend, deploy=state.id, intent=record.dump(state)))
        except HistoryAwayError as away:
            if state.phase in BEFORE_SWAP or state.phase in (Phase.START, Phase.SWAP):
                return away.fault
            told = (self.app.name, state.id, state.phase, away)
            extra = about(Kind.TROUBLE, self.app.name, state.id)
            logger.error("%s: deploy %d goes on to %s: %s", *told, extra=extra)  # noqa: TRY400
        return None

    async def _perform(self, state: Deploy) -> Event:
        began = time.monotonic()
        if self._is_cancel_wanted and is_cancellable(state):
            return Cancelled(0.0)
        self._effect = asyncio.ensure_future(EFFECTS[state.phase](self, state))
        try:
            result = await self._effect
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_cancel_wanted and task is not None and not task.cancelling():
                return Cancelled(time.monotonic() - began)
            raise
        except HistoryAwayError as away:
            result = Bad(away.fault)
        except Exception as error:
            if isinstance(error, OSError) and is_shortage(error):
                return Failed(time.monotonic() - began, _short(error, state.phase))
            extra = about(Kind.DEFECT, self.app.name, state.id)
            logger.exception("%s: deploy %d: %s failed unexpectedly", self.app.name, state.id, state.phase, extra=extra)
            result = Bad(_internal(error))
        finally:
            self._effect = None
        seconds = time.monotonic() - began
        if isinstance(result, Bad):
            if state.phase in NEEDS_UNITS and await self._ports.units.is_going_down():
                raise GoingDownError(result.fault.message)
            return Failed(seconds, result.fault, result.learned)
        return Done(seconds, result.detail, result.learned)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    async def settle(self, live: str) -> Settled | None:
        """See that what runs is what the link names. Not while ``run`` does."""
        return await settle(self.app, self._ports, way_of(self.app), live)

    # --- building the release ---

    async def _preflight(self, state: Deploy) -> Good | Bad:
        found = await preflight(self.app, self._ports, state.request)
        if isinstance(found, Bad):
            return found
        self._held = found.held
        return Good(found.ground)

    async def _extract(self, state: Deploy) -> Good | Bad:
        held, upload = self._held, state.request
        assert held is not None
        assert isinstance(upload, Upload)
        unpacking: asyncio.Future[Unpacked | Fault] | None = None

        def percent(value: float) -> None:
            if unpacking is not None and not held.is_unchanged():
                unpacking.cancel()
            self._tell(state, value)

        unpacking = asyncio.ensure_future(self._ports.releases.unpack(held.source, state.release, percent))
        try:
            unpacked = await unpacking
        except asyncio.CancelledError:
            if held.is_unchanged():
                raise
            return Bad(_changed(upload))
        if isinstance(unpacked, Fault):
            # Half of the old bytes and half of the new ones may look like anything.
            return Bad(unpacked if held.is_unchanged() else _changed(upload))
        proven = await held.judge(unpacked)
        if isinstance(proven, Fault):
            await self._ports.releases.discard(state.release)
            return Bad(proven)
        self._let_go()
        meta = await self._ports.uploads.read_meta(upload)
        entries = "1 entry" if unpacked.entries == 1 else f"{unpacked.entries} entries"
        shared = f", {unpacked.shared_bytes} of them shared" if unpacked.shared_bytes else ""
        detail = f"{entries}, {unpacked.unpacked_bytes} bytes{shared}"
        if isinstance(meta, Fault):
            detail, meta = f"{detail}; metadata ignored: {meta.message}", ()
        return Good(Extracted(replace(upload, version=proven), unpacked, meta), detail)

    async def _link(self, state: Deploy) -> Good | Bad:
        detail = await self._ports.releases.finish(state.release)
        return Bad(detail) if isinstance(detail, Fault) else Good(detail=detail)

    async def take_away(self, state: Deploy) -> None:
        """Remove the release that an interrupted deploy was making. What cannot be removed must not pass for one to go
        back to: it is disowned, and tried again at the next start."""
        fault = await self._ports.releases.discard(state.release)
        if fault is None:
            return
        logger.error("%s: %s", self.app.name, fault.message, extra=about(Kind.TROUBLE, self.app.name, state.id))
        disown = partial(History.disown, app=self.app.name, release=state.release, deploy=state.id)
        await self._ports.history.ask(disown)

    async def take_away_disowned(self) -> None:
        """Remove what could not be removed when it should have been."""
        for release in await self._ports.history.ask(lambda history: history.disowned(self.app.name)):
            await self._ports.releases.discard(release)

    async def _discard(self, state: Deploy) -> Good | Bad:
        return _plain(await self._ports.releases.discard(state.release))

    # --- units beside the app's own ---

    async def _before_swap(self, state: Deploy) -> Good | Bad:
        return await self._run_hooks(self.app.hooks.before_swap, state.release)

    async def _after_live(self, state: Deploy) -> Good | Bad:
        ended = await self._run_hooks(self.app.hooks.after_live, state.release)
        if isinstance(ended, Bad):  # it fails nothing, so its step is where it is told
            return Bad(replace(ended.fault, message=f"{ended.fault.message}; its log:\n{ended.fault.log}"))
        return ended

    async def stop_beside(self, state: Deploy) -> None:
        """Stop what an interrupted deploy may have left running beside the app, before its release goes."""
        if state.phase is Phase.TRIAL and self.app.trial.unit:
            await self._trial_of_app.clear()
        if state.phase is Phase.HOOKS:
            await stop_hooks(self._ports.units, self.app.hooks.before_swap, state.release)

    async def _run_hooks(self, templates: tuple[str, ...], release: str) -> Good | Bad:
        return await run_hooks(self._ports.units, templates, release, self.app.hooks.timeout_s)

    async def _trial(self, state: Deploy) -> Good | Bad:
        return await self._trial_of_app.run(state.release)

    # --- going live, and back ---

    async def _swap(self, state: Deploy) -> Good | Bad:
        return await self._swap_to(state.release, "")

    async def _back_swap(self, state: Deploy) -> Good | Bad:
        return await self._swap_to(state.back_to, f"back to {state.back_to}")

    async def _swap_to(self, release: str, detail: str) -> Good | Bad:
        return _plain(await self._ports.releases.swap(release), detail)

    async def _restart(self, state: Deploy) -> Good | Bad:
        return await self._bring_up(state.release, "")

    async def _back_restart(self, state: Deploy) -> Good | Bad:
        return await self._bring_up(state.back_to, f"back to {state.back_to}", is_back=True)

    async def _bring_up(self, release: str, detail: str, *, is_back: bool = False) -> Good | Bad:
        units, unit = self._ports.units, self.app.unit
        self._log_cursor = await units.log_cursor(unit)
        if self.app.strategy is Strategy.RELOAD and await self._is_running():
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
        now = await self._ports.units.inspect(self.app.unit)
        return isinstance(now, UnitState) and now.is_running

    async def _start(self, state: Deploy) -> Good | Bad:
        return await self._handover.start(state)

    async def _beside(self, state: Deploy) -> Good | Bad:
        return await self._handover.beside(state)

    async def _withdraw(self, state: Deploy) -> Good | Bad:
        return await self._handover.withdraw(state)

    async def _back_start(self, state: Deploy) -> Good | Bad:
        return await self._handover.back_start(state)

    async def _back_withdraw(self, state: Deploy) -> Good | Bad:
        return await self._handover.back_withdraw(state)

    async def _health(self, state: Deploy) -> Good | Bad:
        if state.way is Way.HANDOVER:
            return await self._handover.confirm(state)
        return await self._check_health(state, "")

    async def _back_health(self, state: Deploy) -> Good | Bad:
        if state.way is Way.HANDOVER:
            return await self._handover.back_confirm(state)
        return await self._check_health(state, f"back to {state.back_to}")

    async def _check_health(self, state: Deploy, detail: str) -> Good | Bad:
        run = state.run
        if run is None or not self._log_cursor:
            # Taken up again after a crash: whatever runs now was started from the link as it is.
            now = await self._ports.units.inspect(self.app.unit)
            if isinstance(now, Fault):
                return Bad(now)
            run = now
        report, fault = await self._gate(self.app.health, run)
        if fault is not None:
            return Bad(await self._with_log(fault), report)
        return Good(report, "; ".join(filter(None, (detail, report.detail))))

    async def _gate(self, check: HealthCheck, run: UnitState) -> tuple[HealthReport, Fault | None]:
        return await pass_gate(self._ports.units, self._ports.probe, check, run)

    async def _with_log(self, fault: Fault) -> Fault:
        if fault.log:
            return fault
        return replace(fault, log=await self._ports.units.log_tail(self.app.unit, self._log_cursor))

    async def _off(self, state: Deploy) -> Good | Bad:
        if state.has_restarted:
            is_handover = state.way is Way.HANDOVER
            stopped = await (self._handover.off() if is_handover else self._ports.units.stop(self.app.unit))
            if isinstance(stopped, Fault):
                return Bad(stopped)
        return _plain(await self._ports.releases.unlink(), "nothing was live before: the link is removed")

    # --- clean-up ---

    async def _prune(self, state: Deploy) -> Good | Bad:
        survey = await self._ports.releases.survey()
        if isinstance(survey, Fault):
            return Bad(survey)
        health = dict(await self._ports.history.ask(lambda history: history.release_health(self.app.name)))
        verdict = is_release_healthy(state)
        if verdict is not None:
            health[state.release] = verdict
        running = await self._ports.units.running_releases(self.app.unit)
        chosen = self._ports.prunable(survey.releases, health, survey.live, running, self.app.keep)
        pruned = await self._ports.releases.prune(chosen)
        if pruned.failed:
            told = "; ".join(why if release in why else f"{release}: {why}" for release, why in pruned.failed)
            return Bad(Fault(ErrorCode.INTERNAL, f"not everything could be pruned: {told}"))
        return Good(detail=f"removed {', '.join(pruned.removed)}" if pruned.removed else "")


EFFECTS: Mapping[Phase, Effect] = {
    Phase.PREFLIGHT: Runner._preflight,
    Phase.EXTRACT: Runner._extract,
    Phase.LINK: Runner._link,
    Phase.HOOKS: Runner._before_swap,
    Phase.TRIAL: Runner._trial,
    Phase.START: Runner._start,
    Phase.BESIDE: Runner._beside,
    Phase.SWAP: Runner._swap,
    Phase.RESTART: Runner._restart,
    Phase.WITHDRAW: Runner._withdraw,
    Phase.HEALTH: Runner._health,
    Phase.AFTER_LIVE: Runner._after_live,
    Phase.PRUNE: Runner._prune,
    Phase.BACK_START: Runner._back_start,
    Phase.BACK_SWAP: Runner._back_swap,
    Phase.BACK_RESTART: Runner._back_restart,
    Phase.BACK_WITHDRAW: Runner._back_withdraw,
    Phase.BACK_HEALTH: Runner._back_health,
    Phase.OFF: Runner._off,
    Phase.DISCARD: Runner._discard,
}


def unconfigured(app: App) -> frozenset[Phase]:
    """The phases that a deploy of this app does without."""
    configured = {
        Phase.HOOKS: bool(app.hooks.before_swap),
        Phase.TRIAL: bool(app.trial.unit),
        Phase.AFTER_LIVE: bool(app.hooks.after_live),
    }
    return frozenset(phase for phase, is_there in configured.items() if not is_there)


def way_of(app: App) -> Way:
    """How releases of this app go live."""
    return Way.HANDOVER if app.strategy is Strategy.HANDOVER else Way.IN_PLACE


def _plain(fault: Fault | None, detail: str = "") -> Good | Bad:
    return Good(detail=detail) if fault is None else Bad(fault)


def _internal(error: Exception) -> Fault:
    return Fault(
        ErrorCode.INTERNAL,
        f"the agent failed unexpectedly: {type(error).__name__}: {error}",
        "the administrator finds the details with `journalctl -u dropdeploy`",
    )


def _short(error: OSError, phase: Phase) -> Fault:
    hint = "something is used up on the server (descriptors): `systemctl status dropdeploy`"
    return Fault(ErrorCode.INTERNAL, f"{phase} could not be done: {error.strerror}", hint, is_shortage=True)


def _changed(upload: Upload) -> Fault:
    return Fault(
        ErrorCode.CHANGED_WHILE_READING,
        f"{upload.name} changed while it was read",
        "it is judged anew once its writer has closed it",
    )
