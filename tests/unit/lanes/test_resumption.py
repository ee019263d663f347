"""What was interrupted and is asked for no more: what its verdict is an answer to."""

from __future__ import annotations

from pathlib import Path

from dropdeploy.intake.judge import judge
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.intake.memory import Memory
from dropdeploy.lanes.resumption import as_answered
from dropdeploy.model.app import App
from dropdeploy.model.request import Answer, Upload, Version

APP = App("myapp", root=Path("/home/myapp"), drop=Path("/srv/drop/myapp"), unit="myapp.service")
SITE = Entry("site", EntryKind.DIRECTORY, Version(1, 1, 100, 1, 1))
SITE_READY = Entry("site.ready", EntryKind.FILE, Version(1, 2, 0, 2, 2), Closed.YES)
BUILD = Entry("build.tgz", EntryKind.FILE, Version(1, 3, 100, 3, 3), Closed.YES)
BUILD_READY = Entry("build.tgz.ready", EntryKind.FILE, Version(1, 4, 0, 4, 4), Closed.YES)


def ready(*entries: Entry, answers: dict[str, Answer] | None = None) -> tuple[Upload, ...]:
    return judge(APP, entries, answers or {}, Memory(), 100.0).uploads


def test_a_directory_that_comes_back_with_its_ready_has_not_been_answered() -> None:
    (site,) = ready(SITE, SITE_READY)
    answers = {"site": Answer(as_answered(site, is_there=False))}
    assert ready(SITE, SITE_READY, answers=answers) == (site,)


def test_an_archive_that_comes_back_has_not_been_answered() -> None:
    (build,) = ready(BUILD)
    assert ready(BUILD, answers={"build.tgz": Answer(as_answered(build, is_there=False))}) == (build,)


def test_what_failed_is_not_tried_again_when_the_ready_that_asked_for_it_is_gone() -> None:
    (failed,) = ready(BUILD)
    (again,) = ready(BUILD, BUILD_READY, answers={"build.tgz": Answer(failed)})
    answers = {"build.tgz": Answer(as_answered(again, is_there=True))}
    assert not ready(BUILD, answers=answers)
    assert ready(BUILD, BUILD_READY, answers=answers) == (again,)


def test_a_directory_whose_ready_is_gone_waits_for_the_next() -> None:
    (site,) = ready(SITE, SITE_READY)
    answers = {"site": Answer(as_answered(site, is_there=True))}
    assert not ready(SITE, answers=answers)
    assert ready(SITE, SITE_READY, answers=answers) == (site,)
