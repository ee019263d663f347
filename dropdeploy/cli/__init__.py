"""The commands: argument parsing and printing only. What a command needs is imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Mapping, Sequence

from dropdeploy.cli.parser import build_parser
from dropdeploy.cli.refusal import ExitCode, Refusal

COMMANDS: Mapping[str, str] = {
    "run": "dropdeploy.cli.running",
    "check": "dropdeploy.cli.check",
    "status": "dropdeploy.cli.status",
    "history": "dropdeploy.cli.history",
    "releases": "dropdeploy.cli.releases",
    "logs": "dropdeploy.cli.logs",
    "deploy": "dropdeploy.cli.asking:deploy",
    "rollback": "dropdeploy.cli.asking:rollback",
    "restart": "dropdeploy.cli.asking:restart",
    "hold": "dropdeploy.cli.holding:hold",
    "unhold": "dropdeploy.cli.holding:unhold",
    "notify-mail": "dropdeploy.cli.notify_mail",
    "demo": "dropdeploy.cli.demo",
    "init": "dropdeploy.cli.init",
    "completion": "dropdeploy.cli.completion",
}
"""Module of each command, and its function where that is not ``run``: (namespace) → exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        from dropdeploy.cli.screen import silence  # noqa: PLC0415 - rarely needed, and there are commands that are quicker

        silence(sys.stdout)
        return ExitCode.DONE  # whoever reads has read enough
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    if asked.command is None:
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    try:
        return _call(asked)
    except Refusal as refusal:
        from dropdeploy.cli.screen import plain, standard_error  # noqa: PLC0415 - as above

        screen = standard_error()
        for line in refusal.lines:
            screen.line(plain(line))
        return refusal.code


def _call(asked: argparse.Namespace) -> int:
    module, _, function = COMMANDS[asked.command].partition(":")
    return int(getattr(importlib.import_module(module), function or "run")(asked))
