"""What stands at which address, as HTML and as JSON: functions of what the agent and the history know."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from dropdeploy.history.failure import HistoryError
from dropdeploy.history.reading import HistoryReader
from dropdeploy.report.page.app_page import PAGE, AppView, app_page
from dropdeploy.report.page.archive import Archive
from dropdeploy.report.page.as_json import app_page_json, deploy_json, overview_json, progress_json
from dropdeploy.report.page.bulletin import Bulletin
from dropdeploy.report.page.deploy_page import Neighbours, deploy_page, progress_page
from dropdeploy.report.page.frame import Frame
from dropdeploy.report.page.overview import overview_page, survey
from dropdeploy.report.status import Seen

_SUFFIX = ".json"
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Sources:
    """What places tell from. ``apps`` are as they are now; ``ailments`` is what is wrong with the agent itself."""

    frame: Frame
    apps: Callable[[], Mapping[str, Seen]]
    ailments: Callable[[], list[str]]
    archive: Archive
    bulletin: Bulletin


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    text: str
    kind: str = "text/html"
    status: int = 200


Place = Callable[[Sources, Mapping[str, str], Mapping[str, str], str], Awaitable[Answer | None]]
"""Given what the address matched, its query and the Accept header; None where there is nothing."""


async def overview(sources: Sources, match: Mapping[str, str], query: Mapping[str, str], accept: str) -> Answer | None:
    """All apps."""
    found = survey(sources.apps().values(), query.get("q", "")[:64], _number(query.get("page", "1")))
    if "json" in match or wants_json(accept):
        return as_json(overview_json(found))
    return Answer(overview_page(sources.frame, found, datetime.now(UTC)))


async def one_app(sources: Sources, match: Mapping[str, str], query: Mapping[str, str], accept: str) -> Answer | None:
    """One app with its deploys."""
    apps = sources.apps()
    name, is_json = match["app"], wants_json(accept)
    if name not in apps and name.endswith(_SUFFIX):
        name, is_json = name.removesuffix(_SUFFIX), True
    seen = apps.get(name)
    if seen is None:
        return None
    before = _number(query.get("before", ""))
    view = await sources.archive.ask(partial(_read_app, seen=seen, before=before))
    return as_json(app_page_json(view)) if is_json else Answer(app_page(sources.frame, view, datetime.now(UTC)))


def _read_app(history: HistoryReader, seen: Seen, before: int) -> AppView:
    name = seen.now.app
    found = history.outcomes_before(name, before, PAGE + 1) if before else history.outcomes(name, PAGE + 1)
    makers = {outcome.release: outcome for outcome in found if outcome.action == "deploy" and outcome.release}
    on_disk = [release for release, _ in seen.now.releases]
    makers |= history.makers(name, [release for release in on_disk if release not in makers])
    return AppView(seen, found[:PAGE], len(found) > PAGE, makers, before)


async def one_deploy(
    sources: Sources, match: Mapping[str, str], query: Mapping[str, str], accept: str
) -> Answer | None:
    """One deploy: while it goes on, and then its verdict."""
    name, number = match["app"], _number(match["number"].removesuffix(_SUFFIX))
    is_json = match["number"].endswith(_SUFFIX) or wants_json(accept)
    now = datetime.now(UTC)
    outcome = await sources.archive.ask(lambda history: history.outcome(number))
    if outcome is None:  # what is cleared away after a verdict is not waited for
        seen = sources.apps().get(name)
        if seen is None or seen.progress is None or seen.progress.deploy != number:
            return None
        page = partial(progress_page, sources.frame, name, seen.progress, now)
        return as_json(progress_json(seen.progress)) if is_json else Answer(page())
    if outcome.app != name:
        return None
    neighbours = Neighbours(*await sources.archive.ask(lambda history: history.neighbours(name, number)))
    if is_json:
        return as_json(deploy_json(outcome, neighbours))
    return Answer(deploy_page(sources.frame, outcome, neighbours, now))


async def health(sources: Sources, match: Mapping[str, str], query: Mapping[str, str], accept: str) -> Answer | None:
    """The agent's own health: its lanes run, and the history can be read. It tells no names."""
    ailments = sources.ailments()
    try:
        await sources.archive.ask(HistoryReader.changes)
    except HistoryError:
        ailments = [*ailments, "the history cannot be read"]
    told = {"status": "ill" if ailments else "ok", "ailments": ailments, "apps": len(sources.apps())}
    return as_json(told, status=503 if ailments else 200)


PLACES: Mapping[str, Place] = {
    "/": overview,
    "/apps": overview,
    "/apps{json:[.]json}": overview,
    "/apps/{app}": one_app,
    "/apps/{app}/deploys/{number}": one_deploy,
    "/healthz": health,
}


def as_json(table: Mapping[str, object], *, status: int = 200) -> Answer:
    """A mapping as JSON, for people too."""
    return Answer(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "application/json", status)


def wants_json(accept: str) -> bool:
    """Whether JSON is liked better than HTML (RFC 9110, 12.5.1); a browser likes HTML, curl has no liking."""
    quality = {"application/json": 0.0, "text/html": 0.0}
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if kind in quality:
            quality[kind] = next((_quality(part) for part in parameters if part.startswith("q=")), 1.0)
    return quality["application/json"] > quality["text/html"]


def _quality(text: str) -> float:
    try:
        return float(text.removeprefix("q="))
    except ValueError:
        return 0.0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0
