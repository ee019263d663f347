"""The colours of verdicts and of health."""

from __future__ import annotations

from collections.abc import Mapping

from dropdeploy.cli.screen import Colour, Screen

STATUS_COLOURS: Mapping[str, Colour] = {
    "deployed": Colour.GOOD,
    "rolled-back": Colour.BAD,
    "failed": Colour.BAD,
    "rejected": Colour.BAD,
    "incomplete": Colour.WARN,
    "superseded": Colour.WARN,
    "cancelled": Colour.WARN,
}
"""By the model's words; its import takes longer than ``dropdeploy status`` else does."""


def paint_status(status: str, screen: Screen) -> str:
    """A status, or what a narrow table left of it, in its colour."""
    known = STATUS_COLOURS.get(status)
    return screen.paint(status, known) if known else status


def health_word(is_healthy: bool | None) -> str:
    """A release's health in a word."""
    return {True: "healthy", False: "ill", None: "not known"}[is_healthy]


def paint_health(word: str, screen: Screen) -> str:
    """That word in its colour."""
    known = {"healthy": Colour.GOOD, "ill": Colour.BAD}.get(word)
    return screen.paint(word, known) if known else word
