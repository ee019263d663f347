"""The nouns of dropdeploy: apps, uploads, releases, deploys, steps, outcomes, faults.

Values only. Nothing here does I/O, reads a clock or knows a library; whoever needs the time passes it in.
The names and codes are the contract with users (README, "The result file").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

RELEASE_ID_FORMAT = "%Y%m%d-%H%M%S"
MIB = 1024 * 1024
GIB = 1024 * MIB


class ErrorCode(StrEnum):
    """What went wrong, as scripts know it: ``[error] code`` of a result file."""

    UNSUPPORTED_UPLOAD = "unsupported-upload"
    UNREADABLE_UPLOAD = "unreadable-upload"
    CORRUPT_UPLOAD = "corrupt-upload"
    TRUNCATED_UPLOAD = "truncated-upload"
    UNSAFE_ENTRY = "unsafe-entry"
    TOO_LARGE = "too-large"
    CHECKSUM_MISSING = "checksum-missing"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_INVALID = "signature-invalid"
    CHANGED_WHILE_READING = "changed-while-reading"
    RATE_LIMITED = "rate-limited"
    NO_SPACE = "no-space"
    APP_NOT_FOUND = "app-not-found"
    APP_PATH_BLOCKED = "app-path-blocked"
    UNIT_NOT_FOUND = "unit-not-found"
    UNIT_MASKED = "unit-masked"
    NOT_AUTHORISED = "not-authorised"
    SHARED_MISSING = "shared-missing"
    HOOK_FAILED = "hook-failed"
    TRIAL_FAILED = "trial-failed"
    RESTART_FAILED = "restart-failed"
    UNIT_CRASHED = "unit-crashed"
    HEALTH_TIMEOUT = "health-timeout"
    NO_SUCH_RELEASE = "no-such-release"
    NOTHING_TO_ROLL_BACK_TO = "nothing-to-roll-back-to"
    ROLLBACK_FAILED = "rollback-failed"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Status(StrEnum):
    """The verdict of a deploy, rollback or restart."""

    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    REJECTED = "rejected"
    INCOMPLETE = "incomplete"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What was asked for."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RESTART = "restart"


class StepName(StrEnum):
    """The steps of a deploy, in the order in which they run."""

    PREFLIGHT = "preflight"
    EXTRACT = "extract"
    LINK = "link"
    HOOKS = "hooks"
    TRIAL = "trial"
    SWAP = "swap"
    RESTART = "restart"
    HEALTH = "health"
    PRUNE = "prune"


class StepStatus(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Format(StrEnum):
    """What an upload is, told by its name; the value is the canonical ending."""

    TAR = ".tar"
    TAR_GZ = ".tar.gz"
    TAR_XZ = ".tar.xz"
    TAR_BZ2 = ".tar.bz2"
    TAR_ZST = ".tar.zst"
    ZIP = ".zip"
    DIRECTORY = "/"
    UNKNOWN = "?"


class Strategy(StrEnum):
    """How the unit is brought to the new release."""

    RESTART = "restart"
    RELOAD = "reload"
    HANDOVER = "handover"


class OnFailure(StrEnum):
    """What happens to a release that went live and is ill."""

    ROLLBACK = "rollback"
    KEEP = "keep"


class Bus(StrEnum):
    """Who runs the units: the machine's systemd, the user's, or the supervisor inside the agent."""

    SYSTEM = "system"
    USER = "user"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something did not succeed, told to the person who uploaded.

    ``message`` says what happened, with the values; ``hint`` what to look at or change, in one sentence;
    ``log`` holds the last lines of the unit's journal where there are any. ``is_shortage``: the machine had no more of
    something (descriptors) for a moment, and the same may succeed later.
    """

    code: ErrorCode
    message: str
    hint: str = ""
    log: str = ""
    is_shortage: bool = False


# --- configuration -------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Settings:
    """``dropdeploy.toml``."""

    state: Path = Path("/var/lib/dropdeploy")
    drop: Path = Path("/srv/drop")
    concurrency: int = 2
    rescan_s: float = 30.0
    bus: Bus = Bus.SYSTEM
    listen: str = ""
    listen_token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. ``apps`` is in order of name."""

    settings: Settings
    apps: tuple[App, ...]


# --- uploads and requests ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes stand under a name: another inode, size or time of change is another upload.

    From stat(2). ``changed_ns`` is the ctime, which no client can set back. ``device`` is for the reader: a reboot or
    a new mount gives the same file system another number (overlay, btrfs, device mapper), and the bytes are the same.
    ``mode`` is there to tell what has changed.
    """

    device: int = field(compare=False)
    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    mode: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file or directory in the drop directory that is to become a release.

    ``go`` is the version of ``NAME.ready`` that asked for it, if one did. ``sidecars`` are the files that belong to
    it and were there when it was taken, by ending (``.sha256``, ``.sig``, ``.meta.toml``), in order of ending.
    ``is_pieced``: it was closed once and written to again, so that it may be made of two builds.
    """

    name: str
    format: Format
    version: Version
    go: Version | None = None
    sidecars: tuple[tuple[str, Version], ...] = ()
    is_pieced: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """``rollback`` or ``restart`` as found. ``argument`` is its one line, stripped: a release id or empty."""

    name: str
    action: Action
    version: Version
    argument: str = ""


class Fate(StrEnum):
    """What becomes of an upload that has its verdict: it stays, is to be deleted once it is quiet, or was deleted."""

    STAYS = "stays"
    GOES = "goes"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """The request under a name that has its verdict; ``reopens``: a changed sidecar is a reason to judge it anew.

    ``sha256`` is of the bytes that were judged, "" where none were.
    """

    request: Upload | Marker
    reopens: bool = False
    sha256: str = ""
    fate: Fate = Fate.STAYS


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What the unpacker made of an upload. ``sha256`` is over the bytes read; empty for a directory.

    ``is_sealed``: a checksum in the format covers all of it, so it cannot be made of two uploads. ``shared_bytes`` of
    ``unpacked_bytes`` are stored once with the release before.
    """

    bytes: int
    sha256: str
    entries: int
    unpacked_bytes: int
    is_sealed: bool = True
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """An upload as the unpacker gets it: an open descriptor, never a name that could be changed meanwhile.

    ``fd`` is read-only, a file at offset 0 or a directory (``Format.DIRECTORY``); ``size`` is the file's, in bytes.
    ``tap`` is the writing end of a pipe that wants a copy of every byte of the file, in order, or None.
    """

    fd: int
    format: Format
    size: int
    tap: int | None = None


# --- releases on disk -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Survey:
    """What is on disk. ``releases`` are ids in ascending order; ``live`` is what `app` points to, "" if nothing.

    ``is_blocked``: `app` exists and is no symbolic link; ``strays_to``: it is one that leads out of ``releases/``, and
    there. ``has_root``: the app's directory is there. ``live_is_whole``: the release that `app` names exists as a
    directory.
    """

    has_root: bool
    is_blocked: bool
    live: str
    live_is_whole: bool
    releases: tuple[str, ...]
    free_bytes: int
    strays_to: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, and what could not be (message by release id)."""

    removed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()


# --- what happens --------------------------------------------------------------------------------------

Percent = Callable[[float], None]
"""Told how far a step is, 0 to 100. Called on the event loop, a few times a second at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ran: how it ended, after how many seconds, and what is worth knowing of it."""

    name: StepName
    status: StepStatus
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the health check saw. ``detail`` is a sentence: "http://… answered 500 for 120 s"."""

    healthy: bool
    attempts: int
    seconds: float
    last_status: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd knows it (org.freedesktop.systemd1(5)); the embedded supervisor uses the same words.

    ``invocation_id`` is 32 hex digits, empty while the unit has never run; ``restarts`` is NRestarts,
    ``main_pid`` 0 when there is none, ``result`` the service's Result ("success", "exit-code", …); ``user`` is its
    User=, empty where it has none, "*" where it has one of its own (DynamicUser=). ``can_reload``: it has something
    like an ExecReload=.
    """

    unit: str
    load_state: str = "loaded"
    active_state: str = "inactive"
    sub_state: str = "dead"
    invocation_id: str = ""
    restarts: int = 0
    main_pid: int = 0
    result: str = "success"
    user: str = ""
    can_reload: bool = True

    @property
    def is_running(self) -> bool:
        """Active, and not merely on the way there or back."""
        return self.active_state == "active" and self.sub_state in ("running", "exited")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a unit. ``releases`` are those that its working directory and executable are in: none, or nothing
    is known, as of other users' processes."""

    pid: int
    releases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with all that the result file tells. Times are aware and in UTC."""

    status: Status
    summary: str
    app: str
    action: Action
    id: int
    started: datetime
    finished: datetime
    upload: str = ""
    bytes: int | None = None
    sha256: str = ""
    release: str = ""
    live: str = ""
    live_healthy: bool | None = None
    previous: str = ""
    fault: Fault | None = None
    fault_step: StepName | None = None
    health: HealthReport | None = None
    meta: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took, in seconds."""
        return max(0.0, (self.finished - self.started).total_seconds())


# --- release ids ---------------------------------------------------------------------------------------


def parse_release_id(text: str) -> datetime | None:
    """The moment that a release id names, in UTC; None when ``text`` is not a release id."""
    try:
        moment = datetime.strptime(text, RELEASE_ID_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    # strptime takes "2026123-1" forms too: only the canonical spelling is an id.
    return moment if moment.strftime(RELEASE_ID_FORMAT) == text else None


def next_release_id(now: datetime, newest: str | None) -> str:
    """The id for a release made ``now``, greater than ``newest`` even when the clock is not.

    Ids only ever grow: when the clock stands still or runs backwards, the next id is one second past the newest.
    """
    moment = now.astimezone(UTC).replace(microsecond=0)
    latest = parse_release_id(newest) if newest else None
    if latest is not None and latest >= moment:
        moment = latest + timedelta(seconds=1)
    return moment.strftime(RELEASE_ID_FORMAT)
