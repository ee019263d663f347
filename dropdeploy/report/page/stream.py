"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): what is new, as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from aiohttp import web

from dropdeploy.report.harmless import one_line
from dropdeploy.report.page.bulletin import Event, Subscriber

HEARTBEAT_S = 15.0
"""So often something is sent, for proxies' and our own knowledge that the other side is still there."""

PATIENCE_S = 10.0
"""Who takes nothing for so long has stopped reading."""

PAUSE_S = 0.1
"""What comes within it is sent together."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def stream_events(request: web.Request, subscriber: Subscriber) -> web.StreamResponse:
    """Send until one of the two has enough. Whoever does not read is cut off, and may come again."""
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    try:
        await response.prepare(request)
        text = "retry: 2000\n\n"
        while not subscriber.is_dropped:
            async with asyncio.timeout(PATIENCE_S):
                await response.write(text.encode())
            await asyncio.sleep(PAUSE_S)
            text = await _next(subscriber)
    except (TimeoutError, ConnectionError):
        pass
    if request.transport is not None:
        request.transport.abort()
    return response


async def _next(subscriber: Subscriber) -> str:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            return events_text(await subscriber.take())
    except TimeoutError:
        return ":\n\n"


def events_text(events: Sequence[Event]) -> str:
    """Each as JSON, which has no newline."""
    return "".join(f"data: {json.dumps({'app': event.app, 'say': one_line(event.say)})}\n\n" for event in events)
