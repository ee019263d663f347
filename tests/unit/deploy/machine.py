"""A machine as a value: disk, drop directory, systemd; and the ports of a deploy on it, with a real history.

Everything that outlasts the agent is in ``Machine``, a value; whatever changes it goes through ``World.change``, which
keeps what was before. So a crash at any moment is a machine to start the agent on again.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropdeploy import record
from dropdeploy.deploy.phase import Phase
from dropdeploy.history.database import prepare
from dropdeploy.history.keeping import Asked, History
from dropdeploy.intake.listing import Closed, Entry, EntryKind
from dropdeploy.model.app import App, HealthCheck, Hooks, TrialCheck
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import HealthReport, Outcome
from dropdeploy.model.release import Pruned, Survey
from dropdeploy.model.request import Format, Marker, Upload, Version
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Percent, Source, Unpacked

UNIT = "myapp.service"
HOOK, TRIAL, AFTER = "myapp-migrate@.service", "myapp-trial@.service", "myapp-after@.service"
LIVE_URL, TRIAL_URL = "http://live/", "http://trial/"


def is_app(unit: str) -> bool:
    """The app's own unit, or an instance that a handover has started."""
    return unit == UNIT or unit.startswith("myapp@")


@dataclass(frozen=True)
class Process:
    """A unit that runs: from which release, and in which run."""

    release: str
    run: int


@dataclass(frozen=True)
class Machine:
    """What outlasts the agent. Releases and staging directories are named by their build; ``files`` is the drop
    directory, ``results`` are the verdicts told in it, ``runs`` is how often systemd has started something."""

    staging: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)
    pruned: frozenset[str] = frozenset()
    link: str = ""
    files: Mapping[str, Version] = field(default_factory=dict)
    deploying: frozenset[str] = frozenset()
    results: Mapping[str, Outcome] = field(default_factory=dict)
    units: Mapping[str, Process] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    runs: int = 0
    is_going_down: bool = False
    history: bytes = field(default=b"", repr=False)

    @property
    def serves(self) -> frozenset[str]:
        """The releases that the app runs from: none when it does not run, two in the middle of a handover."""
        return frozenset(process.release for unit, process in self.units.items() if is_app(unit))


def add(mapping: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**mapping, name: value}


def without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


class World:
    """The machine now, and who is told of each change."""

    def __init__(self, machine: Machine, fails: Mapping[str, Phase | None], told: Callable[[Machine], None]) -> None:
        self.machine = machine
        self.fails = fails  # by build (an upload's name, or its name and inode): the phase in which it fails
        self._told = told
        self.is_over = False
        self.history = MemoryHistory(machine.history)

    def change(self, machine: Machine) -> None:
        if not self.is_over:
            self.machine = machine
            self._told(machine)

    def does_fail(self, release: str, phase: Phase) -> bool:
        return self.fails.get(self.machine.releases.get(release, ""), None) is phase

    # --- systemd ---

    def run_unit(self, unit: str, release: str) -> Process:
        now = self.machine
        process = Process(release, now.runs + 1)
        units = add(now.units, unit, process)
        self.change(replace(now, units=units, failed=now.failed - {unit}, runs=now.runs + 1))
        return process

    def end_unit(self, unit: str, *, is_failed: bool = False) -> None:
        now = self.machine
        failed = now.failed | {unit} if is_failed else now.failed - {unit}
        if unit in now.units or failed != now.failed:
            self.change(replace(now, units=without(now.units, unit), failed=failed))


def power_cut(machine: Machine, *, is_enabled: bool) -> Machine:
    """Everything stops, and the machine boots again: with the app, if its unit is enabled."""
    down = replace(machine, units={}, failed=frozenset(), is_going_down=False)
    if not is_enabled or machine.link not in machine.releases:
        return down
    return replace(down, units={UNIT: Process(machine.link, machine.runs + 1)}, runs=machine.runs + 1)


# --- the history ---------------------------------------------------------------------------------------------------


class MemoryHistory(History):
    """A real history, in memory."""

    def __init__(self, content: bytes = b"") -> None:
        self.path = Path("/var/lib/dropdeploy/history.db")
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        if content:
            self._db.deserialize(content)
        prepare(self._db, self.path, False)
        self._reserve = _NoReserve()  # type: ignore[assignment]
        self._verdicts: tuple[Outcome, ...] = ()

    @property
    def changed(self) -> int:
        return self._db.total_changes

    def content(self) -> bytes:
        return self._db.serialize()

    def verdicts(self) -> tuple[Outcome, ...]:
        """All, oldest first. To read them again is most of the work where that is asked after every change."""
        (count,) = self._db.execute("SELECT count(*) FROM deploys WHERE status IS NOT NULL").fetchone()
        if count != len(self._verdicts):
            self._verdicts = self.outcomes()[::-1]
        return self._verdicts

    def given(self) -> list[tuple[str, Upload | Marker]]:
        """The status of each verdict, and what it answers."""
        rows = self._db.execute("SELECT status, request FROM deploys WHERE status IS NOT NULL")
        return [(status, record.load(Asked, asked).request) for status, asked in rows]

    def rows(self) -> list[tuple[Any, ...]]:
        """All that is in it, but for the clock's part."""
        tables = ("deploys", "releases", "answered", "outbox")
        found = [(table, *row) for table in tables for row in self._db.execute(f"SELECT * FROM {table}")]
        return [tuple(re.sub(r'"seconds":[\d.e-]+', "", str(value)) for value in row) for row in found]


class _NoReserve:
    def fill(self) -> None:
        pass

    def give_up(self) -> bool:
        return False

    def free_bytes(self) -> int:
        return 1 << 40


class ModelHistory:
    """In the place of HistoryThread."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ask(self, question: Callable[[History], Any]) -> Any:
        world = self._world
        await asyncio.sleep(0)
        before = world.history.changed
        answer = question(world.history)
        if world.history.changed != before:
            world.change(replace(world.machine, history=world.history.content()))
        return answer


# --- the ports -----------------------------------------------------------------------------------------------------


class ModelUnits:
    def __init__(self, world: World) -> None:
        self._world = world

    def _state(self, unit: str) -> UnitState:
        now = self._world.machine
        process = now.units.get(unit)
        if process is not None:
            return UnitState(unit, "loaded", "active", "running", f"{process.run:032x}", main_pid=100 + process.run)
        return UnitState(unit, active_state="failed" if unit in now.failed else "inactive")

    async def inspect(self, unit: str) -> UnitState:
        await asyncio.sleep(0)
        return self._state(unit)

    async def restart(self, unit: str) -> UnitState | Fault:
        await asyncio.sleep(0)
        world = self._world
        if world.machine.is_going_down:
            return Fault(ErrorCode.RESTART_FAILED, "the transaction is destructive")
        world.end_unit(unit)
        return await self._run_app(unit)

    async def _run_app(self, unit: str) -> UnitState | Fault:
        world = self._world
        release = world.machine.link if unit == UNIT else unit_parts(unit)[1]
        if release not in world.machine.releases or world.does_fail(release, Phase.RESTART):
            world.end_unit(unit, is_failed=True)
            return Fault(ErrorCode.RESTART_FAILED, "the job failed")
        world.run_unit(unit, release)
        await asyncio.sleep(0.1)
        return self._state(unit)

    async def start(self, unit: str) -> UnitState | Fault:
        await asyncio.sleep(0)
        world = self._world
        template, release = unit_parts(unit)
        if world.machine.is_going_down:
            return Fault(ErrorCode.RESTART_FAILED, "the transaction is destructive")
        if is_app(unit):
            return self._state(unit) if unit in world.machine.units else await self._run_app(unit)
        world.run_unit(unit, release)
        await asyncio.sleep(0.1)
        if template == TRIAL:
            return self._state(unit)
        is_bad = world.does_fail(release, Phase.HOOKS if template == HOOK else Phase.AFTER_LIVE)
        went_down = unit not in world.machine.units
        world.end_unit(unit, is_failed=is_bad)
        return Fault(ErrorCode.RESTART_FAILED, "the job failed") if is_bad or went_down else self._state(unit)

    async def stop(self, unit: str) -> UnitState:
        await asyncio.sleep(0)
        self._world.end_unit(unit)
        return self._state(unit)

    async def await_failure(self, since: UnitState) -> Fault:
        while self._state(since.unit).active_state == "active":
            await asyncio.sleep(0.25)
        return Fault(ErrorCode.UNIT_CRASHED, f"{since.unit} is gone")

    async def log_cursor(self, unit: str) -> str:
        return "cursor"

    async def log_tail(self, unit: str, cursor: str, lines: int = 40) -> str:
        return "log"

    async def is_going_down(self) -> bool:
        await asyncio.sleep(0)
        return self._world.machine.is_going_down

    async def running_releases(self, unit: str) -> frozenset[str]:
        return self._world.machine.serves

    async def processes(self, unit: str) -> frozenset[Any]:
        return frozenset()

    async def standing(self, unit: str) -> tuple[UnitState, ...]:
        await asyncio.sleep(0)
        stem = unit.removesuffix(".service")
        units = sorted(self._world.machine.units.keys() | self._world.machine.failed)
        found = [each for each in units if each == unit or each.startswith(f"{stem}@")]
        return tuple(self._state(each) for each in sorted(found, key=lambda each: each != unit))

    async def unmet_for_handover(self, unit: str) -> tuple[Fault, ...]:
        return ()


def unit_parts(unit: str) -> tuple[str, str]:
    """The template of an instance, and the release."""
    stem, _, rest = unit.partition("@")
    return f"{stem}@.service", rest.removesuffix(".service")


class ModelProbe:
    def __init__(self, world: World) -> None:
        self._world = world

    async def check(self, check: HealthCheck, *, is_same_run: Callable[[], Any]) -> HealthReport:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + check.timeout_s
        attempts = 0
        while loop.time() < give_up:
            attempts += 1
            await asyncio.sleep(0.1)
            if self._is_well(check.url) and await is_same_run():
                return HealthReport(True, attempts, 0.1, 200, "answered 200")
        return HealthReport(False, attempts, check.timeout_s, 500, "answered 500")

    def _is_well(self, url: str) -> bool:
        """Where two have the socket, it is the better one that answers."""
        world = self._world
        if url == LIVE_URL:
            return any(not world.does_fail(release, Phase.HEALTH) for release in world.machine.serves)
        trials = (process for unit, process in world.machine.units.items() if unit_parts(unit)[0] == TRIAL)
        return any(not world.does_fail(process.release, Phase.TRIAL) for process in trials)


class ModelReleases:
    """The files of a release are its build's name."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def survey(self) -> Survey:
        await asyncio.sleep(0)
        now = self._world.machine
        return Survey(True, False, now.link, now.link in now.releases, tuple(sorted(now.releases)), 1 << 40)

    async def unpacked_size(self, source: Source) -> int:
        return 1

    async def unpack(self, source: Source, release: str, percent: Percent) -> Unpacked | Fault:
        world, build = self._world, _BUILDS[source.fd]
        world.change(replace(world.machine, staging=add(world.machine.staging, release, "half")))
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            self._unstage(release)
            raise
        if world.fails.get(build) is Phase.EXTRACT:
            self._unstage(release)
            return Fault(ErrorCode.CORRUPT_UPLOAD, "it is corrupt")
        world.change(replace(world.machine, staging=add(world.machine.staging, release, build)))
        return Unpacked(1, "ab" * 32, 1, 1)

    def _unstage(self, release: str) -> None:
        world = self._world
        if release in world.machine.staging:
            world.change(replace(world.machine, staging=without(world.machine.staging, release)))

    async def finish(self, release: str) -> str | Fault:
        await asyncio.sleep(0)
        world = self._world
        now = world.machine
        if release not in now.staging:
            return "finished before" if release in now.releases else Fault(ErrorCode.INTERNAL, "nothing to finish")
        build = now.staging[release]
        assert build != "half", "half a release is finished"
        if world.fails.get(build) is Phase.LINK:
            return Fault(ErrorCode.SHARED_MISSING, "something shared is missing")
        releases = add(now.releases, release, build)
        world.change(replace(now, staging=without(now.staging, release), releases=releases))
        return "group myapp"

    async def swap(self, release: str) -> Fault | None:
        await asyncio.sleep(0)
        world = self._world
        if world.does_fail(release, Phase.SWAP) or release not in world.machine.releases:
            return Fault(ErrorCode.NO_SPACE, "no inodes")
        if world.machine.link != release:
            world.change(replace(world.machine, link=release))
        return None

    async def unlink(self) -> Fault | None:
        await asyncio.sleep(0)
        if self._world.machine.link:
            self._world.change(replace(self._world.machine, link=""))
        return None

    async def discard(self, release: str) -> Fault | None:
        await asyncio.sleep(0)
        self._unstage(release)
        if self._world.does_fail(release, Phase.DISCARD):
            return Fault(ErrorCode.INTERNAL, "it cannot be renamed")
        fault = self._set_aside(release)
        await self.clear()
        return fault

    def _set_aside(self, release: str) -> Fault | None:
        world, now = self._world, self._world.machine
        if now.link == release:
            return Fault(ErrorCode.INTERNAL, "it is live")
        if release in now.releases:
            world.change(replace(now, releases=without(now.releases, release), pruned=now.pruned | {release}))
        return None

    async def sweep(self, keep: Iterable[str] = ()) -> None:
        await asyncio.sleep(0)
        for release in [*self._world.machine.staging]:
            self._unstage(release)
        await self.clear()

    async def prune(self, releases: Iterable[str]) -> Pruned:
        await asyncio.sleep(0)
        return Pruned(tuple(release for release in releases if self._set_aside(release) is None))

    async def clear(self) -> None:
        await asyncio.sleep(0)
        if self._world.machine.pruned:
            self._world.change(replace(self._world.machine, pruned=frozenset()))


_BUILDS: list[str] = []
"""A descriptor is a place in this list."""


class ModelHeld:
    """An upload that is open for reading."""

    def __init__(self, world: World, upload: Upload) -> None:
        self._world = world
        self._upload = upload
        version = f"{upload.name} {upload.version.inode}"
        build = version if version in world.fails else upload.name
        if build not in _BUILDS:
            _BUILDS.append(build)
        self.source = Source(_BUILDS.index(build), Format.TAR_GZ, 1)

    def is_unchanged(self) -> bool:
        return self._world.machine.files.get(self._upload.name) == self._upload.version

    async def judge(self, unpacked: Unpacked) -> Version | Fault:
        await asyncio.sleep(0)
        if self.is_unchanged():
            return self._upload.version
        return Fault(ErrorCode.CHANGED_WHILE_READING, "it changed")

    def close(self) -> None:
        pass


class ModelDrop:
    """The drop directory as the lane sees it: everything in it is closed and whole."""

    path = Path("/srv/drop/myapp")

    def __init__(self, world: World) -> None:
        self._world = world

    async def look(self, known: Mapping[str, Version]) -> tuple[Entry, ...]:
        await asyncio.sleep(0)
        files = self._world.machine.files
        return tuple(Entry(name, EntryKind.FILE, files[name], Closed.YES) for name in sorted(files))

    async def open(self, upload: Upload) -> ModelHeld | Fault:
        await asyncio.sleep(0)
        if self._world.machine.files.get(upload.name) != upload.version:
            return Fault(ErrorCode.CHANGED_WHILE_READING, "it changed")
        return ModelHeld(self._world, upload)

    async def read_meta(self, upload: Upload) -> tuple[tuple[str, str], ...]:
        return ()

    async def as_it_is_now(self, upload: Upload, sha256: str) -> Upload:
        return upload

    async def consume(self, request: Upload | Marker) -> Version | None:
        await asyncio.sleep(0)
        if isinstance(request, Marker):
            self._remove(request.name, request.version)
        elif self._world.machine.files.get(request.name) == request.version:
            ready = self._world.machine.files.get(f"{request.name}.ready")
            if ready is not None:
                self._remove(f"{request.name}.ready", ready)
        return None

    async def delete(self, upload: Upload) -> bool:
        await asyncio.sleep(0)
        return self._remove(upload.name, upload.version)

    async def remove(self, entry: Entry) -> None:
        self._remove(entry.name, entry.version)

    def _remove(self, name: str, version: Version) -> bool:
        now = self._world.machine
        if now.files.get(name) != version:
            return False
        self._world.change(replace(now, files=without(now.files, name)))
        return True


class ModelDesk:
    """What the agent writes into the drop directory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def working(self, name: str, *_: object) -> None:
        self._deploying(self._world.machine.deploying | {name})

    def show(self, now: object) -> None:
        """``status.toml`` plays no part here."""

    async def show_waiting(self, waiting: Mapping[str, str], busy: str) -> None:
        self._deploying((self._world.machine.deploying & {busy}) | waiting.keys())

    async def tell(self, outcome: Outcome) -> str:
        await asyncio.sleep(0)
        now = self._world.machine
        self._world.change(replace(now, results=add(now.results, outcome.upload, outcome)))
        return ""

    async def take_down(self, name: str) -> None:
        self._deploying(self._world.machine.deploying - {name})

    async def forget_result(self, name: str) -> None:
        now = self._world.machine
        if name in now.results:
            self._world.change(replace(now, results=without(now.results, name)))

    is_in_debt = False  # here everything can be written

    async def catch_up(self) -> bool:
        return True

    async def sweep(self) -> None:
        self._deploying(frozenset())

    async def close(self) -> None:
        pass

    def _deploying(self, names: frozenset[str]) -> None:
        # In passing: as it is not waited for, no moment of its own.
        if not self._world.is_over:
            self._world.machine = replace(self._world.machine, deploying=frozenset(names))


def app_without(*, hooks: bool = True, trial: bool = True, **options: Any) -> App:
    """An app on such a machine."""
    return App(
        "myapp",
        Path("/home/myapp"),
        Path("/srv/drop/myapp"),
        UNIT,
        settle_s=0.0,
        health=HealthCheck(LIVE_URL, timeout_s=3.0),
        hooks=Hooks((HOOK,), (AFTER,)) if hooks else Hooks(),
        trial=TrialCheck(TRIAL, TRIAL_URL, timeout_s=3.0) if trial else TrialCheck(),
        **options,
    )
