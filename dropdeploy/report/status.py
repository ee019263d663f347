"""An app as it is now: what status.toml, the command and the status page tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dropdeploy.model.outcome import Outcome, Step
from dropdeploy.model.request import Action
from dropdeploy.report.harmless import one_line


@dataclass(frozen=True, slots=True)
class AppNow:
    """One app. ``releases`` are (id, healthy), newest first; ``queue`` are names that wait; ``working`` is what is
    going on, as "build.tar.gz: extract"; ``since`` is when ``live`` went live, as far as is remembered. ``maker`` is
    the deploy that made the live release, and ``rollback_to`` where an empty ``rollback`` would go, "" where to none.
    """

    app: str
    live: str = ""
    is_healthy: bool | None = None
    since: datetime | None = None
    releases: tuple[tuple[str, bool | None], ...] = ()
    queue: tuple[str, ...] = ()
    is_held: bool = False
    working: str = ""
    last: Outcome | None = None
    maker: Outcome | None = None
    rollback_to: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """A deploy, rollback or restart that is going on: ``step`` now, those that ended, ``percent`` where it is known.

    ``release`` and ``meta`` are what it makes or aims at, as far as that is known yet.
    """

    deploy: int
    action: Action
    request: str
    started: datetime
    step: str
    steps: tuple[Step, ...] = ()
    percent: float | None = None
    release: str = ""
    meta: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """An app as whoever watches sees it: how it is, and what is going on, if anything is."""

    now: AppNow
    progress: Progress | None = None


def status_table(now: AppNow) -> dict[str, object]:
    """``status.toml`` as a mapping, in its order; what is not known or does not apply is absent."""
    table: dict[str, object] = {"schema": 1, "app": now.app}
    optional = (
        ("live", now.live),
        ("live_healthy", now.is_healthy),
        ("since", now.since),
        ("working", now.working),
    )
    table |= {key: value for key, value in optional if value not in ("", None)}
    table |= {"held": now.is_held, "queue": list(now.queue)}
    if now.last is not None:
        last = now.last
        told = (
            ("id", last.id),
            ("action", last.action.value),
            ("status", last.status.value),
            ("summary", last.summary),
            ("upload", last.upload),
            ("release", last.release),
            ("finished", last.finished),
            ("error", last.fault.code.value if last.fault else ""),
        )
        table["last"] = {key: value for key, value in told if value != ""}
    table["releases"] = [
        {"release": release, "live": release == now.live} | ({} if healthy is None else {"healthy": healthy})
        for release, healthy in now.releases
    ]
    return table


def status_line(apps: Sequence[AppNow]) -> str:
    """All apps in one line, for `systemctl status`: what is going on, else the newest verdict."""
    doing = [f"{now.app}: {now.working}" for now in apps if now.working]
    if doing:
        return one_line("; ".join(doing))
    watching = f"watching {len(apps)} app{'' if len(apps) == 1 else 's'}"
    verdicts = [now.last for now in apps if now.last is not None]
    if not verdicts:
        return watching
    last = max(verdicts, key=lambda outcome: outcome.finished)
    code = f" ({last.fault.code})" if last.fault is not None else ""
    when = f"{last.finished.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return one_line(f"{watching}; last: {last.app}: {last.upload} {last.status}{code}, {when}")
