"""The table of the history: a deploy a row."""

from __future__ import annotations

from dropdeploy.cli.moments import show_time
from dropdeploy.cli.screen import plain
from dropdeploy.cli.tables import Column, Paint, table
from dropdeploy.config.quantity import show_seconds
from dropdeploy.model.outcome import Outcome
from dropdeploy.model.request import Action

_COMMIT_CELLS = 12  # enough to tell commits apart


def history_table(outcomes: tuple[Outcome, ...], width: int | None, paint: Paint | None = None) -> list[str]:
    """One row a deploy; ``paint`` colours a status."""
    has_several_apps = len({outcome.app for outcome in outcomes}) > 1
    rows = [history_row(outcome, has_app=has_several_apps) for outcome in outcomes]
    return table(history_columns(paint), rows, width)


def history_columns(paint: Paint | None = None) -> tuple[Column, ...]:
    """The columns of ``history_row``."""
    return (
        Column("ID", is_number=True),
        Column("WHEN", least=16, goes=1),
        Column("APP"),
        Column("WHAT", least=12),
        Column("RELEASE", least=15, goes=3),
        Column("STATUS", least=11, paint=paint),
        Column("TOOK", is_number=True, goes=4),
        Column("COMMIT", goes=5),
        Column("BY", goes=6),
        Column("ERROR", least=14, goes=2),
    )


def history_row(outcome: Outcome, *, has_app: bool) -> tuple[str, ...]:
    """What the history's table tells of one deploy."""
    meta = dict(outcome.meta)
    return (
        str(outcome.id),
        show_time(outcome.started),
        outcome.app if has_app else "",
        plain(outcome.upload) if outcome.action is Action.DEPLOY else outcome.action,
        outcome.release,
        outcome.status,
        show_seconds(outcome.seconds),
        plain(meta.get("commit", ""))[:_COMMIT_CELLS],
        plain(meta.get("author", "")),
        outcome.fault.code if outcome.fault else "",
    )
