"""Which phase follows which: the tables of the plan.   (pure)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dropdeploy.deploy import state as asked
from dropdeploy.deploy.event import Cancelled, Done, Event, Failed
from dropdeploy.deploy.phase import FORWARD, OPTIONAL, ROUTES, Phase
from dropdeploy.deploy.state import Deploy

Guard = Callable[[Deploy], bool]
Rule = tuple[tuple[Guard, Phase], ...]
"""The first guard that holds names the next phase."""


def _always(_: Deploy) -> bool:
    return True


def _drives(phase: Phase) -> Guard:
    return lambda state: phase in state.route


def _to(phase: Phase) -> Rule:
    return ((_always, phase),)


def _onward(phase: Phase) -> Rule:
    """To the next phase on the route, whichever of those that can follow it is there."""
    following: list[Phase] = []
    for route in ROUTES.values():
        if phase in route:
            for later in (*route[route.index(phase) + 1 :], Phase.DECIDED):
                following.append(later)
                if later not in OPTIONAL:
                    break
    # In the order of the steps, so that the first that is driven is the next.
    ordered = sorted(set(following), key=list(Phase).index)
    return tuple((_always if later is Phase.DECIDED else _drives(later), later) for later in ordered)


_BACK_IN_PLACE: Rule = ((asked.has_way_back, Phase.BACK_SWAP), (_always, Phase.OFF))
_BACK_EITHER_WAY: Rule = ((asked.can_take_back, Phase.BACK_START), *_BACK_IN_PLACE)
_UNLESS_KEPT: Rule = ((asked.is_restart, Phase.DECIDED), (asked.keeps_ill, Phase.PRUNE))
_BACK_FROM_BESIDE: Rule = ((asked.has_way_back, Phase.BACK_START), (_always, Phase.OFF))
_ILL_BESIDE: Rule = ((asked.is_kept_alone, Phase.PRUNE), *_BACK_FROM_BESIDE)
"""It is not live yet, so there is nothing that `on_failure` could keep; unless this is done again after a crash."""

TRANSITIONS: Mapping[tuple[Phase, type[Event]], Rule] = {
    **{(phase, Done): _onward(phase) for phase in Phase if phase in FORWARD},
    (Phase.PREFLIGHT, Failed): _to(Phase.DECIDED),
    (Phase.EXTRACT, Failed): _to(Phase.DECIDED),
    (Phase.LINK, Failed): _to(Phase.DISCARD),
    (Phase.HOOKS, Failed): _to(Phase.PRUNE),
    (Phase.TRIAL, Failed): _to(Phase.PRUNE),
    (Phase.START, Failed): (
        (asked.is_restart_of_nothing, Phase.DECIDED),
        (asked.has_touched_nothing, Phase.PRUNE),
        *_ILL_BESIDE,
    ),
    (Phase.BESIDE, Failed): _ILL_BESIDE,
    (Phase.SWAP, Failed): _BACK_EITHER_WAY,
    (Phase.RESTART, Failed): (*_UNLESS_KEPT, *_BACK_IN_PLACE),
    (Phase.WITHDRAW, Failed): _ILL_BESIDE,
    (Phase.HEALTH, Failed): (*_UNLESS_KEPT, *_BACK_EITHER_WAY),
    (Phase.AFTER_LIVE, Failed): _to(Phase.PRUNE),
    (Phase.PRUNE, Failed): _to(Phase.DECIDED),
    (Phase.BACK_START, Done): ((asked.may_have_swapped, Phase.BACK_SWAP), (_always, Phase.BACK_WITHDRAW)),
    (Phase.BACK_START, Failed): _to(Phase.DECIDED),
    (Phase.BACK_SWAP, Done): (
        (asked.is_handover, Phase.BACK_WITHDRAW),
        (asked.has_restarted, Phase.BACK_RESTART),
        (_always, Phase.PRUNE),
    ),
    (Phase.BACK_SWAP, Failed): _to(Phase.DECIDED),
    (Phase.BACK_RESTART, Done): _to(Phase.BACK_HEALTH),
    (Phase.BACK_RESTART, Failed): _to(Phase.DECIDED),
    (Phase.BACK_WITHDRAW, Done): _to(Phase.BACK_HEALTH),
    (Phase.BACK_WITHDRAW, Failed): _to(Phase.DECIDED),
    (Phase.BACK_HEALTH, Done): (
        (asked.is_restart, Phase.DECIDED),
        (asked.is_cancelled_deploy, Phase.DISCARD),
        (_always, Phase.PRUNE),
    ),
    (Phase.BACK_HEALTH, Failed): _to(Phase.DECIDED),
    (Phase.OFF, Done): ((asked.is_cancelled_deploy, Phase.DISCARD), (_always, Phase.PRUNE)),
    (Phase.OFF, Failed): _to(Phase.DECIDED),
    (Phase.DISCARD, Done): _to(Phase.DECIDED),
    (Phase.DISCARD, Failed): _to(Phase.DECIDED),
    (Phase.PREFLIGHT, Cancelled): _to(Phase.DECIDED),
    (Phase.EXTRACT, Cancelled): _to(Phase.DISCARD),
    (Phase.LINK, Cancelled): _to(Phase.DISCARD),
    (Phase.HOOKS, Cancelled): ((asked.is_deploy, Phase.DISCARD), (_always, Phase.DECIDED)),
    (Phase.TRIAL, Cancelled): _to(Phase.DISCARD),
    (Phase.START, Cancelled): _BACK_FROM_BESIDE,
    (Phase.BESIDE, Cancelled): _BACK_FROM_BESIDE,
}


def targets() -> Iterator[tuple[Phase, type[Event], Phase]]:
    """Every edge of the machine: (phase, kind of event, next phase)."""
    for (phase, kind), rule in TRANSITIONS.items():
        for _, target in rule:
            yield phase, kind, target
