"""What is told of states and times, in words that go with a colour.   (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from dropdeploy.model.outcome import Outcome, Status, StepStatus
from dropdeploy.model.request import Action
from dropdeploy.report.page.html import EMPTY, Html, join, tag
from dropdeploy.report.status import AppNow, Seen

_SHORT_COMMIT = 10
_AUTHOR_KEYS = ("author", "by", "user", "deployer", "uploader", "committer", "actor")
_COMMIT_KEYS = ("commit", "sha", "revision", "version", "tag")


class Tone(StrEnum):
    """How good it is; the style sheet gives each a colour and a mark."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    BUSY = "busy"
    QUIET = "quiet"
    MARK = "mark"  # neither good nor bad: this is the one


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in a word."""

    word: str
    tone: Tone

    def html(self) -> Html:
        """The word with its mark."""
        return tag("span", self.word, class_=f"badge {self.tone}")


STATUS_BADGES = {
    Status.DEPLOYED: Badge("deployed", Tone.GOOD),
    Status.ROLLED_BACK: Badge("rolled back", Tone.BAD),
    Status.FAILED: Badge("failed", Tone.BAD),
    Status.REJECTED: Badge("rejected", Tone.WARN),
    Status.INCOMPLETE: Badge("incomplete", Tone.WARN),
    Status.SUPERSEDED: Badge("superseded", Tone.QUIET),
    Status.CANCELLED: Badge("cancelled", Tone.QUIET),
}

STEP_TONES = {StepStatus.OK: Tone.GOOD, StepStatus.FAILED: Tone.BAD, StepStatus.SKIPPED: Tone.QUIET}

WORKING = {Action.DEPLOY: "deploying", Action.ROLLBACK: "rolling back", Action.RESTART: "restarting"}

UNTRIED = frozenset({Status.REJECTED, Status.INCOMPLETE, Status.SUPERSEDED, Status.CANCELLED})
"""The app is what it was before."""

UNWANTED = frozenset({Status.SUPERSEDED, Status.CANCELLED})
"""Somebody wanted it so: nothing to explain."""

NEEDS_A_LOOK = frozenset({Status.ROLLED_BACK, Status.FAILED})


def status_badge(outcome: Outcome) -> Badge:
    """The verdict; of rollbacks and restarts in their words."""
    if outcome.status is Status.DEPLOYED and outcome.action is not Action.DEPLOY:
        return Badge("restarted" if outcome.action is Action.RESTART else "went back", Tone.GOOD)
    return STATUS_BADGES[outcome.status]


def health_badge(is_healthy: bool | None) -> Badge:
    """Of a release."""
    return {
        True: Badge("healthy", Tone.GOOD),
        False: Badge("ill", Tone.BAD),
        None: Badge("not checked", Tone.QUIET),
    }[is_healthy]


def app_badge(now: AppNow) -> Badge:
    """Of what is live."""
    if not now.live:
        return Badge("nothing live", Tone.QUIET)
    is_booting = now.is_healthy is None and now.working
    return Badge("not checked yet", Tone.BUSY) if is_booting else health_badge(now.is_healthy)


def needs_a_look(seen: Seen) -> bool:
    """Somebody should know: the live release is ill, or the last deploy did not succeed."""
    return (bool(seen.now.live) and seen.now.is_healthy is False) or has_failed(seen)


def has_failed(seen: Seen) -> bool:
    """The last deploy did not succeed."""
    return seen.now.last is not None and seen.now.last.status in NEEDS_A_LOOK


# --- who and what ------------------------------------------------------------------------------------------


def author(meta: tuple[tuple[str, str], ...]) -> str:
    """Who, as far as the metadata tells under a name that is known."""
    return _first(meta, _AUTHOR_KEYS)


def commit(meta: tuple[tuple[str, str], ...]) -> str:
    """What, likewise."""
    return _first(meta, _COMMIT_KEYS)


def credit(meta: tuple[tuple[str, str], ...]) -> Html:
    """Who and what, short: "by Ada, 1a2b3c4"."""
    who, what = author(meta), commit(meta)
    return join(
        join("by ", tag("b", _cut(who, 40))) if who else None,
        tag("code", _cut(what, _SHORT_COMMIT, ""), title=_cut(what, 100)) if what else None,
        by=", ",
    )


def _first(meta: tuple[tuple[str, str], ...], keys: tuple[str, ...]) -> str:
    by_key = {key.lower(): value for key, value in meta}
    return next((by_key[key] for key in keys if by_key.get(key)), "")


def _cut(text: str, most: int, mark: str = "…") -> str:
    return text if len(text) <= most else text[:most] + mark


# --- when --------------------------------------------------------------------------------------------------

_AGES = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (60 * 2, 60, "min"), (0, 1, "s"))


def age_words(moment: datetime, now: datetime) -> str:
    """How long ago; in step with page.js, which keeps it true."""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 5:
        return "just now"
    _, size, unit = next(age for age in _AGES if seconds >= age[0])
    return f"{seconds // size} {unit} ago"


def age(moment: datetime | None, now: datetime) -> Html:
    """How long ago, as an element; the time itself is its title."""
    if moment is None:
        return EMPTY
    shown = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return tag("time", age_words(moment, now), class_="age", datetime=_iso(moment), title=shown)


def clock(moment: datetime) -> Html:
    """The time itself."""
    return tag("time", f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", datetime=_iso(moment))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size_words(count: int) -> str:
    """Bytes as people read them, base 1024."""
    if count < 1024:
        return f"{count} bytes"
    exponent = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**exponent:.1f} {'KMGT'[exponent - 1]}iB"


def count_words(number: int, what: str) -> str:
    """ "1 app", "2 apps"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
