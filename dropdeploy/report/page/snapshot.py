"""``status.html``: one app as it is now, for an uploader who can only download. One file, which needs nothing else and
says when it was true.   (pure but for the style sheet, which is read once)
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import cache
from importlib import resources

from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import Action
from dropdeploy.report.page.activity import doing
from dropdeploy.report.page.app_page import NOTHING_OLDER, deployed_by
from dropdeploy.report.page.faults import fault_box
from dropdeploy.report.page.frame import facts
from dropdeploy.report.page.html import Html, join, style, tag
from dropdeploy.report.page.tables import Row, table
from dropdeploy.report.page.words import Badge, Tone, app_badge, clock, health_badge, status_badge
from dropdeploy.report.status import AppNow


def snapshot(now: AppNow, at: datetime) -> Html:
    """The file."""
    sheet, policy = _style()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{now.app}: {app_badge(now).word}"),
        style(sheet),
    )
    main = tag(
        "main",
        tag("h1", now.app, " ", app_badge(now).html()),
        tag("p", "As it was at ", clock(at), ", when something last changed.", class_="small"),
        _work(now),
        _trouble(now.last),
        facts(
            ("Live", tag("code", now.live, class_="release") if now.live else "nothing"),
            ("Live since", clock(now.since) if now.live and now.since else None),
            ("Deployed by", deployed_by(now)),
            ("A rollback would go to", _rollback(now) if now.live else None),
            ("Last verdict", _last(now.last) if now.last else None),
        ),
        _releases(now),
    )
    return join(Html("<!DOCTYPE html>\n"), tag("html", head, tag("body", main), lang="en"), Html("\n"))


@cache
def _style() -> tuple[str, str]:
    """The sheet, and the policy that allows it and nothing else (CSP 3, 2.3.1: a hash source)."""
    sheet = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    return sheet, f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _work(now: AppNow) -> Html | None:
    working = join(Badge("at work", Tone.BUSY).html(), " ", tag("span", now.working, class_="name"))
    lines = [working if now.working else None, doing(now)]
    return tag("section", *(tag("p", line) for line in lines if line), class_="work") if any(lines) else None


def _trouble(last: Outcome | None) -> Html | None:
    if last is None or last.fault is None:
        return None
    heading = join("The last ", last.action.value, " ", status_badge(last).html())
    return tag("section", tag("h2", heading), fault_box(last, has_log=True), class_="trouble")


def _rollback(now: AppNow) -> Html | str:
    if not now.rollback_to:
        return NOTHING_OLDER
    return tag("code", now.rollback_to, class_="release")


def _last(last: Outcome) -> Html:
    what = tag("span", last.upload, class_="name") if last.action is Action.DEPLOY else last.action.value
    return join(status_badge(last).html(), " ", what, ", ", clock(last.finished), tag("div", last.summary))


def _releases(now: AppNow) -> Html | None:
    marks = {
        now.rollback_to: Badge("rollback goes here", Tone.QUIET),
        now.live: Badge("live", Tone.GOOD),
    }
    rows = [
        Row(
            f"release-{release}",
            (
                join(
                    tag("code", release, class_="release"), marks[release].html() if release in marks else None, by=" "
                ),
                health_badge(is_healthy).html(),
            ),
        )
        for release, is_healthy in now.releases
    ]
    return table("releases", "Releases on disk", ("Release", "Health"), rows) if rows else None
