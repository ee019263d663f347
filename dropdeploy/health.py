"""Asks an app over HTTP how it is, until it is healthy or its time is over. The only user of aiohttp's client.

The status line decides. Bodies are not waited for, redirects are not followed, the environment's proxies are not asked,
and each attempt has a connection of its own: one that was opened to the old process would still be answered by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiohttp

from dropdeploy import __version__
from dropdeploy.config.address import HttpTarget, parse_health_url
from dropdeploy.config.quantity import show_seconds
from dropdeploy.model import HealthCheck, HealthReport

FIRST_PAUSE_S = 0.05
"""The pause after the first attempt."""
GROWTH = 1.1
"""Each pause is so much longer than the one before, up to the check's interval: an app that took ten seconds to boot
is seen one second late at worst, and until then it was asked some thirty times."""

# A body is taken for politeness only: a server that is cut off while it writes one logs an error.
_BODY_PATIENCE_S = 0.1
_BODY_BYTES = 64 * 1024

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
        async with _open_session(target) as session:
            return await _Check(session, target, check, is_same_run).run()


class _Check:
    """One check under way."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: HttpTarget,
        check: HealthCheck,
        is_same_run: Callable[[], Awaitable[bool]],
    ) -> None:
        self._session = session
        self._target = target
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
        answer = await _get(self._session, self._target, self._check.host, bound_s)
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


def _open_session(target: HttpTarget) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if target.socket:
        connector = aiohttp.UnixConnector(target.socket, force_close=True)
    else:
        connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False)
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"dropdeploy/{__version__}", "Connection": "close"},
        timeout=aiohttp.ClientTimeout(total=None),  # asyncio.timeout bounds: aiohttp rounds its own up to whole seconds
        trust_env=False,
    )
    # From 3.10 on aiohttp asks again when the server drops a request, even on a fresh connection: that would hide what
    # is to be seen. aiohttp's own test client switches it off in this way, there is no other.
    if hasattr(session, "_retry_connection"):
        session._retry_connection = False
    return session


async def _get(session: aiohttp.ClientSession, target: HttpTarget, host: str, bound_s: float) -> _Answer:
    headers = {"Host": host} if host else {}
    try:
        async with asyncio.timeout(bound_s):
            response = await session.get(target.url, headers=headers, allow_redirects=False)
    except TimeoutError:
        return _Answer(f"did not answer within {show_seconds(bound_s)}")
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host that no name can be
        return _Answer(_describe(error))
    try:
        await _take_body(response)
    finally:
        response.close()
    return _Answer(f"answered {response.status}{_describe_redirect(response)}", response.status)


async def _take_body(response: aiohttp.ClientResponse) -> None:
    taken = 0
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_PATIENCE_S):
            while taken < _BODY_BYTES and (chunk := await response.content.readany()):
                taken += len(chunk)


def _describe_redirect(response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location", "")
    if not 300 <= response.status < 400 or not location or not location.isprintable():
        return ""
    return f" (a redirect to {location[:_MAX_LOCATION]})"


def _describe(error: Exception) -> str:
    """What the server did, or what kept us from it, in the past tense: "refused the connection"."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = error.certificate_error
        return f"had a certificate that is not trusted ({getattr(reason, 'verify_message', '') or reason})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _describe_no_connection(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return "did not answer in HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "closed the connection without an answer"
    if isinstance(error, aiohttp.ClientOSError) and error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "closed the connection without an answer"
    return f"could not be asked ({error or type(error).__name__})"


def _describe_no_connection(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"did not answer in TLS ({(error.reason or 'no handshake').replace('_', ' ').lower()})"
    if isinstance(error, socket.gaierror):
        return "had a host name that is not known"
    reasons = {
        errno.ECONNREFUSED: "refused the connection",
        errno.ENOENT: "had no socket",
        errno.EACCES: "was out of reach: the agent's user may not use the socket",
    }
    return reasons.get(error.errno or 0, f"could not be reached ({error.strerror or error})")
