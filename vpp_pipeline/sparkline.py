"""A line of numbers as a small SVG that fits into one cell of a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT, EDGE = 240, 40, 3
MOST_POINTS = 48
COLOUR = "#3b7dbd"  # read on white and on black


def sparkline(values: Sequence[float], title: str) -> str:
    """The text of an SVG: the line, the area down to zero, and a dot on the highest value.

    More than ``MOST_POINTS`` values are drawn as the means of neighbours.
    """
    points = thinned(values)
    low, high = min(0.0, *points), max(0.0, *points)
    reach = high - low or 1.0
    step = (WIDTH - 2 * EDGE) / max(len(points) - 1, 1)

    def up(value: float) -> str:
        return f"{EDGE + (high - value) / reach * (HEIGHT - 2 * EDGE):.0f}"

    across = [f"{EDGE + number * step:.0f}" for number in range(len(points))]
    way = "L".join(f"{x},{up(value)}" for x, value in zip(across, points, strict=True))
    peak = max(range(len(points)), key=points.__getitem__)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' role='img'>"
        f"<title>{escape(title)}</title><g fill='{COLOUR}'>"
        f"<path d='M{way}' fill='none' stroke='{COLOUR}' stroke-width='2'/>"
        f"<path d='M{across[0]},{up(0.0)}h{float(across[-1]) - EDGE:.0f}' stroke='{COLOUR}' opacity='.4'/>"
        f"<circle cx='{across[peak]}' cy='{up(points[peak])}' r='3'/></g></svg>"
    )


def thinned(values: Sequence[float]) -> list[float]:
    """At most ``MOST_POINTS`` values: the means of as many runs of neighbours, as long as each other or one apart."""
    count = len(values)
    if count <= MOST_POINTS:
        return [float(value) for value in values]
    edges = [number * count // MOST_POINTS for number in range(MOST_POINTS + 1)]
    return [sum(values[i:j]) / (j - i) for i, j in pairwise(edges)]
