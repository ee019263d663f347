"""Carries verdicts to whom ``[notify]`` names, beside the deploys and never in their way.

What is to be told stands in the history's outbox since the verdict was committed, so a restart loses nothing; told
twice (a crash between the answer and its note) is better than not told. Of each app and channel the oldest verdict goes
first, and those behind it wait: a receiver that is down is asked by one request at a time, with growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from dropdeploy.config.address import parse_http_url
from dropdeploy.diary import Kind, about
from dropdeploy.history.failure import HistoryAwayError
from dropdeploy.history.keeping import History, Pending
from dropdeploy.history.thread import HistoryThread
from dropdeploy.http_loading import load_client
from dropdeploy.model.app import App, Notify
from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.unit import UnitState
from dropdeploy.report.notice import EMAIL, MAIL_UNIT, WEBHOOK, channels_for, compose, sign

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 5.0
GROWTH = 3
LONGEST_PAUSE_S = 3600.0
MOST_TRIES = 30
"""With these pauses a receiver may be away for a day."""

BOUND_S = 10.0
HISTORY_AWAY_S = 10.0
AT_ONCE = 4
MAX_SECRET_BYTES = 4096

REFUSED_FOR_GOOD = frozenset({400, 413, 414, 422})
"""The receiver does not want this body, and will not another time."""

Queue = tuple[str, str]
"""App and channel."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it was not taken, as in "answered 500"; ``retry_after_s`` is the receiver's wish (RFC 9110, 10.2.3)."""

    did: str
    is_final: bool = False
    retry_after_s: float = 0.0


class Courier:
    """The only one who reads the outbox."""

    def __init__(
        self,
        history: HistoryThread[History],
        app_named: Callable[[str], App | None],
        start_unit: Callable[[str], Awaitable[UnitState | Fault]],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._history = history
        self._app_named = app_named
        self._start_unit = start_unit
        self._first_pause_s = first_pause_s
        self._wakeup = asyncio.Event()
        self._under_way: dict[Queue, asyncio.Task[None]] = {}
        self._due: dict[Queue, float] = {}  # on the loop's clock; a restart tries at once
        self._failing: set[Queue] = set()

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._wakeup.set()

    async def run(self) -> None:
        """Carry, until cancelled. While there is nothing to carry it does not wake up."""
        try:
            while True:
                self._wakeup.clear()
                try:
                    pause_s = self._send_out(await self._history.ask(History.pending))
                except HistoryAwayError:  # of which its lanes have told
                    pause_s = HISTORY_AWAY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):  # Python 3.11's wait_for may swallow our cancellation
                        await self._wakeup.wait()
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _send_out(self, heads: tuple[Pending, ...]) -> float | None:
        """Begin with what is due. Returns after how many seconds there is more to do, if nothing happens before."""
        now = asyncio.get_running_loop().time()
        waiting = []
        for pending in heads:
            queue = (pending.app, pending.channel)
            wait_s = self._due.get(queue, 0.0) - now
            if queue in self._under_way:
                continue
            if wait_s > 0:
                waiting.append(wait_s)
            elif len(self._under_way) < AT_ONCE:  # the others when one of these has ended, which wakes us
                self._under_way[queue] = asyncio.create_task(self._carry(pending), name=f"tell {queue}")
        return min(waiting, default=None)

    async def _carry(self, pending: Pending) -> None:
        queue = (pending.app, pending.channel)
        try:
            app = self._app_named(pending.app)
            outcome = await self._history.ask(lambda history: history.outcome(pending.deploy))
            failure = None
            if app is not None and outcome is not None and pending.channel in channels_for(app.notify, outcome.status):
                failure = await self._try(pending, app, outcome)
            if failure is None:
                self._due.pop(queue, None)
                await self._history.ask(partial(History.take_out, pending=pending))
                self._note_success(pending)
            else:
                await self._count(pending, failure)
        except HistoryAwayError:  # it may have been sent, and be sent again
            self._due[queue] = asyncio.get_running_loop().time() + HISTORY_AWAY_S
        except Exception:
            logger.exception("%s: telling deploy %d failed", *_id(pending), extra=_about(Kind.DEFECT, pending))
            self._due[queue] = asyncio.get_running_loop().time() + LONGEST_PAUSE_S
        finally:
            del self._under_way[queue]
            self.wake()

    async def _try(self, pending: Pending, app: App, outcome: Outcome) -> Failure | None:
        if pending.channel == EMAIL:
            told = await self._start_unit(MAIL_UNIT.format(pending.deploy))
            return (
                Failure(f"{told.message}{f' ({told.hint})' if told.hint else ''}") if isinstance(told, Fault) else None
            )
        assert pending.channel == WEBHOOK
        return await post(app.notify, outcome)

    async def _count(self, pending: Pending, failure: Failure) -> None:
        queue = (pending.app, pending.channel)
        if failure.is_final or pending.tries + 1 >= MOST_TRIES:
            await self._history.ask(partial(History.take_out, pending=pending))
            what = f"{_receiver(pending, self._app_named(pending.app))} {failure.did}: it is not tried again"
            extra = _about(Kind.NOTICE_GIVEN_UP, pending)
            logger.error("%s: the result of deploy %d was not sent: %s", *_id(pending), what, extra=extra)
            return
        await self._history.ask(partial(History.count_try, pending=pending))
        pause_s = min(self._first_pause_s * GROWTH**pending.tries, LONGEST_PAUSE_S)
        pause_s = max(pause_s, min(failure.retry_after_s, LONGEST_PAUSE_S))
        self._due[queue] = asyncio.get_running_loop().time() + pause_s
        if queue not in self._failing:
            self._failing.add(queue)
            what = f"{_receiver(pending, self._app_named(pending.app))} {failure.did}; it is tried again"
            extra = _about(Kind.NOTICE_FAILED, pending)
            logger.warning("%s: the result of deploy %d is not sent yet: %s", *_id(pending), what, extra=extra)

    def _note_success(self, pending: Pending) -> None:
        if (pending.app, pending.channel) in self._failing:
            self._failing.discard((pending.app, pending.channel))
            extra = _about(Kind.NOTICE_SENT_AT_LAST, pending)
            logger.info("%s: the result of deploy %d is sent now", *_id(pending), extra=extra)


async def post(notify: Notify, outcome: Outcome, bound_s: float = BOUND_S) -> Failure | None:
    """POST the verdict once. What carries a signature follows no redirect: it was meant for this address only."""
    target = parse_http_url(notify.webhook)
    assert target is not None
    notice = compose(outcome, notify.format, socket.gethostname())
    if notify.secret_file is not None:
        secret = await asyncio.to_thread(_read_secret, notify.secret_file)
        if isinstance(secret, Failure):
            return secret
        notice = sign(notice, secret)
    async with (await load_client())(target) as client:
        exchange = await client.post(notice.headers, notice.body, bound_s)
    status = exchange.status or 0
    if 200 <= status < 300:
        return None
    hint = ", and redirects are not followed: name the place itself" if 300 <= status < 400 else ""
    wish = exchange.headers.get("retry-after", "")
    return Failure(exchange.did + hint, status in REFUSED_FOR_GOOD, float(wish) if wish.isdecimal() else 0.0)


def _read_secret(path: Path) -> bytes | Failure:
    try:
        with path.open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES).strip()
    except OSError as error:
        return Failure(f"could not be signed for: {path}: {error.strerror}")
    return secret or Failure(f"could not be signed for: {path} is empty")


def _receiver(pending: Pending, app: App | None) -> str:
    """Who did not take it: of a webhook's address only the host, for whoever knows the rest may write there."""
    if pending.channel == EMAIL or app is None:
        return pending.channel
    return f"the webhook at {urlsplit(app.notify.webhook).hostname}"


def _id(pending: Pending) -> tuple[str, int]:
    return pending.app, pending.deploy


def _about(kind: Kind, pending: Pending) -> dict[str, str]:
    return about(kind, pending.app, pending.deploy, channel=pending.channel)
