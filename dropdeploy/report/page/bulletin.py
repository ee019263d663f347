"""Who is to be told that something has changed. Telling never waits: who does not keep up is no longer told.

Costs next to nothing while nobody listens.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

QUEUE = 1000
"""A subscriber that has so many events to fetch has stopped reading."""

MOST_SUBSCRIBERS = 200


@dataclass(frozen=True, slots=True)
class Event:
    """Something about ``app`` is new. ``say`` is a sentence for whoever listens rather than looks: a verdict."""

    app: str
    say: str = ""


class Subscriber:
    """One who is told. ``is_dropped`` once it did not keep up."""

    def __init__(self) -> None:
        self._waiting: dict[Event, None] = {}  # in order, each once
        self._news = asyncio.Event()
        self.is_dropped = False

    def put(self, event: Event) -> bool:
        """False when this was one too many."""
        self._waiting[event] = None
        if len(self._waiting) > QUEUE:
            self.drop()
        self._news.set()
        return not self.is_dropped

    def drop(self) -> None:
        """Tell it no more."""
        self.is_dropped = True
        self._waiting.clear()
        self._news.set()

    async def take(self) -> list[Event]:
        """All that is new, as soon as there is something; an event that came twice meanwhile is told once."""
        await self._news.wait()
        self._news.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Bulletin:
    """Tells all subscribers."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self._is_closed = False

    def subscribe(self) -> Subscriber | None:
        """A new subscriber; None when there are too many."""
        if self._is_closed or len(self._subscribers) >= MOST_SUBSCRIBERS:
            return None
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """It is told no more."""
        self._subscribers.discard(subscriber)

    def tell(self, event: Event) -> None:
        """Have everybody know, some time soon."""
        for subscriber in [each for each in self._subscribers if not each.put(event)]:
            self._subscribers.discard(subscriber)

    @property
    def count(self) -> int:
        """How many are told."""
        return len(self._subscribers)

    def close(self) -> None:
        """Everybody is dropped, and nobody comes any more."""
        for subscriber in self._subscribers:
            subscriber.drop()
        self._subscribers.clear()
        self._is_closed = True
