"""Which unit runs a release, and which is to (pure). See ``instances`` for how they are called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dropdeploy.deploy.phase import Way
from dropdeploy.deploy.state import Deploy, may_have_swapped
from dropdeploy.instances import instance_of, release_of
from dropdeploy.model.request import Action
from dropdeploy.model.unit import UnitState


@dataclass(frozen=True, slots=True)
class Keeper:
    """The unit that is to run alone in the end, and whether it does already."""

    unit: str
    is_up: bool


def is_up(state: UnitState) -> bool:
    """It runs, or a run of it is being reloaded: it has the socket and may answer."""
    return state.is_running or state.active_state == "reloading"


def is_same_run(one: UnitState, other: UnitState) -> bool:
    """Nothing has ended and begun in between."""
    return (one.unit, one.invocation_id, one.restarts) == (other.unit, other.invocation_id, other.restarts)


def choose_unit(action: Action, unit: str, release: str, standing: Sequence[UnitState]) -> str:
    """Which unit is to run ``release``: its instance.

    A restart needs one that does not run yet: where the instance runs, that is the app's own unit, which runs the
    same release as the link names it. (The next restart takes it back to the instance.)
    """
    instance = instance_of(unit, release)
    is_taken = any(is_up(each) for each in standing if each.unit == instance)
    return unit if action is Action.RESTART and is_taken else instance


def choose_keeper(state: Deploy, unit: str, standing: Sequence[UnitState]) -> Keeper:
    """Which unit runs ``state.back_to``, where a handover goes back, or is to be started for it.

    The app's own unit does if it is in the run that was there before, or if the link was not moved: then whatever
    started it, a crash or a boot, started it in that release.
    """
    instance = instance_of(unit, state.back_to)
    up = {each.unit: each for each in standing if is_up(each) and not _is_new(state, each.unit)}
    if instance in up:
        return Keeper(instance, is_up=True)
    if unit in up and (_was_there(state, up[unit]) or not may_have_swapped(state)):
        return Keeper(unit, is_up=True)
    return Keeper(unit if _is_new(state, instance) else instance, is_up=False)


def choose_served(
    way: Way, unit: str, live: str, standing: Sequence[UnitState], plain_runs: Collection[str]
) -> Keeper | None:
    """Which unit is to run ``live``, where nothing is being deployed; None where nothing runs that could tell.

    ``plain_runs`` are the releases that the app's own unit is seen to run from. Where nothing is seen, which is what
    the packaged agent sees, it is taken to run the live one.
    """
    up = {each.unit for each in standing if is_up(each)}
    if way is Way.IN_PLACE:
        return Keeper(unit, unit in up) if any(release_of(each) for each in up) else None
    instance = instance_of(unit, live)
    if not up or instance in up:
        return Keeper(instance, is_up=True) if up else None
    has_strayed = bool(plain_runs) and live not in plain_runs
    return Keeper(unit, is_up=True) if unit in up and not has_strayed else Keeper(instance, is_up=False)


def names_of_others(keeper: str, standing: Sequence[UnitState]) -> tuple[str, ...]:
    """All but the one that stays."""
    return tuple(each.unit for each in standing if each.unit != keeper)


def _is_new(state: Deploy, unit: str) -> bool:
    return unit == state.unit


def _was_there(state: Deploy, now: UnitState) -> bool:
    return state.back_to == state.previous and any(is_same_run(now, then) for then in state.before)
