"""The agent, as it is, but for a death at a named point: ``doomed.py run`` in place of ``dropdeploy run``.

The points are found by wrapping what the agent is made of; nothing of it knows. What is to happen at which point stands
in the file ``die-at`` in the state directory, a line each: "die POINT" is SIGKILL to itself, "hang POINT" stops the
agent's event loop for good, for somebody to pull the plug of the machine (the file ``hangs`` then tells where). Each
line counts once, and in its turn, so that two lines are a second death during the recovery from the first.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dropdeploy import cli
from dropdeploy.deploy import performing, runner
from dropdeploy.deploy.phase import Phase
from dropdeploy.history.keeping import History
from dropdeploy.intake import dropdir
from dropdeploy.lanes.resumption import Resumption
from dropdeploy.releases import staging, store, swap
from dropdeploy.report import desk, dropfiles

STATE = Path("/var/lib/dropdeploy")
ORDERS, HANGS = "die-at", "hangs"
DURING_S = 0.03


def pass_point(point: str) -> None:
    """Go on; or not, when it says so."""
    try:
        order, *later = (STATE / ORDERS).read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return
    verb, _, where = order.partition(" ")
    if where != point:
        return
    rest = STATE / f"{ORDERS}.rest"
    rest.write_text("".join(f"{line}\n" for line in later))
    rest.rename(STATE / ORDERS)
    if verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (STATE / HANGS).write_text(point)
    time.sleep(3600)


def wrap(owner: Any, name: str, *, before: str = "", after: str = "", when: Callable[..., bool] | None = None) -> None:
    """Have these points stand before and after a function or coroutine function of ``owner``."""
    function = getattr(owner, name)

    def reach(point: str, arguments: tuple[Any, ...]) -> None:
        if point and (when is None or when(*arguments)):
            pass_point(point)

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        reach(before, arguments)
        result = function(*arguments, **named)
        reach(after, arguments)
        return result

    @functools.wraps(function)
    async def awaited(*arguments: Any, **named: Any) -> Any:
        reach(before, arguments)
        result = await function(*arguments, **named)
        reach(after, arguments)
        return result

    setattr(owner, name, awaited if inspect.iscoroutinefunction(function) else plain)


def around(phase: Phase, effect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A phase's effect: its intent is written before it, the next one's after it."""

    async def performed(*arguments: Any) -> Any:
        pass_point(f"before {phase}")
        timer = asyncio.get_running_loop().call_later(DURING_S, pass_point, f"during {phase}")
        try:
            result = await effect(*arguments)
        finally:
            timer.cancel()
        pass_point(f"after {phase}")
        return result

    return performed


class System:
    """The module ``os`` for one other module, with points in it."""

    def __init__(self) -> None:
        for name in dir(os):
            if not name.startswith("__"):
                setattr(self, name, getattr(os, name))


def _is_result(_: object, name: str, *__: object) -> bool:
    return name.endswith(dropfiles.RESULT)


def doom() -> None:
    """Put every point in its place."""
    system = System()
    effects = {phase: around(phase, effect) for phase, effect in performing.EFFECTS.items()}
    for owner, name, value in ((runner, "EFFECTS", effects), (swap, "os", system)):
        setattr(owner, name, value)
    wrap(History, "begin", after="begun")
    wrap(store, "make_staging", after="staging made")
    wrap(staging, "flush_file_system", after="release flushed")
    wrap(staging, "rename_new", before="release not renamed", after="release renamed")
    wrap(system, "symlink", after="link made")
    wrap(swap, "exchange", after="link renamed")
    wrap(store, "set_aside", after="release set aside")
    wrap(History, "conclude", before="verdict not committed", after="verdict committed")
    wrap(desk, "write_atomically", before="result not written", after="result written", when=_is_result)
    wrap(dropdir.DropDirectory, "consume", after="request consumed")
    wrap(store.AppReleases, "clear", before="pruned not cleared", after="pruned cleared")
    wrap(desk.Desk, "take_down", after="work taken down")
    wrap(History, "reported", after="verdict reported")
    wrap(dropdir.DropDirectory, "delete", before="upload not deleted", after="upload deleted")
    wrap(Resumption, "_recover_deploy", before="recovery begun", after="recovery ended")


if __name__ == "__main__":
    doom()
    with suppress(BrokenPipeError):
        sys.exit(cli.main())
