"""Which unit runs what, before and after a handover."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dropdeploy.deploy.phase import Phase, Way
from dropdeploy.deploy.plan import begin
from dropdeploy.deploy.standing import Keeper, choose_keeper, choose_unit
from dropdeploy.deploy.state import Deploy
from dropdeploy.instances import instance_of, release_of, template_of
from dropdeploy.model.outcome import StepName
from dropdeploy.model.request import Action, Marker
from dropdeploy.model.unit import UnitState
from tests.unit.deploy.test_plan import NEW, NOW, OLD, UPLOAD, VERSION

PLAIN, NEW_UNIT, OLD_UNIT = "shop.service", f"shop@{NEW}.service", f"shop@{OLD}.service"


def up(unit: str, run: str = "a") -> UnitState:
    return UnitState(unit, active_state="active", sub_state="running", invocation_id=run * 32, main_pid=7)


def down(unit: str) -> UnitState:
    return UnitState(unit, active_state="failed", sub_state="failed")


def test_names() -> None:
    assert instance_of(PLAIN, NEW) == NEW_UNIT
    assert template_of(PLAIN) == "shop@.service"
    assert release_of(NEW_UNIT) == NEW
    assert [release_of(unit) for unit in (PLAIN, "shop@blue.service", "shop@.service")] == ["", "", ""]


@pytest.mark.parametrize(
    ("action", "standing", "chosen"),
    [
        (Action.DEPLOY, (), NEW_UNIT),
        (Action.DEPLOY, (up(PLAIN),), NEW_UNIT),
        (Action.ROLLBACK, (up(OLD_UNIT),), NEW_UNIT),
        (Action.RESTART, (), NEW_UNIT),
        (Action.RESTART, (up(PLAIN),), NEW_UNIT),
        (Action.RESTART, (down(NEW_UNIT),), NEW_UNIT),
        (Action.RESTART, (up(NEW_UNIT),), PLAIN),
        (Action.RESTART, (up(PLAIN), up(NEW_UNIT)), PLAIN),
    ],
)
def test_which_unit_is_to_run_a_release(action: Action, standing: tuple[UnitState, ...], chosen: str) -> None:
    assert choose_unit(action, PLAIN, NEW, standing) == chosen


def deploying(*before: UnitState, live: str = OLD, previous: str = OLD, fault_step: StepName | None = None) -> Deploy:
    state = begin(id=1, app="shop", request=UPLOAD, started=NOW, way=Way.HANDOVER)
    return replace(
        state,
        phase=Phase.BACK_START,
        release=NEW,
        previous=previous,
        back_to=OLD,
        live=live,
        unit=NEW_UNIT,
        before=before,
        fault_step=fault_step,
    )


def restarting(unit: str, *before: UnitState) -> Deploy:
    marker = Marker("restart", Action.RESTART, VERSION)
    state = begin(id=1, app="shop", request=marker, started=NOW, way=Way.HANDOVER)
    return replace(state, release=OLD, previous=OLD, back_to=OLD, live=OLD, unit=unit, before=before)


@pytest.mark.parametrize(
    ("state", "standing", "keeper"),
    [
        # an instance ran before: it stays, or is started again
        (deploying(up(OLD_UNIT)), (up(OLD_UNIT), up(NEW_UNIT)), Keeper(OLD_UNIT, True)),
        (deploying(up(OLD_UNIT), live=NEW), (up(NEW_UNIT),), Keeper(OLD_UNIT, False)),
        (deploying(up(OLD_UNIT)), (down(OLD_UNIT), up(NEW_UNIT)), Keeper(OLD_UNIT, False)),
        # the plain one: as long as it is in the run that it was in, or the link was not moved
        (deploying(up(PLAIN)), (up(PLAIN), up(NEW_UNIT)), Keeper(PLAIN, True)),
        (deploying(up(PLAIN), live=NEW), (up(PLAIN), up(NEW_UNIT)), Keeper(PLAIN, True)),
        (deploying(up(PLAIN), live=NEW), (up(PLAIN, "b"), up(NEW_UNIT)), Keeper(OLD_UNIT, False)),
        (deploying(up(PLAIN)), (up(PLAIN, "b"), up(NEW_UNIT)), Keeper(PLAIN, True)),
        (deploying(up(PLAIN), fault_step=StepName.SWAP), (up(PLAIN, "b"),), Keeper(OLD_UNIT, False)),
        # a boot in the middle of it: the plain one runs what the link names
        (deploying(up(OLD_UNIT)), (up(PLAIN),), Keeper(PLAIN, True)),
        (deploying(up(OLD_UNIT), live=NEW), (up(PLAIN),), Keeper(OLD_UNIT, False)),
        # it ran a release that is not gone back to
        (deploying(up(PLAIN), live=NEW, previous="20260101-000000"), (up(PLAIN),), Keeper(OLD_UNIT, False)),
        # restarts: never what is being started
        (restarting(PLAIN, up(OLD_UNIT)), (up(PLAIN), up(OLD_UNIT)), Keeper(OLD_UNIT, True)),
        (restarting(PLAIN, up(OLD_UNIT)), (up(PLAIN),), Keeper(OLD_UNIT, False)),
        (restarting(OLD_UNIT, up(PLAIN)), (up(PLAIN), up(OLD_UNIT)), Keeper(PLAIN, True)),
        (restarting(OLD_UNIT, up(PLAIN)), (up(OLD_UNIT),), Keeper(PLAIN, False)),
    ],
)
def test_who_goes_on_where_a_handover_goes_back(state: Deploy, standing: tuple[UnitState, ...], keeper: Keeper) -> None:
    assert choose_keeper(state, PLAIN, standing) == keeper
