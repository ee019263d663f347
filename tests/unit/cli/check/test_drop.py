"""``dropdeploy check`` tells for each drop directory how it is known there that an upload is closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropdeploy.cli.agent_state import Agent
from dropdeploy.cli.check import drop
from dropdeploy.cli.check.findings import Finding, Level
from dropdeploy.cli.check.ground import Ground
from dropdeploy.intake.listing import Closed
from dropdeploy.model.app import App
from dropdeploy.model.config import Config, Settings


class MayLease(Ground):
    """The agent has CAP_LEASE."""

    can_lease_others_files = True


class MayNot(Ground):
    """It has not."""

    can_lease_others_files = False


def found(path: Path, *, may_lease: bool) -> list[Finding]:
    app = App("myapp", root=path, drop=path, unit="myapp.service")
    ground = (MayLease if may_lease else MayNot)(Config(Settings(state=path), (app,)), path, Agent.STOPPED, 0)
    return list(drop.check_lease(app, ground))


@pytest.mark.parametrize(
    ("lease", "may_lease", "level", "told"),
    [
        (Closed.YES, True, Level.OK, "an upload is taken as soon as it is closed (read lease)"),
        (Closed.YES, False, Level.WARN, "leases only on the agent's own files, so an upload is taken when it has not"),
        (
            Closed.UNKNOWN,
            True,
            Level.WARN,
            "has no leases, so an upload is taken when it has not changed for 2 s (`settle`)",
        ),
    ],
)
def test_which_proof_is_in_use(
    lease: Closed, may_lease: bool, level: Level, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "take_lease", lambda fd: lease)
    (finding,) = found(tmp_path, may_lease=may_lease)
    assert finding.level is level
    assert told in finding.what
    assert list(tmp_path.iterdir()) == []


def test_the_kernel_is_really_asked(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, may_lease=True)
    assert finding.what == "an upload is taken as soon as it is closed (read lease)"
