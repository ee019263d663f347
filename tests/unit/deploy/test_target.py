from __future__ import annotations

import pytest

from dropdeploy.deploy.target import find_target, newest_healthy
from dropdeploy.model.fault import ErrorCode, Fault

A, B, C, D = "20260101-000000", "20260102-000000", "20260103-000000", "20260104-000000"


@pytest.mark.parametrize(
    ("health", "live", "expected"),
    [
        ({A: True, B: True, C: True, D: True}, D, C),
        ({A: True, B: True, C: False, D: True}, D, B),
        ({}, D, C),  # the history was lost: what is there may be gone back to
        ({A: True, B: True, C: True, D: True}, B, A),
    ],
)
def test_an_empty_rollback_goes_to_the_newest_healthy_before_the_live(
    health: dict[str, bool | None], live: str, expected: str
) -> None:
    assert find_target("", (A, B, C, D), health, live) == expected


def test_a_named_release_may_be_newer_or_ill() -> None:
    assert find_target(D, (A, B, C, D), {D: False}, B) == D


def test_nothing_to_roll_back_to() -> None:
    fault = find_target("", (A, B), {A: False}, B)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.NOTHING_TO_ROLL_BACK_TO
    assert fault.message == f"no healthy release is older than {B}; there are {A}"


def test_no_such_release_lists_what_there_is() -> None:
    fault = find_target("20200101-000000", (A, B, C), {}, C)
    assert isinstance(fault, Fault)
    assert fault.code is ErrorCode.NO_SUCH_RELEASE
    assert fault.message == f"there is no release '20200101-000000'; there are {B}, {A}"


def test_the_live_release_is_no_target() -> None:
    fault = find_target(C, (A, B, C), {}, C)
    assert isinstance(fault, Fault)
    assert "is live already" in fault.message


def test_newest_healthy_of_none() -> None:
    assert newest_healthy((), {}) == ""
