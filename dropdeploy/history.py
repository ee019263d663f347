"""What happened and what is about to: deploys, intents, verdicts, what was answered, which releases were healthy.

SQLite with a write-ahead log and ``synchronous=FULL``: what a method has returned from survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous). Intent before effect: the runner writes a deploy's state down
before each effect, and ``recovery`` reads it after a crash.

Calls are short but they wait for the disk: the agent makes them in a thread of their own (``HistoryThread``).

A disk that is full must not keep anybody from rolling back: a little of it is kept in reserve, and given up when SQLite
finds no room (``Reserve``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from dropdeploy import record
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import Action, Answer, Marker, Upload
from dropdeploy.reserve import Reserve

T = TypeVar("T")

HISTORY_NAME = "history.db"
"""The database's name in the state directory."""

SCHEMA = (
    """
CREATE TABLE deploys (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    app      TEXT NOT NULL,
    action   TEXT NOT NULL,
    upload   TEXT NOT NULL,
    started  TEXT NOT NULL,
    status   TEXT,             -- null while it is not decided
    intent   TEXT,             -- the state before the effect in progress; null once decided
    request  TEXT NOT NULL,    -- the upload or marker
    outcome  TEXT,
    reported INTEGER NOT NULL DEFAULT 0  -- the result file is written and the upload is cleared away
);
CREATE INDEX deploys_by_app ON deploys (app, id);
CREATE INDEX deploys_open ON deploys (reported) WHERE reported = 0;
CREATE TABLE releases (
    app TEXT NOT NULL, release TEXT NOT NULL, healthy INTEGER, deploy INTEGER,
    PRIMARY KEY (app, release)
) WITHOUT ROWID;
CREATE TABLE answered (
    app TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, reopens INTEGER NOT NULL, deploy INTEGER NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
""",
    """
CREATE TABLE outbox (          -- verdicts that somebody is still to be told
    deploy INTEGER NOT NULL, app TEXT NOT NULL,
    channel TEXT NOT NULL,     -- webhook | email
    tries   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (deploy, channel)
) WITHOUT ROWID;
""",
)
"""Each version of the schema is a change of the one before it, and its number is the database's ``user_version``: what
an older version wrote is brought up step by step. A step that was released is never edited."""

SCHEMA_VERSION = len(SCHEMA)

ANSWERS_KEPT = 1000
"""For so many names an app remembers what it answered. A name is not forgotten because its file is gone: a drop
directory that is unmounted and comes back must not have old builds deployed again."""


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


@dataclass(frozen=True, slots=True)
class Unreported:
    """A decided deploy whose result was not known to be written when the agent stopped."""

    request: Upload | Marker
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Undecided:
    """A deploy that was interrupted: what asked for it and when, and its last intent, "" where there was none yet."""

    id: int
    request: Upload | Marker
    started: datetime
    intent: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A verdict that somebody is to be told, by ``channel`` ("webhook" or "email"); ``tries`` failed."""

    deploy: int
    app: str
    channel: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a request is kept in a row."""

    request: Upload | Marker


def _encode_name(name: str) -> str:
    """A file's name as SQLite can keep it: names are bytes on disk, and may not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class History:
    """The database, for one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open, or make, the database. Raises HistoryError; where setting the file aside would help, its subclass
        UnfitHistoryError."""
        self.path = path
        self._reserve = Reserve(path.parent)
        try:
            self._db = self._connect(path, read_only)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                raise UnfitHistoryError(f"{path} is damaged: {error}", "damaged") from error
            raise HistoryError(f"{path}: {error}; {_remedy(path, read_only)}") from error
        if not read_only:
            self._reserve.fill()

    @staticmethod
    def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
        if not read_only:
            # Metadata of uploads may be confidential; SQLite gives its other files the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640))
        mode = "ro" if read_only else "rw"
        db = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, read_only)
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """SQLite's errors as HistoryError: UnfitHistoryError where the file is damaged, HistoryAwayError else."""
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                raise UnfitHistoryError(f"{self.path} is damaged: {error}", "damaged") from error
            raise HistoryAwayError(_away(self.path, error)) from error

    def release_reserve(self) -> bool:
        """Give up what is kept free on the disk; False when there is nothing to give up."""
        return self._reserve.give_up()

    def free_bytes(self) -> int:
        """How much is free on the disk where the history is."""
        return self._reserve.free_bytes()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # --- the course of a deploy ---

    def begin(self, app: str, action: Action, request: Upload | Marker, started: datetime) -> int:
        """A new deploy's number. Numbers only grow, and none is given twice."""
        self._reserve.fill()
        row = self._db.execute(
            "INSERT INTO deploys (app, action, upload, started, request) VALUES (?, ?, ?, ?, ?)",
            (app, action, _encode_name(request.name), started.isoformat(), record.dump(_Asked(request))),
        )
        assert row.lastrowid is not None
        return row.lastrowid

    def intend(self, deploy: int, intent: str) -> None:
        """Write down what is about to be done, as text that the one who does it will understand."""
        self._db.execute("UPDATE deploys SET intent = ? WHERE id = ?", (intent, deploy))

    def forget(self, deploy: int) -> None:
        """Take back a deploy that touched nothing and has no verdict: its upload will be judged anew."""
        self._db.execute("DELETE FROM deploys WHERE id = ? AND status IS NULL", (deploy,))

    def conclude(
        self, outcome: Outcome, answer: Answer, healthy: Mapping[str, bool], channels: Sequence[str] = ()
    ) -> None:
        """Write the verdict, what it proved of releases' health, that the request has its answer, and by which
        channels it is to be told; all or none."""
        with self._transaction():
            self._db.execute(
                "UPDATE deploys SET status = ?, outcome = ?, intent = NULL WHERE id = ?",
                (outcome.status, record.dump(outcome), outcome.id),
            )
            self._remember_releases(outcome, healthy)
            self._remember_answer(outcome.app, answer, outcome.id)
            self._db.execute(
                "DELETE FROM answered WHERE app = ? AND deploy <= "
                "(SELECT deploy FROM answered WHERE app = ? ORDER BY deploy DESC LIMIT 1 OFFSET ?)",
                (outcome.app, outcome.app, ANSWERS_KEPT),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO outbox (deploy, app, channel) VALUES (?, ?, ?)",
                [(outcome.id, outcome.app, channel) for channel in channels],
            )

    def _remember_releases(self, outcome: Outcome, healthy: Mapping[str, bool]) -> None:
        if outcome.release:  # so that its id is never given again, even when nothing was proved of it
            self._db.execute(
                "INSERT OR IGNORE INTO releases (app, release, deploy) VALUES (?, ?, ?)",
                (outcome.app, outcome.release, outcome.id),
            )
        for release, is_healthy in healthy.items():
            self._db.execute(
                "INSERT INTO releases (app, release, healthy, deploy) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (app, release) DO UPDATE SET healthy = excluded.healthy",
                (outcome.app, release, is_healthy, outcome.id),
            )

    def _remember_answer(self, app: str, answer: Answer, deploy: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answered (app, name, request, reopens, deploy) VALUES (?, ?, ?, ?, ?)",
            (
                app,
                _encode_name(answer.request.name),
                record.dump(answer),
                answer.reopens,
                deploy,
            ),
        )

    def recall(self, outcome: Outcome, request: Upload | Marker, healthy: Mapping[str, bool]) -> bool:
        """Take in a verdict from elsewhere, told already, with its own number; False when that is taken."""
        with self._transaction():
            row = self._db.execute(
                "INSERT OR IGNORE INTO deploys (id, app, action, upload, started, status, request, outcome, reported) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
                (
                    outcome.id,
                    outcome.app,
                    outcome.action,
                    _encode_name(request.name),
                    outcome.started.isoformat(),
                    outcome.status,
                    record.dump(_Asked(request)),
                    record.dump(outcome),
                ),
            )
            self._remember_releases(outcome, healthy)
        return row.rowcount == 1

    def recall_answer(self, app: str, answer: Answer, deploy: int) -> None:
        """A request that stands there still has its answer; ``deploy`` gave it."""
        self._remember_answer(app, answer, deploy)

    def reported(self, deploy: int) -> None:
        """The result file is on disk and the upload is cleared away."""
        self._db.execute("UPDATE deploys SET reported = 1 WHERE id = ?", (deploy,))

    # --- the outbox ---

    def pending(self) -> tuple[Pending, ...]:
        """What is to be told next: of each app and channel the oldest verdict."""
        rows = self._db.execute("SELECT min(deploy), app, channel, tries FROM outbox GROUP BY app, channel")
        return tuple(Pending(*row) for row in rows)

    def count_try(self, pending: Pending) -> None:
        """It was tried once more, in vain."""
        self._db.execute(
            "UPDATE outbox SET tries = tries + 1 WHERE deploy = ? AND channel = ?", (pending.deploy, pending.channel)
        )

    def take_out(self, pending: Pending) -> None:
        """It was told, or will not be."""
        self._db.execute("DELETE FROM outbox WHERE deploy = ? AND channel = ?", (pending.deploy, pending.channel))

    # --- what the agent asks ---

    def undecided(self, app: str) -> tuple[Undecided, ...]:
        """Deploys that were interrupted, oldest first."""
        rows = self._db.execute(
            "SELECT id, request, started, intent FROM deploys "
            "WHERE app = ? AND reported = 0 AND status IS NULL ORDER BY id",
            (app,),
        )
        return tuple(
            Undecided(number, record.load(_Asked, asked).request, datetime.fromisoformat(started), intent or "")
            for number, asked, started, intent in rows
        )

    def unreported(self, app: str) -> tuple[Unreported, ...]:
        """Verdicts whose result file may be missing, oldest first."""
        rows = self._db.execute(
            "SELECT request, outcome FROM deploys WHERE app = ? AND reported = 0 AND status IS NOT NULL ORDER BY id",
            (app,),
        )
        return tuple(Unreported(record.load(_Asked, asked).request, record.load(Outcome, told)) for asked, told in rows)

    def answered(self, app: str) -> dict[str, Answer]:
        """The requests that have their verdict, by the name of the upload or marker."""
        rows = self._db.execute("SELECT request, reopens FROM answered WHERE app = ?", (app,))
        answers = (replace(record.load(Answer, answer), reopens=bool(reopens)) for answer, reopens in rows)
        return {answer.request.name: answer for answer in answers}

    def amend(self, app: str, answer: Answer) -> None:
        """The answer under this name is known in more detail now: the upload's times, its fate."""
        self._db.execute(
            "UPDATE answered SET request = ? WHERE app = ? AND name = ?",
            (record.dump(answer), app, _encode_name(answer.request.name)),
        )

    def count_tried(self, app: str, since: datetime, now: datetime) -> int:
        """How many uploads were deployed, for good or ill, since then (the rate limit). What was written while the
        clock was ahead of ``now`` does not count: it would count for years."""
        (count,) = self._db.execute(
            "SELECT count(*) FROM deploys WHERE app = ? AND action = 'deploy' AND started BETWEEN ? AND ? "
            "AND status IN ('deployed', 'rolled-back', 'failed')",
            (app, since.astimezone(UTC).isoformat(), now.astimezone(UTC).isoformat()),
        ).fetchone()
        return int(count)

    def release_health(self, app: str) -> dict[str, bool | None]:
        """What is known of the releases' health; a release that is missing here was never judged."""
        rows = self._db.execute("SELECT release, healthy FROM releases WHERE app = ?", (app,))
        return {release: None if healthy is None else bool(healthy) for release, healthy in rows}

    def disown(self, app: str, release: str, deploy: int) -> None:
        """A release that was never judged and should be gone, but is not: it is none to go back to."""
        self._db.execute(
            "INSERT INTO releases (app, release, healthy, deploy) VALUES (?, ?, 0, ?) "
            "ON CONFLICT (app, release) DO UPDATE SET healthy = 0",
            (app, release, deploy),
        )

    def disowned(self, app: str) -> tuple[str, ...]:
        """The releases that should be gone: bad ones of deploys that have no verdict, or were cancelled."""
        rows = self._db.execute(
            "SELECT release FROM releases LEFT JOIN deploys ON id = deploy "
            "WHERE releases.app = ? AND healthy = 0 AND (id IS NULL OR status = 'cancelled') ORDER BY release",
            (app,),
        )
        return tuple(release for (release,) in rows)

    def newest_release(self, app: str) -> str:
        """The greatest id ever given, whether or not it is still on disk; "" when there is none."""
        (release,) = self._db.execute("SELECT max(release) FROM releases WHERE app = ?", (app,)).fetchone()
        return release or ""

    # --- what people ask ---

    def outcomes(self, app: str | None = None, limit: int = 50) -> tuple[Outcome, ...]:
        """The newest verdicts, newest first."""
        where, values = ("AND app = ?", [app]) if app else ("", [])
        rows = self._db.execute(
            f"SELECT outcome FROM deploys WHERE outcome IS NOT NULL {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 (`where` is one of two constants)
            (*values, limit),
        )
        return tuple(record.load(Outcome, told) for (told,) in rows)

    def outcomes_before(self, app: str, deploy: int, limit: int) -> tuple[Outcome, ...]:
        """The verdicts of an app's deploys with lower numbers, newest first."""
        rows = self._db.execute(
            "SELECT outcome FROM deploys WHERE app = ? AND id < ? AND outcome IS NOT NULL ORDER BY id DESC LIMIT ?",
            (app, deploy, limit),
        )
        return tuple(record.load(Outcome, told) for (told,) in rows)

    def makers(self, app: str, releases: Sequence[str]) -> dict[str, Outcome]:
        """The deploys that made these releases, as far as they are remembered."""
        marks = ", ".join("?" * len(releases))
        rows = self._db.execute(
            f"SELECT release, outcome FROM releases JOIN deploys ON id = deploy AND action = 'deploy' "  # noqa: S608 (only marks are put in)
            f"WHERE releases.app = ? AND release IN ({marks}) AND outcome IS NOT NULL",
            (app, *releases),
        )
        return {release: record.load(Outcome, told) for release, told in rows}

    def made_live(self, app: str, release: str) -> Outcome | None:
        """The deploy or rollback that made this release the live one, last."""
        row = self._db.execute(
            "SELECT outcome FROM deploys WHERE app = ?1 AND action != 'restart' AND outcome IS NOT NULL "
            "AND json_extract(outcome, '$.live') = ?2 AND json_extract(outcome, '$.release') = ?2 "
            "ORDER BY id DESC LIMIT 1",
            (app, release),
        ).fetchone()
        return record.load(Outcome, row[0]) if row else None

    def neighbours(self, app: str, deploy: int) -> tuple[int, int]:
        """The numbers of the app's decided deploys before and after this one; 0 where there is none."""
        (before, after) = self._db.execute(
            "SELECT (SELECT max(id) FROM deploys WHERE app = ?1 AND id < ?2 AND outcome IS NOT NULL), "
            "(SELECT min(id) FROM deploys WHERE app = ?1 AND id > ?2 AND outcome IS NOT NULL)",
            (app, deploy),
        ).fetchone()
        return before or 0, after or 0

    def verdicts(self) -> dict[tuple[str, str, str], int]:
        """How many there are, by app, action and status."""
        rows = self._db.execute(
            "SELECT app, action, status, count(*) FROM deploys WHERE status IS NOT NULL GROUP BY app, action, status"
        )
        return {(app, action, status): count for app, action, status, count in rows}

    def changes(self) -> int:
        """Another number whenever somebody else has written."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def decided_to(self) -> int:
        """Up to this number every deploy has its verdict."""
        (number,) = self._db.execute(
            "SELECT coalesce((SELECT min(id) - 1 FROM deploys WHERE reported = 0 AND status IS NULL), "
            "(SELECT max(id) FROM deploys), 0)"
        ).fetchone()
        return int(number)

    def outcomes_after(self, deploy: int, app: str | None = None) -> tuple[Outcome, ...]:
        """The verdicts of all deploys with greater numbers, oldest first."""
        rows = self._db.execute(
            "SELECT outcome FROM deploys WHERE id > ? AND outcome IS NOT NULL AND app = coalesce(?, app) ORDER BY id",
            (deploy, app),
        )
        return tuple(record.load(Outcome, told) for (told,) in rows)

    def outcome(self, deploy: int) -> Outcome | None:
        """One verdict by its number."""
        row = self._db.execute("SELECT outcome FROM deploys WHERE id = ? AND outcome IS NOT NULL", (deploy,)).fetchone()
        return record.load(Outcome, row[0]) if row else None


def _prepare(db: sqlite3.Connection, path: Path, read_only: bool) -> None:
    """Set the database up, see that it is sound, and make the tables that it lacks."""
    db.execute("PRAGMA busy_timeout = 5000")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    # The commands may be newer than the agent that runs, and read what it writes as it is.
    if version > SCHEMA_VERSION or (version == 0 and read_only):
        raise UnfitHistoryError(
            f"{path} has schema {version}, this dropdeploy knows {SCHEMA_VERSION}", f"schema-{version}"
        )
    if read_only:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if version > 0:
        # What is wrong is found now, and not in the middle of a deploy. It takes 1 ms for each 100 deploys or so.
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise UnfitHistoryError(f"{path} is damaged: {found}", "damaged")
    for number, change in enumerate(SCHEMA[version:], version + 1):
        db.executescript(f"BEGIN; {change} PRAGMA user_version = {number}; COMMIT;")


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is wrong: SQLITE_CORRUPT, SQLITE_NOTADB, or tables that are missing."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)


def _away(path: Path, error: sqlite3.Error) -> Fault:
    message = f"the history {path} cannot be used: {error}"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Fault(ErrorCode.NO_SPACE, message, f"make room on the file system of {path.parent} on the server")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        hint = f"the agent must be able to write in {path.parent}: is its file system mounted read-only?"
        return Fault(ErrorCode.NOT_AUTHORISED, message, hint)
    return Fault(ErrorCode.INTERNAL, message, f"look at {path.parent} and at the kernel's log on the server")


def _remedy(path: Path, read_only: bool) -> str:
    if not read_only:
        return f"the agent must be able to write in {path.parent}, and the disk must not be full"
    return "it is made by the agent when it first runs; to read it, be root or the agent's user"


class HistoryThread:
    """A History behind one thread, so that waiting for the disk never holds the event loop up.

    ``damaged`` is called, on the loop, when the file turns out to be damaged while it is in use.
    """

    def __init__(self, history: History, damaged: Callable[[str], None] | None = None) -> None:
        self._history = history
        self._damaged = damaged
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    async def ask(self, question: Callable[[History], T]) -> T:
        """Run ``question(history)`` in the thread, after all that was asked before. Raises HistoryAwayError when the
        disk fails, and UnfitHistoryError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)
        except UnfitHistoryError as error:
            if self._damaged is not None:
                self._damaged(str(error))
            raise

    def _answer(self, question: Callable[[History], T]) -> T:
        try:
            with self._history.translated():
                return question(self._history)
        except HistoryAwayError as away:
            if away.fault.code is not ErrorCode.NO_SPACE or not self._history.release_reserve():
                raise
        with self._history.translated():
            return question(self._history)

    async def close(self) -> None:
        """Finish what was asked and close the database."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._history.close)
        self._thread.shutdown()
