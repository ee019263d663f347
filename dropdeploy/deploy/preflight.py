"""Preflight: everything that would fail later and can be known now, while nothing has been touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from dropdeploy.deploy.effect import Bad, Ports
from dropdeploy.deploy.event import Ground
from dropdeploy.deploy.ports import OpenUpload, Units
from dropdeploy.deploy.standing import choose_unit
from dropdeploy.deploy.target import find_target, newest_healthy
from dropdeploy.history.keeping import History
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.release import Survey, next_release_id
from dropdeploy.model.request import Action, Marker, Upload

LEAST_STATE_BYTES = 2 * 1024 * 1024
"""What must be free where the history is, so that it can be written down whatever becomes of the deploy."""

LEAST_FREE_BYTES = 16 * 1024 * 1024
"""What must stay free beside the unpacked release: for the history, the result and the app itself."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Nothing stands in the way. ``held`` is the upload, open for reading; the caller closes it."""

    ground: Ground
    held: OpenUpload | None = None


async def preflight(app: App, ports: Ports, request: Upload | Marker) -> Cleared | Bad:
    """Look at the ground. A fault comes with what is live, so that the result can tell."""
    found = await _find_ground(app, ports, request)
    if isinstance(found, Bad) or app.strategy is not Strategy.HANDOVER:
        return found
    standing = await ports.units.standing(app.unit)
    if isinstance(standing, Fault):
        if found.held is not None:
            found.held.close()
        return Bad(standing, found.ground)
    action = request.action if isinstance(request, Marker) else Action.DEPLOY
    unit = choose_unit(action, app.unit, found.ground.release, standing)
    return replace(found, ground=replace(found.ground, unit=unit, before=standing))


async def _find_ground(app: App, ports: Ports, request: Upload | Marker) -> Cleared | Bad:
    survey = await ports.releases.survey()
    if isinstance(survey, Fault):
        return Bad(survey)
    health = await ports.history.ask(lambda history: history.release_health(app.name))
    last = await ports.history.ask(lambda history: history.outcomes(app.name, 1))
    is_healthy = last[0].live_healthy if last and last[0].live == survey.live else health.get(survey.live)
    others = tuple(id for id in survey.releases if id != survey.live)
    back_to = survey.live if survey.live_is_whole else newest_healthy(others, health)
    ground = Ground("", survey.live, back_to, is_healthy)
    fault = find_blocked(app, survey) or await find_unit_fault(app, ports.units)
    if fault is not None:
        return Bad(fault, ground)
    match request:
        case Upload() as upload:
            return await _preflight_upload(app, ports, upload, survey, ground)
        case Marker(action=Action.ROLLBACK, argument=wanted):
            target = find_target(wanted, survey.releases, health, survey.live)
            return Bad(target, ground) if isinstance(target, Fault) else Cleared(replace(ground, release=target))
        case Marker():
            if survey.live_is_whole:
                return Cleared(replace(ground, release=survey.live))
            return Bad(_nothing_to_restart(survey), ground)


def find_blocked(app: App, survey: Survey) -> Fault | None:
    """What on disk makes every deploy of this app impossible."""
    if not survey.has_root:
        return Fault(
            ErrorCode.APP_NOT_FOUND,
            f"the app's directory {app.root} does not exist on the server",
            f"the administrator must make {app.root}, or correct `root` in {app.name}.toml",
        )
    if survey.strays_to:
        return Fault(
            ErrorCode.APP_PATH_BLOCKED,
            f"{app.root / 'app'} leads to {survey.strays_to}, which is not in {app.root / 'releases'}: a failed deploy "
            "could not go back to it",
            f"the administrator must move that directory into {app.root / 'releases'} (under any name) and point the "
            "link to it, or remove the link",
        )
    if survey.is_blocked:
        return Fault(
            ErrorCode.APP_PATH_BLOCKED,
            f"{app.root / 'app'} is not a symbolic link, so it cannot be switched to a release",
            f"the administrator must move {app.root / 'app'} away",
        )
    return None


async def find_unit_fault(app: App, units: Units) -> Fault | None:
    """What makes the app's unit impossible to restart."""
    unit = await units.inspect(app.unit)
    if isinstance(unit, Fault):
        return unit
    if unit.load_state == "not-found":
        return Fault(
            ErrorCode.UNIT_NOT_FOUND,
            f"the unit {app.unit} does not exist on the server",
            f"the administrator must install it, or correct `unit` in {app.name}.toml",
        )
    if unit.load_state == "masked":
        return Fault(
            ErrorCode.UNIT_MASKED,
            f"the unit {app.unit} is masked",
            f"the administrator must run `systemctl unmask {app.unit}`",
        )
    if unit.load_state in ("bad-setting", "error"):
        return Fault(
            ErrorCode.RESTART_FAILED,
            f"the unit {app.unit} cannot be loaded by systemd ({unit.load_state}), so it cannot be restarted",
            f"the administrator must correct it: `systemd-analyze verify {app.unit}` names the mistake",
        )
    if app.strategy is Strategy.RELOAD and not unit.can_reload:
        return Fault(
            ErrorCode.RESTART_FAILED,
            f'the unit {app.unit} cannot be reloaded, which strategy = "reload" would do',
            f"the administrator must give it an ExecReload=, or choose another `strategy` in {app.name}.toml",
        )
    if app.strategy is Strategy.HANDOVER:
        return next(iter(await units.unmet_for_handover(app.unit)), None)
    return None


async def _preflight_upload(app: App, ports: Ports, upload: Upload, survey: Survey, ground: Ground) -> Cleared | Bad:
    fault = await _find_rate_fault(app, ports) or await _find_full_disk(ports)
    if fault is not None:
        return Bad(fault, ground)
    held = await ports.uploads.open(upload)
    if isinstance(held, Fault):
        return Bad(held, ground)
    needed = await ports.releases.unpacked_size(held.source) + LEAST_FREE_BYTES
    if survey.free_bytes < needed:
        held.close()
        return Bad(_no_space(app, survey.free_bytes, needed), ground)
    given = await ports.history.ask(lambda history: history.newest_release(app.name))
    newest = max(given, survey.live, *survey.releases)
    return Cleared(replace(ground, release=next_release_id(datetime.now(UTC), newest)), held)


async def _find_rate_fault(app: App, ports: Ports) -> Fault | None:
    limit = app.rate_limit
    if limit is None:
        return None
    now = datetime.now(UTC)
    since = now - timedelta(seconds=limit.span_s)
    tried = await ports.history.ask(lambda history: history.count_tried(app.name, since, now))
    if tried < limit.count:
        return None
    return Fault(
        ErrorCode.RATE_LIMITED,
        f"{tried} deploys in the last {span_text(limit.span_s)}, and rate_limit allows {limit.count}",
        f"upload it again later (or its .ready marker), or raise rate_limit in {app.name}.toml",
    )


async def _find_full_disk(ports: Ports) -> Fault | None:
    free = await ports.history.ask(History.free_bytes)
    if free >= LEAST_STATE_BYTES:
        return None
    where = await ports.history.ask(lambda history: history.path.parent)
    return Fault(
        ErrorCode.NO_SPACE,
        f"{free // 1024} KiB are free in {where}, where the agent keeps its history",
        f"make room on the file system of {where} on the server; rollbacks still work",
    )


def _nothing_to_restart(survey: Survey) -> Fault:
    what = f"the live release {survey.live} is gone from the disk" if survey.live else "nothing is live yet"
    return Fault(ErrorCode.NO_SUCH_RELEASE, what, "upload a build")


def _no_space(app: App, free: int, needed: int) -> Fault:
    mib = 1024 * 1024
    return Fault(
        ErrorCode.NO_SPACE,
        f"the release needs about {needed // mib + 1} MiB in {app.root}, and {free // mib} MiB are free",
        f"make room on the server, or lower `keep` in {app.name}.toml",
    )


def span_text(seconds: float) -> str:
    """A span as a person writes it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
