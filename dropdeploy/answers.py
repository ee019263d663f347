"""The answer to each request of one app: committed to the history, told in files, and the upload cleared away.

In this order, so that a crash in between loses nothing: a verdict that is committed is told at the next start, and a
request that has one is not taken again. Told twice is better than decided twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from dropdeploy.deploy.ports import Releases
from dropdeploy.diary import Kind, about, about_outcome
from dropdeploy.history import History, HistoryThread
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.model import (
    Action,
    Answer,
    App,
    ErrorCode,
    Fault,
    Format,
    Marker,
    Outcome,
    Status,
    StepName,
    Upload,
)
from dropdeploy.report.desk import Desk
from dropdeploy.report.status import AppNow

logger = logging.getLogger(__name__)

REOPENING = frozenset(
    {
        ErrorCode.CHECKSUM_MISSING,
        ErrorCode.CHECKSUM_MISMATCH,
        ErrorCode.SIGNATURE_MISSING,
        ErrorCode.SIGNATURE_INVALID,
    }
)
"""A changed sidecar may mend these."""

STALLED = frozenset({ErrorCode.TRUNCATED_UPLOAD, ErrorCode.CHECKSUM_MISSING, ErrorCode.SIGNATURE_MISSING})
"""The upload goes on when what is missing arrives."""


class Answers:
    """What was answered, and the answering."""

    def __init__(
        self,
        app: App,
        history: HistoryThread,
        releases: Releases,
        drop: DropDirectory,
        desk: Desk,
        *,
        changed: Callable[[], None],
    ) -> None:
        self.app = app
        self.desk = desk
        self.given: dict[str, Answer] = {}
        self._now = AppNow(app.name)
        self._history = history
        self._releases = releases
        self._drop = drop
        self._changed = changed  # called whenever `now` is another one

    @property
    def now(self) -> AppNow:
        """The app as status.toml tells it."""
        return self._now

    def show(self, now: AppNow) -> None:
        """Tell the app's state, if it is another one."""
        if now != self._now:
            self._now = now
            self.desk.show(now)
            self._changed()

    async def open(self) -> None:
        """Recall what was answered, and tell the verdicts that may not have been told before a crash."""
        name = self.app.name
        await self.desk.sweep()
        self.given = await self._history.ask(lambda history: history.answered(name))
        for told in await self._history.ask(lambda history: history.unreported(name)):
            await self._tell(told.outcome, told.request)
        await self.survey()

    async def record(self, outcome: Outcome, request: Upload | Marker, healthy: dict[str, bool]) -> None:
        """Commit a verdict and tell it. ``healthy`` is what was proved of releases."""
        answer = Answer(request, outcome.fault is not None and outcome.fault.code in REOPENING)
        await self._history.ask(partial(History.conclude, outcome=outcome, answer=answer, healthy=healthy))
        self.given[request.name] = answer
        await self._tell(outcome, request)

    async def refuse(self, upload: Upload, fault: Fault) -> None:
        """Answer an upload that is not worked on at all."""
        began = datetime.now(UTC)
        begin = partial(History.begin, app=self.app.name, action=Action.DEPLOY, request=upload, started=began)
        number = await self._history.ask(begin)
        status = _status_of(upload, fault)
        outcome = Outcome(
            status=status,
            summary=_summary(upload, status),
            app=self.app.name,
            action=Action.DEPLOY,
            id=number,
            started=began,
            finished=began,
            upload=upload.name,
            bytes=None if upload.format is Format.DIRECTORY else upload.version.size,
            live=self._now.live,
            live_healthy=self._now.is_healthy,
            fault=fault,
            fault_step=StepName.EXTRACT if fault.code is ErrorCode.TRUNCATED_UPLOAD else StepName.PREFLIGHT,
        )
        await self.record(outcome, upload, {})

    async def _tell(self, outcome: Outcome, request: Upload | Marker) -> None:
        why = f" ({outcome.fault.code}: {outcome.fault.message})" if outcome.fault else ""
        level = logging.INFO if outcome.status is Status.DEPLOYED else logging.WARNING
        extra = about_outcome(Kind.DECIDED, outcome)
        logger.log(level, "%s: %s %d: %s%s", outcome.app, outcome.action, outcome.id, outcome.summary, why, extra=extra)
        trouble = await self.desk.tell(outcome)
        if trouble:
            extra = about(Kind.TROUBLE, self.app.name, outcome.id, upload=request.name)
            logger.error(
                "%s: the result of %s cannot be written: %s", self.app.name, request.name, trouble, extra=extra
            )
        is_done = outcome.status is Status.DEPLOYED and self.app.after == "delete"
        await self._drop.clear_away(request, delete=is_done)
        await self._releases.clear()
        await self.desk.take_down(request.name)  # last: whoever waits for that finds everything as it will stay
        await self._history.ask(lambda history: history.reported(outcome.id))
        await self.survey()

    async def survey(self) -> None:
        """See what is live, and tell it."""
        name = self.app.name
        survey = await self._releases.survey()
        if isinstance(survey, Fault):
            return
        health = await self._history.ask(lambda history: history.release_health(name))
        outcomes = await self._history.ask(lambda history: history.outcomes(name, 1))
        last = outcomes[0] if outcomes else None
        is_last_live = last is not None and last.live == survey.live
        self.show(
            replace(
                self._now,
                live=survey.live,
                is_healthy=last.live_healthy if last and is_last_live else health.get(survey.live),
                since=self._since(survey.live, last),
                releases=tuple((release, health.get(release)) for release in reversed(survey.releases)),
                last=last,
                working="",
            )
        )

    def _since(self, live: str, last: Outcome | None) -> datetime | None:
        if live == self._now.live and self._now.since is not None:
            return self._now.since
        return last.finished if live and last is not None and last.live == live else None


def _status_of(upload: Upload, fault: Fault) -> Status:
    if fault.code is ErrorCode.CANCELLED:
        return Status.SUPERSEDED
    may_go_on = fault.code in STALLED and upload.format is not Format.DIRECTORY
    return Status.INCOMPLETE if may_go_on else Status.REJECTED


def _summary(upload: Upload, status: Status) -> str:
    if status is Status.SUPERSEDED:
        return f"{upload.name} was not deployed, a newer upload took its place"
    if status is Status.INCOMPLETE:
        return f"{upload.name} is not complete, nothing was touched"
    return f"{upload.name} was not deployed, nothing was touched"
