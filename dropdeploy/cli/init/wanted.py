"""The wish and the ground → every thing that must be there, in the order in which they can be made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.init.things import Account, Directory, Enabled, File, Group, Membership, Need, Thing
from dropdeploy.cli.init.wish import (
    AGENT,
    AGENT_UNIT,
    POLKIT_RULES,
    SSHD_BLOCKS,
    SSHD_KEYS,
    SYSTEM_UNITS,
    Ground,
    Templates,
    Wish,
)
from dropdeploy.datafiles import fill
from dropdeploy.model.app import Strategy


def wanted_things(wish: Wish, ground: Ground, templates: Templates) -> tuple[Thing, ...]:
    """All of them. Accounts come before what belongs to them, files before the units that they define are enabled."""
    return (
        *_agent(ground),
        *_accounts(wish, ground),
        *_directories(wish, ground),
        *_permissions(wish, ground, templates),
        *_uploader(wish, ground, templates),
        *_configuration(wish, ground),
        # What boots with the machine; the other units come and go with releases.
        *(Enabled(name) for name, _ in ground.units if wish.kind and name in (wish.unit, f"{wish.app}.socket")),
    )


def _agent(ground: Ground) -> Iterator[Thing]:
    """The distribution's package brings these, pip does not."""
    yield Account(AGENT, "/var/lib/dropdeploy")
    yield Membership(AGENT, "systemd-journal")
    for path in (ground.directory, ground.directory / "apps.d"):
        yield Directory(path, "root", AGENT, 0o750)
    yield Directory(Path("/var/lib/dropdeploy"), AGENT, AGENT, 0o755)
    if ground.agent_unit:
        yield File(SYSTEM_UNITS / AGENT_UNIT, ground.agent_unit)
        yield Enabled(AGENT_UNIT)


def _accounts(wish: Wish, ground: Ground) -> Iterator[Thing]:
    yield Account(wish.user, str(wish.root))
    # The agent gives releases to the app's group, which only a member may.
    yield Membership(AGENT, ground.group)
    yield Group(wish.uploaders)
    if wish.uploader:
        yield Account(wish.uploader, "/")
        yield Membership(wish.uploader, wish.uploaders)


def _directories(wish: Wish, ground: Ground) -> Iterator[Thing]:
    chroot = wish.drop.parent
    for path in ground.missing:
        if path != chroot:
            yield Directory(path)
    yield Directory(wish.root, AGENT, ground.group, 0o2750, Need.MATCH)
    yield Directory(wish.root / "shared", AGENT, ground.group, 0o2770, Need.MATCH)
    for path in reversed(chroot.parents):
        if path not in ground.missing:
            yield Directory(path, need=Need.ROOT_ONLY)
    # Not to be listed: nobody sees whose directories are beside his own.
    yield Directory(chroot, mode=0o711, need=Need.ROOT_ONLY)
    yield Directory(wish.drop, AGENT, wish.uploaders, 0o2770, Need.MATCH, disposable=("status.toml",))


def _permissions(wish: Wish, ground: Ground, templates: Templates) -> Iterator[Thing]:
    hidden = [f"-{wish.root}"] + ([] if wish.drop.is_relative_to("/srv/drop") else [f"-{wish.drop}"])
    drop_in = fill(templates.drop_in, APP=wish.app, PATHS=" ".join(hidden))
    yield Directory(SYSTEM_UNITS / f"{AGENT_UNIT}.d")
    yield File(SYSTEM_UNITS / f"{AGENT_UNIT}.d/app-{wish.app}.conf", drop_in)
    units = ", ".join(json.dumps(unit) for unit in _managed_units(wish, ground))
    rule = fill(templates.polkit, APP=wish.app, UNITS=units)
    yield File(POLKIT_RULES / f"50-dropdeploy-{wish.app}.rules", rule)


def _managed_units(wish: Wish, ground: Ground) -> tuple[str, ...]:
    """The units that the agent may start and stop for this app."""
    if ground.units:
        return tuple(name for name, _ in ground.units)
    if wish.strategy is not Strategy.HANDOVER:
        return (wish.unit,)
    stem = wish.unit.removesuffix(".service")
    return (wish.unit, f"{stem}@.service", f"{stem}.socket")


def _uploader(wish: Wish, ground: Ground, templates: Templates) -> Iterator[Thing]:
    if not wish.uploader:
        return
    yield Directory(SSHD_KEYS)
    if wish.key:
        yield File(SSHD_KEYS / wish.uploader, wish.key)
    # Who uploads to another app already starts where he did, and may go to both.
    block = ground.sshd_block or fill(
        templates.sshd,
        UPLOADER=wish.uploader,
        DROP=str(wish.drop),
        CHROOT=str(wish.drop.parent),
        START=f"/{wish.drop.name}",
    )
    yield File(SSHD_BLOCKS / f"dropdeploy-{wish.uploader}.conf", block)


def _configuration(wish: Wish, ground: Ground) -> Iterator[Thing]:
    for name, text in ground.units:
        yield File(SYSTEM_UNITS / name, text)
    text = ground.app_file or app_file(wish)
    yield File(ground.directory / f"apps.d/{wish.app}.toml", text, AGENT, 0o640)


def app_file(wish: Wish) -> str:
    """The app's configuration: what is not the default, and where to read on."""
    lines = [f"# {wish.app}, as `dropdeploy init` wrote it; dropdeploy-app.toml(5) explains every key."]
    defaults = (
        ("root", str(wish.root), f"/home/{wish.app}"),
        ("drop", str(wish.drop), f"/srv/drop/{wish.app}"),
        ("unit", wish.unit, f"{wish.app}.service"),
        ("strategy", wish.strategy.value, Strategy.RESTART.value),
    )
    lines += [
        f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value, default in defaults if value != default
    ]
    lines += ["", "[health]"]
    if wish.port:
        lines.append(f'url = "http://127.0.0.1:{wish.port}{wish.health}"')
    else:
        lines.append('# url = "http://127.0.0.1:3000/health"   # without it the unit must be active and stay so')
    if wish.kind:
        lines += [
            "",
            "# [trial]   # boots each release beside the live one first: what cannot start never goes live",
            f'# unit = "{wish.app}-trial@.service"',
            f'# url = "unix:/run/{wish.app}-trial.sock:{wish.health}"',
        ]
    return "\n".join(lines) + "\n"
