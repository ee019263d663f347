"""The figures as bars, for README: a group for each load, drawn to the group's own scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from tests.bench.contest.figures import FLOOR, WAYS, Race, Spread, show, spreads

WIDTH, LABEL, FIGURES, BAR, GAP, HEAD = 860, 110, 150, 15, 5, 30
COLOURS = {"dropdeploy": "#1a7f37", FLOOR: "#6e7781", "floor, to disk": "#6e7781"}
OTHERS = "#218bff"
LONGEST = 3
"""Bars end at so many times the floor, broken: what is far behind is not to make the others look alike."""
STYLE = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:13px}.faint{fill:#57606a}"
LEGEND = "dark: until the new release answers 200 · light: until whoever deployed it says so · seconds, medians"


def picture(races: Sequence[Race], loads: Sequence[tuple[str, str]]) -> str:
    """An SVG document. The thin line is the spread of the dark bar, from the fastest race to the slowest."""
    live, told = spreads(races, "live_s"), spreads(races, "told_s")
    parts = [f'<text class="faint" x="8" y="20">{escape(LEGEND)}</text>']
    top = 30
    for name, title in loads:
        ways = [way for way in WAYS if (name, way) in live]
        if not ways:
            continue
        parts.append(f'<text class="title" x="8" y="{top + 20}">{escape(title)}</text>')
        top += HEAD
        end = min(
            max(told[name, way].median for way in ways), LONGEST * live.get((name, FLOOR), live[name, ways[0]]).median
        )
        for way in ways:
            parts += _bar(way, live[name, way], told[name, way], end, top)
            top += BAR + GAP
        top += 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>\n"])


def _bar(way: str, live: Spread, told: Spread, end: float, top: int) -> Iterator[str]:
    colour = COLOURS.get(way, OTHERS)

    def x(seconds: float) -> float:
        return LABEL + (WIDTH - LABEL - FIGURES) * min(seconds, end) / end

    yield f'<text x="{LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(way)}</text>'
    for spread, opacity in ((told, 0.35), (live, 1)):
        length = x(spread.median) - LABEL
        yield (
            f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}" '
            f'fill-opacity="{opacity}"/>'
        )
    yield f'<path d="M{x(min(live.values)):.1f} {top + BAR / 2}H{x(max(live.values)):.1f}" stroke="#1f2328"/>'
    if told.median > end:
        yield f'<path d="M{x(end) - 14:.1f} {top + BAR}l4 -{BAR}h5l-4 {BAR}z" fill="#ffffff"/>'
    figures = f"{show(live.median)} · {show(told.median)}"
    yield f'<text x="{max(x(told.median), x(max(live.values))) + 8:.1f}" y="{top + 12}">{figures}</text>'
