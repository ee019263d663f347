"""``dropdeploy hold`` and ``unhold``."""

from __future__ import annotations

import argparse

from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.dropping import drop_marker, find_markers, remove_markers
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import standard_output
from dropdeploy.intake.names import MarkerName


def hold(asked: argparse.Namespace) -> int:
    """Let uploads wait."""
    app = find_app(load(asked.config), asked.app)
    if find_markers(app, MarkerName.HOLD):
        standard_output().line(f"{app.name} was on hold already")
        return ExitCode.DONE
    drop_marker(app, MarkerName.HOLD)
    standard_output().line(f"{app.name} is on hold: uploads wait until `dropdeploy unhold {app.name}`")
    return ExitCode.DONE


def unhold(asked: argparse.Namespace) -> int:
    """Let uploads that waited go on."""
    app = find_app(load(asked.config), asked.app)
    was_held = remove_markers(app, MarkerName.HOLD)
    what = "goes on" if was_held else "was not on hold"
    standard_output().line(f"{app.name} {what}")
    return ExitCode.DONE
