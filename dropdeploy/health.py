"""Asks an app over HTTP how it is, until it is healthy or its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dropdeploy.config.address import parse_health_url
from dropdeploy.config.quantity import show_seconds
from dropdeploy.http_loading import load_client
from dropdeploy.model.app import HealthCheck
from dropdeploy.model.outcome import HealthReport

if TYPE_CHECKING:
    from dropdeploy.http_client import Client, Exchange

FIRST_PAUSE_S = 0.05
"""The pause after the first attempt."""
GROWTH = 1.1
"""Each pause is so much longer than the one before, up to the check's interval: an app that took ten seconds to boot
is seen one second late at worst, and until then it was asked some thirty times."""

_MAX_LOCATION = 100


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one attempt brought: a status or none, and what the server did, as in "refused the connection".

    ``is_cut_short``: it had less than the attempt's own time, because the whole was over; so it proves little.
    """

    did: str
    status: int | None = None
    is_good: bool = False
    is_cut_short: bool = False


class HttpHealth:
    """The health probe (``HealthProbe`` of the deploy's ports)."""

    async def check(self, check: HealthCheck, *, is_same_run: Callable[[], Awaitable[bool]]) -> HealthReport:
        """Attempt until ``successes`` accepted answers came in a row, which ``timeout_s`` bounds, then soak.

        The soak follows after that bound; any failure inside it is the end. ``is_same_run`` is asked after each
        accepted answer, which does not count when it says no. The report's detail is a whole sentence with the URL.
        """
        target = parse_health_url(check.url)
        if target is None:
            return HealthReport(False, 0, 0.0, detail=f"{check.url} is no URL that can be asked")
        async with (await load_client())(target) as client:
            return await _Check(client, check, is_same_run).run()


class _Check:
    """One check under way."""

    def __init__(
        self,
        client: Client,
        check: HealthCheck,
        is_same_run: Callable[[], Awaitable[bool]],
    ) -> None:
        self._client = client
        self._check = check
        self._is_same_run = is_same_run
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._attempts = 0
        self._last_status: int | None = None
        # What the server does now, and since when without a change.
        self._did = ""
        self._did_since = self._started
        self._has_been_good = False

    async def run(self) -> HealthReport:
        good = await self._await_good()
        if good is None:
            return self._report(False, self._why_never_good())
        first = f"{self._check.url} {good.did}"
        after = f"{show_seconds(self._now() - self._started)} ({_count(self._attempts)})"
        if self._check.soak_s <= 0:
            return self._report(True, f"{first} after {after}")
        soak_began = self._now()
        bad = await self._soak(soak_began)
        if bad is None:
            return self._report(True, f"{first} after {after} and through {show_seconds(self._check.soak_s)} of soak")
        soaked = show_seconds(self._now() - soak_began)
        return self._report(False, f"{first} and then {bad.did.removeprefix('answered ')} after {soaked} of soak")

    async def _await_good(self) -> _Answer | None:
        """The answer that makes it healthy, or None when the time is over."""
        deadline = self._started + self._check.timeout_s
        pauses = _growing_pauses(self._check.interval_s)
        in_a_row = 0
        while True:
            answer = await self._ask(deadline - self._now())
            in_a_row = in_a_row + 1 if answer.is_good else 0
            if in_a_row == self._check.successes:
                return answer
            if answer.is_good and not self._has_been_good:
                self._has_been_good = True
                pauses = _growing_pauses(self._check.interval_s)
            remaining_s = deadline - self._now()
            if remaining_s < 2 * FIRST_PAUSE_S:
                return None
            # The last pauses shrink, so that an app that becomes ready just in time is still seen.
            await asyncio.sleep(min(next(pauses), remaining_s / 2))

    async def _soak(self, began: float) -> _Answer | None:
        """The failure that ended it, or None; the last attempt is at the soak's very end."""
        pauses = _growing_pauses(self._check.interval_s)
        while (remaining_s := began + self._check.soak_s - self._now()) > 0:
            await asyncio.sleep(min(next(pauses), remaining_s))
            answer = await self._ask(self._check.attempt_timeout_s)
            if not answer.is_good:
                return answer
        return None

    async def _ask(self, remaining_s: float) -> _Answer:
        began = self._now()
        self._attempts += 1
        bound_s = min(self._check.attempt_timeout_s, remaining_s)
        answer = await _get(self._client, self._check.host, bound_s)
        if answer.status in self._check.status:
            is_same = await self._is_same_run()
            did = answer.did if is_same else f"{answer.did} from another run of the unit"
            answer = _Answer(did, answer.status, is_good=is_same)
        elif answer.status is None and bound_s < self._check.attempt_timeout_s and self._did:
            answer = _Answer(answer.did, is_cut_short=True)
        self._last_status = answer.status or self._last_status
        if answer.did != self._did and not answer.is_cut_short:
            self._did, self._did_since = answer.did, began
        return answer

    def _why_never_good(self) -> str:
        url, count = self._check.url, _count(self._attempts)
        whole_s, same_s = self._now() - self._started, self._now() - self._did_since
        if self._has_been_good:
            return (
                f"{url} never answered well {self._check.successes} times in a row within {show_seconds(whole_s)} "
                f"({count}), last it {self._did}"
            )
        if self._attempts == 1:
            return f"{url} {self._did} ({count})"
        is_always = self._did_since - self._started < FIRST_PAUSE_S
        span = show_seconds(whole_s) if is_always else f"the last {show_seconds(same_s)} of {show_seconds(whole_s)}"
        # Two spans in a row need a breath: "did not answer within 5 s, for 120 s".
        comma = "," if self._did.endswith(" s") else ""
        return f"{url} {self._did}{comma} for {span} ({count})"

    def _report(self, is_healthy: bool, detail: str) -> HealthReport:
        return HealthReport(is_healthy, self._attempts, self._now() - self._started, self._last_status, detail)


def _growing_pauses(interval_s: float) -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while pause_s < interval_s:
        yield pause_s
        pause_s *= GROWTH
    while True:
        yield interval_s


def _count(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


# --- one attempt ---------------------------------------------------------------------------------------


async def _get(client: Client, host: str, bound_s: float) -> _Answer:
    # Each attempt on a connection of its own: one that was opened to the old process would still be answered by it.
    exchange = await client.get({"Host": host} if host else {}, bound_s)
    return _Answer(exchange.did + _describe_redirect(exchange), exchange.status)


def _describe_redirect(exchange: Exchange) -> str:
    location = exchange.headers.get("location", "")
    if not 300 <= (exchange.status or 0) < 400 or not location or not location.isprintable():
        return ""
    return f" (a redirect to {location[:_MAX_LOCATION]})"
