"""A few power cuts (tests/durability/run makes many): what was told is on the disk."""

from __future__ import annotations

import subprocess

import pytest

from tests.durability import disk


@pytest.mark.parametrize("kind", list(disk.KINDS))
def test_what_was_told_survives_a_power_cut(kind: str) -> None:
    if (problem := disk.obstacle()) is not None:
        pytest.skip(problem)
    few = ("--deploys=3", "--moments=2", "--agents=0.25", "--seed=3")
    done = disk.in_namespace(*few, "--kinds", kind, stdout=subprocess.PIPE)
    print(done.stdout)
    assert "\n  0 violations\n" in done.stdout
    assert done.returncode == 0
