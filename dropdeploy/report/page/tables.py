"""Tables that are cards on a phone.   (pure)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dropdeploy.report.page.html import Html, join, tag


@dataclass(frozen=True, slots=True)
class Row:
    """``key`` tells it from all others on the page."""

    key: str
    cells: Sequence[Html | str]


def table(key: str, title: str, columns: Sequence[str], rows: Iterable[Row]) -> Html:
    """A heading and the table under it. Roles are written out: what the style sheet makes cards of would lose its own,
    and each cell shows its column's name there."""
    head = tag("tr", *(tag("th", column, scope="col", role="columnheader") for column in columns), role="row")
    return join(
        tag("h2", title, id=key),
        tag(
            "div",
            tag(
                "table",
                tag("thead", head, role="rowgroup"),
                tag("tbody", *(_row(row, columns) for row in rows), role="rowgroup"),
                role="table",
                aria_labelledby=key,
            ),
            class_="wide",
        ),
    )


def _row(row: Row, columns: Sequence[str]) -> Html:
    cells = (
        tag("td", tag("div", cell) if cell else None, role="cell", data_name=column)
        for column, cell in zip(columns, row.cells, strict=True)
    )
    return tag("tr", *cells, role="row", id=row.key)
