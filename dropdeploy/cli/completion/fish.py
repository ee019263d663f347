"""Completions for fish (complete(1) of fish)."""

from __future__ import annotations

from collections.abc import Iterator

from dropdeploy.cli.grammar import Command, Grammar, Operand, Option

_HEAD = """\
# fish completions of dropdeploy, made by `dropdeploy completion fish`

function __dropdeploy_apps
    set -l directory /etc/dropdeploy
    set -l words (commandline -opc)
    if set -l at (contains -i -- --config $words)
        set directory $words[(math $at + 1)]
    end
    for file in $directory/apps.d/*.toml
        string replace -r '^.*/(.*)\\.toml$' '$1' $file
    end
end

# The command and its operands, without options and their values.
function __dropdeploy_words
    set -l words (commandline -opc)
    set -l skip 0
    for word in $words[2..]
        if test $skip = 1
            set skip 0
        else if contains -- $word {valued}
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

function __dropdeploy_at_command
    test (count (__dropdeploy_words)) = 0
end

function __dropdeploy_in
    set -l words (__dropdeploy_words)
    test "$words[1]" = $argv[1]
    and begin
        test (count $argv) = 1
        or test (count $words) = $argv[2]
    end
end

complete -c dropdeploy -f
"""

_ACTIONS = {
    "APP": "-a '(__dropdeploy_apps)'",
    "FILE": "-F",
    "DIR": "-a '(__fish_complete_directories)'",
    "USER": "-a '(__fish_complete_users)'",
}


def render(grammar: Grammar) -> str:
    """The script."""
    return "".join(f"{line}\n" for line in _lines(grammar))


def _lines(grammar: Grammar) -> Iterator[str]:
    options = [option for command in (grammar.program, *grammar.commands) for option in command.options]
    valued = dict.fromkeys(
        flag for option in options if option.metavar and not option.is_optional for flag in option.flags
    )
    yield _HEAD.replace("{valued}", " ".join(valued)).rstrip("\n")
    for option in grammar.program.options:
        yield f"complete -c dropdeploy -n __dropdeploy_at_command {_option(option)}"
    for command in grammar.commands:
        yield ""
        summary = _quoted(command.summary)
        yield f"complete -c dropdeploy -n __dropdeploy_at_command -a {command.name} -d {summary}"
        yield from _command_lines(command)


def _command_lines(command: Command) -> Iterator[str]:
    here = f"__dropdeploy_in {command.name}"
    for option in command.options:
        yield f"complete -c dropdeploy -n '{here}' {_option(option)}"
    for number, operand in enumerate(command.operands, 1):
        if action := _action(operand):
            yield f"complete -c dropdeploy -n '{here} {number}' {action}"


def _option(option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    takes = ""
    if option.metavar and not option.is_optional:
        takes = " -r" if option.metavar == "FILE" else " -x"  # -x: no files
    action = f" {_action(option)}" if option.metavar and _action(option) else ""
    return f"{flags}{takes}{action} -d {_quoted(option.help)}"


def _action(taken: Option | Operand) -> str:
    return f"-a {_quoted(' '.join(taken.choices))}" if taken.choices else _ACTIONS.get(taken.metavar, "")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
