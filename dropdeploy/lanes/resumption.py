"""After a crash: what was interrupted is carried on, or taken away and begun anew if it is still asked for."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from dropdeploy import record
from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.phase import Way
from dropdeploy.deploy.recovery import Course, recover, take_back, take_up
from dropdeploy.deploy.route import set_out
from dropdeploy.deploy.standing import is_same_run, is_up
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.verdict import decide
from dropdeploy.diary import Kind, about
from dropdeploy.history.keeping import History
from dropdeploy.lanes.answers import Answers
from dropdeploy.lanes.working import Working
from dropdeploy.model.app import App
from dropdeploy.model.fault import Fault
from dropdeploy.model.request import NOWHERE, Marker, Upload

logger = logging.getLogger(__name__)

_UP = ("active", "activating", "reloading")


def as_answered(request: Upload | Marker, *, is_there: bool) -> Upload | Marker:
    """What the verdict on a request that nothing asks for any more is an answer to.

    Should the very same come back (a file system that was not mounted), it has not been answered, nor has its
    ``.ready``. An upload that stands there, and of which only the ``.ready`` is gone, is not to be deployed for that.
    """
    request = request if is_there else replace(request, version=NOWHERE)
    return replace(request, go=None) if isinstance(request, Upload) else request


class Resumption:
    """What an agent before this one has left of one app's deploys."""

    def __init__(self, app: App, *, ports: Ports, answers: Answers, working: Working) -> None:
        self._app = app
        self._history = ports.history
        self._releases = ports.releases
        self._units = ports.units
        self._answers = answers
        self._working = working
        self._interrupted: list[Deploy] = []  # before the swap, and not known yet whether they are still asked for

    async def recover(self) -> None:
        """Take up, or take away, what was interrupted. To be repeated where it did not come to its end."""
        name = self._app.name
        await self._answers.open()
        self._interrupted.clear()
        for each in await self._history.ask(lambda history: history.undecided(name)):
            if each.intent:
                await self._recover_deploy(record.load(Deploy, each.intent))
            else:
                await self._recover_deploy(set_out(self._app, each.id, each.request, each.started))
        await self._working.runner.take_away_disowned()
        await self._releases.sweep()
        await self._settle()

    async def _settle(self) -> None:
        """What a handover left behind that nobody knows of any more, or somebody's hands."""
        settled = await self._working.runner.settle(self._answers.now.live)
        if settled is None:
            return
        name, extra = self._app.name, about(Kind.SETTLED, self._app.name)
        if settled.fault is None:
            logger.warning("%s: %s: put right", name, settled.told, extra=extra)
        else:
            logger.error("%s: %s, and it stays so: %s", name, settled.told, settled.fault.message, extra=extra)

    async def _recover_deploy(self, state: Deploy) -> None:
        recovery = recover(state)
        what = f"{state.action} {state.id} was interrupted during {state.phase}"
        extra = about(Kind.INTERRUPTED, self._app.name, state.id, action=state.action, upload=state.request.name)
        logger.warning("%s: %s: %s", self._app.name, what, recovery.course, extra=extra)
        if recovery.course is Course.CARRY_ON:
            await self._working.finish(await self._working.runner.run(await self._take_up(state)))
            return
        await self._working.runner.undo(state, is_made=bool(recovery.discard))
        self._interrupted.append(state)  # undecided until the drop directory has been seen

    async def end_interrupted(self, asked: Collection[str], there: Collection[str]) -> None:
        """What is still asked for is forgotten, as it is begun anew; what is not gets its verdict. ``there`` are the
        names of all that stands in the drop directory."""
        while self._interrupted:
            state = self._interrupted[0]
            request = state.request
            if request.name in asked:
                await self._history.ask(partial(History.forget, deploy=state.id))
                self._interrupted.pop(0)
            else:
                now = self._answers.now
                outcome = decide(take_back(state, now.live, is_healthy=now.is_healthy), datetime.now(UTC))
                self._interrupted.pop(0)  # what cannot be told now is told late: it is decided once
                await self._answers.record(outcome, as_answered(request, is_there=request.name in there), {})

    async def _take_up(self, state: Deploy) -> Deploy:
        if state.way is Way.HANDOVER:
            standing = await self._units.standing(self._app.unit)
        else:
            unit = await self._units.inspect(self._app.unit)
            standing = unit if isinstance(unit, Fault) else (unit,)
        live = self._answers.now.live
        if isinstance(standing, Fault):
            return take_up(state, live, is_up=True)  # as far as can be told
        has_old = any(is_up(now) and is_same_run(now, then) for now in standing for then in state.before)
        return take_up(
            state,
            live,
            is_up=any(unit.active_state in _UP for unit in standing),
            is_old_gone=not has_old,
            is_run_intact=any(is_up(now) and state.run and is_same_run(now, state.run) for now in standing),
        )
