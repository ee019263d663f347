"""What stands on the pages, for people and for programs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action
from dropdeploy.report.page.app_page import AppView, app_page, troubles
from dropdeploy.report.page.as_json import app_page_json, deploy_json, overview_json, progress_json
from dropdeploy.report.page.deploy_page import Neighbours, deploy_page, progress_page
from dropdeploy.report.page.errors import error_page, token_page
from dropdeploy.report.page.html import Html
from dropdeploy.report.page.overview import PAGE, overview_page, survey
from dropdeploy.report.page.words import age_words, size_words
from tests.unit.report.page.samples import FRAME, NOW, outcome, progress, seen

VOID = {"meta", "link", "input"}
HOSTILE = "</pre></main><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\x1b[31m"


class Reader(HTMLParser):
    """Sees that elements are closed in order, and of which kinds there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Html) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    names = {name for name, _ in reader.attributes}
    assert not {name for name in names if name.startswith("on")} | ({"style"} & names)  # the policy allows none
    return reader


def view(*deploys: Outcome, **more: object) -> AppView:
    return AppView(seen(**more), deploys or (outcome(),), has_more=False, makers={"20260123-140001": outcome()})


def all_pages(text: str) -> list[Html]:
    """Every page, with ``text`` wherever a stranger's can be."""
    fault = Fault(ErrorCode.UNIT_CRASHED, text, text, f"{text}\n{text}")
    meta = ((text, text), ("author", text), ("commit", text))
    bad = replace(outcome(2, Status.ROLLED_BACK), summary=text, upload=text, fault=fault, meta=meta, sha256=text)
    bad = replace(bad, steps=tuple(replace(step, detail=text) for step in bad.steps))
    going_on = progress(request=text, meta=meta)
    app = seen(progress=going_on, last=bad, maker=bad, queue=(text, text), is_held=True, working=f"{text}: extract")
    return [
        overview_page(FRAME, survey([app, seen("other", last=bad, maker=bad)], query=""), NOW),
        overview_page(FRAME, survey([app], query=text), NOW),
        app_page(FRAME, AppView(app, (bad,), has_more=True, makers={"20260123-140001": bad}), NOW),
        deploy_page(FRAME, bad, Neighbours(1, 3), NOW),
        progress_page(FRAME, "myapp", going_on, NOW),
        error_page(FRAME, "title", "sentence"),
        token_page(FRAME, is_wrong=True),
    ]


@pytest.mark.parametrize("number", range(7))
def test_what_strangers_write_makes_no_elements(number: int) -> None:
    harmless, hostile = read(all_pages("words")[number]), read(all_pages(HOSTILE)[number])
    assert hostile.tags == harmless.tags
    assert hostile.tags.count("script") == 1  # our own
    assert "\u202e" not in hostile.text
    assert "\x1b" not in hostile.text


# --- all apps ----------------------------------------------------------------------------------------------


def test_what_needs_a_look_comes_first() -> None:
    apps = [seen("a"), seen("b", is_healthy=False), seen("c"), seen("d", last=outcome(3, Status.ROLLED_BACK, app="d"))]
    found = survey([*reversed(apps)])
    assert [each.now.app for each in found.shown] == ["b", "d", "a", "c"]
    assert (found.apps, found.healthy, found.ill, found.failed) == (4, 3, 1, 1)


def test_many_apps_are_shown_by_the_page_and_found_by_name() -> None:
    apps = [seen(f"app{number:04d}") for number in range(2 * PAGE + 1)]
    assert [len(survey(apps, page=page).shown) for page in (0, 1, 2, 3, 99)] == [PAGE, PAGE, PAGE, 1, 1]
    assert 'href="/?page=2" rel="next"' in overview_page(FRAME, survey(apps), NOW)
    found = survey(apps, query=" APP0007 ")
    assert [each.now.app for each in found.shown] == ["app0007"]
    assert "No app" in read(overview_page(FRAME, survey(apps, query="x"), NOW)).text


def test_a_row_tells_what_is_going_on() -> None:
    row = read(overview_page(FRAME, survey([seen(progress=progress(), working="x")]), NOW)).text
    assert "deploying build-7.tar.gz: extract 41 %" in re.sub(r"\s+", " ", row)
    assert "1 at work" in row
    held = read(overview_page(FRAME, survey([seen(is_held=True, queue=("a.zip", "b.zip"))]), NOW)).text
    assert "on hold 2 waiting a.zip, b.zip" in held
    assert "nothing live" in read(overview_page(FRAME, survey([seen(live="", last=None, maker=None)]), NOW)).text


# --- one app -----------------------------------------------------------------------------------------------


def test_the_questions_are_answered() -> None:
    maker = outcome(meta=(("author", "Ada"), ("commit", "1a2b3c4d5e6f7"), ("ticket", "42")))
    text = read(app_page(FRAME, view(maker, maker=maker), NOW)).text
    assert "Live20260123-140001" in text
    assert "healthy went live 3 h ago" in text
    assert "Deployed byauthor: Ada, commit: 1a2b3c4d5e6f7, ticket: 42" in text
    assert "A rollback would go to20260123-130000" in text
    assert "nothing: no healthy release is older" in read(app_page(FRAME, view(rollback_to=""), NOW)).text


def test_what_failed_is_told_with_its_reason() -> None:
    text = read(app_page(FRAME, view(outcome(2, Status.ROLLED_BACK)), NOW)).text
    for needed in (
        "The last deploy rolled back",
        "it crashed",
        "unit-crashed in step health",
        "look at the log",
        "one\ntwo",
    ):
        assert needed in text


def test_an_upload_that_was_refused_does_not_hide_what_failed_before() -> None:
    refused, failed, fine = outcome(3, Status.REJECTED), outcome(2, Status.FAILED), outcome(1)
    assert troubles(view(refused, failed, fine)) == (refused, failed)
    assert troubles(view(refused, fine, failed)) == (refused,)
    assert troubles(view(failed, fine)) == (failed,)
    assert troubles(view(fine, failed)) == ()
    assert troubles(view(outcome(4, Status.SUPERSEDED), fine)) == ()


def test_older_deploys_are_on_other_pages() -> None:
    page = app_page(FRAME, replace(view(outcome(30), outcome(29)), has_more=True), NOW)
    assert 'href="/apps/myapp?before=29" rel="next"' in page
    older = app_page(FRAME, replace(view(outcome(28)), before=29), NOW)
    assert "A rollback would go to" not in older
    assert ">Newest<" in older


# --- one deploy --------------------------------------------------------------------------------------------


def test_steps_stand_in_time() -> None:
    page = deploy_page(FRAME, outcome(), Neighbours(0, 2), NOW)
    assert re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', page) == [("0.00", "10.00"), ("10.00", "90.00")]
    assert "3 attempts after 0.9 s; the last answer was 200" in read(page).text
    assert ">After: #2<" in page


def test_what_took_no_time_is_seen_all_the_same() -> None:
    steps = tuple(replace(step, seconds=0.0) for step in outcome().steps)
    page = deploy_page(FRAME, outcome(steps=steps), Neighbours(), NOW)
    assert all(float(width) > 0 for width in re.findall(r'width="([\d.]+)"', page))
    assert "None was begun." in deploy_page(FRAME, outcome(steps=()), Neighbours(), NOW)


def test_rollbacks_and_restarts_have_their_words() -> None:
    assert "went back" in deploy_page(FRAME, outcome(action=Action.ROLLBACK), Neighbours(), NOW)
    assert "restarted" in deploy_page(FRAME, outcome(action=Action.RESTART), Neighbours(), NOW)


# --- programs ----------------------------------------------------------------------------------------------


def test_json_has_the_keys_of_the_files() -> None:
    app = app_page_json(replace(view(outcome(2), outcome(1), progress=progress()), has_more=True))
    assert app["live"] == "20260123-140001"
    assert app["since"] == "2026-01-23T12:00:00.000Z"
    assert app["next"] == "/apps/myapp.json?before=1"
    assert overview_json(survey([seen()]))["healthy"] == 1
    deploy = deploy_json(outcome(2, Status.FAILED), Neighbours(1, 0))
    assert (deploy["status"], deploy["before"], "after" in deploy) == ("failed", 1, False)
    assert progress_json(progress())["percent"] == 41


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "just now"), (4, "just now"), (5, "5 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7199, "119 min ago"),
     (7200, "2 h ago"), (172800, "2 d ago"), (31e6, "358 d ago")],
)  # fmt: skip
def test_ages(seconds: float, words: str) -> None:
    assert age_words(NOW - timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (11909697, "11.4 MiB"),
        (2**40, "1.0 TiB"),
        (2**62, "4194304.0 TiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert size_words(count) == words
