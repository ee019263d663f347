"""The file: made, brought up, refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dropdeploy import record
from dropdeploy.history import database
from dropdeploy.history.database import SCHEMA
from dropdeploy.history.failure import HistoryError, UnfitHistoryError
from dropdeploy.history.keeping import History
from dropdeploy.history.reading import HistoryReader
from tests.unit.history.course import NOW, outcome


def test_what_is_committed_is_on_disk(history: History) -> None:
    (synchronous,) = history._db.execute("PRAGMA synchronous").fetchone()
    (journal,) = history._db.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, journal) == (2, "wal")


def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(UnfitHistoryError, match="has schema 99, this dropdeploy knows 2") as refused:
        History(path)
    assert refused.value.mark == "schema-99"
    assert path.read_bytes() == before


def test_a_history_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.executescript(f"{SCHEMA[0]} PRAGMA user_version = 1;")
        row = ("myapp", "deploy", "b.zip", NOW.isoformat(), record.dump(outcome(1)))
        db.execute(
            "INSERT INTO deploys (app, action, upload, started, status, request, outcome) "
            "VALUES (?, ?, ?, ?, 'deployed', '{}', ?)",
            row,
        )
    db.close()
    before = HistoryReader(path)  # the command is newer than the agent that still runs
    assert before.outcome(1) == outcome(1)
    before.close()
    for _ in range(2):
        history = History(path)
        assert history.outcome(1) == outcome(1)
        assert history.pending() == ()
        history.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_a_step_up_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.db"
    History(path).close()
    steps = (*SCHEMA, "CREATE TABLE third (x); CREATE TABLE deploys (x);")
    monkeypatch.setattr(database, "SCHEMA", steps)
    monkeypatch.setattr(database, "SCHEMA_VERSION", len(steps))
    with pytest.raises(HistoryError, match="already exists"):
        History(path)
    monkeypatch.undo()
    history = History(path)
    assert history._db.execute("SELECT name FROM sqlite_master WHERE name = 'third'").fetchall() == []
    history.close()


def test_one_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="to read it, be root or the agent's user"):
        HistoryReader(tmp_path / "history.db")
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(HistoryError, match="not a database"):
        History(tmp_path / "broken.db")
