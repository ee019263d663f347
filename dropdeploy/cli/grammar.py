"""The command's grammar as data, read from the argument parser: for completions and the manual."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """An option's flags and the name of its value, empty where it takes none; the value may be optional."""

    flags: tuple[str, ...]
    metavar: str
    is_optional: bool
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Operand:
    """A positional argument."""

    metavar: str
    is_optional: bool
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand; the program itself is one without a name."""

    name: str
    summary: str
    options: tuple[Option, ...]
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The program, and its subcommands in the order of its help."""

    program: Command
    commands: tuple[Command, ...]


def read_grammar(parser: argparse.ArgumentParser) -> Grammar:
    """What ``parser`` understands. It must have subcommands."""
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}
    commands = tuple(
        Command(name, summaries[name], tuple(_options(command)), tuple(_operands(command)))
        for name, command in subparsers.choices.items()
    )
    return Grammar(Command("", parser.description or "", tuple(_options(parser)), ()), commands)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings:
            metavar = str(action.metavar or action.dest.upper()) if action.nargs != 0 else ""
            choices = tuple(map(str, action.choices or ()))
            yield Option(tuple(action.option_strings), metavar, action.nargs == "?", choices, action.help or "")


def _operands(parser: argparse.ArgumentParser) -> Iterator[Operand]:
    for action in parser._actions:
        if not action.option_strings:
            choices = tuple(map(str, action.choices or ()))
            yield Operand(str(action.metavar), action.nargs == "?", choices, action.help or "")
