"""``dropdeploy history --follow``: the history as it grows. One small question to SQLite, twice a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from dropdeploy.cli.history_table import history_columns, history_row
from dropdeploy.cli.painting import paint_status
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import Screen, standard_output
from dropdeploy.cli.tables import lay_out
from dropdeploy.history.reading import HistoryReader
from dropdeploy.model.config import Config
from dropdeploy.model.fault import ErrorCode, Fault
from dropdeploy.model.outcome import Outcome, Status
from dropdeploy.model.request import Action
from dropdeploy.report.result import outcome_as_json

POLL_S = 0.5


def follow(config: Config, app: str | None, limit: int, *, is_json: bool) -> int:
    """Print the last verdicts and then each that comes, until Ctrl-C or until nobody reads any more."""
    screen = standard_output()
    try:
        while True:
            with open_history(config) as history:
                if history is not None:
                    _follow(history, app, limit, screen, _printer(config, app, screen, is_json))
                    return ExitCode.DONE
            if not screen.wait(POLL_S):  # the agent has not run yet
                return ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.DONE


def _follow(
    history: HistoryReader, app: str | None, limit: int, screen: Screen, show: Callable[[Outcome], None]
) -> None:
    # Verdicts come in another order than deploys begin: what is after `decided_to` may have one, or get it yet.
    decided_to = history.decided_to()
    outcomes = history.outcomes(app, limit)[::-1]
    shown = {outcome.id for outcome in outcomes}
    seen = -1
    while True:
        for outcome in outcomes:
            show(outcome)
        while (changes := history.changes()) == seen:
            if not screen.wait(POLL_S):
                return
        seen = changes
        before, decided_to = decided_to, history.decided_to()
        outcomes = tuple(outcome for outcome in history.outcomes_after(before, app) if outcome.id not in shown)
        shown = {number for number in (*shown, *(outcome.id for outcome in outcomes)) if number > decided_to}


def _printer(config: Config, app: str | None, screen: Screen, is_json: bool) -> Callable[[Outcome], None]:
    if is_json:  # one object a line
        return lambda outcome: screen.line(json.dumps(outcome_as_json(outcome)))
    columns = history_columns(partial(paint_status, screen=screen))
    # Nobody knows how wide what comes will be: as wide as what is usual.
    usual = _usual(max([each.name for each in config.apps], key=len, default=""))
    layout = lay_out(columns, [history_row(usual, has_app=app is None)], screen.width)
    screen.line(layout.titles())
    return lambda outcome: screen.line(layout.line(history_row(outcome, has_app=app is None)))


def _usual(app: str) -> Outcome:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Outcome(
        status=max(Status, key=len),
        summary="",
        app=app,
        action=Action.DEPLOY,
        id=9999,
        started=moment,
        finished=moment.replace(microsecond=5_000),  # the widest: "0.005 s"
        upload="build-1a2b3c4.tar.gz",
        release="20260101-000000",
        fault=Fault(ErrorCode.CHECKSUM_MISMATCH, ""),
        meta=(("commit", "1a2b3c4d5e6f"), ("author", "Ada Lovelace")),
    )
