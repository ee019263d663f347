"""One unit of the embedded supervisor: states, results and restarts as of a systemd.service(5).

``Type=simple``, ``Restart=on-failure``, ``RestartSec=100ms``, five starts in ten seconds, ``TimeoutStopSec=10s``,
``KillMode=control-group`` with the process group for a control group, and a socket unit of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dropdeploy.model.app import EmbeddedUnit
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.unit import UnitState
from dropdeploy.shortage import is_shortage
from dropdeploy.units import failure
from dropdeploy.units.failure import Exit, Sighting
from dropdeploy.units.guardian import Guardian
from dropdeploy.units.listener import Listener
from dropdeploy.units.output import OutputRing
from dropdeploy.units.process_group import ProcessGroup

RESTART_S: Final = 0.1
START_LIMIT: Final = 5
START_LIMIT_SPAN_S: Final = 10.0
STOP_S: Final = 10.0

# What of the agent's environment is the app's too. Nothing else is: NOTIFY_SOCKET would let the app speak for the
# agent, and systemd would give it a clean environment as well.
_INHERITED: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_EXEC_FAILED: Final = 203  # systemd.exec(5): EXIT_EXEC


class Service:
    """Its verbs are for within a ``job``.

    ``definition`` and ``directory`` may be changed at any time; the next start takes them up.
    """

    def __init__(
        self,
        unit: str,
        definition: EmbeddedUnit,
        directory: Path,
        guardian: Guardian,
        *,
        stop_s: float = STOP_S,
        keep: Callable[[str], None] | None = None,
    ) -> None:
        self.unit = unit
        self.definition = definition
        self.directory = directory
        self.output = OutputRing(keep)
        self._guardian = guardian
        self._stop_s = stop_s
        self._lock = asyncio.Lock()
        self._has_job = False
        self._state = UnitState(unit=unit)
        self._exit: Exit | None = None
        self._listener: Listener | None = None
        self._group: ProcessGroup | None = None
        self._release_directory = ""
        self._starts: deque[float] = deque(maxlen=START_LIMIT)
        self._keeper: asyncio.Task[None] | None = None
        self._watchers: set[asyncio.Event] = set()

    @property
    def sighting(self) -> Sighting:
        """The unit now."""
        return Sighting(self._state, self._exit, self._has_job)

    @property
    def was_started(self) -> bool:
        """It has run, or tried to, since the agent started."""
        return bool(self._starts)

    @property
    def running_directory(self) -> str:
        """Where the processes that run now were started, links resolved; "" when nothing runs."""
        return self._release_directory if self._group is not None else ""

    @contextlib.contextmanager
    def watched(self, changed: asyncio.Event) -> Iterator[None]:
        """Within it, ``changed`` is set at each change of state."""
        self._watchers.add(changed)
        try:
            yield
        finally:
            self._watchers.discard(changed)

    @contextlib.asynccontextmanager
    async def job(self) -> AsyncIterator[None]:
        """One after the other. What the state is within is no verdict: every restart passes through "inactive"."""
        async with self._lock:
            self._has_job = True
            try:
                yield
            finally:
                self._has_job = False
                self._tell_watchers()

    async def start(self, *, patience_s: float = 0.0) -> Fault | None:
        """Start unless it runs; the start limit is cleared first. An address in use is waited for ``patience_s``."""
        if self._state.active_state == "active":
            return None
        await self._end_run()
        fault = await self._listen(patience_s)
        if fault is None:
            self._starts.clear()
            self._exit = None
            fault = await self._launch(restarts=0)
        return fault

    async def restart(self) -> Fault | None:
        """Stop, then start. The socket is opened first: when that fails, what runs goes on."""
        if fault := await self._listen():
            return fault
        await self._end_run()
        return await self.start()

    async def reload(self) -> Fault | None:
        """SIGHUP to the main process."""
        if self._group is None or self._state.active_state != "active":
            return failure.cannot_reload(self._state)
        self._group.hang_up()
        return None

    async def stop(self) -> Fault | None:
        """Stop all its processes and stop listening. Never a fault."""
        await self._end_run()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        return None

    # --- one run after the other -----------------------------------------------------------------------

    async def _launch(self, *, restarts: int) -> Fault | None:
        """Start a run, and what restarts it should it fail."""
        directory = self._resolved_directory()
        environment = self._environment()
        try:
            problem = _missing_program(self.definition.command[0], directory, environment.get("PATH"))
            if problem:
                self._exit = Exit("exited", _EXEC_FAILED)
                return self._failed_to_start(problem, "the app's [embedded] `command` names it: is it in the release?")
            self._group = await ProcessGroup.start(
                self.definition.command,
                directory=directory,
                environment=environment,
                listener=self._listener,
                output=self.output,
                guardian=self._guardian,
            )
        except OSError as error:
            hint = "the app's directory must exist, and its `app` link name a release"
            fault = self._failed_to_start(f"{error.strerror}: {error.filename or directory}", hint)
            if is_shortage(error):
                hint = "no file descriptor is left on the server: raise the agent's limit (ulimit -n), or fs.file-max"
                return replace(fault, hint=hint, is_shortage=True)
            return fault
        self._release_directory = directory
        self._starts.append(asyncio.get_running_loop().time())
        self._become(
            "active",
            "running",
            invocation_id=environment["INVOCATION_ID"],
            restarts=restarts,
            main_pid=self._group.pid,
            result="success",
        )
        if restarts == 0:
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.unit}")
        return None

    async def _keep(self) -> None:
        """Watch run after run, until one ends well or the start limit is reached."""
        while True:
            assert self._group is not None
            end = await asyncio.shield(self._group.ended)
            self._exit = end
            result = "success" if end.is_clean else "signal" if end.code == "killed" else "exit-code"
            self.output.append(f"{self.unit}: main process ended: {end}")
            self._become("deactivating", "stop-sigterm", main_pid=0, result=result)
            await self._group.stop(self._stop_s)
            self._group = None
            if end.is_clean:
                self._become("inactive", "dead")
                return
            if self._is_limit_reached():
                self.output.append(f"{self.unit}: started {START_LIMIT} times in {START_LIMIT_SPAN_S:.0f} s: no more")
                # systemd counts the restart that it refuses.
                self._become("failed", "failed", restarts=self._state.restarts + 1)
                return
            self._become("activating", "auto-restart")
            await asyncio.sleep(RESTART_S)
            if await self._launch(restarts=self._state.restarts + 1) is not None:
                return

    async def _end_run(self) -> None:
        """Whatever it is doing: afterwards nothing of it runs, and nothing will start it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._group is not None:
            self._become("deactivating", "stop-sigterm")
            self._exit = await self._group.stop(self._stop_s)
            self._group = None
        if self._state.active_state != "inactive":
            self._become("inactive", "dead", main_pid=0, result="success", restarts=0)

    def _is_limit_reached(self) -> bool:
        now = asyncio.get_running_loop().time()
        return len(self._starts) == START_LIMIT and now - self._starts[0] < START_LIMIT_SPAN_S

    def _failed_to_start(self, problem: str, hint: str) -> Fault:
        self.output.append(f"{self.unit}: {problem}")
        self._become("failed", "failed", main_pid=0, result="exit-code" if self._exit else "resources")
        return Fault(ErrorCode.RESTART_FAILED, f"{self.unit} could not be started: {problem}", hint)

    async def _listen(self, patience_s: float = 0.0) -> Fault | None:
        """Have the socket that the definition names; the one before is closed when the new one is there."""
        wanted, before = self.definition.listen, self._listener
        if wanted == (before.address if before is not None else ""):
            return None
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience_s
        while True:
            try:
                self._listener = Listener(wanted) if wanted else None
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or loop.time() >= give_up:
                    return self._cannot_listen(error)
            await asyncio.sleep(0.05)
        if before is not None:
            before.close()
        return None

    def _cannot_listen(self, error: OSError) -> Fault:
        address = self.definition.listen
        problem, hint = f"cannot listen at {address}: {error.strerror}", "choose another `listen`"
        if error.errno == errno.EADDRINUSE:
            problem = f"{address} is in use by another process"
            hint = "stop what listens there (ss -lnp shows it), or choose another `listen`"
        return Fault(ErrorCode.RESTART_FAILED, f"{self.unit} could not be started: {problem}", hint)

    def _resolved_directory(self) -> str:
        # The release and not the link, so that a swap does not change what runs under it.
        return os.path.realpath(self.directory)

    def _environment(self) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= dict(self.definition.environment)
        environment["INVOCATION_ID"] = uuid.uuid4().hex
        if self._listener is not None:
            environment["LISTEN_FDS"] = "1"
            environment["LISTEN_FDNAMES"] = f"{self.unit.removesuffix('.service')}.socket"
        return environment

    def _become(self, active_state: str, sub_state: str, **changes: Any) -> None:
        self._state = replace(self._state, active_state=active_state, sub_state=sub_state, **changes)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for changed in self._watchers:
            changed.set()


def _missing_program(program: str, directory: str, path: str | None) -> str:
    """What is wrong with the command's program, "" when nothing is."""
    if "/" not in program:
        return "" if shutil.which(program, path=path) else f"the program {program} is not in PATH"
    place = "" if program.startswith("/") else f" in {directory}"
    full = os.path.join(directory, program)
    if not os.path.isfile(full):
        return f"the program {program} does not exist{place}"
    return "" if os.access(full, os.X_OK) else f"the program {program} is not executable{place}"
