"""An app, as its file describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dropdeploy.model.outcome import Status

GIB = 1024 * 1024 * 1024


class Strategy(StrEnum):
    """How the unit is brought to the new release."""

    RESTART = "restart"
    RELOAD = "reload"
    HANDOVER = "handover"


class OnFailure(StrEnum):
    """What happens to a release that went live and is ill."""

    ROLLBACK = "rollback"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``count`` deploys in any span of ``span_s`` seconds."""

    count: int
    span_s: float


@dataclass(frozen=True, slots=True)
class Accept:
    """``[accept]``: what an upload must prove, and how large it may be (bytes)."""

    completion: str = "proof"  # proof | ready
    checksum: str = "optional"  # optional | required
    signature: str = "off"  # off | required
    allowed_signers: Path = Path("/etc/dropdeploy/allowed_signers")
    max_bytes: int = 2 * GIB
    max_unpacked: int = 8 * GIB
    max_entries: int = 500_000


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """``[health]``: an empty ``url`` means that the unit's being active is all there is to see."""

    url: str = ""
    host: str = ""
    status: tuple[int, ...] = (200,)
    interval_s: float = 5.0
    timeout_s: float = 120.0
    attempt_timeout_s: float = 5.0
    successes: int = 1
    soak_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialCheck:
    """``[trial]``: a template unit that boots the new release beside the live one; off when empty."""

    unit: str = ""
    url: str = ""
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Hooks:
    """``[hooks]``: template units, started with the release id as instance."""

    before_swap: tuple[str, ...] = ()
    after_live: tuple[str, ...] = ()
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Notify:
    """``[notify]``: who is told the result, beside the uploader. Off where ``webhook`` and ``email`` are empty.

    ``secret_file`` holds the key that a webhook's body is signed with. ``on``: of these verdicts.
    """

    webhook: str = ""
    format: str = "json"  # json | slack | discord | ntfy
    secret_file: Path | None = None
    email: tuple[str, ...] = ()
    on: tuple[Status, ...] = tuple(Status)


@dataclass(frozen=True, slots=True)
class EmbeddedUnit:
    """``[embedded]``: the unit's definition where the agent's own supervisor runs it.

    ``listen`` is ``host:port`` or a path of a Unix socket; it is passed as file descriptor 3 with
    ``LISTEN_FDS`` (sd_listen_fds(3)). Empty: the app opens its own.
    """

    command: tuple[str, ...]
    listen: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class App:
    """One app, as ``apps.d/<name>.toml`` describes it. Paths are absolute, spans are seconds, sizes bytes."""

    name: str
    root: Path
    drop: Path
    unit: str
    group: str = ""  # empty: the group of `root`
    keep: int = 5
    keep_results: int = 20
    shared: tuple[str, ...] = ()
    strip: int = 0
    dedupe: bool = False
    strategy: Strategy = Strategy.RESTART
    on_failure: OnFailure = OnFailure.ROLLBACK
    rate_limit: RateLimit | None = RateLimit(30, 3600.0)
    queue: str = "all"  # all | latest
    after: str = "delete"  # delete | keep
    status_page: bool = False
    settle_s: float = 2.0
    stall_s: float = 60.0
    accept: Accept = field(default_factory=Accept)
    health: HealthCheck = field(default_factory=HealthCheck)
    trial: TrialCheck = field(default_factory=TrialCheck)
    hooks: Hooks = field(default_factory=Hooks)
    notify: Notify = field(default_factory=Notify)
    embedded: EmbeddedUnit | None = None
