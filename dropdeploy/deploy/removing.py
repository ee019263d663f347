"""Which releases go, and how: those that need not be kept, and those of deploys that came to nothing."""

from __future__ import annotations

import logging
from functools import partial

from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.verdict import is_release_healthy
from dropdeploy.diary import Kind, about
from dropdeploy.history.keeping import History
from dropdeploy.model.app import App
from dropdeploy.model.fault import ErrorCode, Fault

logger = logging.getLogger(__name__)


async def prune(app: App, ports: Ports, state: Deploy) -> Good | Bad:
    """Remove the releases that need not be kept."""
    survey = await ports.releases.survey()
    if isinstance(survey, Fault):
        return Bad(survey)
    health = dict(await ports.history.ask(lambda history: history.release_health(app.name)))
    verdict = is_release_healthy(state)
    if verdict is not None:
        health[state.release] = verdict
    running = await ports.units.running_releases(app.unit)
    chosen = ports.prunable(survey.releases, health, survey.live, running, app.keep)
    pruned = await ports.releases.prune(chosen)
    if pruned.failed:
        told = "; ".join(why if release in why else f"{release}: {why}" for release, why in pruned.failed)
        return Bad(Fault(ErrorCode.INTERNAL, f"not everything could be pruned: {told}"))
    return Good(detail=f"removed {', '.join(pruned.removed)}" if pruned.removed else "")


async def take_away(app: App, ports: Ports, state: Deploy) -> None:
    """Remove the release that an interrupted deploy was making. What cannot be removed must not pass for one to go
    back to: it is disowned, and tried again at the next start."""
    fault = await ports.releases.discard(state.release)
    if fault is None:
        return
    logger.error("%s: %s", app.name, fault.message, extra=about(Kind.TROUBLE, app.name, state.id))
    disown = partial(History.disown, app=app.name, release=state.release, deploy=state.id)
    await ports.history.ask(disown)


async def take_away_disowned(app: App, ports: Ports) -> None:
    """Remove what could not be removed when it should have been."""
    for release in await ports.history.ask(lambda history: history.disowned(app.name)):
        await ports.releases.discard(release)
