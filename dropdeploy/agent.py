"""The agent: builds each app's lane over the parts that all share, runs until told to stop, and reloads.

The only place (with ``supervisor``, ``process`` and the command) that constructs adapters. Life cycle as daemon(7) and
sd_notify(3) describe it: READY once every app's lane runs, RELOADING around SIGHUP, STOPPING on SIGTERM or SIGINT,
WATCHDOG while the event loop turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dropdeploy import sdnotify
from dropdeploy.deploy.effect import Ports
from dropdeploy.diary import Kind, about
from dropdeploy.health import HttpHealth
from dropdeploy.history.keeping import History
from dropdeploy.history.thread import HistoryThread
from dropdeploy.http_loading import begin_loading
from dropdeploy.intake.dropdir import DropDirectory
from dropdeploy.intake.watch import Watcher
from dropdeploy.lanes.answers import Answers
from dropdeploy.lanes.lane import Lane
from dropdeploy.lanes.rounds import Rounds
from dropdeploy.lanes.slots import Slots
from dropdeploy.loading import load
from dropdeploy.model.app import App
from dropdeploy.model.config import Config
from dropdeploy.model.outcome import Outcome
from dropdeploy.releases import retention
from dropdeploy.releases.store import AppReleases
from dropdeploy.report.courier import Courier
from dropdeploy.report.desk import Desk
from dropdeploy.report.page.bulletin import Bulletin, Event
from dropdeploy.report.roster_keeper import RosterKeeper
from dropdeploy.report.status import Seen, status_line
from dropdeploy.report.tally import Counter, Glance
from dropdeploy.supervisor import RunningUnits, take_up

logger = logging.getLogger(__name__)

GRACE_S = 60.0
"""How long a deploy that has touched the live release may go on after SIGTERM; systemd waits 90 s by default."""

NAMED_APPS = 10
"""So many are named one by one in a line of the log."""


@dataclass(frozen=True, slots=True)
class Running:
    """One app's lane and the task in which it runs."""

    lane: Lane
    task: asyncio.Task[None]


class Agent:
    """All lanes, over the parts they share."""

    def __init__(self, directory: Path, config: Config, history: HistoryThread[History], units: RunningUnits) -> None:
        self._directory = directory
        self._config = config
        self._history = history
        self._units = units
        self._probe = HttpHealth()
        self._slots = Slots(config.settings.concurrency)
        self._courier = Courier(history, self._app_named, units.start)
        self._watcher = Watcher(asyncio.get_running_loop(), self._wake, self._watches_lost)
        self._rounds = Rounds(self._watcher, config.settings.rescan_s)
        self._roster = RosterKeeper(config.settings.state)
        self._running: dict[str, Running] = {}
        self.bulletin = Bulletin()
        self._counter = Counter()
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Event()

    def stop(self) -> None:
        """Asked to end (SIGTERM, SIGINT)."""
        self._stopping.set()

    def reload(self) -> None:
        """Asked to read the configuration again (SIGHUP)."""
        self._reloading.set()

    async def run(self) -> None:
        """Run until stopped."""
        await take_up(self._units, self._config)
        await self._watch()
        self._roster.begin(self._config)
        for app in self._config.apps:
            self._start(app)
        self._look_after()
        self._rounds.begin()
        sdnotify.notify("READY=1", self._status())
        logger.info("watching for uploads for %s", self._named(), extra=about(Kind.READY))
        lasting = (self._reload_when_asked(), self._keep_watchdog(), self._courier.run())
        tasks = [asyncio.create_task(work) for work in lasting]
        try:
            await self._stopping.wait()
            sdnotify.notify("STOPPING=1", self._status())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(self._end(name) for name in list(self._running)))
            await self._roster.close()
            await self._rounds.end()
            await asyncio.to_thread(self._watcher.close)

    # --- lanes ---

    def _start(self, app: App) -> None:
        drop = DropDirectory(app)
        desk = Desk(app.drop, app.keep_results, has_page=app.status_page, shown=partial(self._roster.note, app))
        releases = AppReleases(
            root=app.root,
            group=app.group,
            shared=app.shared,
            strip=app.strip,
            accept=app.accept,
            dedupe=app.dedupe,
        )
        ports = Ports(self._units, self._probe, releases, drop, self._history, retention.choose)
        answers = Answers(
            app,
            self._history,
            releases,
            drop,
            desk,
            changed=partial(self._changed, app.name),
            concluded=self._concluded,
        )
        lane = Lane(
            app,
            ports=ports,
            drop=drop,
            answers=answers,
            slots=self._slots,
            advanced=partial(self._advanced, app),
        )
        task = asyncio.create_task(lane.run(), name=f"lane {app.name}")
        self._running[app.name] = Running(lane, task)

    async def _end(self, name: str) -> None:
        running = self._running.pop(name)
        await running.lane.close(GRACE_S)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    def _app_named(self, name: str) -> App | None:
        return next((app for app in self._config.apps if app.name == name), None)

    def _wake(self, name: str) -> None:
        running = self._running.get(name)
        if running is not None:
            running.lane.wake()

    # --- watching ---

    async def _watch(self) -> None:
        await self._rounds.watch({app.name: app.drop for app in self._config.apps})

    def _look_after(self) -> None:
        self._rounds.cover({name: running.lane for name, running in self._running.items()})

    def _watches_lost(self) -> None:
        self._rounds.stir()

    # --- what goes on by itself ---

    async def _keep_watchdog(self) -> None:
        """Half of WatchdogSec=, as sd_watchdog_enabled(3) recommends."""
        pause_s = sdnotify.watchdog_s() / 2 or self._config.settings.rescan_s
        while True:
            sdnotify.notify("WATCHDOG=1")
            self._rounds.make_up()
            await asyncio.sleep(pause_s)

    def _named(self) -> str:
        return ", ".join(self._running) if 0 < len(self._running) <= NAMED_APPS else f"{len(self._running)} apps"

    def _status(self) -> str:
        doing = status_line([running.lane.now for running in self._running.values()])
        return f"STATUS={'stopping; ' if self._stopping.is_set() else ''}{doing}"

    def _changed(self, name: str) -> None:
        sdnotify.notify(self._status())
        self.bulletin.tell(Event(name))

    def _advanced(self, app: App) -> None:
        if app.health.url:
            begin_loading()
        self.bulletin.tell(Event(app.name))

    def _concluded(self, outcome: Outcome) -> None:
        self._courier.wake()
        self._counter.add(outcome)
        self.bulletin.tell(Event(outcome.app, f"{outcome.app}: {outcome.status}: {outcome.summary}"))

    # --- what the page asks ---

    def seen(self) -> Mapping[str, Seen]:
        """Every app as it is now, by name."""
        return {name: running.lane.seen for name, running in self._running.items()}

    async def count_on(self) -> None:
        """Count verdicts on from those in the history. Before ``run``."""
        self._counter.begin(await self._history.ask(History.verdicts))

    def glance(self) -> Glance:
        """What Prometheus is told of."""
        return Glance(
            apps=[running.lane.now for running in self._running.values()],
            tally=self._counter.tally(self._running),
            unwatched=self._rounds.unwatched,
            overflows=self._watcher.overflows,
            last_round_at=self._rounds.last_at,
        )

    def ailments(self) -> list[str]:
        """What is wrong with the agent itself, in sentences that name nothing."""
        ended = sum(1 for running in self._running.values() if running.task.done())
        return [f"{_count(ended, 'app')} of {len(self._running)} no longer looked after"] if ended else []

    # --- reload ---

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reloading.wait()
            self._reloading.clear()
            sdnotify.notify("RELOADING=1", sdnotify.monotonic_usec())
            await self._reload()
            sdnotify.notify("READY=1", self._status())

    async def _reload(self) -> None:
        config = await load(self._directory, self._units)
        if isinstance(config, tuple):
            for mistake in config:
                logger.error("%s", mistake, extra=about(Kind.CONFIGURATION_REFUSED))
            what = _count(len(config), "mistake")
            extra = about(Kind.CONFIGURATION_REFUSED)
            logger.error("the configuration has %s: the old one stays in force", what, extra=extra)
            return
        if config.settings != self._config.settings:
            logger.warning("changes in dropdeploy.toml take effect when the agent is restarted")
        wanted = {app.name: app for app in config.apps}
        stale = [name for name, running in self._running.items() if wanted.get(name) != running.lane.app]
        await asyncio.gather(*(self._end(name) for name in stale))
        self._config = replace(config, settings=self._config.settings)
        await take_up(self._units, self._config)
        self._roster.begin(self._config)
        await self._watch()
        fresh = [app for name, app in wanted.items() if name not in self._running]
        for app in fresh:
            self._start(app)
        self._look_after()
        what = _count(len(wanted), "app")
        extra = about(Kind.RELOADED)
        logger.info("configuration read again: %s, %d changed or new", what, len(fresh), extra=extra)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
