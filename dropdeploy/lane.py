"""One app's lane: it looks into the drop directory, and works off what is ready there, one thing after the other.

Looking and working go on side by side: a `cancel`, a `hold` or a newer upload is seen while a deploy is in progress.
There is no queue to be lost: what waits is what the next look finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from dropdeploy import record
from dropdeploy.answers import Answers
from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.phase import STEP_OF, Way
from dropdeploy.deploy.recovery import Course, recover, take_back, take_up
from dropdeploy.deploy.route import set_out
from dropdeploy.deploy.runner import GoingDownError, Runner
from dropdeploy.deploy.standing import is_same_run, is_up
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.target import newest_healthy
from dropdeploy.deploy.verdict import STALLED, UNTOUCHED, decide, is_release_healthy, status_of
from dropdeploy.diary import Kind, about
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.intake.judge import judge
from dropdeploy.intake.listing import Entry
from dropdeploy.intake.memory import Judgement, Memory, remember_news, remember_short
from dropdeploy.intake.provenance import is_only_touched
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import NOWHERE, Action, Fate, Format, Marker, Upload, Version
from dropdeploy.report.status import AppNow, Progress, Seen
from dropdeploy.slots import Slots

logger = logging.getLogger(__name__)

_AFTER_TROUBLE_S = 5.0
_REST_S, _LONGEST_REST_S = 1.0, 10.0
"""When the machine is short of something: at first, and at most, each rest being twice the one before."""
_UP = ("active", "activating", "reloading")


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
        self._history = ports.history
        self._releases = ports.releases
        self._units = ports.units
        self._drop = drop
        self._answers = answers
        self._desk = answers.desk
        self._slots = slots
        self._runner = Runner(app, ports, self._tell)
        self._wakeup = asyncio.Event()
        self._memory = Memory()
        self._left: Left | None = None
        self._interrupted: list[Deploy] = []  # before the swap, and not known yet whether they are still asked for
        self._work: Work | None = None
        self._advanced = advanced  # called whenever `seen` has other progress
        self._progress: Progress | None = None
        self._is_closing = False
        self._is_deciding = False
        self._trouble = ""
        self._rests_until = 0.0
        self._next_rest_s = _REST_S

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
        now = self._answers.now
        return Seen(now, self._progress if now.working else None)

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
                    await self._recover()
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
        if work is not None and (self._is_deciding or not self._runner.can_be_interrupted):
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
            return None
        self._note_trouble("")
        await self._recognise(listing)
        judgement = judge(self.app, listing, self._answers.given, self._memory, time.monotonic())
        busy = self._work.request.name if self._work is not None else ""
        fresh = frozenset(judgement.fresh)
        self._memory = remember_news(judgement.memory, fresh & {busy})
        await self._end_interrupted(judgement.asked)
        for name in fresh - {busy}:
            await self._answers.forget_result(name)
        for entry in judgement.cancels:
            stopped = self._runner.cancel()
            what = "stopping" if stopped else "nothing that could be stopped"
            logger.info("%s: cancel: %s", self.app.name, what, extra=about(Kind.CANCELLING, self.app.name))
            await self._drop.remove(entry)
        for upload, fault in judgement.answers:
            await self._answers.refuse(upload, fault)
        for upload in judgement.leaving:
            if await self._drop.delete(upload):
                await self._answers.amend(replace(self._answers.given[upload.name], fate=Fate.GONE))
        await self._begin_next(judgement, busy)
        if judgement.is_idle:
            self._left = Left(listing, known)
        rest_s = self._rests_until - time.monotonic()
        again_s = (judgement.look_again_s, await self._answers.tell_late(), rest_s if rest_s > 0 else None)
        return min((pause_s for pause_s in again_s if pause_s is not None), default=None)

    async def _list(self) -> tuple[Mapping[str, Version], tuple[Entry, ...] | str]:
        """What is there, and the versions that were answered."""
        while True:
            known = {name: answer.request.version for name, answer in self._answers.given.items()}
            listing = await self._drop.look(known)
            if isinstance(listing, str) or not await self._answers.attend(entry.name for entry in listing):
                return known, listing

    async def _recognise(self, listing: tuple[Entry, ...]) -> None:
        """A deployed archive whose times were set late is the same archive still, and is not deployed again; one that
        somebody else has removed is gone."""
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
        if self._work is None and not self._is_closing and time.monotonic() >= self._rests_until:
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

    # --- working ---

    def _begin(self, request: Upload | Marker, *, has_slot: bool) -> None:
        task = asyncio.create_task(self._work_on(request, has_slot), name=f"{self.app.name}: {request.name}")
        self._work = Work(request, task)

    async def _work_on(self, request: Upload | Marker, has_slot: bool) -> None:
        try:
            await self._deploy(request)
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

    async def _deploy(self, request: Upload | Marker) -> None:
        action = request.action if isinstance(request, Marker) else Action.DEPLOY
        started = datetime.now(UTC)
        try:
            number = await self._history.ask(lambda history: history.begin(self.app.name, action, request, started))
        except HistoryAwayError as away:
            await self._answers.refuse_unrecorded(request, away.fault)
            return
        extra = about(Kind.BEGUN, self.app.name, number, action=action, upload=request.name)
        logger.info("%s: %s %d: %s", self.app.name, action, number, request.name, extra=extra)
        now = self._answers.now  # what is known of it until it is looked at, which may fail
        first = replace(set_out(self.app, number, request, started), live=now.live, is_live_healthy=now.is_healthy)
        await self._finish(await self._runner.run(first))

    async def _finish(self, state: Deploy) -> None:
        """Give the verdict; or none yet, when the upload may still become something else."""
        self._is_deciding = True
        try:
            await self._decide(state)
        finally:
            self._is_deciding = False

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
        seen = self._memory.seen.get(upload.name)
        is_young = seen is not None and time.monotonic() - seen.since < self.app.stall_s
        return is_young and status_of(state) is Status.INCOMPLETE

    async def _put_off(self, request: Upload | Marker, state: Deploy, fault: Fault) -> None:
        extra = about(Kind.POSTPONED, self.app.name, state.id, upload=request.name, error=fault.code)
        logger.info("%s: deploy %d waits: %s", self.app.name, state.id, fault.message, extra=extra)
        await self._history.ask(lambda history: history.forget(state.id))
        if fault.code in STALLED and isinstance(request, Upload):
            self._memory = remember_short(self._memory, request, fault)
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

    # --- after a crash ---

    async def _recover(self) -> None:
        name = self.app.name
        await self._answers.open()
        self._interrupted.clear()
        for each in await self._history.ask(lambda history: history.undecided(name)):
            if each.intent:
                await self._recover_deploy(record.load(Deploy, each.intent))
            else:
                await self._recover_deploy(set_out(self.app, each.id, each.request, each.started))
        await self._runner.take_away_disowned()
        await self._releases.sweep()
        await self._settle()

    async def _settle(self) -> None:
        """What a handover left behind that nobody knows of any more, or somebody's hands."""
        settled = await self._runner.settle(self._answers.now.live)
        if settled is None:
            return
        name, extra = self.app.name, about(Kind.SETTLED, self.app.name)
        if settled.fault is None:
            logger.warning("%s: %s: put right", name, settled.told, extra=extra)
        else:
            logger.error("%s: %s, and it stays so: %s", name, settled.told, settled.fault.message, extra=extra)

    async def _recover_deploy(self, state: Deploy) -> None:
        recovery = recover(state)
        what = f"{state.action} {state.id} was interrupted during {state.phase}"
        extra = about(Kind.INTERRUPTED, self.app.name, state.id, action=state.action, upload=state.request.name)
        logger.warning("%s: %s: %s", self.app.name, what, recovery.course, extra=extra)
        if recovery.course is Course.CARRY_ON:
            await self._finish(await self._runner.run(await self._take_up(state)))
            return
        await self._runner.undo(state, is_made=bool(recovery.discard))
        self._interrupted.append(state)  # undecided until the drop directory has been seen

    async def _end_interrupted(self, asked: Collection[str]) -> None:
        """What is still asked for is forgotten, as it is begun anew; what is not gets its verdict."""
        while self._interrupted:
            state = self._interrupted[0]
            request = state.request
            if request.name in asked:
                await self._history.ask(partial(History.forget, deploy=state.id))
            else:
                now = self._answers.now
                outcome = decide(take_back(state, now.live, is_healthy=now.is_healthy), datetime.now(UTC))
                # Should the very same come back (a file system that was not mounted), it has not been answered.
                await self._answers.record(outcome, replace(request, version=NOWHERE), {})
            self._interrupted.pop(0)

    async def _take_up(self, state: Deploy) -> Deploy:
        if state.way is Way.HANDOVER:
            standing = await self._units.standing(self.app.unit)
        else:
            unit = await self._units.inspect(self.app.unit)
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


def _superseded(upload: Upload, newer: Upload) -> Fault:
    return Fault(
        ErrorCode.CANCELLED,
        f"{newer.name} came while {upload.name} waited, and this app deploys only the latest",
        'set queue = "all" in the app\'s file to have every upload deployed',
    )
