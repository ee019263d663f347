"""Directories watched by inotify(7) through watchdog; the only place that knows it.

watchdog's own emitter is made for one directory: up to 6.0 it takes two threads and an inotify instance for each (a
user may have 128), later a thread; and it holds everything up for half a second when a file is moved away, waiting for
where it went. This emitter takes its place in watchdog's observer: any number of directories, one instance, one thread.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from watchdog.events import DirDeletedEvent, DirModifiedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, EventEmitter
from watchdog.observers.inotify_c import InotifyConstants as C
from watchdog.observers.inotify_c import inotify_add_watch, inotify_init, inotify_rm_watch

from dropdeploy.diary import Kind, about
from dropdeploy.intake.names import Invisible, Own, meaning_of

logger = logging.getLogger(__name__)

GROWTH_PAUSE_S = 0.5
"""A growing upload is modified thousands of times; so often is enough to look at it."""

_GROWTH = C.IN_MODIFY | C.IN_ATTRIB
_LOST = C.IN_DELETE_SELF | C.IN_MOVE_SELF | C.IN_UNMOUNT | C.IN_IGNORED
_CHANGE = C.IN_CREATE | C.IN_MOVED_TO | C.IN_MOVED_FROM | C.IN_DELETE | C.IN_CLOSE_WRITE
_MASK = _CHANGE | _GROWTH | C.IN_DELETE_SELF | C.IN_MOVE_SELF | C.IN_EXCL_UNLINK | C.IN_ONLYDIR

# In some versions a watch descriptor is a type of its own.
_rm_watch: Callable[[int, Any], int] = inotify_rm_watch

_BUFFER_BYTES = 64 * 1024
_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len; then the name
_NO_PATH = "/"
"""An observer's watch has a path; ours stands for all of them."""


class Watches:
    """Watches on directories, none below them. Its methods may be called from any thread."""

    def __init__(self, changed: Callable[[str], None], lost: Callable[[str], None]) -> None:
        """Both are called in watchdog's thread, with the path as it was given, and must not raise: ``changed`` when
        something that an uploader did may be found there, ``lost`` when the watched directory is not there any more.

        Raises OSError when there is no inotify instance to be had.
        """
        self._observer = BaseObserver(emitter_class=_Emitter)
        self._observer.schedule(_Handler(changed, lost), _NO_PATH)
        (emitter,) = self._observer.emitters
        assert isinstance(emitter, _Emitter)
        self._emitter = emitter
        self._observer.start()

    @property
    def overflows(self) -> int:
        """How often the kernel lost events."""
        return self._emitter.overflows

    def is_alive(self) -> bool:
        """Its threads run."""
        return self._observer.is_alive() and self._emitter.is_alive()

    def add(self, path: str) -> bool:
        """Watch the directory which is at ``path`` now. Returns False if that is the one watched already.

        Raises OSError; ``path`` is not watched then.
        """
        return self._emitter.add(path)

    def remove(self, path: str) -> None:
        """Watch it no more."""
        self._emitter.remove(path)

    def close(self) -> None:
        """End, and wait for the end."""
        self._observer.stop()
        self._observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, changed: Callable[[str], None], lost: Callable[[str], None]) -> None:
        self._changed = changed
        self._lost = lost

    def on_modified(self, event: FileSystemEvent) -> None:
        self._changed(os.fsdecode(event.src_path))

    def on_deleted(self, event: FileSystemEvent) -> None:
        self._lost(os.fsdecode(event.src_path))


class _Emitter(EventEmitter):
    """Its thread reads the instance, and emits for each directory: modified, or deleted when its watch has ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # What an observer passes on differs between watchdog's versions.
        super().__init__(*arguments, **options)
        self.overflows = 0
        self._lock = threading.Lock()
        self._paths_of: dict[int, set[str]] = {}
        self._watch_of: dict[str, int] = {}
        self._grown: set[str] = set()  # to be told when they have been quiet long enough
        self._quiet_until: dict[str, float] = {}
        self._inotify = self._stopper = -1
        self._poll = select.poll()

    def on_thread_start(self) -> None:
        """Called by ``start``, in the thread that calls it."""
        self._stopper = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._inotify = _checked(inotify_init())
        except OSError:
            os.close(self._stopper)
            raise
        os.set_inheritable(self._inotify, False)
        self._poll.register(self._inotify, select.POLLIN)
        self._poll.register(self._stopper, select.POLLIN)

    def on_thread_stop(self) -> None:
        """Called by ``stop``, in the thread that calls it."""
        with self._lock:
            if self._inotify != -1:
                os.eventfd_write(self._stopper, 1)

    def run(self) -> None:
        """The thread."""
        try:
            super().run()
        finally:
            with self._lock:
                os.close(self._inotify)
                os.close(self._stopper)
                self._inotify = -1

    def add(self, path: str) -> bool:
        with self._lock:
            try:
                # For an inode that is watched already the kernel gives the same watch again: this is also the way to
                # find out that the path leads elsewhere now.
                watch = _checked(inotify_add_watch(self._inotify, os.fsencode(path), _MASK))
            except OSError:
                self._remove(path)
                raise
            if self._watch_of.get(path) == watch:
                return False
            self._remove(path)
            self._watch_of[path] = watch
            self._paths_of.setdefault(watch, set()).add(path)
            return True

    def remove(self, path: str) -> None:
        with self._lock:
            self._remove(path)

    def _remove(self, path: str) -> None:
        watch = self._watch_of.pop(path, None)
        self._grown.discard(path)
        self._quiet_until.pop(path, None)
        if watch is None:
            return
        paths = self._paths_of[watch]
        paths.discard(path)
        if not paths:
            del self._paths_of[watch]
            _rm_watch(self._inotify, watch)  # it may have ended by itself

    def queue_events(self, timeout: float) -> None:
        """One turn of the thread."""
        ready = self._poll.poll(self._pause_ms())
        has_news = any(fd == self._inotify for fd, _ in ready)
        content = os.read(self._inotify, _BUFFER_BYTES) if has_news else b""
        with self._lock:
            changed, lost = self._sort(content)
        for path in lost:
            self.queue_event(DirDeletedEvent(path))
        for path in changed:
            self.queue_event(DirModifiedEvent(path))

    def _pause_ms(self) -> float | None:
        with self._lock:
            due = [self._quiet_until[path] for path in self._grown]
        return max(0.0, (min(due) - time.monotonic()) * 1000) if due else None

    def _sort(self, content: bytes) -> tuple[set[str], set[str]]:
        """What has changed, and what is lost."""
        now = time.monotonic()
        changed: set[str] = set()
        lost: set[str] = set()
        for watch, mask, name in _parse_events(content):
            paths = self._paths_of.get(watch, ())
            if mask & C.IN_Q_OVERFLOW:
                self.overflows += 1
                what = "inotify lost events (its queue was full): looking into every drop directory"
                logger.warning(what, extra=about(Kind.TROUBLE))
                changed.update(self._watch_of)
            elif mask & _LOST:
                lost.update(paths)
                if mask & C.IN_IGNORED:
                    self._forget(watch)
            else:
                seen = self._grown if mask & _GROWTH else changed
                if not seen.issuperset(paths) and (not name or _is_telling(name)):
                    seen.update(paths)
        changed |= {path for path in self._grown if self._quiet_until.get(path, 0.0) <= now}
        self._grown -= changed
        self._quiet_until.update(dict.fromkeys(changed & self._watch_of.keys(), now + GROWTH_PAUSE_S))
        return changed, lost

    def _forget(self, watch: int) -> None:
        """The kernel has removed it."""
        for path in self._paths_of.pop(watch, ()):
            del self._watch_of[path]
            self._grown.discard(path)
            self._quiet_until.pop(path, None)


def _parse_events(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Watch, mask and name of each event that read(2) gave."""
    at = 0
    while at < len(content):
        watch, mask, _, length = _HEADER.unpack_from(content, at)
        at += _HEADER.size + length
        yield watch, mask, content[at - length : at].rstrip(b"\0")


def _is_telling(name: bytes) -> bool:
    # What the agent itself writes must not wake it, or each wake-up would bring the next.
    return not isinstance(meaning_of(os.fsdecode(name)), Invisible | Own)


def _checked(returned: int) -> int:
    if returned == -1:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    return returned
