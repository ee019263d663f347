"""Whether an app's units are made for ``strategy = "handover"``: sockets, NonBlocking=, Type=, directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dropdeploy.cli.check.findings import Finding, good, wrong
from dropdeploy.cli.check.systemctl import Facts
from dropdeploy.instances import NO_RELEASE, instance_of, template_of
from dropdeploy.model.app import App, Strategy
from dropdeploy.units.handover_needs import ServiceSetting, find_unmet


def check_handover(app: App, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Everything that keeps it from being handed over."""
    names = app.unit, instance_of(app.unit, NO_RELEASE)
    if app.strategy is not Strategy.HANDOVER or not all(name in facts for name in names):
        return
    plain, instance = (_setting(name, facts[name]) for name in names)
    sockets = {name: facts[name]["LoadState"] for name in (*plain.sockets, *instance.sockets) if name in facts}
    unmet = find_unmet(plain, instance, sockets, template=template_of(app.unit), release=NO_RELEASE)
    for fault in unmet:
        yield wrong(app.name, fault.message, fault.hint)
    if not unmet:
        yield good(app.name, f"{app.unit} can be handed over from release to release")


def _setting(unit: str, facts: Facts) -> ServiceSetting:
    return ServiceSetting(
        unit=unit,
        load_state=facts["LoadState"],
        type=facts["Type"],
        is_non_blocking=facts["NonBlocking"] == "yes",
        sockets=sockets_of(facts),
        directory=facts["WorkingDirectory"].lstrip("!"),  # "!": may be missing
    )


def sockets_of(facts: Facts) -> tuple[str, ...]:
    """The sockets that trigger a service, and that it gets."""
    return tuple(name for name in facts.get("TriggeredBy", "").split() if name.endswith(".socket"))
