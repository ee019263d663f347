"""What apps print, made fit to be shown: bounded lines, no escape sequences, and a ring of the last ones."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

LINE_CHARS: Final = 2_000
KEPT_LINES: Final = 1_000

# ECMA-48: CSI sequences (colours, cursor), OSC up to its terminator, and two-character escapes.
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean_line(text: str) -> str:
    """One line for a person's eyes, at most LINE_CHARS long and then an ellipsis."""
    # A progress bar writes over its line: what stood last is the line.
    text = text.rstrip("\r").rpartition("\r")[2]
    text = _CONTROL.sub("", _ESCAPE.sub("", text)).rstrip()
    return text if len(text) <= LINE_CHARS else text[:LINE_CHARS] + "…"


class OutputRing:
    """The last KEPT_LINES lines of a process' output, counted from the first one ever printed.

    ``keep`` is given each line too.
    """

    def __init__(self, keep: Callable[[str], None] | None = None) -> None:
        self._keep = keep
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._partial = b""

    @property
    def cursor(self) -> int:
        """How many lines there have been."""
        return self._count

    def feed(self, data: bytes) -> None:
        """Output as it comes, in pieces of any size."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self.append(line.decode("utf-8", "replace"))
        if len(self._partial) > 4 * LINE_CHARS:
            self.flush()

    def flush(self) -> None:
        """The end of the output: what has no newline yet is a line too."""
        if self._partial:
            self.append(self._partial.decode("utf-8", "replace"))
            self._partial = b""

    def append(self, line: str) -> None:
        """A whole line."""
        cleaned = clean_line(line)
        self._lines.append(cleaned)
        self._count += 1
        if self._keep is not None:
            self._keep(cleaned)

    def since(self, cursor: int, lines: int) -> list[str]:
        """The last lines, at most so many, after ``cursor``."""
        fresh = min(self._count - cursor, len(self._lines), lines)
        return list(self._lines)[-fresh:] if fresh > 0 else []
