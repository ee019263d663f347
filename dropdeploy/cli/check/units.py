"""The units of the apps: there, loadable, and made for what the app's file says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dropdeploy import instances
from dropdeploy.cli.check.findings import Finding, good, poor, wrong
from dropdeploy.cli.check.ground import Ground
from dropdeploy.cli.check.handover import check_handover, sockets_of
from dropdeploy.cli.check.systemctl import Facts, show
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.config import Bus, Config
from dropdeploy.report.notice import MAIL_UNIT

PROPERTIES = (
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "TriggeredBy",
    "CanReload",
    "NonBlocking",
    "Type",
    "User",
    "DynamicUser",
    "WorkingDirectory",
    "RootDirectory",
    "ExecStart",
    "Environment",
)
SOME_RELEASE = instances.NO_RELEASE


class Role(StrEnum):
    """What a unit is to an app: the key of its file that names it."""

    UNIT = "unit"
    INSTANCE = "strategy"
    SOCKET = "socket"
    TRIAL = "trial.unit"
    HOOK = "hooks"
    MAIL = "notify.email"


@dataclass(frozen=True, slots=True)
class Named:
    """A unit, by its full name, and what for."""

    role: Role
    unit: str


def units_of(app: App) -> tuple[Named, ...]:
    """The units that must be there for this app; of templates an instance."""
    named = [Named(Role.UNIT, app.unit)]
    if app.strategy is Strategy.HANDOVER:
        named.append(Named(Role.INSTANCE, instances.instance_of(app.unit, SOME_RELEASE)))
    if app.trial.unit:
        named.append(Named(Role.TRIAL, instance_of(app.trial.unit)))
    named += [Named(Role.HOOK, instance_of(unit)) for unit in (*app.hooks.before_swap, *app.hooks.after_live)]
    if app.notify.email:
        named.append(Named(Role.MAIL, MAIL_UNIT.format(1)))
    return tuple(named)


def instance_of(template: str) -> str:
    """``myapp-trial@.service`` → that of some release."""
    return template.replace("@.", f"@{SOME_RELEASE}.")


def facts_of(config: Config) -> Mapping[str, Facts]:
    """Every app's units as systemd knows them; empty where the supervisor is the embedded one, or systemd is away."""
    if config.settings.bus is Bus.EMBEDDED:
        return {}
    is_user = config.settings.bus is Bus.USER
    names = (named.unit for app in config.apps for named in units_of(app))
    services = show(names, PROPERTIES, is_user=is_user)
    sockets = show((socket for facts in services.values() for socket in sockets_of(facts)), PROPERTIES, is_user=is_user)
    return {**services, **sockets}


def sockets_of_app(app: App, facts: Mapping[str, Facts]) -> tuple[Named, ...]:
    """The sockets of its units: a service that crash-loops takes them down with it."""
    found = (socket for named in units_of(app) for socket in sockets_of(facts.get(named.unit, {})))
    return tuple(Named(Role.SOCKET, socket) for socket in dict.fromkeys(found))


def check_units(app: App, ground: Ground, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Each of them."""
    for named in units_of(app):
        # What is to be handed over is told as a whole.
        if named.role is not Role.INSTANCE and (of_unit := facts.get(named.unit)) is not None:
            yield from check_unit(app, named, of_unit)
    yield from check_handover(app, facts)


def check_unit(app: App, named: Named, facts: Facts) -> Iterator[Finding]:
    """Whether it can do what it is named for."""
    unit, state = named.unit, facts["LoadState"]
    match state:
        case "loaded":
            yield good(app.name, f"{unit} is there ({facts['ActiveState']}, {facts['SubState']})")
            if named.role in _FITNESS:
                yield from _FITNESS[named.role](app, unit, facts)
            if facts["NeedDaemonReload"] == "yes":
                yield poor(app.name, f"systemd has not read {unit} since it was changed", "`systemctl daemon-reload`")
        case "not-found":
            mend = f"install it and `systemctl daemon-reload`, or name another with `{named.role}`"
            yield wrong(app.name, f"there is no unit {unit}", mend)
        case "masked":
            yield wrong(app.name, f"{unit} is masked", f"`systemctl unmask {unit}`")
        case other:
            why = facts["LoadError"].partition(" ")[2].strip('"') or other
            mend = f"`systemd-analyze verify {unit}` names the mistake"
            yield wrong(app.name, f"{unit} cannot be loaded: {why}", mend)


def _check_service(app: App, unit: str, facts: Facts) -> Iterator[Finding]:
    link = str(app.root / "app")
    if app.strategy is Strategy.RELOAD and facts["CanReload"] == "no":
        mend = 'give it an ExecReload=, or set strategy = "restart"'
        yield wrong(app.name, f'{unit} has no ExecReload=, and strategy = "reload" needs one', mend)
    if facts["UnitFileState"] == "disabled" and not facts["TriggeredBy"]:
        yield poor(app.name, f"{unit} does not start with the machine", f"`systemctl enable {unit}`")
    if app.dedupe and _writes_as_root(facts):
        mend = "give it a User= of its own"
        yield wrong(app.name, f"{unit} runs as root, which could change files that several releases share", mend)
    if not _names(link, facts):
        what = f"{unit} does not name {link}: it may go on with what it runs now, whatever is deployed"
        yield poor(app.name, what, f"set WorkingDirectory={link} with `systemctl edit {unit}`")


def _check_hook(app: App, unit: str, facts: Facts) -> Iterator[Finding]:
    yield from _check_of_release(app, unit, facts)
    if facts["Type"] in ("simple", "exec", "idle"):
        what = f"{unit} has Type={facts['Type']}: a deploy goes on as soon as it has begun, however it ends"
        yield poor(app.name, what, f"set Type=oneshot with `systemctl edit --full {app_template(unit)}`")


def _check_of_release(app: App, unit: str, facts: Facts) -> Iterator[Finding]:
    release = str(app.root / "releases" / SOME_RELEASE)
    if not _names(release, facts) and SOME_RELEASE not in facts["ExecStart"] + facts["Environment"]:
        what = f"{unit} does not name {app.root}/releases/%i: it would run something else than the new release"
        mend = f"set WorkingDirectory={app.root}/releases/%i with `systemctl edit --full {app_template(unit)}`"
        yield poor(app.name, what, mend)


def app_template(instance: str) -> str:
    """The template of an instance."""
    return instance.replace(f"@{SOME_RELEASE}.", "@.")


def _names(path: str, facts: Facts) -> bool:
    return any(path in facts[key] for key in ("WorkingDirectory", "RootDirectory", "ExecStart", "Environment"))


def _writes_as_root(facts: Facts) -> bool:
    return facts["User"] in ("", "root", "0") and facts["DynamicUser"] != "yes"


_FITNESS = {
    Role.UNIT: _check_service,
    Role.TRIAL: _check_of_release,
    Role.HOOK: _check_hook,
}
