"""At the agent's start, and where the strategy has changed: what runs, and what the link names, are made one release.

They differ where a handover was cut short and nothing is known of it any more (the history was lost), where somebody
started or stopped units by hand or moved the link, or where `strategy` was another one. As in a handover, nothing is
stopped before what stays has been seen to be well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dropdeploy.deploy.effect import Ports
from dropdeploy.deploy.gate import pass_gate
from dropdeploy.deploy.phase import Way
from dropdeploy.deploy.standing import choose_served, names_of_others
from dropdeploy.instances import release_of
from dropdeploy.model.app import App, HealthCheck
from dropdeploy.model.fault import Fault


@dataclass(frozen=True, slots=True)
class Settled:
    """A sentence about what was not as it should be, and why it still is not, if that is so."""

    told: str
    fault: Fault | None = None


async def settle(app: App, ports: Ports, way: Way, live: str) -> Settled | None:
    """Have ``live`` run, and nothing else of the app. None when it is so, or nothing runs that could be in the way."""
    units = ports.units
    standing = await units.standing(app.unit)
    if isinstance(standing, Fault) or not live:
        return None
    named = frozenset(release_of(state.unit) for state in standing)
    plain_runs = await units.running_releases(app.unit) - named
    keeper = choose_served(way, app.unit, live, standing, plain_runs)
    others = names_of_others(keeper.unit, standing) if keeper else ()
    if keeper is None or (keeper.is_up and not others):
        return None
    told = f"{live} is live, and {', '.join(others)} ran" + ("" if keeper.is_up else f" instead of {keeper.unit}")
    run = await (units.inspect(keeper.unit) if keeper.is_up else units.start(keeper.unit))
    fault = run if isinstance(run, Fault) else (await pass_gate(units, ports.probe, _short(app), run))[1]
    if fault is not None:
        if not keeper.is_up:
            await units.stop(keeper.unit)
        return Settled(told, fault)
    for unit in others:
        stopped = await units.stop(unit)
        fault = fault or (stopped if isinstance(stopped, Fault) else None)
    return Settled(told, fault)


def _short(app: App) -> HealthCheck:
    return replace(app.health, soak_s=0.0)
