"""Names of the units that a handover starts: instances of the app's unit, called after their releases.

``shop.service`` is what boots with the machine; ``shop@20260123-143022.service`` runs that release (systemd.unit(5)).
"""

from __future__ import annotations

from dropdeploy.model.release import parse_release_id

NO_RELEASE = "20000101-000000"
"""An instance that is never started: for a look at what the template makes of it."""


def instance_of(unit: str, release: str) -> str:
    """The instance of ``shop.service`` that runs the release. Ids need no escaping."""
    stem, dot, kind = unit.rpartition(".")
    return f"{stem}@{release}{dot}{kind}"


def template_of(unit: str) -> str:
    """``shop@.service``."""
    return instance_of(unit, "")


def release_of(unit: str) -> str:
    """The release that an instance is called after; "" of any other unit."""
    named = unit.partition("@")[2].rpartition(".")[0]
    return named if parse_release_id(named) else ""
