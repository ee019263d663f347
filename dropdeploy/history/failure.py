"""That the history cannot be used: why, and what to do about it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.model.fault import ErrorCode, Fault


class HistoryError(Exception):
    """The history cannot be used; the message says why and what to do."""


class UnfitHistoryError(HistoryError):
    """The file is no history that this version can read: damaged, or of another schema. ``mark`` says which, as part
    of a file's name."""

    def __init__(self, message: str, mark: str) -> None:
        super().__init__(message)
        self.mark = mark


class HistoryAwayError(HistoryError):
    """The history cannot be read or written just now: the disk is full, read-only or fails. ``fault`` tells."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as HistoryError: UnfitHistoryError where the file is damaged, HistoryAwayError else."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise damaged(path, error) from error
        raise HistoryAwayError(_away(path, error)) from error


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is wrong: SQLITE_CORRUPT, SQLITE_NOTADB, or tables that are missing."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)


def damaged(path: Path, what: object) -> UnfitHistoryError:
    """The file itself is wrong."""
    return UnfitHistoryError(f"{path} is damaged: {what}", "damaged")


def _away(path: Path, error: sqlite3.Error) -> Fault:
    message = f"the history {path} cannot be used: {error}"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Fault(ErrorCode.NO_SPACE, message, f"make room on the file system of {path.parent} on the server")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        hint = f"the agent must be able to write in {path.parent}: is its file system mounted read-only?"
        return Fault(ErrorCode.NOT_AUTHORISED, message, hint)
    return Fault(ErrorCode.INTERNAL, message, f"look at {path.parent} and at the kernel's log on the server")
