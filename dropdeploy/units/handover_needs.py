"""What an app's units must be like for ``strategy = "handover"``, and what of it they are not (pure).

Each demand is one that a handover was seen to fail without, or to lose requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropdeploy.model.fault import ErrorCode, Fault

TELLS_READINESS: Final = ("notify", "notify-reload")


@dataclass(frozen=True, slots=True)
class ServiceSetting:
    """What of a service matters here, as systemd has read it; ``sockets`` are the socket units it gets."""

    unit: str
    load_state: str
    type: str = ""
    is_non_blocking: bool = False
    sockets: tuple[str, ...] = ()
    directory: str = ""


def parse_setting(unit: str, properties: Mapping[str, Any]) -> ServiceSetting:
    """From org.freedesktop.systemd1.Service(5)'s properties; a unit that is not loaded has the defaults."""
    return ServiceSetting(
        unit=unit,
        load_state=properties["LoadState"],
        type=properties.get("Type", ""),
        is_non_blocking=properties.get("NonBlocking", False),
        # Sockets= makes the service one that they trigger.
        sockets=tuple(name for name in properties["TriggeredBy"] if name.endswith(".socket")),
        directory=properties.get("WorkingDirectory", "").lstrip("!"),  # "!": may be missing
    )


def find_unmet(
    plain: ServiceSetting, instance: ServiceSetting, socket_states: Mapping[str, str], *, template: str, release: str
) -> tuple[Fault, ...]:
    """Everything that is not as it must be, in order of importance; nothing when a handover can be made.

    ``plain`` is the app's unit, ``instance`` the one that ``template`` makes for ``release``; ``socket_states`` has the
    LoadState of every socket that either names.
    """
    missing = tuple(_missing(plain, instance, socket_states, template))
    return missing or tuple(_unfit(plain, instance, template, release))


def _missing(
    plain: ServiceSetting, instance: ServiceSetting, socket_states: Mapping[str, str], template: str
) -> Iterator[Fault]:
    for service, name in ((plain, plain.unit), (instance, template)):
        if service.load_state != "loaded":
            yield _absent(name, service.load_state)
    for socket in dict.fromkeys((*plain.sockets, *instance.sockets)):
        if socket_states[socket] != "loaded":
            yield _absent(socket, socket_states[socket])


def _absent(unit: str, load_state: str) -> Fault:
    if load_state == "masked":
        return Fault(ErrorCode.UNIT_MASKED, f"{unit} is masked", f"systemctl unmask {unit}")
    if load_state == "not-found":
        hint = "create it (contrib/apps has ready ones) and run systemctl daemon-reload, or choose another `strategy`"
        return Fault(ErrorCode.UNIT_NOT_FOUND, f"a handover needs {unit}, which does not exist", hint)
    hint = f"systemd-analyze verify {unit} names the mistake"
    return Fault(ErrorCode.RESTART_FAILED, f"{unit} cannot be loaded by systemd ({load_state})", hint)


def _unfit(plain: ServiceSetting, instance: ServiceSetting, template: str, release: str) -> Iterator[Fault]:
    services = ((plain, plain.unit), (instance, template))
    shared = [socket for socket in plain.sockets if socket in instance.sockets]
    if not shared:
        socket = (*plain.sockets, *instance.sockets, plain.unit.replace(".service", ".socket"))[0]
        without = next(name for service, name in services if socket not in service.sockets)
        yield _must(without, f"Sockets={socket}", "releases are replaced on one listening socket")
    for service, name in services:
        if not service.is_non_blocking:
            why = "without it, the start of one instance makes the shared socket blocking for the other"
            yield _must(name, "NonBlocking=yes", why)
        if service.type not in TELLS_READINESS:
            yield _must(name, "Type=notify", f"with Type={service.type} nobody knows when it is ready")
    if release not in instance.directory:
        why = f"an instance runs the release it is called after, not {instance.directory or 'whatever the link names'}"
        yield _must(template, "WorkingDirectory=…/releases/%i", why)


def _must(unit: str, setting: str, why: str) -> Fault:
    hint = f"set it (contrib/apps has ready units; systemctl edit {unit}), or choose another `strategy`"
    return Fault(ErrorCode.RESTART_FAILED, f"a handover needs {setting} in {unit}: {why}", hint)
