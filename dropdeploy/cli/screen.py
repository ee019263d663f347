"""What the output is: a terminal or not, how wide, with colours and marks or without; and what may be written to it."""

from __future__ import annotations

import os
import select
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

_UNKNOWN_WIDTH = 80


class Colour(StrEnum):
    """SGR parameters (ECMA-48, 8.3.117)."""

    GOOD = "32"
    BAD = "31"
    WARN = "33"
    FAINT = "2"
    STRONG = "1"


def plain(text: str) -> str:
    """``text`` with everything that could move a terminal's cursor spelt out: names and logs come from strangers.

    Names that are not UTF-8 carry their bytes as lone surrogates (PEP 383); they appear as ``\\xNN``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spell(char) for char in text.expandtabs(4))


def _spell(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Screen:
    """An output stream with what it can show. ``is_live``: lines can be rewritten in place."""

    stream: TextIO
    is_live: bool
    has_colour: bool
    has_marks: bool

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """What ``stream`` is, by isatty(3), ``TERM``, ``NO_COLOR`` (https://no-color.org) and its encoding."""
        is_live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        return cls(stream, is_live, is_live and not os.environ.get("NO_COLOR"), _can_encode(stream, "✓✗…⠋▸"))

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where lines may be as long as they like."""
        if not self.stream.isatty():
            return None
        columns = os.environ.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            return int(columns)
        return os.get_terminal_size(self.stream.fileno()).columns or _UNKNOWN_WIDTH

    def paint(self, text: str, *colours: Colour) -> str:
        """``text`` in these colours, where there are any."""
        return f"\x1b[{';'.join(colours)}m{text}\x1b[0m" if self.has_colour and colours and text else text

    def mark(self, mark: str, otherwise: str) -> str:
        """``mark`` where the stream's encoding has it."""
        return mark if self.has_marks else otherwise

    def wait(self, pause_s: float) -> bool:
        """Let so many seconds pass; False, at once, when whoever read has gone (poll(2): POLLERR, POLLHUP)."""
        poll = select.poll()
        poll.register(self.stream.fileno(), 0)
        return not poll.poll(pause_s * 1000)

    def line(self, text: str = "") -> None:
        """Write one line, at once."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Write, at once. A reader that went away is no fault: the rest goes nowhere and the command goes on."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:
            silence(self.stream)


def silence(stream: TextIO) -> None:
    """Let all further output of ``stream`` go nowhere, also what Python flushes when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def standard_output() -> Screen:
    """The screen that data and progress go to."""
    return Screen.of(sys.stdout)


def standard_error() -> Screen:
    """The screen for what is not the data that was asked for."""
    return Screen.of(sys.stderr)


def _can_encode(stream: TextIO, marks: str) -> bool:
    try:
        marks.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
