"""How the effect of a phase ended, and the facts that it brought.   (pure)"""

from __future__ import annotations

from dataclasses import dataclass

from dropdeploy.model.fault import Fault
from dropdeploy.model.outcome import HealthReport
from dropdeploy.model.request import Upload
from dropdeploy.model.unit import UnitState
from dropdeploy.model.unpacking import Unpacked


@dataclass(frozen=True, slots=True)
class Ground:
    """What preflight found: the release to make or to go to, and what there is to return to.

    ``previous`` is what `app` points to, and ``is_live_healthy`` what is remembered of it; ``back_to`` is where a
    failure leads: ``previous`` when it is whole, else the newest healthy release, else "". For a handover ``unit`` is
    what is going to run ``release``, and ``before`` what ran already.
    """

    release: str
    previous: str
    back_to: str
    is_live_healthy: bool | None = None
    unit: str = ""
    before: tuple[UnitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Extracted:
    """What ``extract`` brought: the upload in the version that was proven, its metadata, and the numbers."""

    upload: Upload
    unpacked: Unpacked
    meta: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """What the start of a handover brought: the new run, and whether what ran before answered well just before."""

    run: UnitState
    is_old_well: bool


Learned = Ground | Extracted | Started | UnitState | HealthReport


@dataclass(frozen=True, slots=True)
class Done:
    """The phase's effect succeeded. ``learned`` are the facts it brought."""

    seconds: float
    detail: str = ""
    learned: Learned | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The phase's effect did not succeed, or was not even begun."""

    seconds: float
    fault: Fault
    learned: Learned | None = None
    has_begun: bool = True


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The phase's effect was broken off because the uploader asked for it."""

    seconds: float


Event = Done | Failed | Cancelled
