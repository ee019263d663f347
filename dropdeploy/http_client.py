"""One HTTP request, and what the server did with it. The only user of aiohttp's client.

The status line decides. Bodies are not waited for, redirects are not followed, the environment's proxies are not asked,
and each request has a connection of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp

from dropdeploy import __version__
from dropdeploy.config.address import HttpTarget
from dropdeploy.config.quantity import show_seconds

# A body is taken for politeness only: a server that is cut off while it writes one logs an error.
_BODY_PATIENCE_S = 0.1
_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the server did, as in "refused the connection" or "answered 200"; ``status`` None where it did not answer.

    ``headers`` are its answer's, by their names in lower case.
    """

    did: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Client:
    """Asks one target, time and again. An asynchronous context manager."""

    def __init__(self, target: HttpTarget) -> None:
        self._url, self._credentials = _split_credentials(target.url)
        self._session = _open_session(target)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, headers: Mapping[str, str], bound_s: float) -> Exchange:
        """GET within ``bound_s`` seconds."""
        return await self._exchange("GET", headers, None, bound_s)

    async def post(self, headers: Mapping[str, str], body: bytes, bound_s: float) -> Exchange:
        """POST ``body`` within ``bound_s`` seconds."""
        return await self._exchange("POST", headers, body, bound_s)

    async def _exchange(self, method: str, headers: Mapping[str, str], body: bytes | None, bound_s: float) -> Exchange:
        try:
            async with asyncio.timeout(bound_s):
                response = await self._session.request(
                    method, self._url, headers={**self._credentials, **headers}, data=body, allow_redirects=False
                )
        except TimeoutError:
            return Exchange(f"did not answer within {show_seconds(bound_s)}")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a host that no name can be
            return Exchange(_describe(error))
        try:
            await _take_body(response)
        finally:
            response.close()
        answered = {name.lower(): value for name, value in response.headers.items()}
        return Exchange(f"answered {response.status}", response.status, answered)


def _split_credentials(url: str) -> tuple[str, Mapping[str, str]]:
    """The address without them, and the header that they make (RFC 7617): before 3.9 aiohttp drops a password that no
    user name comes with, as a token does."""
    parts = urlsplit(url)
    userinfo, _, place = parts.netloc.rpartition("@")
    if not userinfo:
        return url, {}
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return urlunsplit(parts._replace(netloc=place)), {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


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


async def _take_body(response: aiohttp.ClientResponse) -> None:
    taken = 0
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_PATIENCE_S):
            while taken < _BODY_BYTES and (chunk := await response.content.readany()):
                taken += len(chunk)


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
