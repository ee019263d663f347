"""A verdict as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from dropdeploy.cli.screen import Colour, Screen, plain
from dropdeploy.model.outcome import Outcome, Status

STATUS_COLOURS = {
    Status.DEPLOYED: Colour.GOOD,
    Status.ROLLED_BACK: Colour.BAD,
    Status.FAILED: Colour.BAD,
    Status.REJECTED: Colour.BAD,
    Status.INCOMPLETE: Colour.WARN,
    Status.SUPERSEDED: Colour.WARN,
    Status.CANCELLED: Colour.WARN,
}


def paint_status(status: str, screen: Screen) -> str:
    """A status, or what a narrow table left of it, in its colour."""
    known = next((colour for name, colour in STATUS_COLOURS.items() if name == status), None)
    return screen.paint(status, known) if known else status


def health_word(is_healthy: bool | None) -> str:
    """A release's health in a word."""
    return {True: "healthy", False: "ill", None: "not known"}[is_healthy]


def paint_health(word: str, screen: Screen) -> str:
    """That word in its colour."""
    known = {"healthy": Colour.GOOD, "ill": Colour.BAD}.get(word)
    return screen.paint(word, known) if known else word


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
