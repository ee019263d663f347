"""The answer to each request of one app: committed to the history, told in files, and what asked for it consumed.

In this order, so that a crash in between loses nothing: a verdict that is committed is told at the next start, and a
request that has one is not taken again. Told twice is better than decided twice.

Where the disk of the history fails, people are told all the same, and the verdict is committed when that can be done.
Where the result cannot be written, it is written later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from dropdeploy.deploy.ports import Releases
from dropdeploy.deploy.target import newest_healthy
from dropdeploy.deploy.verdict import STALLED
from dropdeploy.diary import Kind, about, about_outcome
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History, Unreported
from dropdeploy.history.thread import HistoryThread
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status, StepName
from dropdeploy.model.request import Action, Answer, Fate, Format, Marker, Upload
from dropdeploy.report.desk import Desk
from dropdeploy.report.notice import channels_for
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

RECENT = 5
"""The latest verdict is among so many with the greatest numbers: what is refused meanwhile overtakes a deploy."""

AGAIN_S = 2.0
"""How soon what could not be written is tried again."""


class Answers:
    """What was answered, and the answering."""

    def __init__(
        self,
        app: App,
        history: HistoryThread[History],
        releases: Releases,
        drop: DropDirectory,
        desk: Desk,
        *,
        changed: Callable[[], None],
        concluded: Callable[[Outcome], None],
    ) -> None:
        self.app = app
        self.desk = desk
        self.given: dict[str, Answer] = {}  # to what is there, and to what is to be deleted
        self.unrecalled: frozenset[str] = frozenset()  # what is there, and may have been answered: that cannot be read
        self._there: frozenset[str] = frozenset()
        self._now = AppNow(app.name)
        self._is_stale = False  # what status.toml tells
        self._history = history
        self._releases = releases
        self._drop = drop
        self._changed = changed  # called whenever `now` is another one
        self._untold: dict[str, Unreported] = {}
        self._unnoted: list[Outcome] = []  # told, which is not written down
        self._unconsumed: list[Marker] = []
        self._last: Outcome | None = None  # the latest verdict, whose number need not be the greatest
        self._concluded = concluded  # called once for each verdict, when it is committed

    @property
    def now(self) -> AppNow:
        """The app as status.toml tells it."""
        return self._now

    def show(self, now: AppNow) -> None:
        """Tell the app's state, if it is another one than what was told."""
        if now != self._now or self._is_stale:
            self._now, self._is_stale = now, False
            self.desk.show(now)
            self._changed()

    async def open(self) -> None:
        """Recall what was answered, and tell the verdicts that may not have been told before a crash."""
        name = self.app.name
        self._is_stale = await self.desk.sweep()
        self.given = await self._history.ask(lambda history: history.leaving(name))
        for told in await self._history.ask(lambda history: history.unreported(name)):
            await self._tell(told.outcome, told.request)
        await self.survey()

    async def attend(self, names: Iterable[str]) -> bool:
        """Under these names something stands now: recall what was answered to it, and let go of the rest, which is in
        the history. True where something was recalled."""
        there = frozenset(names)
        self.given = {name: answer for name, answer in self.given.items() if name in there or answer.fate is Fate.GOES}
        new = there - self._there - self.given.keys()
        self._there, self.unrecalled = there, frozenset()
        if not new:
            return False
        try:
            recalled = await self._history.ask(lambda history: history.answered(self.app.name, new))
        except HistoryAwayError:  # somebody may wait for a rollback, which goes on without
            self._there -= new
            self.unrecalled = new
            return False
        self.given = recalled | self.given
        return bool(recalled)

    async def record(self, outcome: Outcome, request: Upload | Marker, healthy: dict[str, bool]) -> None:
        """Commit a verdict and tell it. ``healthy`` is what was proved of releases."""
        answer = self._answer(outcome, request)
        channels = channels_for(self.app.notify, outcome.status)
        conclude = partial(History.conclude, outcome=outcome, answer=answer, healthy=healthy, channels=channels)
        has_told = False
        while True:
            try:
                await self._history.ask(conclude)
                break
            except HistoryAwayError as away:
                if not has_told:
                    extra = about(Kind.TROUBLE, self.app.name, outcome.id, upload=request.name)
                    logger.error("%s: %s; the verdict waits for it", self.app.name, away, extra=extra)  # noqa: TRY400
                    await self.desk.tell(outcome)
                    has_told = True
                await asyncio.sleep(AGAIN_S)
        self.given[request.name] = answer
        self._last = outcome
        self._concluded(outcome)
        await self._tell(outcome, request)

    async def refuse_unrecorded(self, request: Upload | Marker, fault: Fault) -> None:
        """Answer a request that cannot even be written down. It has no number, and a new agent would take it again."""
        began = datetime.now(UTC)
        action = request.action if isinstance(request, Marker) else Action.DEPLOY
        outcome = Outcome(
            status=Status.REJECTED,
            summary=f"{request.name} was not tried, nothing was touched",
            app=self.app.name,
            action=action,
            id=0,
            started=began,
            finished=began,
            upload=request.name,
            live=self._now.live,
            live_healthy=self._now.is_healthy,
            fault=fault,
            fault_step=StepName.PREFLIGHT,
        )
        self.given[request.name] = self._answer(outcome, request)
        await self._tell(outcome, request)

    def _answer(self, outcome: Outcome, request: Upload | Marker) -> Answer:
        reopens = outcome.fault is not None and outcome.fault.code in REOPENING
        is_archive = isinstance(request, Upload) and request.format is not Format.DIRECTORY
        goes = outcome.status is Status.DEPLOYED and is_archive and self.app.after == "delete"
        return Answer(request, reopens, outcome.sha256, Fate.GOES if goes else Fate.STAYS)

    async def amend(self, answer: Answer) -> None:
        """Write down what became of an upload since it was answered."""
        self.given[answer.request.name] = answer
        # The next agent finds out for itself what cannot be written down.
        with contextlib.suppress(HistoryAwayError):
            await self._history.ask(lambda history: history.amend(self.app.name, answer))

    async def refuse(self, upload: Upload, fault: Fault) -> None:
        """Answer an upload that is not worked on at all."""
        began = datetime.now(UTC)
        begin = partial(History.begin, app=self.app.name, action=Action.DEPLOY, request=upload, started=began)
        try:
            number = await self._history.ask(begin)
        except HistoryAwayError:
            await self.refuse_unrecorded(upload, fault)  # what is wrong with it is more to the point
            return
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
        self._untold.pop(request.name, None)  # an older verdict on this name is of no interest any more
        trouble = await self.desk.tell(outcome)
        await self._drop.consume(request)
        answer = self.given.get(request.name)
        if trouble and isinstance(request, Upload) and answer is not None and answer.fate is Fate.GOES:
            await self._drop.delete(request)  # at once: the result may need the room
        await self._releases.clear()
        if trouble:  # what was cleared away may have made the room that it needs
            trouble = await self.desk.tell(outcome)
        await self.desk.take_down(request.name)  # last: whoever waits for that finds everything as it will stay
        if (trouble or self.desk.is_in_debt) and isinstance(request, Marker):
            self._unconsumed.append(request)
        if trouble:
            extra = about(Kind.TROUBLE, self.app.name, outcome.id, upload=request.name)
            logger.error("%s: the result of %s waits: %s", self.app.name, request.name, trouble, extra=extra)
            self._untold[request.name] = Unreported(request, outcome)
        else:
            await self._note_reported(outcome)
        await self.survey(done=request.name)

    async def tell_late(self) -> float | None:
        """Tell what could not be told in time. Returns after how many seconds to try again, if at all."""
        has_caught_up = await self.desk.catch_up()
        for name, late in list(self._untold.items()):
            if await self.desk.tell(late.outcome):
                continue
            if self._untold.get(name) is late:  # else there is a newer verdict by now
                del self._untold[name]
            extra = about(Kind.TROUBLE_IS_OVER, self.app.name, late.outcome.id, upload=name)
            logger.info("%s: the result of %s is written now", self.app.name, name, extra=extra)
            await self._note_reported(late.outcome)
        unnoted, self._unnoted = self._unnoted, []
        for outcome in unnoted:
            await self._note_reported(outcome, is_known_away=True)
        if has_caught_up and not self._untold:
            while self._unconsumed:
                await self._drop.consume(self._unconsumed.pop())
        return AGAIN_S if self._untold or self._unnoted or not has_caught_up else None

    async def forget_result(self, name: str) -> None:
        """New bytes stand under this name: a result of before says nothing of them, told or not."""
        late = self._untold.pop(name, None)
        if late is not None:
            await self._note_reported(late.outcome)
        await self.desk.forget_result(name)

    async def _note_reported(self, outcome: Outcome, *, is_known_away: bool = False) -> None:
        try:
            await self._history.ask(lambda history: history.reported(outcome.id))
        except HistoryAwayError as away:  # a new agent would tell it again
            if not is_known_away:
                logger.error("%s: %s", self.app.name, away, extra=about(Kind.TROUBLE, self.app.name))  # noqa: TRY400
            self._unnoted.append(outcome)

    async def survey(self, done: str = "") -> None:
        """See what is live, and tell it. ``done`` is what is no longer worked on, if it was."""
        name = self.app.name
        survey = await self._releases.survey()
        if isinstance(survey, Fault):
            return
        health = await self._history.ask(lambda history: history.release_health(name))
        if self._last is None:
            recent = await self._history.ask(lambda history: history.outcomes(name, RECENT))
            self._last = max(recent, key=lambda outcome: outcome.finished, default=None)
        last = self._last
        is_last_live = last is not None and last.live == survey.live
        maker = await self._maker(survey.live, last)
        self.show(
            replace(
                self._now,
                live=survey.live,
                is_healthy=last.live_healthy if last and is_last_live else health.get(survey.live),
                since=await self._since(survey.live),
                releases=tuple((release, health.get(release)) for release in reversed(survey.releases)),
                last=last,
                maker=maker,
                rollback_to=newest_healthy(survey.releases, health, before=survey.live) if survey.live else "",
                working="" if self._now.working.startswith(f"{done}: ") else self._now.working,
            )
        )

    async def _maker(self, live: str, last: Outcome | None) -> Outcome | None:
        """The deploy that made what is live."""
        known = (last, self._now.maker)
        made = (each for each in known if each and each.action is Action.DEPLOY and each.release == live)
        if not live or (maker := next(made, None)) is not None:
            return maker if live else None
        makers = await self._history.ask(lambda history: history.makers(self.app.name, (live,)))
        return makers.get(live)

    async def _since(self, live: str) -> datetime | None:
        if not live or (live == self._now.live and self._now.since is not None):
            return self._now.since if live else None
        made_live = await self._history.ask(lambda history: history.made_live(self.app.name, live))
        return made_live.finished if made_live is not None else None


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
