"""``dropdeploy history``."""

from __future__ import annotations

import argparse
import json
from functools import partial

from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.history_table import history_table
from dropdeploy.cli.painting import paint_status
from dropdeploy.cli.records import open_history
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import standard_error, standard_output
from dropdeploy.report.result import outcome_as_json


def run(asked: argparse.Namespace) -> int:
    """Print what was deployed, newest first; or, following, oldest first and then what comes."""
    config = load(asked.config)
    app = find_app(config, asked.app).name if asked.app else None
    if asked.follow:
        from dropdeploy.cli.history_follow import follow  # noqa: PLC0415 - only then

        return follow(config, app, asked.limit, is_json=asked.json)
    with open_history(config) as history:
        outcomes = history.outcomes(app, asked.limit) if history else ()
    output = standard_output()
    if asked.json:
        output.line(json.dumps([outcome_as_json(outcome) for outcome in outcomes], indent=2))
    elif not outcomes:
        standard_error().line("nothing was deployed yet")
    else:
        for line in history_table(outcomes, output.width, partial(paint_status, screen=output)):
            output.line(line)
    return ExitCode.DONE
