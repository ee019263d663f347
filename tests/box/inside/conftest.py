"""For tests that run on the machine itself, inside the box, with the distribution's own Python."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

# Anybody but root has a systemd of their own, which asks nobody for permission.
collect_ignore = ["test_units_system.py"] if os.geteuid() else []

pytest.register_assert_rewrite("tests.unit.units.contract")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[object]:
    from dropdeploy.units.systemd import SystemdUnits
    from tests.box.inside.systemd_bench import BUS, SystemdBench

    async with SystemdUnits(BUS) as units:
        made = SystemdBench(units, tmp_path)
        yield made
        made.clear()
