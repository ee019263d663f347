"""Everything a deploy needs from outside, as Protocols. Whoever is the agent constructs the adapters.

A method that can be refused by the world returns ``T | Fault``; it raises only for a defect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from dropdeploy.model.app import HealthCheck
from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import HealthReport
from dropdeploy.model.release import Pruned, Survey
from dropdeploy.model.request import Upload, Version
from dropdeploy.model.unit import Process, UnitState
from dropdeploy.model.unpacking import Percent, Source, Unpacked

__all__ = [
    "HealthProbe",
    "OpenUpload",
    "Percent",
    "Pruned",
    "Releases",
    "Source",
    "Survey",
    "Units",
    "Uploads",
]


class Units(Protocol):
    """systemd's manager, or the supervisor inside the agent. Units are named in full (``myapp.service``)."""

    async def inspect(self, unit: str) -> UnitState | Fault:
        """The unit now; a unit that does not exist has ``load_state`` "not-found", a masked one "masked"."""

    async def load_states(self, units: Sequence[str]) -> Mapping[str, str]:
        """The ``load_state`` of many units, in far less time than it takes to inspect each. One that goes by another
        name as well may be missing, and all may where they cannot be asked about: inspect those."""

    async def restart(self, unit: str) -> UnitState | Fault:
        """Clear the start limit, restart, and await the job. Returns the unit's state after the job.

        Faults: ``restart-failed`` (the job failed, was cancelled or timed out), ``unit-not-found``, ``unit-masked``,
        ``not-authorised``. The state returned has an ``invocation_id`` that differs from the one before.
        """

    async def reload(self, unit: str) -> UnitState | Fault:
        """ReloadUnit with its job awaited. Faults as ``restart``."""

    async def start(self, unit: str) -> UnitState | Fault:
        """Clear the start limit, start, and await the job. Faults as ``restart``."""

    async def stop(self, unit: str) -> UnitState | Fault:
        """Stop and await the job; stopping what does not run is no fault. Afterwards it does not count as failed;
        ``result`` tells how it ended ("timeout": it was killed)."""

    async def await_failure(self, since: UnitState) -> Fault:
        """Return when the unit's run that ``since`` describes has failed; else go on for ever (cancel it).

        Failed means: ActiveState is failed or inactive, or it crash-loops (two automatic restarts since). Code
        ``unit-crashed``; the message names the state, result and exit status.
        """

    async def log_cursor(self, unit: str) -> str:
        """A point in the unit's log, for ``log_tail``; empty when the log cannot be read."""

    async def log_tail(self, unit: str, cursor: str, lines: int = 40) -> str:
        """The unit's last lines since ``cursor``; when they cannot be read, one line in brackets that says why."""

    async def processes(self, unit: str) -> frozenset[Process]:
        """The unit's processes; none where it does not run, or whoever knows them cannot be asked."""

    async def is_going_down(self) -> bool:
        """The machine (or the user's session) is being shut down: that a unit stops now is nobody's fault."""

    async def running_releases(self, unit: str) -> frozenset[str]:
        """Ids of the releases that processes of the unit, or of its instances ``unit@ID``, run from (their
        working directories and executables); what cannot be seen is left out."""

    async def standing(self, unit: str) -> tuple[UnitState, ...] | Fault:
        """The unit, and its instances that are called after a release (``unit@ID``): those that run, come up, go
        down, or have failed. The unit itself comes first."""

    async def unmet_for_handover(self, unit: str) -> tuple[Fault, ...]:
        """What is not as a handover needs it: the template unit, the socket, their settings. Empty when all is."""


class HealthProbe(Protocol):
    """Asks an app how it is."""

    async def check(self, check: HealthCheck, *, is_same_run: Callable[[], Awaitable[bool]]) -> HealthReport:
        """Attempt until healthy, soak, or the timeout. A check without ``url`` is the caller's affair.

        ``is_same_run`` is asked at each success and through the soak: a success of another run does not count.
        """


class OpenUpload(Protocol):
    """An upload held for reading: its writers are kept out while a lease lasts, and any change is noticed."""

    @property
    def source(self) -> Source:
        """What to unpack."""

    def is_unchanged(self) -> bool:
        """Nobody has opened it for writing, and name, inode, size and times are what they were when taken."""

    async def judge(self, unpacked: Unpacked) -> Version | Fault:
        """The proof over the bytes that were unpacked: unchanged, checksum, signature. To be asked once.

        Returns the version that was proven: a client may still have set the file's times while it was read.
        """

    def close(self) -> None:
        """Let go of it. Closing twice is no fault."""


class Uploads(Protocol):
    """The drop directory of one app, seen by a deploy."""

    async def open(self, upload: Upload) -> OpenUpload | Fault:
        """Open without following links. Faults: ``unreadable-upload``, ``changed-while-reading`` (another version
        stands there now), ``checksum-missing``, ``signature-missing``, ``too-large`` (max_bytes)."""

    async def read_meta(self, upload: Upload) -> tuple[tuple[str, str], ...] | Fault:
        """``NAME.meta.toml`` as pairs, empty when there is none. Fault: ``unreadable-upload``, naming what is wrong."""


class Releases(Protocol):
    """The releases of one app on disk. All methods leave the event loop free."""

    async def survey(self) -> Survey | Fault:
        """Look. Missing directories are empty ones."""

    async def unpacked_size(self, source: Source) -> int:
        """How many bytes it will be at least, as the format tells without unpacking (gzip's ISIZE, zip's directory,
        a tar's own size, else the file's size; 0 for a directory). A hint for the free-space check, never trusted."""

    async def unpack(self, source: Source, release: str, percent: Percent) -> Unpacked | Fault:
        """Unpack into ``releases/.staging-<release>/``, in one pass over the bytes, which are hashed meanwhile.

        Cancelling it stops the work at once. After a fault or a cancellation the staging directory is gone.
        Faults: ``truncated-upload``, ``corrupt-upload``, ``unsafe-entry``, ``too-large``, ``no-space``,
        ``unreadable-upload``, ``changed-while-reading`` (directories), ``not-authorised``.
        """

    async def finish(self, release: str) -> str | Fault:
        """Link ``shared``, set group, flush to disk, rename staging to ``release``. Returns a detail for the step.

        Repeating it on a finished release is no fault.
        """

    async def swap(self, release: str) -> Fault | None:
        """Point `app` to ``release`` atomically and flush the directory. Repeating it is no fault."""

    async def unlink(self) -> Fault | None:
        """Remove `app`, if it is a symbolic link."""

    async def discard(self, release: str) -> Fault | None:
        """Remove the staging directory and the release of this id, whichever exist. Refuses the live one."""

    async def sweep(self, keep: Iterable[str] = ()) -> None:
        """Remove what a crash left: staging directories and half-removed releases, but not staging of ``keep``."""

    async def prune(self, releases: Iterable[str]) -> Pruned:
        """Have these be releases no more; never the live one. Their files stay until ``clear``."""

    async def clear(self) -> None:
        """Remove the files of what was pruned. What cannot be removed is logged, and told by the next ``prune``."""
