"""A verdict as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from dropdeploy.cli.painting import paint_status
from dropdeploy.cli.screen import Colour, Screen, plain
from dropdeploy.model.outcome import Outcome


def describe_outcome(outcome: Outcome, screen: Screen) -> Iterator[str]:
    """The lines: the verdict; and why, what to do and what the unit logged, where it did not succeed."""
    yield f"{paint_status(outcome.status, screen)}: {plain(outcome.summary)}"
    fault = outcome.fault
    if fault is None:
        return
    where = f" ({outcome.fault_step})" if outcome.fault_step else ""
    yield f"  {screen.paint(fault.code, Colour.STRONG)}{where}: {plain(fault.message)}"
    if fault.hint:
        yield f"  hint: {plain(fault.hint)}"
    if fault.log:
        yield "  log:"
        yield from (f"    {screen.paint(plain(line), Colour.FAINT)}" for line in fault.log.splitlines())
