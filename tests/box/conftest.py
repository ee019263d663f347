"""Boxes for tests. What a box's journal says since a failed test began is shown with the failure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.box.machine import Box, obstacle
from tests.box.package import build_deb
from tests.box.recipes import SERVER, Recipe, workshop
from tests.box.server import AGENT_UNIT, Server

JOURNAL_LINES = 80
# What every log-in over ssh leaves, and no test is about.
NOISE = re.compile(r"systemd-logind\[|pam_\w+\(|Received disconnect|session-|user-|user@|UID \d")
# Python's and asyncio's words for a mistake in the agent, and the agent's own.
ODD = re.compile(
    r"Traceback|Exception|[Ee]rror:|Unknown child|never retrieved|never awaited|Warning|failed unexpectedly"
)

# These run in the box: see test_inside.py.
collect_ignore = ["inside"]

pytest.register_assert_rewrite("tests.box.clients")

boxes = pytest.StashKey[list[Box]]()
began = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[boxes] = []


@pytest.fixture(scope="session")
def new_box(pytestconfig: pytest.Config) -> Iterator[Callable[..., Box]]:
    """Boots another box, in half a second: a server's, or one of another recipe. It is removed when the tests end."""
    problem = obstacle()
    if problem is not None:
        pytest.exit(problem, returncode=3)
    with ExitStack() as stack:

        def boot(recipe: Recipe = SERVER) -> Box:
            box = stack.enter_context(Box(recipe))
            pytestconfig.stash[boxes].append(box)
            return box

        yield boot


@pytest.fixture(scope="session")
def bookworm_workshop(new_box: Callable[..., Box]) -> Box:
    """Where the package is made and looked at."""
    return new_box(workshop("bookworm"))


@pytest.fixture(scope="session")
def package(bookworm_workshop: Box, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, made from this checkout."""
    return build_deb(bookworm_workshop, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def server(new_box: Callable[[], Box]) -> Server:
    """A box with dropdeploy installed, for all tests that can share it: each brings apps of its own."""
    return Server(new_box())


@pytest.fixture(scope="session")
def box(server: Server) -> Box:
    """The box of ``server``."""
    return server.box


@pytest.fixture
def fresh_server(new_box: Callable[[], Box]) -> Iterator[Server]:
    """A server of the test's own, to crash and to reboot."""
    server = Server(new_box())
    yield server
    server.box.crash()


@pytest.fixture(scope="module")
def own_server(new_box: Callable[[], Box]) -> Iterator[Server]:
    """A server of the module's own. Whatever happens there, the agent's diary tells nothing that is not meant to be
    told."""
    server = Server(new_box())
    yield server
    odd = [line for line in server.box.journal(AGENT_UNIT).splitlines() if ODD.search(line)]
    assert not odd, "\n".join(odd)
    server.box.crash()


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[began] = time.time()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    if report.failed:
        for box in item.config.stash[boxes]:
            if box.is_running:
                lines = [line for line in box.journal(since=item.stash[began]).splitlines() if not NOISE.search(line)]
                journal = "\n".join(lines[-JOURNAL_LINES:])
                report.sections.append((f"journal of {box.name} since the test began", journal))
