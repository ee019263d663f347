"""The plan of a deploy: a state machine that does no I/O.

Theory of operation. A deploy is always in one *phase*. A phase stands for one effect on the world, which the runner
performs; how the effect ended is an *event*, and ``advance(state, event)`` gives the next state. The tables
``phase.ROUTES`` and ``transitions.TRANSITIONS`` are all there is to know about the order of things; ``targets``
enumerates them for tests and for the diagram. ``DECIDED`` is the end: the state then holds all that ``verdict`` needs.

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

from dataclasses import replace
from datetime import datetime

from dropdeploy.deploy.event import Cancelled, Done, Event, Extracted, Failed, Ground, Learned, Started
from dropdeploy.deploy.phase import BACK, HOUSEKEEPING, ROUTES, STEP_OF, Phase, Way
from dropdeploy.deploy.state import Deploy, is_kept_alone
from dropdeploy.deploy.transitions import TRANSITIONS
from dropdeploy.model.app import OnFailure
from dropdeploy.model.fault import ErrorCode
from dropdeploy.model.outcome import HealthReport, Step, StepStatus
from dropdeploy.model.request import Action, Marker, Upload
from dropdeploy.model.unit import UnitState

REFUSALS = frozenset({ErrorCode.NOT_AUTHORISED, ErrorCode.UNIT_MASKED, ErrorCode.UNIT_NOT_FOUND})
"""A restart or a start that ends so has not begun: what ran before runs on, and the way back is the link alone."""


class IllegalEventError(Exception):
    """An event that cannot happen in this phase. The state is as it was."""


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
