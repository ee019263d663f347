"""What is read of a real database."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from dropdeploy.history.keeping import History
from dropdeploy.history.reading import HistoryReader
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import Action, Answer
from tests.unit.history.course import NOW, UPLOAD, conclude, outcome


def test_newest_outcomes_first(history: History) -> None:
    numbers = [conclude(history) for _ in range(3)]
    assert [told.id for told in history.outcomes("myapp", 2)] == numbers[:0:-1]
    assert [told.id for told in history.outcomes()] == numbers[::-1]
    assert history.outcomes("other") == ()
    assert history.outcome(99) is None


def test_it_survives_being_opened_again_and_read_beside(history: History, tmp_path: Path) -> None:
    number = conclude(history)
    reader = HistoryReader(tmp_path / "history.db")
    assert reader.outcome(number) is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("UPDATE deploys SET reported = 1")
    reader.close()
    history.close()
    again = History(tmp_path / "history.db")
    assert again.outcome(number) is not None
    again.close()


def test_verdicts_that_come_in_another_order_than_deploys_begin(history: History, tmp_path: Path) -> None:
    reader = HistoryReader(tmp_path / "history.db")
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
