"""What the agent must reach beside files: the bus, the journal, the apps' health URLs. Tried as the agent."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dropdeploy.cli.check.findings import Finding, denied, good, poor, wrong
from dropdeploy.cli.check.ground import Ground, own_name
from dropdeploy.config.address import HttpTarget, TcpAddress, parse_address, parse_health_url
from dropdeploy.model.app import App
from dropdeploy.model.config import Bus
from dropdeploy.units import journal

CONNECT_S = 2.0


def check_bus(ground: Ground) -> Iterator[Finding]:
    """Whether systemd answers."""
    bus = ground.config.settings.bus
    if bus is Bus.EMBEDDED:
        return
    from dropdeploy.units.systemd import BindingsError, SystemdUnits  # noqa: PLC0415 - brings GLib
    from dropdeploy.units.systemd_jobs import BusAwayError  # noqa: PLC0415 - its company

    async def ask() -> None:
        async with SystemdUnits("user" if bus is Bus.USER else "system"):
            pass

    try:
        asyncio.run(ask())
    except BindingsError as error:
        yield wrong("bus", str(error), "`apt install python3-pydbus python3-gi`")
    except BusAwayError as error:
        yield denied("bus", str(error), f"`systemctl {'--user ' * (bus is Bus.USER)}start dbus`")
    else:
        yield good("bus", "systemd answers")


def check_journal(ground: Ground) -> Iterator[Finding]:
    """Results have the last lines of the app's log."""
    settings, apps = ground.config.settings, ground.config.apps
    if settings.bus is Bus.EMBEDDED or not apps:
        return
    if why := journal.why_unreadable(apps[0].unit, is_user=settings.bus is Bus.USER):
        agent = own_name()
        mend = f"`usermod --append --groups systemd-journal {agent} && systemctl restart dropdeploy`"
        yield poor("journal", f"{agent} may not read it, so results lack the app's last lines ({why[0]})", mend)
    else:
        yield good("journal", "the apps' last lines can be read")


def check_listen(ground: Ground) -> Iterator[Finding]:
    """The status page's port is free, and the agent may take it. The running agent has it already."""
    shown = ground.config.settings.listen
    address = parse_address(shown)
    if ground.agent_pid or not isinstance(address, TcpAddress):
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address.host, address.port))
        except OSError as error:
            mend = f"`ss -ltnp 'sport = {address.port}'` tells who has it; or change `listen` in dropdeploy.toml"
            yield wrong("listen", f"{shown} cannot be listened at: {(error.strerror or str(error)).lower()}", mend)
        else:
            yield good("listen", f"{shown} is free for the status page")


def check_health(app: App, ground: Ground) -> Iterator[Finding]:
    """The URL's host has an address; where a release is live, somebody answers there."""
    if not app.health.url:
        return
    target = parse_health_url(app.health.url)
    if target is None:
        yield wrong(app.name, f"health.url {app.health.url} is no URL that can be asked")
        return
    fault = _try(target, is_live=(app.root / "app").exists())
    if fault is None:
        yield good(app.name, f"{app.health.url} can be asked")
    else:
        what, is_certain = fault
        mend = f"correct `url` in {ground.directory}/apps.d/{app.name}.toml, or see `systemctl status {app.unit}`"
        yield (wrong if is_certain else poor)(app.name, f"{app.health.url}: {what}", mend)


def _try(target: HttpTarget, *, is_live: bool) -> tuple[str, bool] | None:
    """What is wrong, and whether a deploy cannot mend it."""
    if target.socket:
        directory = Path(target.socket).parent
        if not directory.is_dir():
            return f"there is no directory {directory} for the socket, or it is hidden from the agent", False
        return _connect(socket.AF_UNIX, target.socket) if is_live else None
    parts = urlsplit(target.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of names that cannot be one
        return f"the host {parts.hostname} has no address ({getattr(error, 'strerror', None) or error})", True
    if not is_live:
        return None
    faults = [_connect(family, address) for family, _, _, _, address in found]
    return None if None in faults else faults[0]


def _connect(family: int, address: Any) -> tuple[str, bool] | None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_S)
        try:
            client.connect(address)
        except OSError as error:
            is_silent = isinstance(error, TimeoutError)
            did = "no answer" if is_silent else (error.strerror or str(error)).lower()
            # EACCES: a Unix socket's mode keeps the agent out, whatever is deployed.
            return f"a release is live, and nobody can be asked there ({did})", error.errno == errno.EACCES
    return None
