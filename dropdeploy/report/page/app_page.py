"""One app: what is live, is it healthy, who deployed it, what failed and why, what a rollback would go to.   (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropdeploy.config.quantity import show_seconds
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import Action
from dropdeploy.report.page.activity import doing, progress_bar
from dropdeploy.report.page.faults import fault_box
from dropdeploy.report.page.frame import Frame, app_link, deploy_link, document, facts
from dropdeploy.report.page.html import EMPTY, Html, join, tag
from dropdeploy.report.page.tables import Row, table
from dropdeploy.report.page.words import (
    UNTRIED,
    UNWANTED,
    Badge,
    Tone,
    age,
    app_badge,
    credit,
    health_badge,
    status_badge,
)
from dropdeploy.report.status import AppNow, Seen

PAGE = 20
NOTHING_OLDER = "nothing: no healthy release is older"


@dataclass(frozen=True, slots=True)
class AppView:
    """``deploys`` are the newest verdicts with numbers below ``before`` (0: the newest of all), newest first;
    ``has_more`` older ones. ``makers`` are the deploys that made the releases that are on disk."""

    seen: Seen
    deploys: tuple[Outcome, ...]
    has_more: bool
    makers: dict[str, Outcome]
    before: int = 0


def app_page(frame: Frame, view: AppView, now: datetime) -> Html:
    """The page."""
    state = view.seen.now
    return document(
        frame,
        f"{state.app}: {app_badge(state).word} · {frame.host}",
        tag("h1", state.app, " ", app_badge(state).html()),
        _now(view, now) if not view.before else None,
        _deploys(view, now),
        _releases(view) if not view.before else None,
        trail=(app_link(state.app),),
    )


# --- now ---------------------------------------------------------------------------------------------------


def _now(view: AppView, now: datetime) -> Html:
    state = view.seen.now
    waiting = doing(state)
    return join(
        tag("section", progress_bar(view.seen.progress, state.app), class_="work") if view.seen.progress else None,
        tag("p", waiting) if waiting else None,
        facts(
            ("Live", _release(state.live, view, now) if state.live else "nothing"),
            ("Health", _health(state, now) if state.live else None),
            ("Deployed by", deployed_by(state) or _deploying(view.seen)),
            ("A rollback would go to", _release(state.rollback_to, view, now) or NOTHING_OLDER),
        ),
        *(_trouble(outcome, now) for outcome in troubles(view)),
    )


def _release(release: str, view: AppView, now: datetime) -> Html:
    if not release:
        return EMPTY
    maker, progress = view.makers.get(release), view.seen.progress
    if maker is None:
        going_on = deploy_link(view.seen.now.app, progress.deploy) if progress and progress.release == release else None
        return join(
            tag("code", release, class_="release"), tag("small", "deploy ", going_on) if going_on else None, by=" "
        )
    made = join(
        join("deploy ", deploy_link(maker.app, maker.id)), credit(maker.meta), age(maker.finished, now), by=", "
    )
    return join(tag("code", release, class_="release"), " ", tag("small", made))


def _health(state: AppNow, now: datetime) -> Html:
    since = join("went live ", age(state.since, now)) if state.since else None
    return join(app_badge(state).html(), " ", tag("small", since) if since else None)


def deployed_by(state: AppNow) -> Html:
    """All that is known of who made the live release."""
    return _signed(state.maker.upload, state.maker.meta) if state.maker else EMPTY


def _deploying(seen: Seen) -> Html:
    """The same of a release that is live, and has no verdict yet."""
    progress = seen.progress
    is_live = progress is not None and progress.release == seen.now.live
    return _signed(progress.request, progress.meta) if progress and is_live else EMPTY


def _signed(upload: str, meta: tuple[tuple[str, str], ...]) -> Html:
    if not meta:
        return join(tag("span", upload, class_="name"), tag("small", " (no metadata came with it)"))
    shown = [join(f"{key}: ", tag("b", value[:200])) for key, value in meta[:12]]
    return tag("span", join(*shown, by=", "), class_="meta")


def troubles(view: AppView) -> tuple[Outcome, ...]:
    """What went wrong last: the newest verdict, and behind what was refused untried the newest that was tried."""
    tried = next((outcome for outcome in view.deploys if outcome.status not in UNTRIED), None)
    candidates = dict.fromkeys((*view.deploys[:1], tried))
    return tuple(each for each in candidates if each and each.fault and each.status not in UNWANTED)


def _trouble(last: Outcome, now: datetime) -> Html:
    badge = status_badge(last)
    heading = join(f"The last {last.action.value if last.status not in UNTRIED else 'upload'} ", badge.html())
    return tag(
        "section",
        tag("h2", heading),
        tag(
            "p",
            deploy_link(last.app, last.id, f"Deploy #{last.id}"),
            join(" of ", tag("span", last.upload, class_="name"), ", ", age(last.finished, now)),
            ": ",
            last.summary,
        ),
        fault_box(last, has_log=True),
        class_=f"trouble {badge.tone}",
    )


# --- tables ------------------------------------------------------------------------------------------------

DEPLOY_COLUMNS = ("Number", "Verdict", "What", "Release", "Who", "Took", "When")
RELEASE_COLUMNS = ("Release", "Health", "Made by", "What")


def _deploys(view: AppView, now: datetime) -> Html:
    if not view.deploys:
        return join(tag("h2", "Deploys"), tag("p", "None older." if view.before else "None yet."))
    rows = (_deploy_row(outcome, now) for outcome in view.deploys)
    return join(table("deploys", "Deploys", DEPLOY_COLUMNS, rows), _pager(view))


def _deploy_row(outcome: Outcome, now: datetime) -> Row:
    what = outcome.upload if outcome.action is Action.DEPLOY else outcome.action.value
    code = tag("code", outcome.fault.code.value, class_="code") if outcome.fault else None
    cells = (
        deploy_link(outcome.app, outcome.id),
        join(status_badge(outcome).html(), code, by=" "),
        tag("span", what, class_="name"),
        tag("code", outcome.release, class_="release") if outcome.release else EMPTY,
        credit(outcome.meta),
        tag("span", show_seconds(outcome.seconds), class_="seconds"),
        age(outcome.finished, now),
    )
    return Row(f"deploy-{outcome.id}", cells)


def _pager(view: AppView) -> Html:
    if not view.before and not view.has_more:
        return EMPTY
    address = f"/apps/{view.seen.now.app}"
    return tag(
        "nav",
        tag("a", "Newest", href=address) if view.before else None,
        tag("a", "Older", href=f"{address}?before={view.deploys[-1].id}", rel="next") if view.has_more else None,
        class_="pager",
        aria_label="Older deploys",
    )


def _releases(view: AppView) -> Html:
    releases = view.seen.now.releases
    rows = (_release_row(view, release, is_healthy) for release, is_healthy in releases)
    return table("releases", "Releases on disk", RELEASE_COLUMNS, rows) if releases else EMPTY


def _release_row(view: AppView, release: str, is_healthy: bool | None) -> Row:
    maker = view.makers.get(release)
    marks = {
        view.seen.now.rollback_to: Badge("rollback goes here", Tone.QUIET),
        view.seen.now.live: Badge("live", Tone.MARK),
    }
    mark = marks.get(release)
    cells = (
        join(tag("code", release, class_="release"), mark.html() if mark else None, by=" "),
        health_badge(is_healthy).html(),
        join(deploy_link(maker.app, maker.id), credit(maker.meta), by=", ") if maker else EMPTY,
        tag("span", maker.upload, class_="name") if maker else EMPTY,
    )
    return Row(f"release-{release}", cells)
