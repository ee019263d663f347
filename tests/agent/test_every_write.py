"""The disk fails at every single write there is: of releases, history and drop directory, in a deploy that goes well,
in one that goes back, and in a rollback. And no descriptor is left, whenever one is wanted.

With $EVERY_WRITE each write has its turn with each fault; without it, one of each kind with most.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dropdeploy.model.fault import ErrorCode
from tests.agent import refusing
from tests.agent.refused import RefusedWorld
from tests.agent.refusing import CHANGING, FLUSHES, GROWING, OPENING, Order
from tests.agent.world import wait_for

ALL = bool(os.environ.get("EVERY_WRITE"))
PATIENCE_S = 0.15
OBSTACLE = refusing.obstacle()
pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE or "none")


@dataclass(frozen=True)
class DiskFault:
    """What the kernel says to which calls; from one on until it is mended, or once. ``codes``: what that may be told
    as, where it is not told as the release's illness."""

    error: int
    calls: frozenset[str]
    is_lasting: bool
    codes: frozenset[str]


FULL = DiskFault(errno.ENOSPC, GROWING, True, frozenset({"no-space"}))
# SQLite has no word of its own for a file system that becomes read-only under it: "disk I/O error".
READ_ONLY = DiskFault(errno.EROFS, CHANGING - FLUSHES, True, frozenset({"not-authorised", "internal"}))
BREAKS = DiskFault(errno.EIO, CHANGING, False, frozenset({"internal", "rollback-failed"}))
SHORT = DiskFault(errno.ENFILE, OPENING, True, frozenset({"internal", "restart-failed"}))

REQUESTS = {
    "good": ("v1.tar.gz", "deployed"),
    "ill": ("v1.tar.gz", "rolled-back"),
    "rollback": ("rollback", "deployed"),
}
PLACES = ("home", "drop", "state")
EVERYWHERE = ""
USUAL = {
    *((FULL, request, place) for request in REQUESTS for place in PLACES),
    *((READ_ONLY, request, place) for request, place in (("rollback", "home"), ("good", "drop"))),
    *((BREAKS, "good", place) for place in PLACES),
    (SHORT, "good", EVERYWHERE),
}
CASES = [
    pytest.param(fault, request, place, id=f"{errno.errorcode[fault.error]}-{request}-{place}")
    for fault, request, place in itertools.product((FULL, READ_ONLY, BREAKS, SHORT), REQUESTS, (*PLACES, EVERYWHERE))
    if (fault, request, place) in USUAL or (ALL and (fault is SHORT) == (place is EVERYWHERE))
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RefusedWorld]:
    world = RefusedWorld(tmp_path)
    world.start()
    world.deploy("v0")
    world.is_first = False
    yield world
    if world.process is not None:
        assert world.stop() == 0
    world.close()
    log = world.log.read_text()
    print(log[-10_000:])
    assert "Traceback" not in log
    assert world.kernel.failure is None


@pytest.mark.parametrize(("fault", "request_", "place"), CASES)
def test_at_every_write(world: RefusedWorld, fault: DiskFault, request_: str, place: str) -> None:
    def order(first: int) -> Order:
        return Order(fault.calls, place and f"{world.path}/{place}/", fault.error, first, fault.is_lasting)

    counted = order(0)
    ask(world, request_, counted)
    for first in range(1, len(counted.calls) + 1) if ALL else first_of_each_kind(world, counted):
        refused = order(first)
        result = ask(world, request_, refused)
        if refused.failed == 0:  # what is told in passing is not told equally often each time
            continue
        if "error" in result and result["error"]["step"] != "health":
            assert result["error"]["code"] in fault.codes, (refused.calls[first - 1], result)


def first_of_each_kind(world: RefusedWorld, order: Order) -> list[int]:
    """Which calls: of all that are of one kind, the first; the history's are of two kinds only, so a few more."""
    kinds = [(call.name, world.kind(call)) for call in order.calls]
    more = range(6, len(kinds) + 1, 11) if order.place.endswith("/state/") else ()
    return sorted({kinds.index(kind) + 1 for kind in kinds} | set(more))


def ask(world: RefusedWorld, request: str, order: Order) -> dict[str, Any]:
    """Upload while the kernel obeys the order, mend the disk after a while; the verdict, and all that must hold."""
    name, wanted = REQUESTS[request]
    if request == "rollback":
        world.deploy("v0")
    content = b"" if request == "rollback" else world.build("v1", **({"ill": 1} if request == "ill" else {}))
    path = world.drop / f"{name}.result.toml"
    path.unlink(missing_ok=True)
    before, since = world.live(), query(world, "SELECT coalesce(max(id), 0) FROM deploys")[0][0]
    world.kernel.obey(order)
    world.put(name, content)
    await_result(path, PATIENCE_S)
    world.kernel.obey(None)
    early = path.read_text() if path.exists() else ""
    result = answered(world, name)
    assert early in ("", path.read_text()), "another verdict than the one that was told"
    settle(world)
    decided = query(world, f"SELECT upload FROM deploys WHERE id > {since} AND status NOT NULL")
    assert decided == [(name,)] * ("id" in result)
    check(world, result, before)
    if result["status"] not in (wanted, "failed"):
        again = ask_again(world, name)
        assert again["status"] == wanted, again
        settle(world)
        check(world, again, before)
    if waste(world) or world.live() != before != result.get("previous"):
        world.deploy("v0")
        assert waste(world) == []
    return result


def answered(world: RefusedWorld, name: str) -> dict[str, Any]:
    """The result, also where a marker stays because it could not be removed: that it was answered is known."""
    path = world.drop / f"{name}.result.toml"
    wait_for(path.name, path.exists)
    wait_for("end of the work", lambda: not (world.drop / f"{name}.deploying").exists())
    return tomllib.loads(path.read_text())


def await_result(path: Path, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.003)


def ask_again(world: RefusedWorld, name: str) -> dict[str, Any]:
    """A `.ready` that comes while an answer is still being given is taken for the one that asked for it."""
    path = world.drop / f"{name}.result.toml"
    path.unlink()
    while not path.exists():
        world.put(name if name == "rollback" else f"{name}.ready")
        await_result(path, 2)
    return answered(world, name)


def check(world: RefusedWorld, result: dict[str, Any], before: str) -> None:
    assert world.live() == result["live"]
    world.look_at_link()
    wait_for("what runs", lambda: world.running() == world.live())
    if result["status"] != "deployed":
        fault = result["error"]
        assert ErrorCode(fault["code"])
        assert fault["message"]
        assert fault["hint"]
        assert result["live"] == before or fault["code"] == "rollback-failed"


def waste(world: RefusedWorld) -> list[str]:
    """What is left of releases and links, until the next deploy clears it away."""
    strays = set(os.listdir(world.root)) - {"app", "releases"}
    return sorted(strays) + [name for name in world.releases() if name.startswith(".")]


def query(world: RefusedWorld, question: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{world.state}/history.db?mode=ro", uri=True)) as history:
        return history.execute(question).fetchall()


def settle(world: RefusedWorld) -> None:
    """All that was decided is written down and told."""
    wait_for("all to be told", lambda: not query(world, "SELECT id FROM deploys WHERE status IS NULL OR reported = 0"))
    wait_for("status", lambda: tomllib.loads((world.drop / "status.toml").read_text()).get("live") == world.live())
