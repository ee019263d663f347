"""Completions for zsh (zshcompsys(1), ``_arguments``)."""

from __future__ import annotations

import re

from dropdeploy.cli.grammar import Command, Grammar, Operand, Option

_SCRIPT = """\
#compdef dropdeploy
# zsh completions of dropdeploy, made by `dropdeploy completion zsh`

_dropdeploy_apps() {{
    local -a apps
    apps=(${{opt_args[--config]:-/etc/dropdeploy}}/apps.d/*.toml(N:t:r))
    compadd -a apps
}}

_dropdeploy_commands() {{
    local -a commands=(
{commands}
    )
    _describe command commands
}}

_dropdeploy() {{
    local curcontext=$curcontext state line
    typeset -A opt_args
    _arguments -C \\
{program}
        '1: :_dropdeploy_commands' \\
        '*:: :->rest' && return
    case $line[1] in
{cases}
    esac
}}

_dropdeploy "$@"
"""

_ACTIONS = {"APP": "_dropdeploy_apps", "FILE": "_files", "DIR": "_files -/", "USER": "_users"}


def render(grammar: Grammar) -> str:
    """The script, to be installed as ``_dropdeploy`` in a directory of ``fpath``."""
    return _SCRIPT.format(
        commands="\n".join(f"        '{command.name}:{_quoted(command.summary)}'" for command in grammar.commands),
        program="\n".join(f"        {_option(option)} \\" for option in grammar.program.options),
        cases="\n".join(map(_case, grammar.commands)),
    )


def _case(command: Command) -> str:
    specs = [_option(option) for option in command.options]
    specs += [
        f"'{number}:{':' if operand.is_optional else ''}{operand.metavar}:{_action(operand)}'"
        for number, operand in enumerate(command.operands, 1)
    ]
    arguments = " \\\n                ".join(specs)
    return f"        {command.name})\n            _arguments \\\n                {arguments} ;;"


def _option(option: Option) -> str:
    value = f":{':' if option.is_optional else ''}{option.metavar}:{_action(option)}" if option.metavar else ""
    equals = "=" if option.is_optional and option.metavar else ""
    explained = f"[{_quoted(option.help)}]{value}'"
    if len(option.flags) == 1:
        return f"'{option.flags[0]}{equals and '=-'}{explained}"
    return f"'({' '.join(option.flags)})'{{{','.join(option.flags)}}}'{explained}"


def _action(taken: Option | Operand) -> str:
    return f"({' '.join(taken.choices)})" if taken.choices else _ACTIONS.get(taken.metavar, "")


def _quoted(text: str) -> str:
    r"""Within single quotes, where ``[``, ``]``, ``:`` and ``\`` mean something to ``_arguments``."""
    return re.sub(r"[][:\\]", r"\\\g<0>", text).replace("'", "'\\''")
