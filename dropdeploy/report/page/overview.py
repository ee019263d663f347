"""All apps at a glance.   (pure)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from dropdeploy.model.outcome import Status
from dropdeploy.report.harmless import one_line
from dropdeploy.report.page.activity import doing, progress_bar
from dropdeploy.report.page.frame import Frame, app_link, deploy_link, document
from dropdeploy.report.page.html import EMPTY, Html, join, tag
from dropdeploy.report.page.words import (
    UNWANTED,
    Badge,
    Tone,
    age,
    app_badge,
    count_words,
    credit,
    has_failed,
    needs_a_look,
    status_badge,
)
from dropdeploy.report.status import AppNow, Seen

PAGE = 100


@dataclass(frozen=True, slots=True)
class Overview:
    """One page of the apps that ``query`` finds; the counts are of all there are."""

    shown: tuple[Seen, ...]
    found: int
    apps: int
    healthy: int
    ill: int
    working: int
    failed: int
    query: str = ""
    page: int = 1

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.found // PAGE))


def survey(apps: Iterable[Seen], query: str = "", page: int = 1) -> Overview:
    """What needs a look comes first, all else in order of name."""
    all_apps = list(apps)
    wanted = query.strip().lower()
    found = [seen for seen in all_apps if wanted in seen.now.app] if wanted else all_apps
    found.sort(key=lambda seen: (not needs_a_look(seen), seen.now.app))
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(page, 1), pages)
    return Overview(
        shown=tuple(found[(page - 1) * PAGE : page * PAGE]),
        found=len(found),
        apps=len(all_apps),
        healthy=sum(1 for seen in all_apps if seen.now.live and seen.now.is_healthy is True),
        ill=sum(1 for seen in all_apps if seen.now.live and seen.now.is_healthy is False),
        working=sum(1 for seen in all_apps if seen.now.working),
        failed=sum(1 for seen in all_apps if has_failed(seen)),
        query=query.strip(),
        page=page,
    )


def overview_page(frame: Frame, overview: Overview, now: datetime) -> Html:
    """The page."""
    return document(
        frame,
        f"{_title(overview)} · {frame.host}",
        tag("h1", "Apps"),
        _counts(overview),
        _search(overview) if overview.apps > 10 or overview.query else None,
        tag("ul", *(_row(seen, now) for seen in overview.shown), class_="apps", role="list")
        if overview.shown
        else _nothing(overview),
        _pager(overview),
    )


def _title(overview: Overview) -> str:
    return f"{overview.ill} ill" if overview.ill else count_words(overview.apps, "app")


def _counts(overview: Overview) -> Html:
    rest = overview.apps - overview.healthy - overview.ill
    badges = (
        Badge(f"{overview.ill} ill", Tone.BAD) if overview.ill else None,
        Badge(f"{overview.failed} with a failed deploy", Tone.BAD) if overview.failed else None,
        Badge(f"{overview.healthy} healthy", Tone.GOOD) if overview.healthy else None,
        Badge(f"{rest} not live or not checked", Tone.QUIET) if rest else None,
        Badge(f"{overview.working} at work", Tone.BUSY) if overview.working else None,
    )
    return tag("p", join(*(badge.html() for badge in badges if badge), by=" "), class_="counts")


def _search(overview: Overview) -> Html:
    return tag(
        "form",
        tag("label", "Find an app", for_="q"),
        tag("input", type="search", id="q", name="q", value=overview.query, maxlength="64", autocomplete="off"),
        tag("button", "Find"),
        tag("a", "all apps", href="/") if overview.query else None,
        role="search",
        action="/",
    )


def _nothing(overview: Overview) -> Html:
    return tag("p", f"No app's name has “{overview.query}” in it." if overview.query else "No apps are configured.")


def _row(seen: Seen, now: datetime) -> Html:
    state = seen.now
    return tag(
        "li",
        tag("h2", app_link(state.app)),
        tag("p", app_badge(state).html(), class_="state"),
        tag("p", _live(state, now), class_="live"),
        tag("div", _latest(seen, now), class_=f"latest {status_badge(state.last).tone}" if state.last else "latest"),
        id=f"app-{state.app}",
        class_="needs-a-look" if needs_a_look(seen) else None,
    )


def _live(state: AppNow, now: datetime) -> Html:
    if not state.live:
        return EMPTY
    meta = state.maker.meta if state.maker else ()
    since = join("went live ", age(state.since, now)) if state.since else None
    return join(tag("code", state.live, class_="release"), " ", tag("small", join(since, credit(meta), by=", ")))


def _latest(seen: Seen, now: datetime) -> Html:
    waiting = doing(seen.now)
    if seen.progress is not None:
        return join(progress_bar(seen.progress), tag("p", waiting) if waiting else None)
    last = seen.now.last
    if last is None or (last.status is Status.DEPLOYED and waiting):
        return tag("p", waiting)
    told = join(
        status_badge(last).html(),
        " ",
        deploy_link(last.app, last.id) if last.id else None,
        " ",
        tag("small", age(last.finished, now)),
    )
    why = tag("p", one_line(last.fault.message), class_="why") if last.fault and last.status not in UNWANTED else None
    return join(tag("p", told), why, tag("p", waiting) if waiting else None)


def _pager(overview: Overview) -> Html:
    if overview.pages == 1:
        return EMPTY

    def link(page: int, shown: str, rel: str) -> Html:
        query = {"q": overview.query} if overview.query else {}
        return tag("a", shown, href="/?" + urlencode(query | {"page": page}), rel=rel)

    return tag(
        "nav",
        link(overview.page - 1, "Previous", "prev") if overview.page > 1 else None,
        tag("span", f"page {overview.page} of {overview.pages}"),
        link(overview.page + 1, "Next", "next") if overview.page < overview.pages else None,
        class_="pager",
        aria_label="Pages",
    )
