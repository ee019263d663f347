"""A short chaos run (tests/chaos/run is long): agent and machine are killed, and an observer sees no harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.box.machine import Box
from tests.box.server import Server
from tests.chaos.campaign import run, short
from tests.chaos.points import STRATEGIES

SEED = 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_anywhere(new_box: Callable[[], Box], strategy: str) -> None:
    report = run(Server(new_box()), strategy, SEED, short)
    print(report.text())
    assert report.violations == []
    # What is over in an instant on a fast machine has no midst.
    assert [point for point in report.unreached if not point.startswith("during")] == []
    assert report.kills.total() > 1
    assert report.checks.total() > 1000
