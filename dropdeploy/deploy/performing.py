"""Which phase is performed by what: the table ``EFFECTS``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from dropdeploy.deploy import hooks
from dropdeploy.deploy.building import Building, Tell
from dropdeploy.deploy.effect import Bad, Good, Ports
from dropdeploy.deploy.handover import Handover
from dropdeploy.deploy.in_place import InPlace
from dropdeploy.deploy.phase import Phase, Way
from dropdeploy.deploy.removing import prune
from dropdeploy.deploy.state import Deploy
from dropdeploy.deploy.trial import Trial
from dropdeploy.model.app import App
from dropdeploy.model.fault import Fault


class Performers:
    """Those who perform the deploys of one app. What one phase leaves to the next is theirs."""

    def __init__(self, app: App, ports: Ports, tell: Tell) -> None:
        self.app = app
        self.ports = ports
        self.building = Building(app, ports, tell)
        self.trial = Trial(app, ports)
        self.in_place = InPlace(app, ports)
        self.handover = Handover(app, ports)

    def going_live(self, state: Deploy) -> InPlace | Handover:
        """Who brings this deploy's release up, and knows whether it is well."""
        return self.handover if state.way is Way.HANDOVER else self.in_place


Effect = Callable[[Performers, Deploy], Awaitable[Good | Bad]]


async def _swap(by: Performers, state: Deploy) -> Good | Bad:
    return _plain(await by.ports.releases.swap(state.release))


async def _back_swap(by: Performers, state: Deploy) -> Good | Bad:
    return _plain(await by.ports.releases.swap(state.back_to), f"back to {state.back_to}")


async def _off(by: Performers, state: Deploy) -> Good | Bad:
    stopped = await by.going_live(state).off() if state.has_restarted else None
    if stopped is not None:
        return Bad(stopped)
    return _plain(await by.ports.releases.unlink(), "nothing was live before: the link is removed")


async def _discard(by: Performers, state: Deploy) -> Good | Bad:
    return _plain(await by.ports.releases.discard(state.release))


def _plain(fault: Fault | None, detail: str = "") -> Good | Bad:
    return Good(detail=detail) if fault is None else Bad(fault)


EFFECTS: Mapping[Phase, Effect] = {
    Phase.PREFLIGHT: lambda by, state: by.building.preflight(state),
    Phase.EXTRACT: lambda by, state: by.building.extract(state),
    Phase.LINK: lambda by, state: by.building.link(state),
    Phase.HOOKS: lambda by, state: hooks.before_swap(by.app, by.ports.units, state.release),
    Phase.TRIAL: lambda by, state: by.trial.run(state.release),
    Phase.START: lambda by, state: by.handover.start(state),
    Phase.BESIDE: lambda by, state: by.handover.beside(state),
    Phase.SWAP: _swap,
    Phase.RESTART: lambda by, state: by.in_place.restart(state),
    Phase.WITHDRAW: lambda by, state: by.handover.withdraw(state),
    Phase.HEALTH: lambda by, state: by.going_live(state).confirm(state),
    Phase.AFTER_LIVE: lambda by, state: hooks.after_live(by.app, by.ports.units, state.release),
    Phase.PRUNE: lambda by, state: prune(by.app, by.ports, state),
    Phase.BACK_START: lambda by, state: by.handover.back_start(state),
    Phase.BACK_SWAP: _back_swap,
    Phase.BACK_RESTART: lambda by, state: by.in_place.back_restart(state),
    Phase.BACK_WITHDRAW: lambda by, state: by.handover.back_withdraw(state),
    Phase.BACK_HEALTH: lambda by, state: by.going_live(state).back_confirm(state),
    Phase.OFF: _off,
    Phase.DISCARD: _discard,
}
