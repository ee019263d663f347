"""What the agent writes to a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dropdeploy.history import keeping
from dropdeploy.history.keeping import History, Pending, Undecided
from dropdeploy.model.outcome import Status
from dropdeploy.model.request import Action, Answer, Fate, Marker, Version
from tests.unit.history.course import NOW, UPLOAD, conclude, outcome


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
    assert history.answered("myapp", [UPLOAD.name, "other"]) == {UPLOAD.name: Answer(UPLOAD, reopens=True)}
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


def test_a_release_that_a_cancelled_rollback_aimed_at_is_not_to_be_gone(history: History) -> None:
    release, marker = "20260101-000001", Marker("rollback", Action.ROLLBACK, UPLOAD.version)
    for status, healthy in ((Status.CANCELLED, {}), (Status.FAILED, {release: False})):
        number = history.begin("myapp", Action.ROLLBACK, marker, NOW)
        history.conclude(outcome(number, status, release=release), Answer(marker), healthy)
    assert history.release_health("myapp") == {release: False}
    assert history.disowned("myapp") == ()


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


def test_only_so_many_answers_are_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ANSWERS_KEPT", 3)
    for serial in range(6):
        conclude(history, replace(UPLOAD, name=f"build-{serial}.zip"))
    names = [f"build-{serial}.zip" for serial in range(6)]
    assert sorted(history.answered("myapp", names)) == ["build-3.zip", "build-4.zip", "build-5.zip"]


def test_archives_that_are_to_be_deleted(history: History) -> None:
    for serial, fate in enumerate((Fate.STAYS, Fate.GOES, Fate.GONE)):
        upload = replace(UPLOAD, name=f'"goes"{serial}.zip')
        number = history.begin("myapp", Action.DEPLOY, upload, NOW)
        history.conclude(outcome(number), Answer(upload, fate=fate), {})
    assert list(history.leaving("myapp")) == ['"goes"1.zip']
    assert history.leaving("other") == {}


def test_markers_are_answered_too(history: History) -> None:
    marker = Marker("rollback", Action.ROLLBACK, Version(1, 2, 3, 4, 5), "id")
    number = history.begin("myapp", Action.ROLLBACK, marker, NOW)
    history.conclude(outcome(number), Answer(marker), {})
    assert history.answered("myapp", ["rollback"]) == {"rollback": Answer(marker)}
    assert history.unreported("myapp")[0].request == marker


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
