"""What ``dropdeploy check`` finds: a value, how it is told, and the exit code that comes of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import Colour, Screen, plain
from dropdeploy.cli.tables import pad


class Level(StrEnum):
    """How bad it is. FAIL: a deploy will not succeed; WARN: it will, but not as well as it could."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


_COLOURS = {Level.OK: Colour.GOOD, Level.WARN: Colour.WARN, Level.FAIL: Colour.BAD}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``subject`` is the app, or what else; ``mend`` what to do about it, with commands
    between backticks. ``is_denied``: what fails is a permission, or the agent itself, and not the configuration."""

    level: Level
    subject: str
    what: str
    mend: str = ""
    is_denied: bool = False

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "level": self.level.lower(),
            "subject": self.subject,
            "what": self.what,
            "mend": self.mend,
            "denied": self.is_denied,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, str | bool]) -> Finding:
        """The same again."""
        level = next(level for level in Level if level.lower() == told["level"])
        return cls(level, str(told["subject"]), str(told["what"]), str(told["mend"]), bool(told["denied"]))


def good(subject: str, what: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, subject, what)


def poor(subject: str, what: str, mend: str = "") -> Finding:
    """It could be better."""
    return Finding(Level.WARN, subject, what, mend)


def wrong(subject: str, what: str, mend: str = "") -> Finding:
    """What is configured cannot work."""
    return Finding(Level.FAIL, subject, what, mend)


def denied(subject: str, what: str, mend: str = "") -> Finding:
    """Somebody may not do what he has to."""
    return Finding(Level.FAIL, subject, what, mend, is_denied=True)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """USAGE where anything is configured wrongly, UNAVAILABLE where only permissions or the agent are missing."""
    failures = [finding for finding in findings if finding.level is Level.FAIL]
    if not failures:
        return ExitCode.DONE
    return ExitCode.UNAVAILABLE if all(failure.is_denied for failure in failures) else ExitCode.USAGE


def finding_lines(findings: list[Finding], screen: Screen) -> list[str]:
    """One line each."""
    width = max((len(finding.subject) for finding in findings), default=0)
    return [
        f"{screen.paint(finding.level, _COLOURS[finding.level])}{' ' * (4 - len(finding.level))}  "
        f"{pad(finding.subject, width)}  {plain(finding.what)}{f': {plain(finding.mend)}' if finding.mend else ''}"
        for finding in findings
    ]
