"""The figures as bars, for README: a group for each load, drawn to the group's own scale."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from tests.bench.contest.figures import WAYS, Race, show, spreads

WIDTH, LABEL, BAR, GAP, HEAD = 860, 150, 16, 5, 34
COLOURS = {"dropdeploy": "#1a7f37", "floor": "#8c959f", "floor, to disk": "#8c959f"}
OTHERS = "#54aeff"
STYLE = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:13px}"


def picture(races: Sequence[Race], loads: Sequence[tuple[str, str]]) -> str:
    """An SVG document. The thin line is the spread from the fastest to the slowest."""
    found = spreads(races, "live_s")
    parts: list[str] = []
    top = 8
    for name, title in loads:
        rows = [(way, found[name, way]) for way in WAYS if (name, way) in found]
        if not rows:
            continue
        scale = (WIDTH - LABEL - 90) / max(max(cell.values) for _, cell in rows)
        parts.append(f'<text class="title" x="8" y="{top + 18}">{escape(title)}: seconds until live and healthy</text>')
        top += HEAD
        for way, cell in rows:
            x0, x1 = (LABEL + scale * bound(cell.values) for bound in (min, max))
            middle = top + BAR / 2
            length = scale * cell.median
            parts += [
                f'<text x="{LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(way)}</text>',
                f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS.get(way, OTHERS)}"/>',
                f'<path d="M{x0:.1f} {middle}H{x1:.1f}" stroke="#1f2328"/>',
                f'<text x="{max(x1, LABEL + length) + 8:.1f}" y="{top + 12}">{show(cell.median)}</text>',
            ]
            top += BAR + GAP
        top += 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>\n"])
