"""One deploy, rollback or restart: its verdict, why, and its steps in time.   (pure)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dropdeploy.config.quantity import show_seconds
from dropdeploy.model.outcome import Outcome, Step
from dropdeploy.report.page.activity import progress_bar
from dropdeploy.report.page.faults import fault_box
from dropdeploy.report.page.frame import Frame, app_link, deploy_link, document, facts
from dropdeploy.report.page.html import EMPTY, Html, join, tag
from dropdeploy.report.page.words import (
    STEP_TONES,
    Badge,
    Tone,
    age,
    clock,
    health_badge,
    size_words,
    status_badge,
)
from dropdeploy.report.status import Progress

_LEAST_BAR = 0.6
"""Of a hundred: what took no time at all is still to be seen."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The numbers of the app's deploys before and after; 0 where there is none."""

    before: int = 0
    after: int = 0


def deploy_page(frame: Frame, outcome: Outcome, neighbours: Neighbours, now: datetime) -> Html:
    """The page of what has its verdict."""
    title = f"{outcome.action.value.capitalize()} #{outcome.id}"
    return document(
        frame,
        f"{title} of {outcome.app}: {status_badge(outcome).word} · {frame.host}",
        tag("h1", title, " ", status_badge(outcome).html()),
        tag("p", outcome.summary, class_="summary"),
        _why(outcome),
        tag("h2", "Steps"),
        _timeline(outcome.steps),
        tag("h2", "Facts"),
        _facts(outcome, now),
        _meta(outcome.meta),
        _pager(outcome.app, neighbours),
        trail=(app_link(outcome.app), deploy_link(outcome.app, outcome.id)),
    )


def _why(outcome: Outcome) -> Html:
    if outcome.fault is None:
        return EMPTY
    tone = status_badge(outcome).tone
    return tag("section", tag("h2", "Why"), fault_box(outcome, has_log=True), class_=f"trouble {tone}")


def progress_page(frame: Frame, app: str, progress: Progress, now: datetime) -> Html:
    """The page of what is going on."""
    title = f"{progress.action.value.capitalize()} #{progress.deploy}"
    return document(
        frame,
        f"{title} of {app}: {progress.step} · {frame.host}",
        tag("h1", title, " ", Badge("going on", Tone.BUSY).html()),
        tag("section", progress_bar(progress), class_="work"),
        tag("h2", "Steps"),
        _timeline(progress.steps, progress.step),
        tag("h2", "Facts"),
        facts(
            ("Upload", tag("span", progress.request, class_="name")),
            ("Release", tag("code", progress.release, class_="release") if progress.release else None),
            ("Started", join(clock(progress.started), " ", tag("small", age(progress.started, now)))),
        ),
        _meta(progress.meta),
        trail=(app_link(app), deploy_link(app, progress.deploy)),
    )


# --- steps -------------------------------------------------------------------------------------------------


def _timeline(steps: Sequence[Step], now: str = "") -> Html:
    """Each step with a bar that begins where the one before has ended."""
    if not steps and not now:
        return tag("p", "None was begun.")
    whole = sum(step.seconds for step in steps) or 1.0
    begun = 0.0
    rows = []
    for step in steps:
        rows.append(_step_row(step, 100 * begun / whole, 100 * step.seconds / whole))
        begun += step.seconds
    if now:
        rows.append(tag("li", tag("span", now, class_="step"), Badge("going on", Tone.BUSY).html(), class_="busy"))
    return tag("ol", *rows, class_="timeline", role="list")


def _step_row(step: Step, begin: float, length: float) -> Html:
    tone = STEP_TONES[step.status]
    length = max(length, _LEAST_BAR)
    begin = min(begin, 100 - length)
    bar = tag("rect", x=f"{begin:.2f}", y="0", width=f"{length:.2f}", height="6", rx="0.5")
    return tag(
        "li",
        tag("span", step.name.value, class_="step"),
        Badge(step.status.value, tone).html(),
        tag("span", show_seconds(step.seconds), class_="seconds"),
        tag("svg", bar, class_="bar", viewBox="0 0 100 6", preserveAspectRatio="none", aria_hidden="true"),
        tag("span", step.detail, class_="detail") if step.detail else None,
        class_=tone.value,
    )


# --- facts -------------------------------------------------------------------------------------------------


def _facts(outcome: Outcome, now: datetime) -> Html:
    live = join(tag("code", outcome.live, class_="release"), health_badge(outcome.live_healthy).html(), by=" ")
    return facts(
        ("Upload", _upload(outcome)),
        ("SHA-256", tag("code", outcome.sha256, class_="hash") if outcome.sha256 else None),
        ("Release", tag("code", outcome.release, class_="release") if outcome.release else None),
        ("Live before", tag("code", outcome.previous, class_="release") if outcome.previous else None),
        ("Live after", live if outcome.live else "nothing"),
        ("Health check", _health(outcome)),
        ("Started", clock(outcome.started)),
        ("Took", join(show_seconds(outcome.seconds), " ", tag("small", "ended ", age(outcome.finished, now)))),
    )


def _upload(outcome: Outcome) -> Html:
    size = f" ({size_words(outcome.bytes)})" if outcome.bytes is not None else None
    return join(tag("span", outcome.upload, class_="name"), size)


def _health(outcome: Outcome) -> Html:
    health = outcome.health
    if health is None:
        return EMPTY
    attempts = f"{health.attempts} attempt{'' if health.attempts == 1 else 's'}" if health.attempts else None
    last = f"the last answer was {health.last_status}" if health.last_status else None
    took = f"after {show_seconds(health.seconds)}" if health.seconds else None
    word = health_badge(health.healthy).html()
    return join(word, " ", tag("small", join(join(attempts, took, by=" "), last, by="; ")))


def _meta(meta: tuple[tuple[str, str], ...]) -> Html:
    if not meta:
        return EMPTY
    pairs = [(key, tag("span", value, class_="name")) for key, value in meta]
    return join(tag("h2", "What the uploader says"), facts(*pairs, class_="facts meta"))


def _pager(app: str, neighbours: Neighbours) -> Html:
    if not neighbours.before and not neighbours.after:
        return EMPTY
    return tag(
        "nav",
        deploy_link(app, neighbours.before, f"Before: #{neighbours.before}") if neighbours.before else None,
        deploy_link(app, neighbours.after, f"After: #{neighbours.after}") if neighbours.after else None,
        class_="pager",
        aria_label="Deploys before and after",
    )
