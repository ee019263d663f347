"""A short chaos run (tests/chaos/run is long): agent and machine are killed, and an observer sees no harm."""

from __future__ import annotations

import pytest

from tests.box.server import Server
from tests.chaos.campaign import run, short

SEED = 1


@pytest.mark.parametrize("strategy", ["restart"])
def test_killed_anywhere(own_server: Server, strategy: str) -> None:
    report = run(own_server, strategy, SEED, short)
    print(report.text())
    assert report.violations == []
    assert report.unreached == []
    assert report.kills.total() > 5
    assert report.checks.total() > 1000
