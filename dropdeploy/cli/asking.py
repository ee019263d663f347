"""``dropdeploy deploy``, ``rollback`` and ``restart``: drop it, watch it, end with the verdict."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

from dropdeploy.cli.agent_state import Agent, agent_on, how_to_start
from dropdeploy.cli.configured import find_app, load
from dropdeploy.cli.dropping import drop_build, drop_marker, missing_sidecar, upload_name
from dropdeploy.cli.following import Request
from dropdeploy.cli.outcome_text import describe_outcome
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.cli.screen import standard_error, standard_output
from dropdeploy.cli.watching import LiveView, interrupted, watch
from dropdeploy.intake.names import MarkerName
from dropdeploy.model.app import App
from dropdeploy.model.config import Config
from dropdeploy.model.outcome import Status
from dropdeploy.model.release import parse_release_id
from dropdeploy.report.result import outcome_as_json

# Where it cannot be known whether the agent runs: beyond `settle`, so long may it take to notice an upload.
_NOTICE_S = 5.0


def deploy(asked: argparse.Namespace) -> int:
    """Upload a build."""
    config = load(asked.config)
    app = find_app(config, asked.app)
    name = upload_name(asked.file)
    if not asked.file.is_dir() and (missing := missing_sidecar(app, asked.file)):
        raise Refusal(ExitCode.USAGE, missing)
    return _ask(asked, config, app, name, partial(drop_build, app, asked.file))


def rollback(asked: argparse.Namespace) -> int:
    """Go back, to the newest healthy release or to a named one."""
    if asked.release and parse_release_id(asked.release) is None:
        raise Refusal(
            ExitCode.USAGE,
            f'"{asked.release}" is no release, expected one such as 20260123-143022; '
            f"`dropdeploy releases {asked.app}` lists them",
        )
    config = load(asked.config)
    app = find_app(config, asked.app)
    return _ask(asked, config, app, MarkerName.ROLLBACK, partial(drop_marker, app, MarkerName.ROLLBACK, asked.release))


def restart(asked: argparse.Namespace) -> int:
    """Restart what is live."""
    config = load(asked.config)
    app = find_app(config, asked.app)
    return _ask(asked, config, app, MarkerName.RESTART, partial(drop_marker, app, MarkerName.RESTART))


def _ask(asked: argparse.Namespace, config: Config, app: App, name: str, drop: Callable[[], None]) -> int:
    if agent_on(config.settings.state) is Agent.STOPPED:
        raise Refusal(
            ExitCode.UNAVAILABLE,
            f"the agent is not running, so nothing was dropped; {how_to_start(config.settings.bus, asked.config)}",
        )
    output = standard_output()
    request = Request.about(app.drop, name)
    drop()
    try:
        outcome = watch(
            request,
            LiveView(standard_error() if asked.json else output, app.name),
            ask_agent=partial(agent_on, config.settings.state),
            patience_s=app.settle_s + _NOTICE_S,
            timeout_s=asked.timeout,
        )
    except KeyboardInterrupt:
        raise Refusal(ExitCode.INTERRUPTED, "", interrupted(request)) from None
    if asked.json:
        output.line(json.dumps(outcome_as_json(outcome), indent=2))
    else:
        for line in describe_outcome(outcome, output):
            output.line(line)
    return ExitCode.DONE if outcome.status is Status.DEPLOYED else ExitCode.NOT_DEPLOYED
