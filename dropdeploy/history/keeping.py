"""The history as the agent keeps it: intent before effect, and each verdict with all that it means, or not at all.

The runner writes a deploy's state down before each effect, and ``recovery`` reads it after a crash.

A disk that is full must not keep anybody from rolling back: a little of it is kept in reserve, and given up when SQLite
finds no room (``Reserve``).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dropdeploy import record
from dropdeploy.history.database import open_database
from dropdeploy.history.reading import HistoryReader
from dropdeploy.history.reserve import Reserve
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import Action, Answer, Fate, Marker, Upload

ANSWERS_KEPT = 1000
"""For so many names an app remembers what it answered. A name is not forgotten because its file is gone: a drop
directory that is unmounted and comes back must not have old builds deployed again."""


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
class Asked:
    """How a request is kept in a row."""

    request: Upload | Marker


def _load_answer(row: tuple[str, int]) -> Answer:
    answer, reopens = row
    return replace(record.load(Answer, answer), reopens=bool(reopens))


def _encode_name(name: str) -> str:
    """A file's name as SQLite can keep it: names are bytes on disk, and may not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class History(HistoryReader):
    """The database, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open, or make, the database. Raises HistoryError; where setting the file aside would help, its subclass
        UnfitHistoryError."""
        super().__init__(path)
        self._reserve = Reserve(path.parent)
        self._reserve.fill()

    def _open(self) -> sqlite3.Connection:
        return open_database(self.path, read_only=False)

    def make_room(self) -> bool:
        """Give up what is kept free on the disk; False when there is nothing to give up."""
        return self._reserve.give_up()

    def free_bytes(self) -> int:
        """How much is free on the disk where the history is."""
        return self._reserve.free_bytes()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some failures of the disk have ended it already (sqlite3_get_autocommit)
                self._db.execute("ROLLBACK")
            raise

    # --- the course of a deploy ---

    def begin(self, app: str, action: Action, request: Upload | Marker, started: datetime) -> int:
        """A new deploy's number. Numbers only grow, and none is given twice."""
        self._reserve.fill()
        row = self._db.execute(
            "INSERT INTO deploys (app, action, upload, started, request) VALUES (?, ?, ?, ?, ?)",
            (app, action, _encode_name(request.name), started.isoformat(), record.dump(Asked(request))),
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
                    record.dump(Asked(request)),
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
            Undecided(number, record.load(Asked, asked).request, datetime.fromisoformat(started), intent or "")
            for number, asked, started, intent in rows
        )

    def unreported(self, app: str) -> tuple[Unreported, ...]:
        """Verdicts whose result file may be missing, oldest first."""
        rows = self._db.execute(
            "SELECT request, outcome FROM deploys WHERE app = ? AND reported = 0 AND status IS NOT NULL ORDER BY id",
            (app,),
        )
        return tuple(Unreported(record.load(Asked, asked).request, record.load(Outcome, told)) for asked, told in rows)

    def answered(self, app: str, names: Iterable[str]) -> dict[str, Answer]:
        """Those of these uploads and markers that have their verdict, by name."""
        question = "SELECT request, reopens FROM answered WHERE app = ? AND name = ?"
        rows = (self._db.execute(question, (app, _encode_name(name))).fetchone() for name in names)
        return {answer.request.name: answer for answer in map(_load_answer, filter(None, rows))}

    def leaving(self, app: str) -> dict[str, Answer]:
        """Deployed archives that are still to be deleted, by name."""
        question = "SELECT request, reopens FROM answered WHERE app = ? AND instr(request, ?)"
        rows = self._db.execute(question, (app, json.dumps(Fate.GOES)))
        return {answer.request.name: answer for answer in map(_load_answer, rows) if answer.fate is Fate.GOES}

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
            "WHERE releases.app = ? AND healthy = 0 AND (id IS NULL OR action = 'deploy' AND status = 'cancelled') "
            "ORDER BY release",  # a rollback that was cancelled has made nothing
            (app,),
        )
        return tuple(release for (release,) in rows)

    def newest_release(self, app: str) -> str:
        """The greatest id ever given, whether or not it is still on disk; "" when there is none."""
        (release,) = self._db.execute("SELECT max(release) FROM releases WHERE app = ?", (app,)).fetchone()
        return release or ""
