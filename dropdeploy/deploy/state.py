"""The state of a deploy, and what can be asked of it.   (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropdeploy.deploy.phase import BEFORE_SWAP, BESIDE, Phase, Way
from dropdeploy.model.app import OnFailure
from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import HealthReport, Step, StepName
from dropdeploy.model.request import Action, Marker, Upload
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked


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


def has_way_back(state: Deploy) -> bool:
    """There is something to go back to."""
    return bool(state.back_to)


def has_restarted(state: Deploy) -> bool:
    """What serves was touched."""
    return state.has_restarted


def is_deploy(state: Deploy) -> bool:
    """An upload is to become a release."""
    return state.action is Action.DEPLOY


def is_restart(state: Deploy) -> bool:
    """The live release is to be run anew."""
    return state.action is Action.RESTART


def is_handover(state: Deploy) -> bool:
    """The new release is started beside the old one."""
    return state.way is Way.HANDOVER


def is_restart_of_nothing(state: Deploy) -> bool:
    """A restart that has not begun."""
    return is_restart(state) and not state.has_restarted


def has_touched_nothing(state: Deploy) -> bool:
    """What serves is as it was."""
    return not state.has_restarted


def can_take_back(state: Deploy) -> bool:
    """A handover, which can be turned round."""
    return is_handover(state) and has_way_back(state)


def may_have_swapped(state: Deploy) -> bool:
    """The link was, or may have been, moved away from what is gone back to."""
    return state.live != state.back_to or state.fault_step is StepName.SWAP


def is_cancellable(state: Deploy) -> bool:
    """It has not gone live yet. (A handover that is taken up again after its swap has; a restart never does.)"""
    if state.phase in BESIDE:
        return state.live != state.release or is_restart(state)
    return state.phase in BEFORE_SWAP


def is_cancelled_deploy(state: Deploy) -> bool:
    """A deploy that its uploader has cancelled."""
    return state.is_cancelled and is_deploy(state)


def keeps_ill(state: Deploy) -> bool:
    """A release that is ill is to stay live."""
    # A rollback always returns: its promise is to be no worse off than before.
    return state.action is Action.DEPLOY and state.on_failure is OnFailure.KEEP


def is_kept_alone(state: Deploy) -> bool:
    """A handover that had come so far that an ill release is kept, when it was interrupted."""
    return keeps_ill(state) and state.is_old_gone and state.live == state.release
