"""Work that must not be left half done in a thread that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def complete(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` to its end, even when cancelled meanwhile; CancelledError is raised afterwards, then."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # looked at, so that asyncio does not complain of it
        raise cancelled
    return task.result()


async def in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread, to its end."""
    return await complete(asyncio.to_thread(work))
