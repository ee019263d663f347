"""The phases of a deploy: on which routes they lie, and as which steps they are shown.   (pure)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from dropdeploy.model.outcome import StepName
from dropdeploy.model.request import Action


class Phase(StrEnum):
    """What is being done. The forward steps come first, in order: no route has all of them."""

    PREFLIGHT = "preflight"
    EXTRACT = "extract"
    LINK = "link"
    HOOKS = "hooks"
    TRIAL = "trial"
    START = "start"
    BESIDE = "beside"
    SWAP = "swap"
    RESTART = "restart"
    WITHDRAW = "withdraw"
    HEALTH = "health"
    AFTER_LIVE = "after-live"
    PRUNE = "prune"
    BACK_START = "back-start"
    BACK_SWAP = "back-swap"
    BACK_RESTART = "back-restart"
    BACK_WITHDRAW = "back-withdraw"
    BACK_HEALTH = "back-health"
    OFF = "off"
    DISCARD = "discard"
    DECIDED = "decided"


class Way(StrEnum):
    """How a release goes live."""

    IN_PLACE = "in place"
    HANDOVER = "handover"


_GO_LIVE: Mapping[Way, tuple[Phase, ...]] = {
    Way.IN_PLACE: (Phase.SWAP, Phase.RESTART, Phase.HEALTH),
    Way.HANDOVER: (Phase.START, Phase.BESIDE, Phase.SWAP, Phase.WITHDRAW, Phase.HEALTH),
}


def _routes(way: Way) -> Iterator[tuple[tuple[Action, Way], tuple[Phase, ...]]]:
    live, ending = _GO_LIVE[way], (Phase.AFTER_LIVE, Phase.PRUNE)
    building = (Phase.PREFLIGHT, Phase.EXTRACT, Phase.LINK, Phase.HOOKS, Phase.TRIAL)
    yield (Action.DEPLOY, way), (*building, *live, *ending)
    yield (Action.ROLLBACK, way), (Phase.PREFLIGHT, Phase.HOOKS, *live, *ending)
    yield (Action.RESTART, way), (Phase.PREFLIGHT, *(phase for phase in live if phase is not Phase.SWAP))


ROUTES: Mapping[tuple[Action, Way], tuple[Phase, ...]] = {key: route for way in Way for key, route in _routes(way)}
FORWARD = frozenset(phase for route in ROUTES.values() for phase in route)
OPTIONAL = frozenset({Phase.HOOKS, Phase.TRIAL, Phase.AFTER_LIVE})
"""Driven only where the app has configured them."""

STEP_OF: Mapping[Phase, StepName] = {
    **{phase: StepName(phase.value) for phase in ROUTES[Action.DEPLOY, Way.IN_PLACE] if phase is not Phase.AFTER_LIVE},
    Phase.START: StepName.RESTART,
    Phase.BESIDE: StepName.HEALTH,
    Phase.WITHDRAW: StepName.RESTART,
    Phase.AFTER_LIVE: StepName.HOOKS,
    Phase.BACK_START: StepName.RESTART,
    Phase.BACK_SWAP: StepName.SWAP,
    Phase.BACK_RESTART: StepName.RESTART,
    Phase.BACK_WITHDRAW: StepName.RESTART,
    Phase.BACK_HEALTH: StepName.HEALTH,
    Phase.OFF: StepName.SWAP,
}
"""Under which name a phase appears in the result. What is missing here is housekeeping and not shown."""

BACK = frozenset(
    {Phase.BACK_START, Phase.BACK_SWAP, Phase.BACK_RESTART, Phase.BACK_WITHDRAW, Phase.BACK_HEALTH, Phase.OFF}
)

HOUSEKEEPING = frozenset({Phase.AFTER_LIVE, Phase.PRUNE, Phase.DISCARD})
"""Never fails a deploy: the step tells what was left undone."""

BEFORE_SWAP = frozenset({Phase.PREFLIGHT, Phase.EXTRACT, Phase.LINK, Phase.HOOKS, Phase.TRIAL})
"""Nothing of what serves was touched yet."""

BESIDE = frozenset({Phase.START, Phase.BESIDE})
