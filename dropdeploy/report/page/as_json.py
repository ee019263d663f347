"""The same for programs: keys as in ``status.toml`` and the result files.   (pure)"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dropdeploy.model.outcome import Outcome
from dropdeploy.report.harmless import harmless
from dropdeploy.report.page.app_page import AppView
from dropdeploy.report.page.deploy_page import Neighbours
from dropdeploy.report.page.overview import Overview
from dropdeploy.report.result import outcome_as_json
from dropdeploy.report.status import Progress, Seen, status_table

Json = dict[str, object]


def overview_json(overview: Overview) -> Json:
    """All apps, of this page."""
    return {
        "apps": [app_json(seen) for seen in overview.shown],
        "count": overview.apps,
        "healthy": overview.healthy,
        "ill": overview.ill,
        "working": overview.working,
        "page": overview.page,
        "pages": overview.pages,
    }


def app_json(seen: Seen) -> Json:
    """``status.toml``, and what is beyond it."""
    more: Json = {}
    if seen.now.rollback_to:
        more["rollback_to"] = seen.now.rollback_to
    if seen.now.maker is not None:
        more["made_by"] = {"id": seen.now.maker.id, "meta": dict(seen.now.maker.meta)}
    if seen.progress is not None:
        more["progress"] = progress_json(seen.progress)
    table = fit(status_table(seen.now) | more)
    assert isinstance(table, dict)
    return table


def app_page_json(view: AppView) -> Json:
    """One app with its newest deploys; ``next`` is where older ones are."""
    table = app_json(view.seen) | {"deploys": [outcome_as_json(outcome) for outcome in view.deploys]}
    if view.has_more:
        table["next"] = f"/apps/{view.seen.now.app}.json?before={view.deploys[-1].id}"
    return table


def deploy_json(outcome: Outcome, neighbours: Neighbours) -> Json:
    """The result file, and the numbers of the deploys around it."""
    around = {"before": neighbours.before, "after": neighbours.after}
    return outcome_as_json(outcome) | {key: number for key, number in around.items() if number}


def progress_json(progress: Progress) -> Json:
    """What is going on."""
    table: Json = {
        "id": progress.deploy,
        "action": progress.action.value,
        "upload": progress.request,
        "started": progress.started,
        "step": progress.step,
        "percent": None if progress.percent is None else int(progress.percent),
        "release": progress.release,
        "meta": dict(progress.meta),
        "steps": [
            {"name": step.name.value, "status": step.status.value, "seconds": round(step.seconds, 3)}
            for step in progress.steps
        ],
    }
    fitted = fit({key: value for key, value in table.items() if value not in (None, "", {})})
    assert isinstance(fitted, dict)
    return fitted


def fit(value: object) -> object:
    """Times as TOML writes them, and harmless text."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {harmless(str(key)): fit(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [fit(entry) for entry in value]
    return value
