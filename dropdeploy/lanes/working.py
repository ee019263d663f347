"""From a request to its verdict: one deploy is driven, its progress shown, and its end weighed.

Not every end is a verdict: an upload may still be growing, and the machine may be short of something for a moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.phase import STEP_OF
from dropdeploy.deploy.route import set_out
from dropdeploy.deploy.runner import Runner
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.target import newest_healthy
from dropdeploy.deploy.verdict import STALLED, UNTOUCHED, decide, is_release_healthy, status_of
from dropdeploy.diary import Kind, about
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.lanes.answers import Answers
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import Action, Format, Marker, Upload
from dropdeploy.report.status import AppNow, Progress, Seen

logger = logging.getLogger(__name__)

_REST_S, _LONGEST_REST_S = 1.0, 10.0
"""When the machine is short of something: at first, and at most, each rest being twice the one before."""


class Working:
    """Works off the requests of one app, one at a time.

    ``seen_since`` tells when an upload was first seen as it is now (monotonic), and ``fell_short`` is told of one that
    was not whole. ``advanced`` is called whenever ``seen`` has other progress.
    """

    def __init__(
        self,
        app: App,
        *,
        ports: Ports,
        drop: DropDirectory,
        answers: Answers,
        seen_since: Callable[[str], float | None],
        fell_short: Callable[[Upload, Fault], None],
        advanced: Callable[[], None],
    ) -> None:
        self._app = app
        self._history = ports.history
        self._drop = drop
        self._answers = answers
        self._desk = answers.desk
        self._seen_since = seen_since
        self._fell_short = fell_short
        self._advanced = advanced
        self.runner = Runner(app, ports, self._tell)
        self.is_deciding = False
        self._progress: Progress | None = None
        self._rests_until = 0.0
        self._next_rest_s = _REST_S

    @property
    def seen(self) -> Seen:
        """The app as it is, with what is going on."""
        now = self._answers.now
        return Seen(now, self._progress if now.working else None)

    @property
    def rest_s(self) -> float:
        """For so long nothing is to be begun."""
        return max(0.0, self._rests_until - time.monotonic())

    async def work_on(self, request: Upload | Marker) -> None:
        """Do what is asked, from the first phase to the verdict. Raises GoingDownError."""
        action = request.action if isinstance(request, Marker) else Action.DEPLOY
        started = datetime.now(UTC)
        try:
            number = await self._history.ask(lambda history: history.begin(self._app.name, action, request, started))
        except HistoryAwayError as away:
            await self._answers.refuse_unrecorded(request, away.fault)
            return
        extra = about(Kind.BEGUN, self._app.name, number, action=action, upload=request.name)
        logger.info("%s: %s %d: %s", self._app.name, action, number, request.name, extra=extra)
        now = self._answers.now  # what is known of it until it is looked at, which may fail
        first = replace(set_out(self._app, number, request, started), live=now.live, is_live_healthy=now.is_healthy)
        await self.finish(await self.runner.run(first))

    async def finish(self, state: Deploy) -> None:
        """Give the verdict; or none yet, when the upload may still become something else."""
        self.is_deciding = True
        try:
            await self._decide(state)
        finally:
            self.is_deciding = False

    async def _decide(self, state: Deploy) -> None:
        if state.fault is not None and isinstance(state.request, Upload) and self._may_change(state.request, state):
            await self._put_off(state.request, state, state.fault)
            return
        if (
            state.fault is not None
            and state.fault.is_shortage
            and state.fault_step in UNTOUCHED
            and not state.is_cancelled
        ):
            # It is begun again, and not at once: others need what there is even more.
            self._rests_until = time.monotonic() + self._next_rest_s
            self._next_rest_s = min(2 * self._next_rest_s, _LONGEST_REST_S)
            await self._put_off(state.request, state, state.fault)
            return
        self._next_rest_s = _REST_S
        proved = is_release_healthy(state)
        healthy = {} if proved is None else {state.release: proved}
        request = state.request
        if isinstance(request, Upload) and state.unpacked is not None:
            request = await self._drop.as_it_is_now(request, state.unpacked.sha256)
        await self._answers.record(decide(state, datetime.now(UTC)), request, healthy)

    def _may_change(self, upload: Upload, state: Deploy) -> bool:
        if upload.format is Format.DIRECTORY:
            return False  # its `.ready` said that it was done
        if state.fault is not None and state.fault.code is ErrorCode.CHANGED_WHILE_READING:
            return True
        since = self._seen_since(upload.name)
        is_young = since is not None and time.monotonic() - since < self._app.stall_s
        return is_young and status_of(state) is Status.INCOMPLETE

    async def _put_off(self, request: Upload | Marker, state: Deploy, fault: Fault) -> None:
        extra = about(Kind.POSTPONED, self._app.name, state.id, upload=request.name, error=fault.code)
        logger.info("%s: deploy %d waits: %s", self._app.name, state.id, fault.message, extra=extra)
        await self._history.ask(lambda history: history.forget(state.id))
        if fault.code in STALLED and isinstance(request, Upload):
            self._fell_short(request, fault)
        await self._desk.take_down(request.name)
        self._answers.show(replace(self._answers.now, working=""))

    def _tell(self, state: Deploy, percent: float | None) -> None:
        step = STEP_OF.get(state.phase)
        if step is None:
            return
        self._desk.working(state.request.name, step, state.started, state.steps, percent)
        name = state.request.name
        self._progress = Progress(
            deploy=state.id,
            action=state.action,
            request=name,
            started=state.started,
            step=step,
            steps=state.steps,
            percent=percent,
            release=state.release,
            meta=state.meta,
        )
        self._answers.show(replace(_with_live(self._answers.now, state), working=f"{name}: {step}"))
        self._advanced()


def _with_live(now: AppNow, state: Deploy) -> AppNow:
    """What `app` points to while a deploy goes on, and what is known of that yet."""
    if not state.live or state.live == now.live:
        return now if state.is_live_healthy is None else replace(now, is_healthy=state.is_live_healthy)
    ids = [release for release, _ in reversed(now.releases)]
    return replace(
        now,
        live=state.live,
        is_healthy=state.is_live_healthy,
        since=None,
        maker=None,
        rollback_to=newest_healthy(ids, dict(now.releases), before=state.live),
    )
