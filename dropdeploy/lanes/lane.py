"""One app's lane: it looks into the drop directory, and works off what is ready there, one thing after the other.

Looking and working go on side by side: a `cancel`, a `hold` or a newer upload is seen while a deploy is in progress.
There is no queue to be lost: what waits is what the next look finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.runner import GoingDownError
from dropdeploy.diary import Kind, about
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.intake.judge import judge
from dropdeploy.intake.listing import Entry
from dropdeploy.intake.memory import Judgement, Memory, remember_news, remember_short
from dropdeploy.intake.provenance import is_only_touched
from dropdeploy.lanes.answers import AGAIN_S, Answers
from dropdeploy.lanes.resumption import Resumption
from dropdeploy.lanes.slots import Slots
from dropdeploy.lanes.working import Working
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.request import Fate, Marker, Upload, Version
from dropdeploy.report.status import AppNow, Seen

logger = logging.getLogger(__name__)

_AFTER_TROUBLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """What is being worked on."""

    request: Upload | Marker
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Left:
    """A look that found nothing to do: what was there, and the versions that were answered."""

    listing: tuple[Entry, ...]
    answered: Mapping[str, Version]


class Lane:
    """Everything about one app, from a file that appears to the file that answers it."""

    def __init__(
        self,
        app: App,
        *,
        ports: Ports,
        drop: DropDirectory,
        answers: Answers,
        slots: Slots,
        advanced: Callable[[], None],
    ) -> None:
        self.app = app
        self._units = ports.units
        self._drop = drop
        self._answers = answers
        self._desk = answers.desk
        self._slots = slots
        self._wakeup = asyncio.Event()
        self._memory = Memory()
        self._left: Left | None = None
        self._work: Work | None = None
        self._is_closing = False
        self._trouble = ""
        self._working = Working(
            app,
            ports=ports,
            drop=drop,
            answers=answers,
            seen_since=self._seen_since,
            fell_short=self._fell_short,
            advanced=advanced,
        )
        self._resumption = Resumption(app, ports=ports, answers=answers, working=self._working)

    # --- from outside ---

    def wake(self) -> None:
        """Look soon: something may have changed."""
        self._wakeup.set()

    def is_as_left(self) -> bool:
        """A look now would find nothing to do, as the last one did. Waits for the disk: call it in a thread."""
        left = self._left
        return left is not None and self._drop.look_now(left.answered) == left.listing

    @property
    def now(self) -> AppNow:
        """The app as it is."""
        return self._answers.now

    @property
    def seen(self) -> Seen:
        """The app as it is, with what is going on."""
        return self._working.seen

    async def run(self) -> None:
        """Recover what was interrupted, then look and work until closed."""
        needs_recovery = True
        while not self._is_closing:
            self._wakeup.clear()
            if self._work is not None and self._work.task.done():
                needs_recovery = self._work.task.exception() is not None
                self._work = None
            try:
                if needs_recovery:
                    await self._resumption.recover()
                    needs_recovery = False
                pause_s = await self._look()
            except GoingDownError:
                pause_s = _AFTER_TROUBLE_S
            except Exception:
                extra = about(Kind.DEFECT, self.app.name)
                logger.exception("%s: looking into %s failed", self.app.name, self.app.drop, extra=extra)
                pause_s = _AFTER_TROUBLE_S
            await self._pause(pause_s)

    async def close(self, grace_s: float) -> None:
        """Begin nothing new, and end. What has touched the live release may go on for ``grace_s``; what has not, or
        takes longer, is left as it is written down, and recovered at the next start."""
        self._is_closing = True
        self.wake()
        work = self._work
        if work is not None and (self._working.is_deciding or not self._working.runner.can_be_interrupted):
            await asyncio.wait((work.task,), timeout=grace_s)
        if work is not None and not work.task.done():
            extra = about(Kind.INTERRUPTED, self.app.name, upload=work.request.name)
            logger.info("%s: %s is left for the next start", self.app.name, work.request.name, extra=extra)
            work.task.cancel()
            await asyncio.wait((work.task,))
        if work is not None and not work.task.cancelled():
            work.task.exception()  # it has been told of
        await self._desk.close()

    async def _pause(self, pause_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wakeup.wait()

    # --- looking ---

    async def _look(self) -> float | None:
        """Look once, begin what can be begun. Returns after how many seconds to look again, if by itself at all."""
        self._left = None
        known, listing = await self._list()
        if isinstance(listing, str):
            self._note_trouble(listing)
            return _AFTER_TROUBLE_S  # it may be watched all the same: for want of a descriptor nothing could be read
        self._note_trouble("")
        if not await self._recognise(listing):
            return 0.0
        judgement = judge(self.app, listing, self._answers.given, self._memory, time.monotonic())
        # Of an upload that may have been answered nothing is made until that is known: an old build would go live.
        unsure = self._answers.unrecalled - {marker.name for marker in judgement.markers}
        judgement = judgement.without_uploads(unsure)
        busy = self._work.request.name if self._work is not None else ""
        untouched = unsure | {busy}
        fresh = frozenset(judgement.fresh)
        self._memory = remember_news(judgement.memory, fresh & untouched)
        await self._resumption.end_interrupted(judgement.asked, judgement.memory.seen)
        for name in fresh - untouched:
            await self._answers.forget_result(name)
        for entry in judgement.cancels:
            stopped = self._working.runner.cancel()
            what = "stopping" if stopped else "nothing that could be stopped"
            logger.info("%s: cancel: %s", self.app.name, what, extra=about(Kind.CANCELLING, self.app.name))
            await self._drop.remove(entry)
        for upload, fault in judgement.answers:
            await self._answers.refuse(upload, fault)
        for upload in judgement.leaving:
            if await self._drop.delete(upload):
                await self._answers.amend(replace(self._answers.given[upload.name], fate=Fate.GONE))
        await self._begin_next(judgement, busy)
        if judgement.is_idle and not unsure:
            self._left = Left(listing, known)
        unsure_s = AGAIN_S if unsure else None
        again_s = (judgement.look_again_s, await self._answers.tell_late(), self._working.rest_s or None, unsure_s)
        return min((pause_s for pause_s in again_s if pause_s is not None), default=None)

    async def _list(self) -> tuple[Mapping[str, Version], tuple[Entry, ...] | str]:
        """What is there, and the versions that were answered."""
        while True:
            known = {name: answer.request.version for name, answer in self._answers.given.items()}
            listing = await self._drop.look(known)
            if isinstance(listing, str) or not await self._answers.attend(entry.name for entry in listing):
                return known, listing

    async def _recognise(self, listing: tuple[Entry, ...]) -> bool:
        """A deployed archive whose times were set late is the same archive still, and is not deployed again; one that
        somebody else has removed is gone. False: more was set since it was listed; list it again."""
        is_current = True
        there = {entry.name: entry for entry in listing}
        for name, answer in list(self._answers.given.items()):
            request = answer.request
            if answer.fate is not Fate.GOES or not isinstance(request, Upload):
                continue
            entry = there.get(name)
            if entry is None:
                await self._answers.amend(replace(answer, fate=Fate.GONE))
            elif is_only_touched(request.version, entry.version):
                same = await self._drop.as_it_is_now(request, answer.sha256)
                if same != request:
                    await self._answers.amend(replace(answer, request=same))
                    is_current &= same.version == entry.version
        return is_current

    def _note_trouble(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        if trouble:
            extra = about(Kind.TROUBLE, self.app.name)
            logger.error("%s: %s; it is tried again every few seconds", self.app.name, trouble, extra=extra)
        else:
            extra = about(Kind.TROUBLE_IS_OVER, self.app.name)
            logger.info("%s: %s can be read again", self.app.name, self.app.drop, extra=extra)
        self._trouble = trouble

    async def _begin_next(self, judgement: Judgement, busy: str) -> None:
        uploads = [upload for upload in judgement.uploads if upload.name != busy]
        markers = [marker for marker in judgement.markers if marker.name != busy]
        if self.app.queue == "latest":
            for upload in uploads[:-1]:
                await self._answers.refuse(upload, _superseded(upload, uploads[-1]))
            uploads = uploads[-1:]
        if self._work is None and not self._is_closing and not self._working.rest_s:
            if markers:  # somebody waits for a rollback: it goes before what was uploaded meanwhile
                self._begin(markers.pop(0), has_slot=False)
            elif uploads and not judgement.is_held and self._slots.try_take(self.app.name, self.wake):
                self._begin(uploads.pop(0), has_slot=True)
        if not uploads or judgement.is_held:
            self._slots.give_up(self.app.name)
        waiting = dict.fromkeys((upload.name for upload in uploads), "held" if judgement.is_held else "queued")
        waiting |= dict.fromkeys((marker.name for marker in markers), "queued")
        await self._desk.show_waiting(waiting, self._work.request.name if self._work is not None else "")
        self._answers.show(replace(self._answers.now, queue=tuple(waiting), is_held=judgement.is_held))

    def _seen_since(self, name: str) -> float | None:
        seen = self._memory.seen.get(name)
        return seen.since if seen is not None else None

    def _fell_short(self, upload: Upload, fault: Fault) -> None:
        self._memory = remember_short(self._memory, upload, fault)

    # --- working ---

    def _begin(self, request: Upload | Marker, *, has_slot: bool) -> None:
        task = asyncio.create_task(self._work_on(request, has_slot), name=f"{self.app.name}: {request.name}")
        self._work = Work(request, task)

    async def _work_on(self, request: Upload | Marker, has_slot: bool) -> None:
        try:
            await self._working.work_on(request)
        except GoingDownError as down:
            extra = about(Kind.INTERRUPTED, self.app.name, upload=request.name)
            told = (self.app.name, request.name, down)
            logger.warning("%s: the machine is going down, %s is left for the next start (%s)", *told, extra=extra)
            # Whoever closes the lane waits for this, and the machine for him.
            while not self._is_closing and await self._units.is_going_down():  # noqa: ASYNC110 (nobody tells otherwise)
                await asyncio.sleep(_AFTER_TROUBLE_S)
            if not self._is_closing:
                raise  # it does not go down after all, and the deploy is taken up
        except Exception:
            extra = about(Kind.DEFECT, self.app.name, upload=request.name)
            logger.exception("%s: working on %s failed", self.app.name, request.name, extra=extra)
            await asyncio.sleep(_AFTER_TROUBLE_S)
            raise
        finally:
            if has_slot:
                self._slots.give_back()
            self.wake()


def _superseded(upload: Upload, newer: Upload) -> Fault:
    return Fault(
        ErrorCode.CANCELLED,
        f"{newer.name} came while {upload.name} waited, and this app deploys only the latest",
        'set queue = "all" in the app\'s file to have every upload deployed',
    )
