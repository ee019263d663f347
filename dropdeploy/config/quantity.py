"""Spans, sizes and rates as systemd writes them: systemd.time(7), and systemd's base-1024 sizes.

A parser returns None for what is no such text. "infinity" is none here: nothing in a deploy may wait for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dropdeploy.model.app import RateLimit

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
YEAR_S = 365.25 * _DAY

_SPAN_UNITS: Mapping[str, float] = {
    spelling: seconds
    for spellings, seconds in (
        ("usec us µs μs", 1e-6),  # both the micro sign and the Greek letter, as systemd takes them
        ("msec ms", 1e-3),
        ("seconds second sec s", 1.0),
        ("minutes minute min m", _MINUTE),
        ("hours hour hr h", _HOUR),
        ("days day d", _DAY),
        ("weeks week w", 7 * _DAY),
        ("months month M", 30.4375 * _DAY),
        ("years year y", YEAR_S),
    )
    for spelling in spellings.split()
}
_SIZE_UNITS = ("E", "P", "T", "G", "M", "K", "B")

_NUMBER = r"(?:\+?[0-9]{1,18}(?:\.[0-9]{1,18})?|\.[0-9]{1,18})"
# Without a unit a term must end at white space or at the end: "12.34.56" is no span, "12.34 .56" is one.
_SPAN_TERM = re.compile(rf"[ \t\r\n]*({_NUMBER})(?:[ \t\r\n]*([A-Za-zµμ]+)|(?=[ \t\r\n]|$))")
_SIZE_TERM = re.compile(r"[ \t\r\n]*([0-9]{1,18}(?:\.[0-9]{1,18})?)[ \t\r\n]*([A-Z]?)(?=[ \t\r\n0-9]|$)")


def parse_span(text: str) -> float | None:
    """Seconds in ``text``: ``"5"``, ``"500ms"``, ``"1h 30min"``, ``"1.5h"``; terms add up, and "M" is a month."""
    total, position, end = 0.0, 0, len(text.rstrip())
    while position < end:
        term = _SPAN_TERM.match(text, position)
        factor = _SPAN_UNITS.get(term[2] or "s") if term else None
        if term is None or factor is None:
            return None
        total += float(term[1]) * factor
        position = term.end()
    return total if end else None


def parse_size(text: str) -> int | None:
    """Bytes in ``text``: ``"4096"``, ``"512M"``, ``"1.5G"``, ``"1G 512M"`` (larger units first), base 1024."""
    total, position, end, largest = 0, 0, len(text.rstrip()), 0
    while position < end:
        term = _SIZE_TERM.match(text, position)
        unit = (term[2] or "B") if term else ""
        if term is None or unit not in _SIZE_UNITS[largest:]:
            return None
        place = _SIZE_UNITS.index(unit)
        whole, _, fraction = term[1].partition(".")
        factor = 1024 ** (len(_SIZE_UNITS) - 1 - place)
        total += int(whole) * factor + int(float(f"0.{fraction or 0}") * factor)
        largest, position = place + 1, term.end()
    return total if end else None


def parse_rate(text: str) -> RateLimit | None:
    """``"30/1h"``: so many in any such span; neither may be zero."""
    count, slash, span = text.partition("/")
    span_s = parse_span(span)
    if not slash or not re.fullmatch(r"\s*[0-9]{1,9}\s*", count, re.ASCII) or not span_s or int(count) == 0:
        return None
    return RateLimit(int(count), span_s)


def show_seconds(seconds: float) -> str:
    """For a sentence: "120 s", "1.2 s", "0.05 s"; as exact as one would say it."""
    if seconds >= 9.95:
        return f"{seconds:.0f} s"
    digits = 1 if seconds >= 0.095 or seconds == 0 else 2 if seconds >= 0.0095 else 3
    return f"{seconds:.{digits}f}".removesuffix(".0") + " s"
