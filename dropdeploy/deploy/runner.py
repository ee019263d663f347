"""Performs the plan: each phase's effect through the ports, its intent written down first, its result an event.

The order of things is the plan's; how each thing is done, ``performing`` tells. One runner works for one app, on one
deploy at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from dropdeploy import record
from dropdeploy.deploy.building import Tell
from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.event import Cancelled, Done, Event, Failed
from dropdeploy.deploy.hooks import stop_hooks
from dropdeploy.deploy.performing import EFFECTS, Performers
from dropdeploy.deploy.phase import BEFORE_SWAP, Phase
from dropdeploy.deploy.plan import advance
from dropdeploy.deploy.removing import take_away, take_away_disowned
from dropdeploy.deploy.route import way_of
from dropdeploy.deploy.settling import Settled, settle
from dropdeploy.deploy.state import Deploy, is_cancellable
from dropdeploy.diary import Kind, about
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.shortage import is_shortage

logger = logging.getLogger(__name__)

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
        self._effect: asyncio.Future[Good | Bad] | None = None
        self._phase = Phase.DECIDED
        self._is_cancellable = False
        self._is_cancel_wanted = False
        self._by = Performers(app, ports, tell)

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
            self._by.building.let_go()
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
        self._effect = asyncio.ensure_future(EFFECTS[state.phase](self._by, state))
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

    async def settle(self, live: str) -> Settled | None:
        """See that what runs is what the link names. Not while ``run`` does."""
        return await settle(self.app, self._ports, way_of(self.app), live)

    async def undo(self, state: Deploy, *, is_made: bool) -> None:
        """Take away what an interrupted deploy had begun before its swap: what may run beside the app, and, where
        ``is_made``, its release."""
        app, ports = self.app, self._ports
        if state.phase is Phase.TRIAL and app.trial.unit:
            await self._by.trial.clear()
        if state.phase is Phase.HOOKS:
            await stop_hooks(ports.units, app.hooks.before_swap, state.release)
        if is_made:
            await take_away(app, ports, state)

    async def take_away_disowned(self) -> None:
        """Remove what could not be removed when it should have been."""
        await take_away_disowned(self.app, self._ports)


def _internal(error: Exception) -> Fault:
    return Fault(
        ErrorCode.INTERNAL,
        f"the agent failed unexpectedly: {type(error).__name__}: {error}",
        "the administrator finds the details with `journalctl -u dropdeploy`",
    )


def _short(error: OSError, phase: Phase) -> Fault:
    hint = "something is used up on the server (descriptors): `systemctl status dropdeploy`"
    return Fault(ErrorCode.INTERNAL, f"{phase} could not be done: {error.strerror}", hint, is_shortage=True)
