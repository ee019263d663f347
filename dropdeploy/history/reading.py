"""The history as it is read: verdicts, and what they proved. Nothing here writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dropdeploy import record
from dropdeploy.history.database import open_database
from dropdeploy.model.outcome import Outcome


class HistoryReader:
    """The database, for one thread at a time. Raises HistoryError when it cannot be opened.

    Who reads a file that an agent may be writing meanwhile sees each verdict as a whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        return open_database(self.path, read_only=True)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def make_room(self) -> bool:
        """Free what is kept in reserve on the disk; False when there is nothing: a reader has none."""
        return False

    def release_health(self, app: str) -> dict[str, bool | None]:
        """What is known of the releases' health; a release that is missing here was never judged."""
        rows = self._db.execute("SELECT release, healthy FROM releases WHERE app = ?", (app,))
        return {release: None if healthy is None else bool(healthy) for release, healthy in rows}

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
