"""Which drop directories are watched, and what is done about those that cannot be.

A wake-up carries no facts: it says "look at this app". What inotify loses, the agent's scans find; so a directory that
cannot be watched is only looked into more often. Each is watched alone, nothing below it: an uploaded directory may
hold thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from dropdeploy.diary import Kind, about
from dropdeploy.intake.inotify import Watches

logger = logging.getLogger(__name__)

UNWATCHED_S = 5.0
"""What is not watched is looked into so often, or every `rescan` where that is shorter."""

_TOLD_BY_LOOKING = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP})
"""What cannot be watched for one of these reasons cannot be looked into either, and that is told where it is tried."""


class Watcher:
    """Watches on the apps' drop directories. Its methods may block: call them in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[str], None], lost: Callable[[], None]) -> None:
        """``wake(app)`` and ``lost()`` are called on ``loop``; after ``lost()`` call ``renew`` again."""
        self._loop = loop
        self._wake = wake
        self._lost = lost
        self._lock = threading.Lock()
        self._watches: Watches | None = None
        self._overflows_before = 0  # of watches that have ended
        self._app_at: Mapping[str, str] = {}
        self._watched: frozenset[str] = frozenset()
        self._told: frozenset[int | None] = frozenset()

    def renew(self, drops: Mapping[str, Path]) -> frozenset[str]:
        """See that the directory which is at each app's path now is watched, and nothing else is.

        Returns the apps that are not: look into them by yourself, and try again, every UNWATCHED_S. What has changed
        and what cannot be is logged, once.
        """
        with self._lock:
            app_at = {str(path): app for app, path in drops.items()}
            gone = self._app_at.keys() - app_at.keys()
            self._app_at = app_at
            try:
                watches = self._open()
            except OSError as error:
                return self._conclude(dict.fromkeys(drops, error.errno))
            for path in gone:
                watches.remove(path)
            return self._conclude(self._add(watches, app_at))

    @property
    def overflows(self) -> int:
        """How often the kernel lost events, which the rounds and a look into every directory make up for."""
        return self._overflows_before + (self._watches.overflows if self._watches is not None else 0)

    def close(self) -> None:
        """Stop watching altogether."""
        with self._lock:
            if self._watches is not None:
                self._watches.close()
                self._watches = None

    def _open(self) -> Watches:
        if self._watches is not None and not self._watches.is_alive():
            logger.error("watching has ended unexpectedly; it is begun anew", extra=about(Kind.TROUBLE))
            self._watches.close()
            self._overflows_before += self._watches.overflows
            self._watches, self._watched = None, frozenset()
        if self._watches is None:
            self._watches = Watches(self._on_changed, self._on_lost)
        return self._watches

    def _add(self, watches: Watches, app_at: Mapping[str, str]) -> dict[str, int | None]:
        """Returns the error's number for each app that cannot be watched."""
        failed: dict[str, int | None] = {}
        for path, app in app_at.items():
            try:
                is_new = watches.add(path)
            except OSError as error:
                failed[app] = error.errno
                continue
            if is_new and path in self._watched:
                extra = about(Kind.TROUBLE, app)
                logger.warning("%s: another directory is at %s now; it is watched from now on", app, path, extra=extra)
            if is_new:  # something may have come before the watch
                self._hand_over(self._wake, app)
        return failed

    def _conclude(self, failed: Mapping[str, int | None]) -> frozenset[str]:
        total = len(self._app_at)
        self._watched = frozenset(path for path, app in self._app_at.items() if app not in failed)
        reasons = frozenset(failed.values()) - _TOLD_BY_LOOKING
        for number in reasons - self._told:
            count = sum(reason == number for reason in failed.values())
            logger.warning(
                "%d of %d drop directories %s looked into every few seconds instead of being watched: %s",
                count,
                total,
                "is" if count == 1 else "are",
                _explain(number),
                extra=about(Kind.TROUBLE),
            )
        if self._told and not reasons:
            extra = about(Kind.TROUBLE_IS_OVER)
            logger.info("every drop directory that is there is watched again", extra=extra)
        self._told = reasons
        return frozenset(failed)

    # --- in watchdog's thread ---

    def _on_changed(self, path: str) -> None:
        app = self._app_at.get(path)
        if app is not None:
            self._hand_over(self._wake, app)

    def _on_lost(self, path: str) -> None:
        self._on_changed(path)
        self._hand_over(self._lost)

    def _hand_over(self, call: Callable[..., None], *arguments: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *arguments)


def _explain(number: int | None) -> str:
    """Why inotify refuses, and what to do about it (inotify(7), "ERRORS")."""
    if number == errno.ENOSPC:
        limit = _kernel_limit("max_user_watches")
        return f"the kernel allows no more inotify watches; raise {limit} with sysctl(8)"
    if number == errno.EMFILE and not _has_files_left():
        limit = f"LimitNOFILE= of its unit (it is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
        return f"the agent has as many files open as it may; raise {limit}"
    if number == errno.EMFILE:
        limit = _kernel_limit("max_user_instances")
        return f"the kernel allows this user no more inotify instances; raise {limit} with sysctl(8)"
    return os.strerror(number or 0)


def _kernel_limit(name: str) -> str:
    try:
        value = Path("/proc/sys/fs/inotify", name).read_text().strip()
    except OSError:
        return f"fs.inotify.{name}"
    return f"fs.inotify.{name} (it is {value})"


def _has_files_left() -> bool:
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True
