"""The grammar as data, and what is made of it. The shells themselves try it in tests/box."""

from __future__ import annotations

import pytest

from dropdeploy.cli import COMMANDS, main
from dropdeploy.cli.grammar import read_grammar
from dropdeploy.cli.parser import build_parser


def test_the_grammar_is_the_parsers() -> None:
    grammar = read_grammar(build_parser())
    assert {command.name for command in grammar.commands} == set(COMMANDS)
    by_name = {command.name: command for command in grammar.commands}
    assert [(operand.metavar, operand.is_optional) for operand in by_name["rollback"].operands] == [
        ("APP", False),
        ("RELEASE", True),
    ]
    options = {option.flags[-1]: option for option in by_name["init"].options}
    assert options["--strategy"].choices == ("restart", "reload", "handover")
    assert options["--units"].is_optional
    assert options["--dry-run"].metavar == ""
    assert not any(" " in command.name or not command.summary for command in grammar.commands)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in read_grammar(build_parser()).commands:
        assert command.name in script
        for option in command.options:
            flag = option.flags[-1]
            assert (f"-l {flag[2:]} " if shell == "fish" else flag) in script
