"""The history on a real database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropdeploy import history as history_module
from dropdeploy import record
from dropdeploy.history import SCHEMA, History, HistoryError, HistoryThread, Pending, Undecided, UnfitHistoryError
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action, Answer, Format, Marker, Upload, Version

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
UPLOAD = Upload("b\udce4h.zip", Format.ZIP, Version(1, 2, 3, 4, 5))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "history.db")
    yield opened
    opened.close()


def outcome(number: int, status: Status = Status.DEPLOYED, app: str = "myapp", release: str = "") -> Outcome:
    return Outcome(status, "told", app, Action.DEPLOY, number, NOW, NOW, upload=UPLOAD.name, release=release)


def conclude(history: History, upload: Upload = UPLOAD, status: Status = Status.DEPLOYED, **healthy: bool) -> int:
    number = history.begin("myapp", Action.DEPLOY, upload, NOW)
    release = next(iter(healthy), "")
    history.conclude(outcome(number, status, release=release), Answer(upload), healthy)
    return number


def test_the_course_of_a_deploy(history: History) -> None:
    number = history.begin("myapp", Action.DEPLOY, UPLOAD, NOW)
    assert history.undecided("myapp") == (Undecided(number, UPLOAD, NOW),)
    history.intend(number, "about to swap")
    assert history.undecided("myapp") == (Undecided(number, UPLOAD, NOW, "about to swap"),)
    history.conclude(
        outcome(number, release="20260101-000000"), Answer(UPLOAD, reopens=True), {"20260101-000000": True}
    )
    assert history.undecided("myapp") == ()
    assert [told.outcome.id for told in history.unreported("myapp")] == [number]
    assert history.answered("myapp") == {UPLOAD.name: Answer(UPLOAD, reopens=True)}
    history.reported(number)
    assert history.unreported("myapp") == ()
    assert history.outcome(number) == outcome(number, release="20260101-000000")
    assert history.release_health("myapp") == {"20260101-000000": True}


def test_numbers_are_never_given_twice(history: History) -> None:
    first = history.begin("myapp", Action.DEPLOY, UPLOAD, NOW)
    history.forget(first)
    assert history.undecided("myapp") == ()
    assert history.begin("myapp", Action.DEPLOY, UPLOAD, NOW) > first


def test_what_should_be_gone_is_remembered_until_a_verdict_speaks_for_it(history: History) -> None:
    for release in ("20260101-000001", "20260101-000002", "20260101-000003"):
        number = history.begin("myapp", Action.DEPLOY, UPLOAD, NOW)
        history.disown("myapp", release, number)
        if release.endswith("1"):
            history.forget(number)
        if release.endswith("2"):
            history.conclude(outcome(number, Status.CANCELLED, release=release), Answer(UPLOAD), {})
        if release.endswith("3"):
            history.conclude(outcome(number, release=release), Answer(UPLOAD), {release: True})
    conclude(history, status=Status.FAILED, **{"20260101-000004": False})
    assert history.disowned("myapp") == ("20260101-000001", "20260101-000002")
    assert history.disowned("other") == ()
    health = history.release_health("myapp")
    assert [health[release] for release in sorted(health)] == [False, False, True, False]


def test_a_verdict_is_not_forgotten(history: History) -> None:
    number = conclude(history)
    history.forget(number)
    assert history.outcome(number) is not None


def test_the_rate_counts_what_touched_the_app(history: History) -> None:
    for status in Status:
        conclude(history, status=status)
    assert history.count_tried("myapp", NOW - timedelta(seconds=1), NOW) == 3
    assert history.count_tried("myapp", NOW + timedelta(seconds=1), NOW) == 0
    ahead = NOW - timedelta(days=1)  # the clock was set back
    assert history.count_tried("myapp", ahead - timedelta(hours=1), ahead) == 0
    assert history.count_tried("other", NOW - timedelta(seconds=1), NOW) == 0


def test_an_id_is_remembered_although_nothing_was_proved_of_it(history: History) -> None:
    number = history.begin("myapp", Action.DEPLOY, UPLOAD, NOW)
    history.conclude(outcome(number, Status.FAILED, release="20260102-000000"), Answer(UPLOAD), {})
    assert history.newest_release("myapp") == "20260102-000000"
    assert history.newest_release("other") == ""
    assert history.release_health("myapp") == {"20260102-000000": None}


def test_health_is_what_was_seen_last(history: History) -> None:
    conclude(history, **{"20260101-000000": True})
    conclude(history, **{"20260101-000000": False})
    assert history.release_health("myapp") == {"20260101-000000": False}


def test_newest_outcomes_first(history: History) -> None:
    numbers = [conclude(history) for _ in range(3)]
    assert [told.id for told in history.outcomes("myapp", 2)] == numbers[:0:-1]
    assert [told.id for told in history.outcomes()] == numbers[::-1]
    assert history.outcomes("other") == ()
    assert history.outcome(99) is None


def test_only_so_many_answers_are_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "ANSWERS_KEPT", 3)
    for serial in range(6):
        conclude(history, replace(UPLOAD, name=f"build-{serial}.zip"))
    assert sorted(history.answered("myapp")) == ["build-3.zip", "build-4.zip", "build-5.zip"]


def test_markers_are_answered_too(history: History) -> None:
    marker = Marker("rollback", Action.ROLLBACK, Version(1, 2, 3, 4, 5), "id")
    number = history.begin("myapp", Action.ROLLBACK, marker, NOW)
    history.conclude(outcome(number), Answer(marker), {})
    assert history.answered("myapp") == {"rollback": Answer(marker)}
    assert history.unreported("myapp")[0].request == marker


def test_it_survives_being_opened_again_and_read_beside(history: History, tmp_path: Path) -> None:
    number = conclude(history)
    reader = History(tmp_path / "history.db", read_only=True)
    assert reader.outcome(number) is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.reported(number)
    reader.close()
    history.close()
    again = History(tmp_path / "history.db")
    assert again.outcome(number) is not None
    again.close()


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
    before = History(path, read_only=True)  # the command is newer than the agent that still runs
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
    monkeypatch.setattr(history_module, "SCHEMA", steps)
    monkeypatch.setattr(history_module, "SCHEMA_VERSION", len(steps))
    with pytest.raises(HistoryError, match="already exists"):
        History(path)
    monkeypatch.undo()
    history = History(path)
    assert history._db.execute("SELECT name FROM sqlite_master WHERE name = 'third'").fetchall() == []
    history.close()


def test_the_oldest_verdict_of_each_app_and_channel_is_told_first(history: History) -> None:
    numbers = [history.begin("myapp", Action.DEPLOY, UPLOAD, NOW) for _ in range(3)]
    for number in numbers:
        history.conclude(outcome(number), Answer(UPLOAD), {}, ["webhook", "email"])
    first = Pending(numbers[0], "myapp", "webhook")
    assert set(history.pending()) == {first, Pending(numbers[0], "myapp", "email")}
    history.count_try(first)
    assert Pending(numbers[0], "myapp", "webhook", 1) in history.pending()
    history.take_out(first)
    assert Pending(numbers[1], "myapp", "webhook") in history.pending()
    assert Pending(numbers[0], "myapp", "email") in history.pending()


def test_verdicts_that_come_in_another_order_than_deploys_begin(history: History, tmp_path: Path) -> None:
    reader = History(tmp_path / "history.db", read_only=True)
    assert reader.decided_to() == 0
    slow, quick = (history.begin("myapp", Action.DEPLOY, UPLOAD, NOW) for _ in range(2))
    changes = reader.changes()
    history.conclude(outcome(quick), Answer(UPLOAD), {})
    assert reader.changes() != changes
    assert reader.changes() == reader.changes()
    assert reader.decided_to() == slow - 1
    assert [told.id for told in reader.outcomes_after(slow - 1)] == [quick]
    history.conclude(outcome(slow), Answer(UPLOAD), {})
    assert reader.decided_to() == quick
    assert [told.id for told in reader.outcomes_after(slow - 1, "myapp")] == [slow, quick]
    assert reader.outcomes_after(slow - 1, "other") == ()
    reader.close()


def test_one_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="to read it, be root or the agent's user"):
        History(tmp_path / "history.db", read_only=True)
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(HistoryError, match="not a database"):
        History(tmp_path / "broken.db")


async def test_the_thread_answers_in_order(tmp_path: Path) -> None:
    thread = HistoryThread(History(tmp_path / "history.db"))
    number = await thread.ask(lambda history: history.begin("myapp", Action.DEPLOY, UPLOAD, NOW))
    assert await thread.ask(lambda history: history.undecided("myapp")) == (Undecided(number, UPLOAD, NOW),)
    await thread.close()


def test_verdicts_are_counted(history: History) -> None:
    conclude(history)
    conclude(history)
    conclude(history, status=Status.FAILED)
    history.begin("myapp", Action.DEPLOY, UPLOAD, NOW)
    number = history.begin("other", Action.ROLLBACK, UPLOAD, NOW)
    history.conclude(outcome(number, app="other"), Answer(UPLOAD), {})
    assert history.verdicts() == {
        ("myapp", "deploy", "deployed"): 2,
        ("myapp", "deploy", "failed"): 1,
        ("other", "rollback", "deployed"): 1,
    }


def test_what_made_a_release_live(history: History) -> None:
    old, new = "20260101-000000", "20260102-000000"

    def verdict(action: Action, status: Status, release: str, live: str) -> int:
        number = history.begin("myapp", action, UPLOAD, NOW)
        told = replace(outcome(number, status, release=release), action=action, live=live)
        history.conclude(told, Answer(UPLOAD), {})
        return number

    first = verdict(Action.DEPLOY, Status.DEPLOYED, old, old)
    verdict(Action.DEPLOY, Status.ROLLED_BACK, new, old)
    verdict(Action.RESTART, Status.DEPLOYED, old, old)
    verdict(Action.DEPLOY, Status.REJECTED, "", old)
    made = history.made_live("myapp", old)
    assert made is not None
    assert made.id == first
    assert history.made_live("myapp", new) is None
    assert history.made_live("other", old) is None
    second = verdict(Action.DEPLOY, Status.FAILED, new, new)
    back = verdict(Action.ROLLBACK, Status.DEPLOYED, old, old)
    assert [made.id for each in (new, old) if (made := history.made_live("myapp", each))] == [second, back]
