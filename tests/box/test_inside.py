"""Tests that run in the box, with the distribution's own Python and packages (and their PyGObject)."""

from __future__ import annotations

import pytest

from tests.box.machine import Box

# The distribution's pytest-asyncio does not know every setting that pyproject.toml has for the newest.
PYTEST = (
    *("/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/src/pyproject.toml"),
    *("-o", "addopts=--import-mode=importlib --strict-markers -ra", "-W", "ignore::pytest.PytestConfigWarning"),
)


def run_pytest(box: Box, *arguments: str, user: str, timeout_s: float = 600.0) -> None:
    """Run pytest in the box; what it prints is the failure, if it fails."""
    uid = box.run("id", "-u", user).out.strip()
    env = {"PYTHONDONTWRITEBYTECODE": "1", "XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    done = box.run("env", "--chdir=/src", *PYTEST, *arguments, user=user, env=env, timeout_s=timeout_s, check=False)
    if done.code != 0:
        pytest.fail(f"{done.out}\n{done.err}", pytrace=False)


def test_the_unit_tests_pass_with_the_distributions_packages(box: Box) -> None:
    run_pytest(box, "/src/tests/unit", user="laptop")


@pytest.mark.parametrize(("bus", "user"), [("system", "root"), ("user", "laptop")])
def test_units_on_a_real_systemd(box: Box, bus: str, user: str) -> None:
    if bus == "user":
        # Starts the user's own systemd.
        box.run("loginctl", "enable-linger", user)
    run_pytest(box, "--confcutdir=/src/tests/box/inside", "/src/tests/box/inside", user=user)
