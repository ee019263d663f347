#!/usr/bin/env python3
"""Makes the manual's pages: packaging/man/render.py OUTDIR

The sources are mdoc(7). In dropdeploy.1.in, @COMMANDS@ is the argument parser's own account of what it understands;
@VERSION@ and @DATE@ are filled in everywhere. The date is SOURCE_DATE_EPOCH's, or CHANGELOG.md's modification time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dropdeploy import __version__  # noqa: E402 - found only now
from dropdeploy.cli.grammar import Command, Grammar, Operand, Option, read_grammar  # noqa: E402
from dropdeploy.cli.parser import build_parser  # noqa: E402


def commands_text(grammar: Grammar) -> str:
    """The subcommands as an mdoc list, each with its options."""
    lines = [".Bl -tag -width Ds", *(line for command in grammar.commands for line in _command(command)), ".El"]
    return "\n".join(lines)


def _command(command: Command) -> Iterator[str]:
    operands = " ".join(
        f"Op Ar {each.metavar}" if each.is_optional else f"Ar {each.metavar}" for each in command.operands
    )
    yield f".It Ic {command.name} {operands}".rstrip()
    yield _sentence(command.summary)
    told = [option for option in command.options if option.flags[-1] not in ("--help", "--config")]
    explained = [operand for operand in command.operands if operand.metavar != "APP"]
    if told or explained:
        yield ".Bl -tag -width Ds"
        for operand in explained:
            yield f".It Ar {operand.metavar}"
            yield _sentence(operand.help)
        for option in told:
            yield f".It {_flags(option)}"
            yield _sentence(option.help)
        yield ".El"


def _flags(option: Option | Operand) -> str:
    assert isinstance(option, Option)
    shown = " , ".join(f"Fl {flag[1:]}".replace("-", r"\-", 1) for flag in option.flags)
    if not option.metavar:
        return shown
    return f"{shown} Op Ar {option.metavar}" if option.is_optional else f"{shown} Ar {option.metavar}"


def _sentence(text: str) -> str:
    """A sentence of the help as a line of text. A dot or apostrophe at its beginning would be a request."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return f"{escaped[:1].upper()}{escaped[1:]}{'' if escaped.endswith('.') else '.'}"


def main(out: Path) -> None:
    """Write every page to ``out``."""
    made = float(os.environ.get("SOURCE_DATE_EPOCH", (ROOT / "CHANGELOG.md").stat().st_mtime))
    day = datetime.fromtimestamp(made, UTC)
    filled = {
        "@VERSION@": __version__,
        "@DATE@": f"{day:%B} {day.day}, {day.year}",
        "@COMMANDS@": commands_text(read_grammar(build_parser())),
    }
    out.mkdir(parents=True, exist_ok=True)
    for source in sorted(Path(__file__).parent.glob("*.in")):
        text = source.read_text()
        for name, value in filled.items():
            text = text.replace(name, value)
        (out / source.stem).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
