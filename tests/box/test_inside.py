"""Tests that run in the box, with the distribution's own Python and packages, PyGObject among them."""

from __future__ import annotations

import pytest

from tests.box.machine import Box
from tests.box.server import Server

SOURCES = "/home/laptop/src"


@pytest.fixture(scope="module")
def inside(server: Server) -> Box:
    """A box with a checkout of the laptop's own, in which the distribution's pytest understands pyproject.toml."""
    box = server.box
    box.run("cp", "--recursive", "/src", SOURCES, user="laptop")
    # What the newest pytest-asyncio wants to be told, the distribution's does not know, and pytest is strict.
    box.run("sed", "-i", "/^asyncio_default_fixture_loop_scope/d", f"{SOURCES}/pyproject.toml")
    return box


def run_pytest(box: Box, *arguments: str, user: str) -> None:
    """Run pytest in the box; what it prints is the failure, if it fails."""
    uid = box.run("id", "-u", user).out.strip()
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    command = ("env", f"--chdir={SOURCES}", "/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = box.run(*command, *arguments, user=user, env=environment, timeout_s=600, check=False)
    if done.code != 0:
        pytest.fail(f"{done.out}\n{done.err}", pytrace=False)


# Those that lower limits of the kernel do so in a user namespace, whose /proc/sys a container may not write:
# they run on the machine itself, in the parts "unit" and "agent".
LIMITS = "no_inotify_instance or no_more_watches or max_inotify"
# What the kernel refuses it refuses every Python alike, one call after the other, which takes its time.
REFUSALS = "test_every_write"


@pytest.mark.parametrize("tests", ["tests/unit", "tests/agent"])
def test_all_of_it_works_with_the_distributions_packages(inside: Box, tests: str) -> None:
    run_pytest(inside, tests, "--numprocesses=3", "-k", f"not ({LIMITS} or {REFUSALS})", user="laptop")


@pytest.mark.parametrize(("bus", "user"), [("system", "root"), ("user", "laptop")])
def test_units_on_a_real_systemd(inside: Box, bus: str, user: str) -> None:
    if bus == "user":
        inside.start_own_systemd(user)
    run_pytest(inside, "--confcutdir=tests/box/inside", "tests/box/inside", user=user)
