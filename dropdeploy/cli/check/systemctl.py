"""What systemctl(1) tells about units. Nothing here starts or changes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dropdeploy.cli.programs import tell

Facts = Mapping[str, str]
"""Properties as ``systemctl show`` prints them, absent ones as ""."""


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
