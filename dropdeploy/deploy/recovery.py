"""What to do with a deploy that was interrupted: by a crash, a power cut, or the agent's being stopped.

The last intent tells which phase may have been begun, ended, or neither. Before the swap nothing of the live release
was touched: what was built is taken away, and the upload or marker, if it is still there, is judged anew ("as before").
If it is gone, or nothing asks for it any more, the deploy counts as cancelled, so that whoever waits for its result
gets one: nobody can be asked what was meant, nothing of the app was touched, and nothing is known against the build.
From the swap on the deploy carries on in the same phase, because each can be performed twice: it will end in a verdict.
Where `app` does not lead where that phase takes it to lead (an intent could not be written on a full disk, or somebody
has changed the link meanwhile), it carries on from the swap that makes it so. A handover carries on from its beginning,
or that of its way back, whatever phase it was in: what ran beside each other may have ended since, or been replaced by
a boot, and to start what runs already changes nothing. (Where the new one was found well before, and is in the same run
still, it need not be asked all that again.) Where nothing runs any more of what is to be healthy, or was
(the machine was shut down meanwhile, and it is not started at boot), it is started first: that it does not run says
nothing of the release, and a verdict must not say of it that it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from dropdeploy.deploy.phase import BEFORE_SWAP, STEP_OF, Phase, Way
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.fault import ErrorCode, Fault


class Course(StrEnum):
    """What becomes of it."""

    AS_BEFORE = "as before"
    CARRY_ON = "carry on"


COURSES: Mapping[Phase, Course] = {
    phase: Course.AS_BEFORE if phase in BEFORE_SWAP else Course.CARRY_ON for phase in Phase
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """``discard`` is the release that was being made, "" when none was."""

    course: Course
    discard: str = ""


_SWAPS: Mapping[Phase, Phase] = {
    Phase.RESTART: Phase.SWAP,
    Phase.HEALTH: Phase.SWAP,
    Phase.BACK_RESTART: Phase.BACK_SWAP,
    Phase.BACK_HEALTH: Phase.BACK_SWAP,
}
"""The phases that are about what `app` leads to, and the one that sees to it."""

_BEGINNINGS: Mapping[Phase, Phase] = {
    Phase.START: Phase.START,
    Phase.BESIDE: Phase.START,
    Phase.SWAP: Phase.START,
    Phase.WITHDRAW: Phase.START,
    Phase.HEALTH: Phase.START,
    Phase.BACK_START: Phase.BACK_START,
    Phase.BACK_SWAP: Phase.BACK_START,
    Phase.BACK_WITHDRAW: Phase.BACK_START,
    Phase.BACK_HEALTH: Phase.BACK_START,
}
"""Where a handover carries on."""

_FOUND_WELL = frozenset({Phase.SWAP, Phase.WITHDRAW, Phase.HEALTH})
"""What a handover comes to when the new one has been found well beside the old one."""

_STARTS: Mapping[Phase, Phase] = {
    Phase.HEALTH: Phase.RESTART,
    Phase.BACK_HEALTH: Phase.BACK_RESTART,
}
"""The phases that ask what runs how it is, and the one that starts it."""

_FIRST: Mapping[Way, tuple[Phase, Phase]] = {
    Way.IN_PLACE: (Phase.RESTART, Phase.BACK_RESTART),
    Way.HANDOVER: (Phase.START, Phase.BACK_START),
}
"""How a release is started, forth and back."""


def take_up(state: Deploy, live: str, *, is_up: bool, is_old_gone: bool = False, is_run_intact: bool = False) -> Deploy:
    """The state from which an interrupted deploy carries on. ``live`` is what `app` leads to; ``is_up``: the unit runs,
    or is on its way there; ``is_old_gone``: none of ``state.before`` is in the same run any more; ``is_run_intact``:
    ``state.run`` is."""
    state = replace(state, is_old_gone=is_old_gone)
    is_beyond = state.way is Way.HANDOVER and state.phase in _FOUND_WELL and is_run_intact
    if is_beyond and (state.phase is Phase.SWAP or live == state.release):
        return state
    if state.way is Way.HANDOVER and state.phase in _BEGINNINGS:
        # What was seen of the health of what was live before is of no use where something else is live.
        healthy = state.is_live_healthy if live == state.live else None
        return replace(state, phase=_BEGINNINGS[state.phase], live=live, is_live_healthy=healthy, run=None)
    swap = _SWAPS.get(state.phase)
    if swap is not None and live != state.live and (swap is not Phase.SWAP or Phase.SWAP in state.route):
        return replace(state, phase=swap, run=None)
    start = _start(state)
    return state if start is None or is_up else replace(state, phase=start, run=None)


def _start(state: Deploy) -> Phase | None:
    """The phase that starts what this one takes to be running."""
    if state.phase in (Phase.AFTER_LIVE, Phase.PRUNE) and state.has_restarted and state.is_live_healthy:
        forth, back = _FIRST[state.way]
        return forth if state.fault is None else back
    return _STARTS.get(state.phase)


def recover(state: Deploy) -> Recovery:
    """What to do with a deploy whose last written intent is ``state``."""
    course = COURSES[state.phase]
    is_own = Phase.EXTRACT in state.route
    return Recovery(course, state.release if course is Course.AS_BEFORE and is_own else "")


def take_back(state: Deploy, live: str, *, is_healthy: bool | None) -> Deploy:
    """The end of a deploy that was interrupted before the swap, and that nothing asks for any more. ``live`` is what
    `app` leads to, and ``is_healthy`` what is known of that."""
    step, name = STEP_OF[state.phase], state.request.name
    return replace(
        state,
        phase=Phase.DECIDED,
        live=live,
        is_live_healthy=is_healthy,
        is_cancelled=True,
        fault_step=step,
        fault=Fault(
            ErrorCode.CANCELLED,
            f"the agent was stopped during {step}, and when it was started again {name} had been taken away",
            "upload it again if it is still wanted",
        ),
    )
