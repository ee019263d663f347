"""Wake-ups from inotify, through watchdog; the only place that knows it.

A wake-up carries no facts: it says "look at this app". What inotify loses, the agent's rescan finds. One watch stands
on each drop directory, none below it: an uploaded directory may hold thousands.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from dropdeploy.intake.names import Invisible, Own, meaning_of

_TELLING = frozenset({"created", "moved", "deleted", "closed", "modified"})
_GROWTH_PAUSE_S = 0.2
"""A growing upload is modified thousands of times; so often is enough to look at it."""


class _Waker(FileSystemEventHandler):
    """Runs in watchdog's thread; an exception here would end it (watchdog catches none)."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._quiet_until = 0.0

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _TELLING:
            return
        paths = (event.src_path, getattr(event, "dest_path", ""))
        if not any(path and _is_telling(os.fsdecode(path)) for path in paths):
            return
        now = time.monotonic()
        if event.event_type == "modified":
            if now < self._quiet_until:
                return
            self._quiet_until = now + _GROWTH_PAUSE_S
        self._wake()


def _is_telling(path: str) -> bool:
    # What the agent itself writes must not wake it, or each wake-up would bring the next.
    return not isinstance(meaning_of(os.path.basename(path)), Invisible | Own)


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    identity: tuple[int, int]


class Watcher:
    """Watches on drop directories. Its methods may block: call them in a thread, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[str], None]) -> None:
        """``wake(app)`` is called on ``loop``."""
        self._loop = loop
        self._wake = wake
        self._observer: BaseObserver = Observer()
        self._observer.daemon = True
        self._observer.start()
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()

    def ensure(self, app: str, path: Path) -> str | None:
        """See that the directory which is at ``path`` now is watched. Returns a sentence when it is not."""
        with self._lock:
            try:
                status = os.stat(path)
            except OSError as error:
                self._unwatch(app)
                return f"{path} cannot be watched: {error.strerror}"
            identity = (status.st_dev, status.st_ino)
            known = self._watched.get(app)
            if known is not None and known.identity == identity and self._is_alive(known.watch):
                return None
            self._unwatch(app)
            try:
                watch = self._observer.schedule(_Waker(lambda: self._hand_over(app)), str(path), recursive=False)
            except OSError as error:
                return f"{path} cannot be watched: {error.strerror or error}; it is looked at every `rescan` instead"
            self._watched[app] = _Watched(watch, identity)
            return None

    def forget(self, app: str) -> None:
        """Stop watching for an app."""
        with self._lock:
            self._unwatch(app)

    def close(self) -> None:
        """Stop watching altogether."""
        self._observer.stop()
        self._observer.join()

    def _hand_over(self, app: str) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, app)

    def _unwatch(self, app: str) -> None:
        known = self._watched.pop(app, None)
        if known is not None:
            self._observer.unschedule(known.watch)

    def _is_alive(self, watch: ObservedWatch) -> bool:
        return any(emitter.watch == watch and emitter.is_alive() for emitter in self._observer.emitters)
