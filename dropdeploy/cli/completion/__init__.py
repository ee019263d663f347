"""``dropdeploy completion``: the grammar as each shell wants to be told it."""

from __future__ import annotations

import argparse
import importlib

from dropdeploy.cli.grammar import read_grammar
from dropdeploy.cli.parser import build_parser
from dropdeploy.cli.refusal import ExitCode
from dropdeploy.cli.screen import standard_output


def run(asked: argparse.Namespace) -> int:
    """Print the script."""
    render = importlib.import_module(f"dropdeploy.cli.completion.{asked.shell}").render
    standard_output().write(render(read_grammar(build_parser())))
    return ExitCode.DONE
