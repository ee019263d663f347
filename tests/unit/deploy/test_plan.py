"""The plan, walked exhaustively: every state that can be reached, every event in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product

import pytest

from dropdeploy.deploy.event import Cancelled, Done, Event, Extracted, Failed, Ground, Learned, Started
from dropdeploy.deploy.phase import BEFORE_SWAP, OPTIONAL, Phase, Way
from dropdeploy.deploy.plan import REFUSALS, IllegalEventError, advance, begin
from dropdeploy.deploy.recovery import Course, recover, take_back, take_up
from dropdeploy.deploy.state import Deploy, is_cancellable
from dropdeploy.deploy.transitions import TRANSITIONS, targets
from dropdeploy.deploy.verdict import decide, is_release_healthy, release_proved, status_of
from dropdeploy.model.app import OnFailure
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Status, StepName
from dropdeploy.model.request import Action, Format, Marker, Upload, Version
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked

NOW = datetime(2026, 1, 23, 14, 30, 22, tzinfo=UTC)
VERSION = Version(1, 2, 3, 4, 5)
UPLOAD = Upload("build.tar.gz", Format.TAR_GZ, VERSION)
NEW, OLD, OLDER = "20260123-143022", "20260122-091545", "20260121-000000"
NEW_UNIT, OLD_UNIT = f"myapp@{NEW}.service", f"myapp@{OLD}.service"
SOME_OPTIONAL = [frozenset(some) for count in range(4) for some in combinations(sorted(OPTIONAL), count)]
REQUESTS = {
    Action.DEPLOY: UPLOAD,
    Action.ROLLBACK: Marker("rollback", Action.ROLLBACK, VERSION),
    Action.RESTART: Marker("restart", Action.RESTART, VERSION),
}

CODES = {
    Phase.PREFLIGHT: ErrorCode.RATE_LIMITED,
    Phase.EXTRACT: ErrorCode.CORRUPT_UPLOAD,
    Phase.LINK: ErrorCode.SHARED_MISSING,
    Phase.HOOKS: ErrorCode.HOOK_FAILED,
    Phase.TRIAL: ErrorCode.TRIAL_FAILED,
    Phase.START: ErrorCode.RESTART_FAILED,
    Phase.BESIDE: ErrorCode.HEALTH_TIMEOUT,
    Phase.RESTART: ErrorCode.RESTART_FAILED,
    Phase.WITHDRAW: ErrorCode.RESTART_FAILED,
    Phase.HEALTH: ErrorCode.HEALTH_TIMEOUT,
}
FROM_START_ON = frozenset({Phase.START, Phase.BESIDE, Phase.SWAP, Phase.WITHDRAW, Phase.HEALTH})
ON_THE_WAY_BACK = frozenset({Phase.BACK_START, Phase.BACK_SWAP, Phase.BACK_WITHDRAW, Phase.BACK_HEALTH})


def start(
    action: Action = Action.DEPLOY,
    on_failure: OnFailure = OnFailure.ROLLBACK,
    without: frozenset[Phase] = frozenset(),
    way: Way = Way.IN_PLACE,
) -> Deploy:
    return begin(
        id=1, app="myapp", request=REQUESTS[action], started=NOW, on_failure=on_failure, without=without, way=way
    )


def learned(state: Deploy, previous: str) -> Learned | None:
    """What the effect of this phase would bring."""
    match state.phase:
        case Phase.PREFLIGHT:
            release = previous if state.action is Action.RESTART else NEW
            return Ground(release, previous, previous, True if previous else None)
        case Phase.EXTRACT:
            return Extracted(UPLOAD, Unpacked(10, "ab" * 32, 3, 30))
        case Phase.RESTART | Phase.BACK_RESTART:
            return UnitState("myapp.service", active_state="active", invocation_id="a" * 32)
        case Phase.START:
            return Started(UnitState(NEW_UNIT, active_state="active", invocation_id="b" * 32), is_old_well=True)
        case Phase.BACK_START:
            return UnitState(OLD_UNIT, active_state="active", invocation_id="c" * 32)
        case Phase.HEALTH | Phase.BACK_HEALTH | Phase.BESIDE:
            return HealthReport(True, 1, 0.1, 200)
        case _:
            return None


def events(state: Deploy, previous: str) -> list[Event]:
    fault = Fault(CODES.get(state.phase, ErrorCode.INTERNAL), f"{state.phase} did not work", "try again")
    brought = learned(state, previous) if state.phase is Phase.PREFLIGHT else None
    return [Done(0.1, "", learned(state, previous)), Failed(0.1, fault, brought), Cancelled(0.1)]


def refusals(state: Deploy) -> list[Event]:
    """systemd would not even begin, or it could not be written down."""
    if state.phase not in (Phase.START, Phase.RESTART):
        return []
    full = Fault(ErrorCode.NO_SPACE, "the disk is full")
    return [Failed(0.1, Fault(ErrorCode.NOT_AUTHORISED, "no")), Failed(0.0, full, has_begun=False)]


def walk(action: Action, on_failure: OnFailure, without: frozenset[Phase], way: Way, previous: str) -> list[Deploy]:
    """Every state that can be reached."""
    seen: list[Deploy] = []
    to_visit = [start(action, on_failure, without, way)]
    while to_visit:
        state = to_visit.pop()
        seen.append(state)
        for event in (*events(state, previous), *refusals(state)):
            is_possible = is_cancellable(state) or not isinstance(event, Cancelled)
            if is_possible and (state.phase, type(event)) in TRANSITIONS:
                to_visit.append(advance(state, event))
        if state.phase is Phase.HEALTH and way is Way.HANDOVER and not state.is_old_gone:
            to_visit.append(take_up(state, state.live, is_up=True, is_old_gone=True))
    return seen


WORLDS = [
    pytest.param(
        action,
        on_failure,
        without,
        way,
        previous,
        id=f"{action}-{on_failure}-{'+'.join(sorted(without)) or 'all'}-{way}-{previous or 'first'}",
    )
    for action, on_failure, without, way, previous in product(Action, OnFailure, SOME_OPTIONAL, Way, (OLD, ""))
    if previous or action is not Action.RESTART
]


@pytest.mark.parametrize(("action", "on_failure", "without", "way", "previous"), WORLDS)
def test_every_road_ends_in_one_consistent_verdict(
    action: Action, on_failure: OnFailure, without: frozenset[Phase], way: Way, previous: str
) -> None:
    decided = [state for state in walk(action, on_failure, without, way, previous) if state.phase is Phase.DECIDED]
    assert decided
    for state in decided:
        outcome = decide(state, NOW + timedelta(seconds=2))
        assert outcome.summary
        assert (outcome.fault is None) == (outcome.status is Status.DEPLOYED)
        if outcome.status is Status.DEPLOYED:
            assert (outcome.live, outcome.live_healthy) == (state.release, True)
        if outcome.status is Status.ROLLED_BACK:
            assert (outcome.live, outcome.live_healthy) == (previous, True)
        if outcome.status in (Status.REJECTED, Status.CANCELLED, Status.INCOMPLETE):
            assert not state.has_restarted or (way is Way.HANDOVER and state.is_cancelled)
            assert outcome.live in ("", previous)
            # Where nothing was live before, everything is taken down, and that is told as a swap.
            has_been_off = state.has_restarted and not previous
            assert has_been_off or StepName.SWAP not in {step.name for step in outcome.steps}
        if outcome.live_healthy is False:
            assert outcome.status is Status.FAILED
        if outcome.fault is not None:
            assert outcome.fault.message
            assert outcome.fault_step is not None


@pytest.mark.parametrize(("action", "on_failure", "without", "way", "previous"), WORLDS)
def test_an_illegal_event_is_named_and_changes_nothing(
    action: Action, on_failure: OnFailure, without: frozenset[Phase], way: Way, previous: str
) -> None:
    for state in walk(action, on_failure, without, way, previous):
        for event in (*events(state, previous), *refusals(state)):
            if (state.phase, type(event)) not in TRANSITIONS:
                before = replace(state)
                with pytest.raises(IllegalEventError, match=f"{type(event).__name__} in phase {state.phase}"):
                    advance(state, event)
                assert state == before


@pytest.mark.parametrize(("action", "on_failure", "without", "way", "previous"), WORLDS)
def test_every_interrupted_state_has_a_course(
    action: Action, on_failure: OnFailure, without: frozenset[Phase], way: Way, previous: str
) -> None:
    for state in walk(action, on_failure, without, way, previous):
        recovery = recover(state)
        if state.phase in BEFORE_SWAP:
            assert recovery.course is Course.AS_BEFORE
            assert recovery.discard == (state.release if action is Action.DEPLOY else "")
        else:
            assert recovery.course is Course.CARRY_ON


def test_every_edge_is_driven_by_some_road() -> None:
    driven = set()
    for param in WORLDS:
        action, on_failure, without, way, previous = param.values
        for state in walk(action, on_failure, without, way, previous):  # type: ignore[arg-type]
            for event in (*events(state, previous), *refusals(state)):  # type: ignore[arg-type]
                if (state.phase, type(event)) in TRANSITIONS:
                    driven.add((state.phase, type(event), advance(state, event).phase))
    assert driven == set(targets())


def drive(state: Deploy, *failing: Phase, previous: str = OLD, code: ErrorCode | None = None) -> Deploy:
    """Take a deploy to its verdict; the phases named fail."""
    while state.phase is not Phase.DECIDED:
        done, failed, _ = events(state, previous)
        if state.phase in failing:
            assert isinstance(failed, Failed)
            failed = replace(failed, fault=replace(failed.fault, code=code)) if code else failed
            state = advance(state, failed)
        else:
            state = advance(state, done)
    return state


ROWS = [
    # failing phases, on_failure, previous → status, live, healthy, step of the fault
    ((), OnFailure.ROLLBACK, OLD, Status.DEPLOYED, NEW, True, None),
    ((Phase.PREFLIGHT,), OnFailure.ROLLBACK, OLD, Status.REJECTED, OLD, True, StepName.PREFLIGHT),
    ((Phase.EXTRACT,), OnFailure.ROLLBACK, OLD, Status.REJECTED, OLD, True, StepName.EXTRACT),
    ((Phase.LINK,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.LINK),
    ((Phase.HOOKS,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.HOOKS),
    ((Phase.TRIAL,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.TRIAL),
    ((Phase.SWAP,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.SWAP),
    ((Phase.RESTART,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.RESTART),
    ((Phase.HEALTH,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.HEALTH),
    ((Phase.HEALTH,), OnFailure.KEEP, OLD, Status.FAILED, NEW, False, StepName.HEALTH),
    ((Phase.HEALTH,), OnFailure.ROLLBACK, "", Status.FAILED, "", None, StepName.HEALTH),
    ((Phase.HEALTH, Phase.BACK_SWAP), OnFailure.ROLLBACK, OLD, Status.FAILED, NEW, False, StepName.HEALTH),
    ((Phase.HEALTH, Phase.BACK_RESTART), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, False, StepName.HEALTH),
    ((Phase.HEALTH, Phase.BACK_HEALTH), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, False, StepName.HEALTH),
    ((Phase.HEALTH, Phase.OFF), OnFailure.ROLLBACK, "", Status.FAILED, NEW, False, StepName.HEALTH),
    ((Phase.AFTER_LIVE,), OnFailure.ROLLBACK, OLD, Status.DEPLOYED, NEW, True, None),
    ((Phase.PRUNE,), OnFailure.ROLLBACK, OLD, Status.DEPLOYED, NEW, True, None),
]


@pytest.mark.parametrize(("failing", "on_failure", "previous", "status", "live", "healthy", "step"), ROWS)
def test_each_row_of_the_table_of_steps(
    failing: tuple[Phase, ...],
    on_failure: OnFailure,
    previous: str,
    status: Status,
    live: str,
    healthy: bool | None,
    step: StepName | None,
) -> None:
    outcome = decide(drive(start(on_failure=on_failure), *failing, previous=previous), NOW)
    assert (outcome.status, outcome.live, outcome.live_healthy, outcome.fault_step) == (status, live, healthy, step)


def test_a_failed_way_back_has_a_code_of_its_own_and_tells_both_faults() -> None:
    outcome = decide(drive(start(), Phase.HEALTH, Phase.BACK_HEALTH), NOW)
    assert outcome.fault is not None
    assert outcome.fault.code is ErrorCode.ROLLBACK_FAILED
    assert outcome.fault.message == (
        f"health did not work; and the way back to {OLD} failed too: back-health did not work"
    )
    assert outcome.summary == f"{NEW} failed during health, {OLD} is live and ill"


def test_a_rollback_always_returns_even_where_failures_are_kept() -> None:
    outcome = decide(drive(start(Action.ROLLBACK, OnFailure.KEEP), Phase.HEALTH), NOW)
    assert (outcome.status, outcome.live) == (Status.ROLLED_BACK, OLD)


def test_a_failed_restart_leaves_the_link_alone() -> None:
    state = drive(start(Action.RESTART), Phase.HEALTH)
    outcome = decide(state, NOW)
    assert (outcome.status, outcome.live, outcome.live_healthy) == (Status.FAILED, OLD, False)
    assert outcome.summary == f"the restart of {OLD} failed during health, {OLD} is live and ill"
    assert is_release_healthy(state) is None


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize("previous", [OLD, ""])
def test_a_restart_that_was_refused_has_stopped_nothing(code: ErrorCode, previous: str) -> None:
    state = drive(start(without=OPTIONAL), Phase.RESTART, previous=previous, code=code)
    outcome = decide(state, NOW)
    assert outcome.fault is not None
    assert (outcome.status, outcome.fault.code, outcome.live) == (Status.FAILED, code, previous)
    assert not state.has_restarted
    assert [step.name for step in outcome.steps][-3:] == ["restart", "swap", "prune"]


def test_a_short_upload_is_incomplete() -> None:
    assert status_of(drive(start(), Phase.EXTRACT, code=ErrorCode.TRUNCATED_UPLOAD)) is Status.INCOMPLETE


@pytest.mark.parametrize("phase", sorted(BEFORE_SWAP))
def test_cancel_before_the_swap(phase: Phase) -> None:
    state = start()
    while state.phase is not phase:
        state = advance(state, events(state, OLD)[0])
    state = advance(state, Cancelled(0.1))
    if state.phase is not Phase.DECIDED:
        assert state.phase is Phase.DISCARD
        state = advance(state, Done(0.1))
    outcome = decide(state, NOW)
    assert outcome.status is Status.CANCELLED
    assert outcome.fault is not None
    assert outcome.fault.code is ErrorCode.CANCELLED
    assert outcome.fault_step == StepName(phase.value)


def test_a_clock_that_runs_backwards_counts_as_no_time() -> None:
    assert decide(drive(start()), NOW - timedelta(hours=1)).seconds == 0.0


# --- handover: which phases fail (and how), and what the verdict is ---

HANDOVERS = [
    # action, failing phases, on_failure, previous → status, live, healthy, step of the fault
    (Action.DEPLOY, (), OnFailure.ROLLBACK, OLD, Status.DEPLOYED, NEW, True, None),
    (Action.DEPLOY, (Phase.START,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.RESTART),
    (Action.DEPLOY, (Phase.START,), OnFailure.KEEP, OLD, Status.ROLLED_BACK, OLD, True, StepName.RESTART),
    (Action.DEPLOY, (Phase.START,), OnFailure.ROLLBACK, "", Status.FAILED, "", None, StepName.RESTART),
    (Action.DEPLOY, (Phase.BESIDE,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.HEALTH),
    (Action.DEPLOY, (Phase.BESIDE,), OnFailure.KEEP, OLD, Status.ROLLED_BACK, OLD, True, StepName.HEALTH),
    (Action.DEPLOY, (Phase.SWAP,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.SWAP),
    (Action.DEPLOY, (Phase.WITHDRAW,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.RESTART),
    (Action.DEPLOY, (Phase.HEALTH,), OnFailure.ROLLBACK, OLD, Status.ROLLED_BACK, OLD, True, StepName.HEALTH),
    (Action.DEPLOY, (Phase.HEALTH,), OnFailure.KEEP, OLD, Status.FAILED, NEW, False, StepName.HEALTH),
    (Action.DEPLOY, (Phase.HEALTH,), OnFailure.ROLLBACK, "", Status.FAILED, "", None, StepName.HEALTH),
    (
        *(Action.DEPLOY, (Phase.HEALTH, Phase.BACK_START), OnFailure.ROLLBACK, OLD),
        *(Status.FAILED, NEW, False, StepName.HEALTH),
    ),
    (
        *(Action.DEPLOY, (Phase.BESIDE, Phase.BACK_WITHDRAW), OnFailure.ROLLBACK, OLD),
        *(Status.FAILED, OLD, True, StepName.HEALTH),
    ),
    (
        *(Action.DEPLOY, (Phase.HEALTH, Phase.BACK_HEALTH), OnFailure.ROLLBACK, OLD),
        *(Status.FAILED, OLD, False, StepName.HEALTH),
    ),
    (Action.ROLLBACK, (Phase.HEALTH,), OnFailure.KEEP, OLD, Status.ROLLED_BACK, OLD, True, StepName.HEALTH),
    (Action.RESTART, (), OnFailure.ROLLBACK, OLD, Status.DEPLOYED, OLD, True, None),
    (Action.RESTART, (Phase.START,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.RESTART),
    (Action.RESTART, (Phase.BESIDE,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, True, StepName.HEALTH),
    (Action.RESTART, (Phase.HEALTH,), OnFailure.ROLLBACK, OLD, Status.FAILED, OLD, False, StepName.HEALTH),
]


@pytest.mark.parametrize(
    ("action", "failing", "on_failure", "previous", "status", "live", "healthy", "step"), HANDOVERS
)
def test_each_end_of_a_handover(
    action: Action,
    failing: tuple[Phase, ...],
    on_failure: OnFailure,
    previous: str,
    status: Status,
    live: str,
    healthy: bool | None,
    step: StepName | None,
) -> None:
    outcome = decide(drive(start(action, on_failure, way=Way.HANDOVER), *failing, previous=previous), NOW)
    assert (outcome.status, outcome.live, outcome.live_healthy, outcome.fault_step) == (status, live, healthy, step)


@pytest.mark.parametrize(("action", "on_failure", "without", "way", "previous"), WORLDS)
def test_an_interrupted_handover_begins_again_on_the_same_stretch_of_road(
    action: Action, on_failure: OnFailure, without: frozenset[Phase], way: Way, previous: str
) -> None:
    """Whether the effect had been made (the link then leads elsewhere) or not."""
    if way is not Way.HANDOVER:
        return
    for state in walk(action, on_failure, without, way, previous):
        for live in {state.live, state.release, state.back_to} - {""}:
            taken_up = take_up(state, live, is_up=True)
            if state.phase in FROM_START_ON:
                assert (taken_up.phase, taken_up.live, taken_up.run) == (Phase.START, live, None)
            elif state.phase in ON_THE_WAY_BACK:
                assert (taken_up.phase, taken_up.live, taken_up.run) == (Phase.BACK_START, live, None)
            ended = drive(taken_up, previous=previous)
            if state.phase in FROM_START_ON:
                assert status_of(ended) is Status.DEPLOYED
                assert (ended.live, ended.is_live_healthy) == (ended.release, True)
            elif state.phase in ON_THE_WAY_BACK:
                assert (ended.live, ended.is_live_healthy) == (ended.back_to, True)


@pytest.mark.parametrize("failing", [Phase.START, Phase.BESIDE, Phase.WITHDRAW, Phase.HEALTH])
def test_a_handover_that_was_interrupted_when_it_was_alone_keeps_what_it_would_have_kept(failing: Phase) -> None:
    state = start(on_failure=OnFailure.KEEP, way=Way.HANDOVER)
    while state.phase is not Phase.HEALTH:
        state = advance(state, events(state, OLD)[0])
    ended = drive(take_up(state, NEW, is_up=True, is_old_gone=True), failing)
    assert (status_of(ended), ended.live, ended.is_live_healthy) == (Status.FAILED, NEW, False)
    assert is_release_healthy(ended) is False


@pytest.mark.parametrize("phase", [Phase.SWAP, Phase.WITHDRAW, Phase.HEALTH])
def test_what_was_found_well_beside_and_still_runs_is_not_asked_all_that_again(phase: Phase) -> None:
    state = start(way=Way.HANDOVER)
    while state.phase is not phase:
        state = advance(state, events(state, OLD)[0])
    assert take_up(state, state.live, is_up=True, is_run_intact=True) == state
    elsewhere = take_up(state, OLDER, is_up=True, is_run_intact=True)
    assert elsewhere.phase is (Phase.SWAP if phase is Phase.SWAP else Phase.START)
    assert status_of(drive(elsewhere)) is Status.DEPLOYED


def test_what_has_swapped_is_cancelled_no_more() -> None:
    state = start(way=Way.HANDOVER)
    while state.phase is not Phase.START:
        state = advance(state, events(state, OLD)[0])
    assert is_cancellable(state)
    assert not is_cancellable(take_up(state, NEW, is_up=True))


def test_a_release_that_could_not_be_discarded_is_none_to_go_back_to() -> None:
    state = start()
    while state.phase is not Phase.TRIAL:
        state = advance(state, events(state, OLD)[0])
    state = advance(state, Cancelled(0.1))
    assert state.phase is Phase.DISCARD
    assert is_release_healthy(advance(state, Done(0.1))) is None
    assert is_release_healthy(advance(state, Failed(0.1, Fault(ErrorCode.INTERNAL, "no")))) is False


@pytest.mark.parametrize("phase", [Phase.HOOKS, Phase.TRIAL, Phase.SWAP, Phase.RESTART, Phase.HEALTH])
@pytest.mark.parametrize("is_shortage", [False, True])
def test_what_was_made_and_never_found_well_is_none_to_go_back_to(phase: Phase, *, is_shortage: bool) -> None:
    state = start()
    while state.phase is not phase:
        state = advance(state, events(state, OLD)[0])
    state = advance(state, Failed(0.1, Fault(ErrorCode.INTERNAL, "no", is_shortage=is_shortage)))
    assert is_release_healthy(state) is False
    assert release_proved(decide(replace(state, phase=Phase.DECIDED), NOW)) is False


def test_a_shortage_says_nothing_of_what_was_well_once() -> None:
    state = start(Action.ROLLBACK)
    while state.phase is not Phase.RESTART:
        state = advance(state, events(state, OLD)[0])
    state = advance(state, Failed(0.1, Fault(ErrorCode.INTERNAL, "no", is_shortage=True)))
    assert is_release_healthy(state) is None
    assert release_proved(decide(replace(state, phase=Phase.DECIDED), NOW)) is None


@pytest.mark.parametrize("action", Action)
def test_what_was_taken_away_meanwhile_is_cancelled(action: Action) -> None:
    state = start(action)
    while state.phase in BEFORE_SWAP:
        outcome = decide(take_back(state, OLD, is_healthy=True), NOW)
        assert (outcome.status, outcome.live, outcome.live_healthy) == (Status.CANCELLED, OLD, True)
        assert outcome.fault is not None
        assert outcome.fault.code is ErrorCode.CANCELLED
        assert f"stopped during {state.phase}" in outcome.fault.message
        assert "interrupted and taken away" in outcome.summary
        state = advance(state, events(state, OLD)[0])


def test_what_withdraws_does_so_after_the_swap_and_the_health_of_the_new_one() -> None:
    names = [step.name for step in decide(drive(start(without=OPTIONAL, way=Way.HANDOVER)), NOW).steps]
    assert names == ["preflight", "extract", "link", "restart", "health", "swap", "restart", "health", "prune"]


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("phase", [Phase.START, Phase.BESIDE])
@pytest.mark.parametrize("failing", [(), (Phase.BACK_WITHDRAW,)])
def test_cancel_while_the_new_one_runs_beside_the_old_one(
    action: Action, phase: Phase, failing: tuple[Phase, ...]
) -> None:
    state = start(action, way=Way.HANDOVER, without=OPTIONAL)
    while state.phase is not phase:
        state = advance(state, events(state, OLD)[0])
    state = advance(state, Cancelled(0.1))
    visited = [state.phase]
    while state.phase is not Phase.DECIDED:
        done, failed, _ = events(state, OLD)
        state = advance(state, failed if state.phase in failing else done)
        visited.append(state.phase)
    outcome = decide(state, NOW)
    assert (outcome.live, outcome.status) == (OLD, Status.FAILED if failing else Status.CANCELLED)
    assert visited[:2] == [Phase.BACK_START, Phase.BACK_WITHDRAW]
    assert (Phase.DISCARD in visited) == (action is Action.DEPLOY and not failing)
    assert outcome.fault is not None
    assert outcome.fault.code is (ErrorCode.ROLLBACK_FAILED if failing else ErrorCode.CANCELLED)


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize("previous", [OLD, ""])
def test_a_handover_that_was_refused_has_started_nothing(code: ErrorCode, previous: str) -> None:
    state = drive(start(without=OPTIONAL, way=Way.HANDOVER), Phase.START, previous=previous, code=code)
    outcome = decide(state, NOW)
    assert (outcome.status, outcome.live, state.has_restarted) == (Status.FAILED, previous, False)
    assert [step.name for step in outcome.steps][-2:] == ["restart", "prune"]


def test_the_way_back_is_told_in_the_steps() -> None:
    names = [step.name for step in decide(drive(start(without=OPTIONAL), Phase.HEALTH), NOW).steps]
    assert names == ["preflight", "extract", "link", "swap", "restart", "health", "swap", "restart", "health", "prune"]


@pytest.mark.parametrize(
    ("way", "failing", "interrupted", "carries_on"),
    [
        (Way.IN_PLACE, (), Phase.HEALTH, Phase.RESTART),
        (Way.IN_PLACE, (), Phase.PRUNE, Phase.RESTART),
        (Way.IN_PLACE, (Phase.HEALTH,), Phase.BACK_HEALTH, Phase.BACK_RESTART),
        (Way.IN_PLACE, (Phase.HEALTH,), Phase.PRUNE, Phase.BACK_RESTART),
        (Way.IN_PLACE, (Phase.TRIAL,), Phase.PRUNE, Phase.PRUNE),
        (Way.HANDOVER, (), Phase.PRUNE, Phase.START),
        (Way.HANDOVER, (Phase.HEALTH,), Phase.PRUNE, Phase.BACK_START),
    ],
)
def test_what_does_not_run_any_more_is_started_before_it_is_judged(
    way: Way, failing: tuple[Phase, ...], interrupted: Phase, carries_on: Phase
) -> None:
    state = start(way=way)
    while state.phase is not interrupted:
        done, failed, _ = events(state, OLD)
        state = advance(state, failed if state.phase in failing else done)
    assert take_up(state, state.live, is_up=False).phase is carries_on
    assert take_up(state, state.live, is_up=True).phase in (interrupted, carries_on)
