"""Text tables that fit a width. Pure: rows of text in, lines out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

GAP = 2
ELLIPSIS = "…"

Paint = Callable[[str], str]
"""Colours a cell; it must not change what is seen of it otherwise."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``least``: it is never cut below so many cells; a column that must stay readable has a large one.

    ``goes``: where even that does not fit, columns go altogether, the highest first; 0 always stays.
    """

    title: str
    is_number: bool = False
    least: int = 8
    goes: int = 0
    paint: Paint | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns a table has, and how wide they are; rows may still come."""

    columns: tuple[Column, ...]
    places: tuple[int, ...]
    widths: tuple[int, ...]

    def titles(self) -> str:
        """The line above the rows."""
        plain = [Column(column.title, column.is_number) for column in self.columns]
        return _line(plain, [column.title for column in self.columns], self.widths)

    def line(self, row: Sequence[str]) -> str:
        """One row; what is too wide is cut."""
        return _line(self.columns, [row[place] for place in self.places], self.widths)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """The lines of a table: titles, then rows."""
    layout = lay_out(columns, rows, width)
    return [layout.titles(), *map(layout.line, rows)]


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> Layout:
    """A layout for rows like these. Columns that are empty in every row are left out.

    The widest columns are cut, with an ellipsis, until the lines fit ``width`` cells (None: any length will do).
    """
    used = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    wanted = [
        max(cells(text) for text in (column.title, *(row[at] for row in rows))) for at, column in enumerate(columns)
    ]
    least = [min(wanted[at], max(column.least, cells(column.title))) for at, column in enumerate(columns)]
    while width is not None and _total([least[at] for at in used]) > width:
        last = max(used, key=lambda at: columns[at].goes)
        if columns[last].goes == 0:
            break
        used.remove(last)
    widths = [wanted[at] for at in used]
    if width is not None:
        widths = _fit(widths, [least[at] for at in used], width)
    return Layout(tuple(columns[at] for at in used), tuple(used), tuple(widths))


def cells(text: str) -> int:
    """How many cells of a terminal ``text`` takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells; what is cut off is told by an ellipsis."""
    if cells(text) <= width:
        return text
    kept = text[: max(0, width)]
    while kept and cells(kept) > width - 1:
        kept = kept[:-1]
    return kept + ELLIPSIS if width > 0 else ""


def pad(text: str, width: int, *, to_the_right: bool = False) -> str:
    """``text`` filled up with spaces to ``width`` cells."""
    space = " " * (width - cells(text))
    return space + text if to_the_right else text + space


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _fit(widths: list[int], least: list[int], width: int) -> list[int]:
    fitted = list(widths)
    while _total(fitted) > width:
        can_shrink = [at for at in range(len(fitted)) if fitted[at] > least[at]]
        if not can_shrink:
            break
        fitted[max(can_shrink, key=lambda at: fitted[at])] -= 1
    return fitted


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    shown = []
    for column, text, width in zip(columns, row, widths, strict=True):
        kept = cut(text, width)
        painted = column.paint(kept) if column.paint and kept else kept
        space = " " * (width - cells(kept))
        shown.append(space + painted if column.is_number else painted + space)
    return (" " * GAP).join(shown).rstrip()
