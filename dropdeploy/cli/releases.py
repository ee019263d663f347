"""``dropdeploy releases``."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime

from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.moments import show_age
from dropdeploy.cli.painting import health_word, paint_health
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import Screen, plain, standard_error, standard_output
from dropdeploy.cli.tables import Column, table
from dropdeploy.model.app import App
from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.release import Survey, parse_release_id
from dropdeploy.releases.store import AppReleases

_ENOUGH = 1000  # releases on disk are few; what made them is among the newest deploys


def run(asked: argparse.Namespace) -> int:
    """Print the releases on disk, newest first, with what the history knows of them."""
    config = load(asked.config)
    app = find_app(config, asked.app)
    survey = look_at(app)
    with open_history(config) as history:
        health = history.release_health(app.name) if history else {}
        makers = _makers(history.outcomes(app.name, _ENOUGH)) if history else {}
    newest_first = tuple(reversed(survey.releases))
    output = standard_output()
    if asked.json:
        rows = [_as_json(release, survey, health.get(release), makers.get(release)) for release in newest_first]
        output.line(json.dumps(rows, indent=2))
    elif not newest_first:
        standard_error().line(f"{app.name} has no releases yet")
    else:
        for line in _table(newest_first, survey, health, makers, output):
            output.line(line)
    return ExitCode.DONE


def look_at(app: App) -> Survey:
    """What is on disk, or a Refusal."""
    store = AppReleases(root=app.root, group=app.group, shared=app.shared, strip=app.strip, accept=app.accept)
    survey = asyncio.run(store.survey())
    if isinstance(survey, Fault):
        raise Refusal(ExitCode.UNAVAILABLE, plain(survey.message), f"hint: {survey.hint}")
    return survey


def _makers(outcomes: tuple[Outcome, ...]) -> dict[str, Outcome]:
    return {outcome.release: outcome for outcome in outcomes if outcome.release and outcome.action == "deploy"}


def _table(
    releases: tuple[str, ...],
    survey: Survey,
    health: dict[str, bool | None],
    makers: dict[str, Outcome],
    screen: Screen,
) -> list[str]:
    columns = (
        Column("RELEASE", least=15),
        Column("LIVE"),
        Column("HEALTH", least=9, paint=lambda text: paint_health(text, screen)),
        Column("AGE", is_number=True, goes=1),
        Column("DEPLOY", is_number=True, goes=3),
        Column("UPLOAD"),
        Column("COMMIT", goes=2),
    )
    now = datetime.now(UTC)
    rows = []
    for release in releases:
        made_at, maker = parse_release_id(release), makers.get(release)
        rows.append(
            (
                release,
                "live" if release == survey.live else "",
                health_word(health.get(release)),
                show_age(made_at, now) if made_at else "",
                str(maker.id) if maker else "",
                plain(maker.upload) if maker else "",
                plain(dict(maker.meta).get("commit", "")) if maker else "",
            )
        )
    return table(columns, rows, screen.width)


def _as_json(release: str, survey: Survey, is_healthy: bool | None, maker: Outcome | None) -> dict[str, object]:
    made = {"deploy": maker.id, "upload": maker.upload, "meta": dict(maker.meta)} if maker else {}
    return {"release": release, "live": release == survey.live, "healthy": is_healthy, **made}
