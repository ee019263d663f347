"""The port ``Units`` by way of systemd's jobs, whoever carries the calls to its Manager.

A verb (start, stop, restart, reload) queues a job; JobRemoved tells how it ended. What may go wrong between the two,
the bus included, is dealt with here; ``units/systemd.py`` is the bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from dropdeploy.instances import NO_RELEASE, instance_of, release_of, template_of
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import Process, UnitState
from dropdeploy.units import failure, journal
from dropdeploy.units.handover_needs import find_unmet, parse_setting
from dropdeploy.units.procfs import look_at_processes, releases_of_processes
from dropdeploy.units.systemd_terms import (
    MANAGER_PATH,
    METHODS,
    NO_SUCH_JOB,
    NO_SUCH_UNIT,
    SHUTTING_DOWN,
    STOPPING,
    TRIGGER_LIMIT_HIT,
    TRIGGER_LIMIT_S,
    Look,
    Verb,
    judge_job,
    parse_exit,
    parse_look,
    refused,
    unfit,
)

JOB_POLL_S: Final = 1.0
RUN_POLL_S: Final = 0.25
_LIVING: Final = ("active", "activating", "reloading", "deactivating")
SIGNAL_S: Final = 0.1  # how far a signal may be behind an answer, from one thread to the other
_UNITS_AT_ONCE: Final = 100


class BusAwayError(Exception):
    """The bus, or systemd on it, does not answer; the text is fit to be shown."""


class RefusedError(Exception):
    """systemd answered with an error: ``name`` is its D-Bus name, the text its message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Watch(Protocol):
    """A subscription to a unit's changes."""

    @property
    def is_live(self) -> bool:
        """False when the connection that it was made on is gone."""

    def end(self) -> None:
        """Unsubscribe. Once."""


class Bus(Protocol):
    """systemd's Manager. Both ways to ask raise RefusedError, and BusAwayError when waiting for the bus was in vain."""

    async def call(self, method: str, *arguments: Any) -> Any:
        """A method of org.freedesktop.systemd1.Manager. It may reach systemd twice, if the bus fails meanwhile."""

    async def properties(self, path: str) -> Mapping[str, Any]:
        """Those in systemd_terms.PROPERTIES that the unit at this object path has, from one moment."""

    def watch(self, path: str, changed: Callable[[Mapping[str, Any]], None]) -> Watch:
        """Call ``changed``, on the loop, with each property of the unit that changes (PropertiesChanged)."""


class UnitsByJobs:
    """The port on a ``Bus``, which is to call ``job_removed``, on the loop, for every JobRemoved."""

    def __init__(self, bus: Bus, *, is_user: bool) -> None:
        self._bus = bus
        self._is_user = is_user
        self._job_watches: set[_JobWatch] = set()

    # --- the port --------------------------------------------------------------------------------------

    async def inspect(self, unit: str) -> UnitState | Fault:
        """The unit now; one that does not exist has ``load_state`` "not-found", a masked one "masked"."""
        try:
            return (await self._look(unit)).state
        except RefusedError as refusal:
            return refused(refusal.name, str(refusal), verb="inspect", unit=unit, user=_user())
        except BusAwayError as away:
            return Fault(ErrorCode.INTERNAL, str(away), "is the bus (dbus.service) running?")

    async def load_states(self, units: Sequence[str]) -> Mapping[str, str]:
        """See the port. systemd reads files of units that it has not loaded, so it is not asked for all at once."""
        states: dict[str, str] = {}
        with contextlib.suppress(RefusedError, BusAwayError):
            for start in range(0, len(units), _UNITS_AT_ONCE):
                some = list(units[start : start + _UNITS_AT_ONCE])
                states |= {row[0]: row[2] for row in await self._bus.call("ListUnitsByNames", some)}
        return states

    async def restart(self, unit: str) -> UnitState | Fault:
        """Clear the start limit, restart, await the job; the state returned has a new ``invocation_id``."""
        return await self._act("restart", unit)

    async def reload(self, unit: str) -> UnitState | Fault:
        """ReloadUnit with its job awaited; a unit that is not active is a fault."""
        return await self._act("reload", unit)

    async def start(self, unit: str) -> UnitState | Fault:
        """Clear the start limit, start, await the job."""
        return await self._act("start", unit)

    async def stop(self, unit: str) -> UnitState | Fault:
        """Stop, await the job, forget a failure; stopping what does not run is no fault."""
        return await self._act("stop", unit)

    async def await_failure(self, since: UnitState) -> Fault:
        """Return when the run that ``since`` describes has failed; else go on until cancelled.

        Woken by PropertiesChanged, and looks every 250 ms besides: signals are lost while the bus restarts.
        """
        changed = asyncio.Event()
        heard: dict[str, Any] = {}

        def hear(properties: Mapping[str, Any]) -> None:
            heard.update(properties)
            changed.set()

        watch: Watch | None = None
        try:
            while True:
                changed.clear()
                with contextlib.suppress(BusAwayError):
                    look = await self._look(since.unit)
                    if failure.judge_run(since, look.sighting) is not None:
                        break
                    if watch is None or not watch.is_live:
                        watch = self._bus.watch(look.path, hear)
                        continue  # it may have changed between the look and the subscription
                await _wait(changed, RUN_POLL_S)
            if look.sighting.exit is None and watch is not None:
                # A unit that nothing refers to is forgotten as soon as it ends: what is left are its last signals.
                await _wait(changed, SIGNAL_S)
        finally:
            if watch is not None:
                watch.end()
        fault = failure.judge_run(since, replace(look.sighting, exit=look.sighting.exit or parse_exit(heard)))
        assert fault is not None
        return fault

    async def log_cursor(self, unit: str) -> str:
        """A moment of the machine's clock: the journal stamps each line with the same one."""
        return journal.cursor_now()

    async def log_tail(self, unit: str, cursor: str, lines: int = 40) -> str:
        """The last lines that the journal has of the unit since ``cursor``."""
        return await journal.read_tail(unit, cursor, lines, is_user=self._is_user)

    async def processes(self, unit: str) -> frozenset[Process]:
        """Those in the unit's control group, as systemd sees them: /proc may show none of them."""
        try:
            rows = await self._bus.call("GetUnitProcesses", unit)
        except (BusAwayError, RefusedError):
            return frozenset()
        return await asyncio.to_thread(look_at_processes, [row[1] for row in rows])

    async def is_going_down(self) -> bool:
        """Whether systemd has begun to stop everything; a bus that is away says nothing."""
        try:
            manager = await self._bus.properties(MANAGER_PATH)
        except RefusedError as refusal:
            return refusal.name == SHUTTING_DOWN
        except BusAwayError:
            return False
        return bool(manager.get("SystemState") == STOPPING)

    async def running_releases(self, unit: str) -> frozenset[str]:
        """Releases that processes of the unit and its instances run from; of instances also the one they name."""
        stem, dot, kind = unit.rpartition(".")
        plain = f"{stem.partition('@')[0]}{dot}{kind}"
        pids: set[int] = set()
        try:
            instances = await self._list(_LIVING, instance_of(plain, "*"))
            for name in {unit, *instances}:
                with contextlib.suppress(RefusedError):  # it may be gone by now
                    pids |= {row[1] for row in await self._bus.call("GetUnitProcesses", name)}
        except BusAwayError:
            return frozenset()
        named = frozenset(filter(None, map(release_of, instances)))
        return named | await asyncio.to_thread(releases_of_processes, pids)

    async def standing(self, unit: str) -> tuple[UnitState, ...] | Fault:
        """The unit and its instances, those that run, come up, go down or have failed; the unit itself first."""
        try:
            names = await self._list((*_LIVING, "failed"), unit, instance_of(unit, "*"))
        except BusAwayError as away:
            return Fault(ErrorCode.INTERNAL, str(away), "is the bus (dbus.service) running?")
        found: list[UnitState] = []
        for name in sorted(name for name in names if name == unit or release_of(name)):
            state = await self.inspect(name)
            if isinstance(state, Fault):
                return state
            found.append(state)
        return tuple(sorted(found, key=lambda state: state.unit != unit))

    async def unmet_for_handover(self, unit: str) -> tuple[Fault, ...]:
        """What keeps the unit from being handed over."""
        instance = instance_of(unit, NO_RELEASE)
        try:
            plain, other = [parse_setting(name, await self._properties(name)) for name in (unit, instance)]
            sockets = {
                socket: (await self._properties(socket))["LoadState"] for socket in (*plain.sockets, *other.sockets)
            }
        except RefusedError as refusal:
            return (refused(refusal.name, str(refusal), verb="inspect", unit=unit, user=_user()),)
        except BusAwayError as away:
            return (Fault(ErrorCode.INTERNAL, str(away), "is the bus (dbus.service) running?"),)
        return find_unmet(plain, other, sockets, template=template_of(unit), release=NO_RELEASE)

    async def _list(self, states: tuple[str, ...], *patterns: str) -> list[str]:
        return [row[0] for row in await self._bus.call("ListUnitsByPatterns", list(states), list(patterns))]

    async def _properties(self, unit: str) -> Mapping[str, Any]:
        return await self._bus.properties(await self._bus.call("LoadUnit", unit))

    # --- jobs ------------------------------------------------------------------------------------------

    async def _act(self, verb: Verb, unit: str) -> UnitState | Fault:
        try:
            before = await self._look(unit)
            fault = unfit(before, verb)
            if fault is None and verb in ("start", "restart"):
                # In this order: a service that is still at its limit fails the socket again.
                fault = await self._reset_start_limit(unit) or await self._revive_sockets(before)
            if fault is not None:
                return fault
            result = await self._run_job(verb, unit, before.job_timeout_s)
            if isinstance(result, Fault):
                return result
            after = await self._look(unit)
            if verb == "stop" and after.state.active_state == "failed":
                await self._reset_start_limit(unit)  # else it would be listed as failed for ever
                # Looked at before that: afterwards it has forgotten how it ended.
                state = replace(after.state, active_state="inactive", sub_state="dead")
                after = replace(after, sighting=replace(after.sighting, state=state))
        except RefusedError as refusal:
            return refused(refusal.name, str(refusal), verb=verb, unit=unit, user=_user())
        except BusAwayError as away:
            return Fault(
                ErrorCode.RESTART_FAILED, f"cannot {verb} {unit}: {away}", "is the bus (dbus.service) running?"
            )
        return judge_job(verb, result, before, after)

    async def _reset_start_limit(self, unit: str) -> Fault | None:
        """The restart that exceeds the limit stops the running service and leaves it down: so before every one."""
        try:
            await self._bus.call("ResetFailedUnit", unit)
        except RefusedError as refusal:
            if refusal.name != NO_SUCH_UNIT:  # not loaded, so nothing is counted
                return refused(refusal.name, str(refusal), verb="reset-failed", unit=unit, user=_user())
        return None

    async def _revive_sockets(self, service: Look) -> Fault | None:
        """A crash-looping service takes its socket units down with it; they start only while it does not run."""
        for socket in service.sockets:
            now = (await self._look(socket)).state
            if now.active_state != "failed":
                continue
            if service.state.active_state not in ("inactive", "failed"):
                stopped = await self._act("stop", service.state.unit)
                if isinstance(stopped, Fault):
                    return stopped
            if now.result == TRIGGER_LIMIT_HIT and socket in service.wants:
                # Somebody knocks who is not served yet. Were the socket started by itself he would trigger, in an
                # instant, whatever else the socket is for, up to the limit again; while the service's own start is
                # pending, which brings the socket with it, he triggers nothing.
                await asyncio.sleep(TRIGGER_LIMIT_S)
                await self._reset_start_limit(socket)
                continue
            started = await self._act("start", socket)
            if isinstance(started, Fault):
                return started
        return None

    async def _run_job(self, verb: Verb, unit: str, timeout_s: float) -> str | Fault:
        """Queue the job and await its end: JobRemoved's result, or "overdue", or "lost" when no signal came.

        The signal may arrive before the call's answer, which names the job; so all are kept from before the call on.
        """
        loop = asyncio.get_running_loop()
        watch = _JobWatch()
        self._job_watches.add(watch)
        try:
            try:
                path: str = await self._bus.call(METHODS[verb], unit, "replace")
            except RefusedError as refusal:
                if verb == "stop" and refusal.name == NO_SUCH_UNIT:
                    return "done"
                raise
            give_up = loop.time() + timeout_s
            while (result := await watch.result(path, JOB_POLL_S)) is None:
                if loop.time() >= give_up:
                    return "overdue"
                if not await self._has_job(path):
                    return await watch.result(path, SIGNAL_S) or "lost"
            return result
        finally:
            self._job_watches.discard(watch)

    async def _has_job(self, path: str) -> bool:
        try:
            await self._bus.call("GetJob", int(path.rpartition("/")[2]))
        except RefusedError as refusal:
            if refusal.name == NO_SUCH_JOB:
                return False
            raise
        return True

    def job_removed(self, path: str, result: str) -> None:
        """A job, known by its object path, has ended."""
        for watch in self._job_watches:
            watch.arrived(path, result)

    async def _look(self, unit: str) -> Look:
        path: str = await self._bus.call("LoadUnit", unit)
        return parse_look(unit, path, await self._bus.properties(path))


class _JobWatch:
    """Results of jobs, from whenever it was made."""

    def __init__(self) -> None:
        self._results: dict[str, str] = {}
        self._arrival = asyncio.Event()

    def arrived(self, path: str, result: str) -> None:
        self._results[path] = result
        self._arrival.set()

    async def result(self, path: str, timeout_s: float) -> str | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while path not in self._results:
                    self._arrival.clear()
                    await self._arrival.wait()
        return self._results.get(path)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
