"""What systemctl(1) tells about units. Nothing here starts or changes one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_ANSWER_S = 30.0

Facts = Mapping[str, str]
"""Properties as ``systemctl show`` prints them, absent ones as ""."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


def tell(*command: str) -> Told:
    """Run a program to its end; one that is not there ends with 127, one that does not end with 124."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ANSWER_S,
        )
    except FileNotFoundError:
        return Told(127, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Told(124, "", f"{command[0]} does not answer within {_ANSWER_S:g} s")
    return Told(done.returncode, done.stdout, done.stderr)


def show(units: Iterable[str], properties: Iterable[str], *, is_user: bool = False) -> dict[str, Facts]:
    """These properties of each unit; empty when systemd cannot be asked."""
    names = list(dict.fromkeys(units))
    if not names:
        return {}
    scope = ["--user"] if is_user else []
    told = tell("systemctl", *scope, "show", f"--property={','.join(properties)}", "--", *names)
    blocks = told.out.strip("\n").split("\n\n")
    if told.code != 0 or len(blocks) != len(names):
        return {}
    return {name: parse_facts(block) for name, block in zip(names, blocks, strict=True)}


def parse_facts(block: str) -> Facts:
    """One unit's lines."""
    return dict(line.partition("=")[::2] for line in block.splitlines())


def cat(unit: str) -> str:
    """The unit's file and its drop-ins, in the order in which systemd reads them; "" when there are none."""
    return tell("systemctl", "cat", "--no-pager", "--", unit).out
