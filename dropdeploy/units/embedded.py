"""A supervisor inside the agent, for machines without systemd (a demo, a container).

It speaks systemd's words, so that a deploy cannot tell the difference. What it starts ends with it: in ``close``, or
by the guardian's hand when the agent is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from dropdeploy.model.app import EmbeddedUnit
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import Process, UnitState
from dropdeploy.units import failure
from dropdeploy.units.guardian import Guardian
from dropdeploy.units.logfile import LogFile, log_path
from dropdeploy.units.procfs import look_at_processes, members_of_group, releases_in_path, releases_of_processes
from dropdeploy.units.service import STOP_S, Service

Definitions = Mapping[str, tuple[EmbeddedUnit, Path]]
"""By the unit's full name: what to run, and the working directory, resolved at each start (the app's `app` link)."""


BOOT_PATIENCE_S: Final = 3.0


class EmbeddedUnits:
    """The port ``Units`` on processes of the agent's own. They have ``stop_s`` between SIGTERM and SIGKILL.

    What they print is kept in files below ``state``, where there is one.
    """

    def __init__(self, definitions: Definitions, *, stop_s: float = STOP_S, state: Path | None = None) -> None:
        self._state = state
        self._stop_s = stop_s
        self._guardian = Guardian()
        self._services: dict[str, Service] = {}
        self._jobs: set[asyncio.Task[UnitState | Fault]] = set()
        self._definitions = dict(definitions)

    async def open(self) -> Self:
        """Take up the definitions; nothing is started."""
        await self.redefine(self._definitions)
        return self

    async def close(self) -> None:
        """Stop everything, wait until it is gone."""
        await self.redefine({})
        await self._guardian.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def redefine(self, definitions: Definitions) -> None:
        """Other definitions from now on: what is not defined any more is stopped, what changed does so at its start."""
        gone = [self._services.pop(unit) for unit in [*self._services] if unit not in definitions]
        await asyncio.gather(*(self._job(service, Service.stop) for service in gone))
        for unit, (definition, directory) in definitions.items():
            service = self._services.get(unit)
            if service is None:
                keep = LogFile(log_path(self._state, unit)).append if self._state is not None else None
                self._services[unit] = Service(
                    unit, definition, directory, self._guardian, stop_s=self._stop_s, keep=keep
                )
            else:
                service.definition, service.directory = definition, directory

    async def start_all(self) -> Mapping[str, Fault]:
        """Start what was never started and has a release, as at boot. Returns what could not be, by unit.

        What an agent before this one ran, and was killed over, may still hold an address for a moment.
        """
        waiting = [unit for unit, s in self._services.items() if not s.was_started and s.directory.is_dir()]
        start = partial(Service.start, patience_s=BOOT_PATIENCE_S)
        states = await asyncio.gather(*(self._act(unit, start) for unit in waiting))
        return {unit: state for unit, state in zip(waiting, states, strict=True) if isinstance(state, Fault)}

    # --- the port --------------------------------------------------------------------------------------

    async def inspect(self, unit: str) -> UnitState | Fault:
        """The unit now; one that is not defined has ``load_state`` "not-found"."""
        service = self._services.get(unit)
        return service.sighting.state if service is not None else UnitState(unit=unit, load_state="not-found")

    async def load_states(self, units: Sequence[str]) -> Mapping[str, str]:
        """See the port."""
        return {unit: "loaded" if unit in self._services else "not-found" for unit in units}

    async def restart(self, unit: str) -> UnitState | Fault:
        """Clear the start limit, stop, start on the same socket; the state returned has a new ``invocation_id``."""
        return await self._act(unit, Service.restart)

    async def reload(self, unit: str) -> UnitState | Fault:
        """SIGHUP to the main process; a unit that is not active is a fault."""
        return await self._act(unit, Service.reload)

    async def start(self, unit: str) -> UnitState | Fault:
        """Clear the start limit and start, unless it runs."""
        return await self._act(unit, Service.start)

    async def stop(self, unit: str) -> UnitState | Fault:
        """Stop, and close its socket; stopping what does not run is no fault."""
        if unit not in self._services:
            return UnitState(unit=unit, load_state="not-found")
        return await self._act(unit, Service.stop)

    async def await_failure(self, since: UnitState) -> Fault:
        """Return when the run that ``since`` describes has failed; else go on until cancelled."""
        service = self._services.get(since.unit)
        if service is None:
            return _not_defined(since.unit)
        changed = asyncio.Event()
        with service.watched(changed):
            while (fault := failure.judge_run(since, service.sighting)) is None:
                changed.clear()
                await changed.wait()
        return fault

    async def log_cursor(self, unit: str) -> str:
        """How many lines the unit has printed."""
        service = self._services.get(unit)
        return str(service.output.cursor) if service is not None else ""

    async def log_tail(self, unit: str, cursor: str, lines: int = 40) -> str:
        """The unit's last lines since ``cursor``."""
        service = self._services.get(unit)
        if service is None:
            return f"[{unit} is not defined, so there is no log of it]"
        return "\n".join(service.output.since(int(cursor or 0), lines))

    async def processes(self, unit: str) -> frozenset[Process]:
        """The main process and what it has forked."""
        service = self._services.get(unit)
        if service is None or not service.sighting.state.main_pid:
            return frozenset()
        group = service.sighting.state.main_pid
        return await asyncio.to_thread(lambda: look_at_processes(members_of_group(group)))

    async def is_going_down(self) -> bool:
        """No: the units end after the lanes, by the agent's own hand."""
        return False

    async def running_releases(self, unit: str) -> frozenset[str]:
        """The release that the unit was started in, and those its main process moved to."""
        service = self._services.get(unit)
        if service is None or not service.running_directory:
            return frozenset()
        moved = releases_of_processes([service.sighting.state.main_pid])
        return releases_in_path(service.running_directory) | moved

    async def standing(self, unit: str) -> tuple[UnitState, ...] | Fault:
        """The unit, unless it is inactive: there are no instances here."""
        service = self._services.get(unit)
        state = service.sighting.state if service is not None else UnitState(unit=unit)
        return (state,) if state.active_state != "inactive" else ()

    async def unmet_for_handover(self, unit: str) -> tuple[Fault, ...]:
        """There is no handover here."""
        hint = 'choose another `strategy`, or run the app by systemd (bus = "system" or "user")'
        return (Fault(ErrorCode.RESTART_FAILED, 'there is no handover with bus = "embedded"', hint),)

    async def _act(self, unit: str, work: Callable[[Service], Awaitable[Fault | None]]) -> UnitState | Fault:
        service = self._services.get(unit)
        return _not_defined(unit) if service is None else await self._job(service, work)

    async def _job(self, service: Service, work: Callable[[Service], Awaitable[Fault | None]]) -> UnitState | Fault:
        """One job of a unit at a time. As with systemd, a job that was begun goes on when nobody awaits it any more."""

        async def run() -> UnitState | Fault:
            async with service.job():
                return await work(service) or service.sighting.state

        job = asyncio.create_task(run(), name=f"job of {service.unit}")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return await asyncio.shield(job)


def _not_defined(unit: str) -> Fault:
    return failure.not_found(unit, 'with bus = "embedded" it is defined by the app\'s [embedded] section')
