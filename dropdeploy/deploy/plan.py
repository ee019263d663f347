"""The plan of a deploy: a state machine that does no I/O.

Theory of operation. A deploy is always in one *phase*. A phase stands for one effect on the world, which the runner
performs; how the effect ended is an *event*, and ``advance(state, event)`` gives the next state. The tables ``ROUTES``
and ``TRANSITIONS`` are all there is to know about the order of things; ``targets`` enumerates them for tests and for
the diagram. ``DECIDED`` is the end: the state then holds all that ``verdict`` needs.

There are three stretches of road:

- *forward*: preflight … prune, of which an action drives those on its route. Up to ``trial`` nothing of what serves is
  touched, so a fault (or a cancellation) only needs what was built to be taken away.
- *back*: from a release that went live and is ill to the one before, by the same means and the same check.
- *off*: a first deploy that is ill has nothing to go back to: the link is removed and the unit is stopped.

There are two ways to go live. *In place*, the link is swapped and the unit restarted, and then it is asked whether it
is healthy. In a *handover* the new release is started beside what runs, on the same socket, and has to be healthy there
before the link is swapped; then what ran before is told to withdraw, and the new one is asked once more, alone.

Every phase can be performed twice with the same result; that is what ``recovery`` stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from dropdeploy.model.app import OnFailure
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Step, StepName, StepStatus
from dropdeploy.model.request import Action, Marker, Upload
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked


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

_FORWARD = frozenset(phase for route in ROUTES.values() for phase in route)

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
_BESIDE = frozenset({Phase.START, Phase.BESIDE})
REFUSALS = frozenset({ErrorCode.NOT_AUTHORISED, ErrorCode.UNIT_MASKED, ErrorCode.UNIT_NOT_FOUND})
"""A restart or a start that ends so has not begun: what ran before runs on, and the way back is the link alone."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What preflight found: the release to make or to go to, and what there is to return to.

    ``previous`` is what `app` points to, and ``is_live_healthy`` what is remembered of it; ``back_to`` is where a
    failure leads: ``previous`` when it is whole, else the newest healthy release, else "". For a handover ``unit`` is
    what is going to run ``release``, and ``before`` what ran already.
    """

    release: str
    previous: str
    back_to: str
    is_live_healthy: bool | None = None
    unit: str = ""
    before: tuple[UnitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Deploy:
    """The state of one deploy, rollback or restart. A value: it can be written down and taken up again.

    ``release`` is what it makes or aims at, ``live`` what `app` points to now, and ``is_live_healthy`` what was seen
    of that (None: nothing yet). ``run`` is the unit's run whose health decides. ``has_restarted``: what serves was
    touched. ``unit`` and ``before``: see Ground; ``is_old_well``: see Started. ``is_old_gone``: it was taken up again
    when none of ``before`` ran any more. ``fault`` is why what was asked for did not succeed, ``back_fault`` why the
    way back did not. ``is_left``: its release was to be discarded, and could not be.
    """

    id: int
    app: str
    action: Action
    request: Upload | Marker
    started: datetime
    route: tuple[Phase, ...]
    on_failure: OnFailure = OnFailure.ROLLBACK
    phase: Phase = Phase.PREFLIGHT
    release: str = ""
    previous: str = ""
    back_to: str = ""
    live: str = ""
    is_live_healthy: bool | None = None
    has_restarted: bool = False
    run: UnitState | None = None
    unit: str = ""
    before: tuple[UnitState, ...] = ()
    is_old_well: bool | None = None
    is_old_gone: bool = False
    unpacked: Unpacked | None = None
    meta: tuple[tuple[str, str], ...] = ()
    health: HealthReport | None = None
    steps: tuple[Step, ...] = ()
    fault: Fault | None = None
    fault_step: StepName | None = None
    back_fault: Fault | None = None
    is_cancelled: bool = False
    is_left: bool = False

    @property
    def way(self) -> Way:
        """How its release goes live."""
        return Way.HANDOVER if Phase.START in self.route else Way.IN_PLACE


# --- events --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extracted:
    """What ``extract`` brought: the upload in the version that was proven, its metadata, and the numbers."""

    upload: Upload
    unpacked: Unpacked
    meta: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """What the start of a handover brought: the new run, and whether what ran before answered well just before."""

    run: UnitState
    is_old_well: bool


Learned = Ground | Extracted | Started | UnitState | HealthReport


@dataclass(frozen=True, slots=True)
class Done:
    """The phase's effect succeeded. ``learned`` are the facts it brought."""

    seconds: float
    detail: str = ""
    learned: Learned | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The phase's effect did not succeed, or was not even begun."""

    seconds: float
    fault: Fault
    learned: Learned | None = None
    has_begun: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The phase's effect was broken off because the uploader asked for it."""

    seconds: float


Event = Done | Failed | Cancelled


class IllegalEventError(Exception):
    """An event that cannot happen in this phase. The state is as it was."""


# --- transitions ---------------------------------------------------------------------------------------

Guard = Callable[[Deploy], bool]


def _always(_: Deploy) -> bool:
    return True


def _has_way_back(state: Deploy) -> bool:
    return bool(state.back_to)


def _has_restarted(state: Deploy) -> bool:
    return state.has_restarted


def _is_deploy(state: Deploy) -> bool:
    return state.action is Action.DEPLOY


def _is_restart(state: Deploy) -> bool:
    return state.action is Action.RESTART


def _is_handover(state: Deploy) -> bool:
    return state.way is Way.HANDOVER


def _is_restart_of_nothing(state: Deploy) -> bool:
    return _is_restart(state) and not state.has_restarted


def _has_touched_nothing(state: Deploy) -> bool:
    return not state.has_restarted


def _can_take_back(state: Deploy) -> bool:
    return _is_handover(state) and _has_way_back(state)


def may_have_swapped(state: Deploy) -> bool:
    """The link was, or may have been, moved away from what is gone back to."""
    return state.live != state.back_to or state.fault_step is StepName.SWAP


def is_cancellable(state: Deploy) -> bool:
    """It has not gone live yet. (A handover that is taken up again after its swap has; a restart never does.)"""
    if state.phase in _BESIDE:
        return state.live != state.release or _is_restart(state)
    return state.phase in BEFORE_SWAP


def _is_cancelled_deploy(state: Deploy) -> bool:
    return state.is_cancelled and _is_deploy(state)


def _keeps_ill(state: Deploy) -> bool:
    # A rollback always returns: its promise is to be no worse off than before.
    return state.action is Action.DEPLOY and state.on_failure is OnFailure.KEEP


def is_kept_alone(state: Deploy) -> bool:
    """A handover that had come so far that an ill release is kept, when it was interrupted."""
    return _keeps_ill(state) and state.is_old_gone and state.live == state.release


def _drives(phase: Phase) -> Guard:
    return lambda state: phase in state.route


Rule = tuple[tuple[Guard, Phase], ...]
"""The first guard that holds names the next phase."""


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


_BACK_IN_PLACE: Rule = ((_has_way_back, Phase.BACK_SWAP), (_always, Phase.OFF))
_BACK_EITHER_WAY: Rule = ((_can_take_back, Phase.BACK_START), *_BACK_IN_PLACE)
_UNLESS_KEPT: Rule = ((_is_restart, Phase.DECIDED), (_keeps_ill, Phase.PRUNE))
_BACK_FROM_BESIDE: Rule = ((_has_way_back, Phase.BACK_START), (_always, Phase.OFF))
_ILL_BESIDE: Rule = ((is_kept_alone, Phase.PRUNE), *_BACK_FROM_BESIDE)
"""It is not live yet, so there is nothing that `on_failure` could keep; unless this is done again after a crash."""

TRANSITIONS: Mapping[tuple[Phase, type[Event]], Rule] = {
    **{(phase, Done): _onward(phase) for phase in Phase if phase in _FORWARD},
    (Phase.PREFLIGHT, Failed): _to(Phase.DECIDED),
    (Phase.EXTRACT, Failed): _to(Phase.DECIDED),
    (Phase.LINK, Failed): _to(Phase.DISCARD),
    (Phase.HOOKS, Failed): _to(Phase.PRUNE),
    (Phase.TRIAL, Failed): _to(Phase.PRUNE),
    (Phase.START, Failed): (
        (_is_restart_of_nothing, Phase.DECIDED),
        (_has_touched_nothing, Phase.PRUNE),
        *_ILL_BESIDE,
    ),
    (Phase.BESIDE, Failed): _ILL_BESIDE,
    (Phase.SWAP, Failed): _BACK_EITHER_WAY,
    (Phase.RESTART, Failed): (*_UNLESS_KEPT, *_BACK_IN_PLACE),
    (Phase.WITHDRAW, Failed): _ILL_BESIDE,
    (Phase.HEALTH, Failed): (*_UNLESS_KEPT, *_BACK_EITHER_WAY),
    (Phase.AFTER_LIVE, Failed): _to(Phase.PRUNE),
    (Phase.PRUNE, Failed): _to(Phase.DECIDED),
    (Phase.BACK_START, Done): ((may_have_swapped, Phase.BACK_SWAP), (_always, Phase.BACK_WITHDRAW)),
    (Phase.BACK_START, Failed): _to(Phase.DECIDED),
    (Phase.BACK_SWAP, Done): (
        (_is_handover, Phase.BACK_WITHDRAW),
        (_has_restarted, Phase.BACK_RESTART),
        (_always, Phase.PRUNE),
    ),
    (Phase.BACK_SWAP, Failed): _to(Phase.DECIDED),
    (Phase.BACK_RESTART, Done): _to(Phase.BACK_HEALTH),
    (Phase.BACK_RESTART, Failed): _to(Phase.DECIDED),
    (Phase.BACK_WITHDRAW, Done): _to(Phase.BACK_HEALTH),
    (Phase.BACK_WITHDRAW, Failed): _to(Phase.DECIDED),
    (Phase.BACK_HEALTH, Done): (
        (_is_restart, Phase.DECIDED),
        (_is_cancelled_deploy, Phase.DISCARD),
        (_always, Phase.PRUNE),
    ),
    (Phase.BACK_HEALTH, Failed): _to(Phase.DECIDED),
    (Phase.OFF, Done): ((_is_cancelled_deploy, Phase.DISCARD), (_always, Phase.PRUNE)),
    (Phase.OFF, Failed): _to(Phase.DECIDED),
    (Phase.DISCARD, Done): _to(Phase.DECIDED),
    (Phase.DISCARD, Failed): _to(Phase.DECIDED),
    (Phase.PREFLIGHT, Cancelled): _to(Phase.DECIDED),
    (Phase.EXTRACT, Cancelled): _to(Phase.DISCARD),
    (Phase.LINK, Cancelled): _to(Phase.DISCARD),
    (Phase.HOOKS, Cancelled): ((_is_deploy, Phase.DISCARD), (_always, Phase.DECIDED)),
    (Phase.TRIAL, Cancelled): _to(Phase.DISCARD),
    (Phase.START, Cancelled): _BACK_FROM_BESIDE,
    (Phase.BESIDE, Cancelled): _BACK_FROM_BESIDE,
}


def targets() -> Iterator[tuple[Phase, type[Event], Phase]]:
    """Every edge of the machine: (phase, kind of event, next phase)."""
    for (phase, kind), rule in TRANSITIONS.items():
        for _, target in rule:
            yield phase, kind, target


def begin(
    *,
    id: int,
    app: str,
    request: Upload | Marker,
    started: datetime,
    on_failure: OnFailure = OnFailure.ROLLBACK,
    without: frozenset[Phase] = frozenset(),
    way: Way = Way.IN_PLACE,
) -> Deploy:
    """The first state for a request. ``without`` are the phases that the app has not configured."""
    action = request.action if isinstance(request, Marker) else Action.DEPLOY
    route = tuple(phase for phase in ROUTES[action, way] if phase not in without)
    return Deploy(id=id, app=app, action=action, request=request, started=started, route=route, on_failure=on_failure)


def advance(state: Deploy, event: Event) -> Deploy:
    """The state after ``event``. Raises IllegalEventError where the phase knows no such event."""
    rule = TRANSITIONS.get((state.phase, type(event)))
    if rule is None:
        raise IllegalEventError(f"{type(event).__name__} in phase {state.phase}")
    noted = _note(state, event)
    target = next(phase for guard, phase in rule if guard(noted))
    is_touching = target in (Phase.START, Phase.RESTART)
    return replace(noted, phase=target, has_restarted=noted.has_restarted or is_touching)


def _note(state: Deploy, event: Event) -> Deploy:
    """Write down what the event brought: its step, its facts, its fault."""
    if isinstance(event, Cancelled):
        return replace(state, is_cancelled=True, fault_step=STEP_OF[state.phase])
    noted = _see_live(_learn(_add_step(state, event), event.learned), type(event))
    if isinstance(event, Done):
        return noted
    if state.phase in BACK:
        return replace(noted, back_fault=event.fault)
    if state.phase in HOUSEKEEPING:
        return replace(noted, is_left=state.phase is Phase.DISCARD)
    if state.phase in (Phase.START, Phase.RESTART) and (event.fault.code in REFUSALS or not event.has_begun):
        noted = replace(noted, has_restarted=False)
    return replace(noted, fault=event.fault, fault_step=STEP_OF[state.phase])


def _see_live(state: Deploy, kind: type[Event]) -> Deploy:
    """What `app` points to after this phase, and whether that is healthy."""
    match state.phase, kind is Done:
        case Phase.SWAP, True:
            return replace(state, live=state.release, is_live_healthy=None)
        case Phase.BACK_SWAP, True:
            healthy = state.is_live_healthy if state.live == state.back_to else None
            return replace(state, live=state.back_to, is_live_healthy=healthy)
        case Phase.OFF, True:
            return replace(state, live="", is_live_healthy=None)
        case ((Phase.HEALTH | Phase.BACK_HEALTH), is_healthy):
            return replace(state, is_live_healthy=is_healthy)
        case ((Phase.RESTART | Phase.BACK_RESTART | Phase.BACK_START), False):
            return replace(state, is_live_healthy=False)
        case ((Phase.START | Phase.BESIDE | Phase.WITHDRAW), False) if is_kept_alone(state):
            return replace(state, is_live_healthy=False)
        case _:
            return state


def _add_step(state: Deploy, event: Done | Failed) -> Deploy:
    name = STEP_OF.get(state.phase)
    if name is None:
        return state
    if isinstance(event, Done):
        step = Step(name, StepStatus.OK, event.seconds, event.detail)
    else:
        step = Step(name, StepStatus.FAILED, event.seconds, event.fault.message)
    return replace(state, steps=(*state.steps, step))


def _learn(state: Deploy, learned: Learned | None) -> Deploy:
    match learned:
        case Ground(release, previous, back_to, healthy, unit, before):
            return replace(
                state,
                release=release,
                previous=previous,
                back_to=back_to,
                live=previous,
                is_live_healthy=healthy,
                unit=unit,
                before=before,
            )
        case Extracted(upload, unpacked, meta):
            return replace(state, request=upload, unpacked=unpacked, meta=meta)
        case Started(run, is_old_well):
            return replace(state, run=run, is_old_well=is_old_well)
        case UnitState():
            return replace(state, run=learned)
        case HealthReport():
            # The result tells of the release that was asked for; the way back has its step.
            return state if state.phase in BACK else replace(state, health=learned)
        case None:
            return state
