"""Completions for bash (bash(1), Programmable Completion)."""

from __future__ import annotations

from collections.abc import Iterable

from dropdeploy.cli.grammar import Command, Grammar, Operand, Option

_SCRIPT = """\
# bash completions of dropdeploy, made by `dropdeploy completion bash`

_dropdeploy_apps() {{
    local directory=/etc/dropdeploy file i
    for ((i = 1; i < COMP_CWORD - 1; i++)); do
        [[ ${{COMP_WORDS[i]}} == --config ]] && directory=${{COMP_WORDS[i + 1]}}
    done
    for file in "$directory"/apps.d/*.toml; do
        [[ -e $file ]] && file=${{file##*/}} && printf '%s\\n' "${{file%.toml}}"
    done
}}

_dropdeploy() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command= operands=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case $command,${{COMP_WORDS[i]}} in
{valued}
            *,-*) ;;
            ,*) command=${{COMP_WORDS[i]}} ;;
            *) operands=$((operands + 1)) ;;
        esac
    done
    case $command,$before in
{values}
    esac
    if [[ $word == -* ]]; then
        case $command in
{options}
        esac
        return
    fi
    case $command,$operands in
        ,*) mapfile -t COMPREPLY < <(compgen -W "{commands}" -- "$word") ;;
{operands}
    esac
}}

complete -F _dropdeploy dropdeploy
"""

# What completes a value, by the name that the help gives it; the rest is free text.
_COMPLETIONS = {
    "APP": '-W "$(_dropdeploy_apps)"',
    "FILE": "-f",
    "DIR": "-d",
    "USER": "-u",
}


def render(grammar: Grammar) -> str:
    """The script."""
    commands = (grammar.program, *grammar.commands)
    takers = [(command, option) for command in commands for option in command.options if option.metavar]
    return _SCRIPT.format(
        valued=_lines(
            12,
            (
                f"{command.name},{flag}) i=$((i + 1)) ;;"
                for command, option in takers
                if not option.is_optional
                for flag in option.flags
            ),
        ),
        values=_lines(8, (_value(command, option) for command, option in takers)),
        options=_lines(12, (f"{command.name or repr('')}) {_words(_flags(command))} ;;" for command in commands)),
        commands=" ".join(command.name for command in grammar.commands),
        operands=_lines(
            8,
            (
                f"{command.name},{number}) {_completion(operand)} ;;"
                for command in grammar.commands
                for number, operand in enumerate(command.operands)
            ),
        ),
    )


def _value(command: Command, option: Option) -> str:
    where = "|".join(f"{command.name},{flag}" for flag in option.flags)
    return f"{where}) {_completion(option)}; return ;;"


def _completion(taken: Option | Operand) -> str:
    if taken.choices:
        return _words(taken.choices)
    if taken.metavar not in _COMPLETIONS:
        return ":"
    names = "compopt -o filenames; " if taken.metavar in ("FILE", "DIR") else ""
    return f'{names}mapfile -t COMPREPLY < <(compgen {_COMPLETIONS[taken.metavar]} -- "$word")'


def _words(words: Iterable[str]) -> str:
    return f'mapfile -t COMPREPLY < <(compgen -W "{" ".join(words)}" -- "$word")'


def _flags(command: Command) -> Iterable[str]:
    return (flag for option in command.options for flag in option.flags)


def _lines(indent: int, lines: Iterable[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
