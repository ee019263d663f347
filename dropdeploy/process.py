"""The agent as a process: what it holds while it runs, the signals that it is told by, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from dropdeploy import lock, log
from dropdeploy.agent import Agent
from dropdeploy.config.address import parse_address
from dropdeploy.config.directory import check_paths, read_token, survey_directory
from dropdeploy.config.files import MAIN_FILE
from dropdeploy.config.parse import Mistake
from dropdeploy.config.values import Expected
from dropdeploy.history.database import HISTORY_NAME
from dropdeploy.history.failure import HistoryError
from dropdeploy.history.thread import HistoryThread
from dropdeploy.lanes.recollection import open_history
from dropdeploy.loading import load
from dropdeploy.model.config import Config, Settings
from dropdeploy.supervisor import UnavailableError, open_units

EXIT_OK, EXIT_CONFIGURATION, EXIT_UNAVAILABLE = 0, 2, 3


def run(directory: Path) -> int:
    """``dropdeploy run``: the agent in the foreground. ``directory`` is where the configuration is."""
    log.begin()
    config, mistakes = surveyed = survey_directory(directory)
    if any(mistake.file.endswith(MAIN_FILE) for mistake in mistakes):
        # Without its settings nothing can be asked of the units; the paths can be looked at all the same.
        return refuse_configuration((*mistakes, *check_paths(config, directory)))
    state = config.settings.state
    try:
        state.mkdir(mode=0o755, exist_ok=True)
        with lock.hold(state):
            return asyncio.run(serve(directory, surveyed))
    except (lock.AgentRunningError, HistoryError, UnavailableError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{state} cannot be used: {error.strerror}; `state` in dropdeploy.toml names it", file=sys.stderr)
    return EXIT_UNAVAILABLE


def on_signal(loop: asyncio.AbstractEventLoop, number: int, act: Callable[[], None]) -> None:
    """Have ``act`` called on the loop, whose thread must be the main one, whenever the signal comes.

    asyncio alone passes a signal on as a byte in the pipe by which other threads wake the loop. With hundreds of apps
    it may be full for a moment, and the signal is lost: asked to stop, the agent would run on.
    """
    loop.add_signal_handler(number, lambda: None)  # so that the loop is woken; a full pipe wakes it, too
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
    signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


async def serve(directory: Path, surveyed: tuple[Config, tuple[Mistake, ...]]) -> int:
    """Run the agent for a configuration whose files are right. Returns the exit code."""
    config, _ = surveyed
    async with AsyncExitStack() as stack:
        units = await open_units(config)
        stack.push_async_callback(units.close)
        checked = await load(directory, units, surveyed)
        if isinstance(checked, tuple):
            return refuse_configuration(checked)
        opened = await asyncio.to_thread(open_history, config.settings.state / HISTORY_NAME, checked)
        damages: list[str] = []

        def damaged(what: str) -> None:
            # Crash-only: the next start sets the file aside, and takes up what was going on.
            if not damages:
                damages.append(what)
                agent.stop()

        history = HistoryThread(opened, damaged)
        stack.push_async_callback(history.close)
        agent = Agent(directory, checked, history, units)
        loop = asyncio.get_running_loop()
        for number, act in ((signal.SIGTERM, agent.stop), (signal.SIGINT, agent.stop), (signal.SIGHUP, agent.reload)):
            on_signal(loop, number, act)
        await _open_page(stack, checked.settings, agent)
        await agent.run()
    if damages:
        raise HistoryError(f"{damages[0]}; the agent ends, and begins a new history when it is started again")
    return EXIT_OK


async def _open_page(stack: AsyncExitStack, settings: Settings, agent: Agent) -> None:
    """The status page, if ``listen`` asks for it, until the stack is unwound. Raises UnavailableError."""
    address = parse_address(settings.listen)
    if address is None:
        return
    token = await asyncio.to_thread(read_token, settings.listen_token_file) if settings.listen_token_file else ""
    if isinstance(token, Expected):
        raise UnavailableError(f"{settings.listen_token_file}: {token.text}")
    # It is megabytes, and few look.
    from dropdeploy.report.page.server import open_page  # noqa: PLC0415

    await agent.count_on()
    try:
        page = await open_page(
            address,
            token,
            apps=agent.seen,
            ailments=agent.ailments,
            glance=agent.glance,
            bulletin=agent.bulletin,
            history=settings.state / HISTORY_NAME,
        )
    except OSError as error:
        raise UnavailableError(
            f'listen = "{settings.listen}" in dropdeploy.toml cannot be had: {error.strerror}'
        ) from error
    stack.push_async_callback(page.close)


def refuse_configuration(mistakes: Sequence[Mistake]) -> int:
    """Tell every mistake, one a line."""
    for mistake in dict.fromkeys(mistakes):
        print(mistake, file=sys.stderr)
    return EXIT_CONFIGURATION
