"""What ``dropdeploy check`` finds: a value, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    """One thing that was looked at. ``subject`` is the app, or what else; ``mend`` what to do about it."""

    level: Level
    subject: str
    what: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {"level": self.level.lower(), "subject": self.subject, "what": self.what, "mend": self.mend}


def finding_lines(findings: list[Finding], screen: Screen) -> list[str]:
    """One line each."""
    width = max((len(finding.subject) for finding in findings), default=0)
    return [
        f"{screen.paint(finding.level, _COLOURS[finding.level])}{' ' * (4 - len(finding.level))}  "
        f"{pad(finding.subject, width)}  {plain(finding.what)}{f': {plain(finding.mend)}' if finding.mend else ''}"
        for finding in findings
    ]
