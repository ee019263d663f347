"""How an effect on the world ended, and the ports through which it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dropdeploy.deploy.event import Learned
from dropdeploy.deploy.ports import HealthProbe, Releases, Units, Uploads
from dropdeploy.history.keeping import History
from dropdeploy.history.thread import HistoryThread
from dropdeploy.model.fault import Fault

Prunable = Callable[[tuple[str, ...], Mapping[str, bool | None], str, frozenset[str], int], tuple[str, ...]]
"""(releases, health, live, running, keep) → what may go; ``releases.retention`` has it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that a deploy touches."""

    units: Units
    probe: HealthProbe
    releases: Releases
    uploads: Uploads
    history: HistoryThread[History]
    prunable: Prunable


@dataclass(frozen=True, slots=True)
class Good:
    """An effect that succeeded."""

    learned: Learned | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Bad:
    """An effect that did not."""

    fault: Fault
    learned: Learned | None = None
