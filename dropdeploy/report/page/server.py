"""The page's web server: who may ask, and that nothing can be changed by asking. The only user of aiohttp.web.

It is imported only where ``listen`` is set. Each answer carries a policy by which the page loads nothing from
elsewhere, runs no script but its own, and is shown in no frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from dropdeploy.config.address import TcpAddress, UnixAddress
from dropdeploy.history.failure import HistoryError
from dropdeploy.report.metrics import exposition
from dropdeploy.report.page.archive import Archive
from dropdeploy.report.page.bulletin import Bulletin
from dropdeploy.report.page.errors import error_page, token_page
from dropdeploy.report.page.frame import Frame
from dropdeploy.report.page.guard import COOKIE, Entry, Guard
from dropdeploy.report.page.places import PLACES, Place, Sources
from dropdeploy.report.page.statics import read_statics
from dropdeploy.report.page.stream import stream_events
from dropdeploy.report.status import Seen
from dropdeploy.report.tally import Glance

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "dropdeploy",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

HEALTH = "/healthz"
_GOODBYE_S = 1.0
_KEEPALIVE_S = 75.0
_COOKIE_S = 30 * 24 * 3600


class PageServer:
    """Serves from ``start`` to ``close``."""

    def __init__(
        self,
        guard: Guard,
        *,
        apps: Callable[[], Mapping[str, Seen]],
        ailments: Callable[[], list[str]],
        glance: Callable[[], Glance],
        bulletin: Bulletin,
        history: Path,
        host: str,
    ) -> None:
        self._guard = guard
        self._glance = glance
        self._archive = Archive(history)
        self._statics = read_statics()
        address = {static.name: static.address for static in self._statics.values()}
        self._frame = Frame(host, address["page.css"], address["page.js"], address["icon.svg"])
        self._sources = Sources(self._frame, apps, ailments, self._archive, bulletin)
        self._bulletin = bulletin
        self._runner = web.AppRunner(self._application(), access_log=None, keepalive_timeout=_KEEPALIVE_S)
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Raises OSError where the address cannot be had."""
        await self._runner.setup()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        address = self._guard.address
        if isinstance(address, UnixAddress):
            # A socket that an agent which was killed left behind is taken away by asyncio.
            self._server = await loop.create_unix_server(self._runner.server, address.path)
            os.chmod(address.path, 0o666)  # noqa: S103 - as on loopback, everybody may who can get there
        else:
            self._server = await loop.create_server(self._runner.server, address.host, address.port)

    async def close(self) -> None:
        """End what goes on, soon."""
        if self._server is not None:
            self._server.close()
            if isinstance(self._guard.address, UnixAddress):
                with contextlib.suppress(OSError):
                    os.unlink(self._guard.address.path)
        self._bulletin.close()
        if self._runner.server is not None:
            await self._runner.server.shutdown(_GOODBYE_S)
        await self._runner.cleanup()
        await self._archive.close()

    # --- what is there ---

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guarded])
        for path, place in PLACES.items():
            application.router.add_get(path, self._handler(place))
        application.router.add_get("/static/{name}", self._static)
        application.router.add_get("/events", self._events)
        application.router.add_get("/metrics", self._metrics)
        application.on_response_prepare.append(_add_headers)
        return application

    def _handler(self, place: Place) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                answer = await place(
                    self._sources, request.match_info, request.query, request.headers.get("Accept", "")
                )
            except HistoryError as error:
                logger.warning("the page cannot read the history: %s", error)
                return self._refusal(
                    503, "The history cannot be read just now", "The agent's log says why. Try again soon."
                )
            if answer is None:
                return self._refusal(
                    404, "There is no such page", "It may have been a deploy that was put off, or an app that is gone."
                )
            headers = {"Cache-Control": "no-store", "Vary": "Accept"}
            return web.Response(
                text=answer.text, status=answer.status, content_type=answer.kind, charset="utf-8", headers=headers
            )

        return handle

    async def _static(self, request: web.Request) -> web.StreamResponse:
        static = self._statics.get(request.match_info["name"])
        if static is None:
            return self._refusal(404, "There is no such file", "")
        return web.Response(
            body=static.content,
            content_type=static.kind,
            charset="utf-8",
            headers={"Cache-Control": "max-age=31536000, immutable"},
        )

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "")
        content, kind = await asyncio.to_thread(exposition, self._glance(), accept)
        return web.Response(body=content, headers={"Content-Type": kind, "Cache-Control": "no-store", "Vary": "Accept"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(content_type="text/event-stream")
        subscriber = self._bulletin.subscribe()
        if subscriber is None:
            return self._refusal(503, "Too many are watching", "Close other windows with this page.")
        try:
            return await stream_events(request, subscriber)
        finally:
            self._bulletin.leave(subscriber)

    def _refusal(self, status: int, title: str, sentence: str) -> web.Response:
        page = error_page(self._frame, title, sentence)
        return web.Response(
            text=page, status=status, content_type="text/html", charset="utf-8", headers={"Cache-Control": "no-store"}
        )

    # --- who may ---

    @property
    def _guarded(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def guarded(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if request.method not in ("GET", "HEAD"):
                headers = {"Allow": "GET, HEAD"}
                return web.Response(text="this page only shows\n", status=405, headers=headers)
            entry = self._guard.judge(
                request.headers.get("Host", ""),
                request.headers,
                request.cookies.get(COOKIE, ""),
                request.query.get("token", ""),
            )
            if entry is Entry.FOREIGN_NAME:
                return web.Response(text=FOREIGN_NAME, status=421)
            is_open = request.path == HEALTH or request.path.startswith("/static/")
            if entry is Entry.STRANGER and not is_open:
                return self._ask_for_token(request)
            if entry is Entry.WITH_TOKEN:
                return self._with_cookie(request)
            try:
                return await handler(request)
            except web.HTTPNotFound:
                return self._refusal(404, "There is no such page", "")

        return guarded

    def _ask_for_token(self, request: web.Request) -> web.Response:
        page = token_page(self._frame, is_wrong="token" in request.query)
        headers = {"WWW-Authenticate": 'Bearer realm="dropdeploy"', "Cache-Control": "no-store"}
        return web.Response(text=page, status=401, content_type="text/html", charset="utf-8", headers=headers)

    def _with_cookie(self, request: web.Request) -> web.Response:
        query = [(key, value) for key, value in request.query.items() if key != "token"]
        # With two slashes before it, a path would be another server's name.
        location = "/" + str(request.rel_url.with_query(query)).lstrip("/\\")
        response = web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})
        is_https = request.headers.get("X-Forwarded-Proto", "") == "https"  # as a proxy with TLS tells
        response.set_cookie(
            COOKIE, self._guard.cookie, httponly=True, samesite="Lax", secure=is_https, max_age=_COOKIE_S
        )
        return response


FOREIGN_NAME = """\
This page is read as http://localhost or http://127.0.0.1, with its port. Under another name it asks for a token: set
listen_token_file in dropdeploy.toml; or have the proxy in front of it send one of these names as the Host header.
"""


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def open_page(
    address: TcpAddress | UnixAddress,
    token: str,
    *,
    apps: Callable[[], Mapping[str, Seen]],
    ailments: Callable[[], list[str]],
    glance: Callable[[], Glance],
    bulletin: Bulletin,
    history: Path,
) -> PageServer:
    """A server that has started. Raises OSError."""
    server = PageServer(
        Guard(address, token),
        apps=apps,
        ailments=ailments,
        glance=glance,
        bulletin=bulletin,
        history=history,
        host=socket.gethostname(),
    )
    try:
        await server.start()
    except BaseException:
        await server.close()
        raise
    return server
