"""Sparklines and pictures: SVG images of their own, which carry their colors."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vpp_pipeline.reporting.svg import Scale, dot, element, label, pixels, svg, ticks, way

NAMESPACE = "http://www.w3.org/2000/svg"  # of an SVG that is not part of a page
SPARKLINE_WIDTH, SPARKLINE_HEIGHT, EDGE = 240, 40, 3
MOST_POINTS = 48
COLOR = "#3b7dbd"  # of a sparkline: legible on white and on black
PICTURE_WIDTH, PICTURE_HEIGHT = 980, 452
PANEL_WIDTH, PANEL_HEIGHT = 370, 280
LEFT, TOP, BETWEEN = 82, 104, 120
MARGIN, LABEL_MARGIN = 0.08, 0.25  # around the values, and where labels need it, as shares of their range
DOT_RADIUS, CLOSE = 5.0, 9.0  # px; points closer than CLOSE share one dot and label
PICTURE_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #616e7c; }
text.title { font-size: 19px; font-weight: 600; fill: #1f2933; }
text.heading { font-size: 15px; font-weight: 600; fill: #1f2933; }
text.name { fill: #1f2933; }
path { fill: none; stroke: #616e7c; } path.grid { stroke: #e4e7eb; }
path.curve { stroke: #0b69a3; stroke-width: 2; stroke-linejoin: round; }
circle { fill: #0b69a3; stroke: #ffffff; }
"""


@dataclass(frozen=True)
class Panel:
    """One curve of a picture: its points in the data's units, a label for each, and what the axes show."""

    title: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]


def sparkline(values: Sequence[float], title: str) -> str:
    """The text of a small SVG: the line, the level of zero, and a dot on the highest value."""
    points = thinned(values)
    low, high = min(0.0, *points), max(0.0, *points)
    up = Scale((low, high if high > low else 1.0), SPARKLINE_HEIGHT - EDGE, EDGE)
    across = Scale((0.0, max(len(points) - 1, 1)), EDGE, SPARKLINE_WIDTH - EDGE)
    peak = max(range(len(points)), key=points.__getitem__)
    zero = [(across(0), up(0.0)), (across(len(points) - 1), up(0.0))]
    curve = [(across(place), up(value)) for place, value in enumerate(points)]
    return svg(
        element("title", title),
        element(
            "g",
            # whole pixels, because Dagster hides long texts behind a button
            element("path", d=way(curve, digits=0), fill="none", stroke_width="2"),
            element("path", d=way(zero, digits=0), opacity=".4"),
            dot(round(across(peak)), round(up(points[peak])), 2.5),
            fill=COLOR,
            stroke=COLOR,
        ),
        xmlns=NAMESPACE,
        width=str(SPARKLINE_WIDTH),
        height=str(SPARKLINE_HEIGHT),
    )


def thinned(values: Sequence[float]) -> list[float]:
    """At most ``MOST_POINTS`` values: the means of as many runs of neighbors, as long as each other or one apart."""
    count = len(values)
    if count <= MOST_POINTS:
        return [float(value) for value in values]
    edges = [place * count // MOST_POINTS for place in range(MOST_POINTS + 1)]
    return [sum(values[i:j]) / (j - i) for i, j in pairwise(edges)]


def draw(title: str, note: str, panels: Sequence[Panel]) -> str:
    """The text of an SVG file with the panels side by side."""
    parts = [
        part for place, panel in enumerate(panels) for part in _panel(panel, LEFT + place * (PANEL_WIDTH + BETWEEN))
    ]
    picture = svg(
        element("title", title),
        element("style", PICTURE_STYLE),
        element("rect", width=float(PICTURE_WIDTH), height=float(PICTURE_HEIGHT), fill="#ffffff"),
        label(28.0, 36.0, title, kind="title"),
        label(28.0, 58.0, note),
        *parts,
        xmlns=NAMESPACE,
        width=str(PICTURE_WIDTH),
        height=str(PICTURE_HEIGHT),
        viewBox=f"0 0 {PICTURE_WIDTH} {PICTURE_HEIGHT}",
    )
    return f"{picture}\n"


def _panel(panel: Panel, left: float) -> list[ET.Element]:
    right, bottom = left + PANEL_WIDTH, TOP + PANEL_HEIGHT
    across = Scale(_padded(panel.points, 0, most=5, beyond=LABEL_MARGIN), left, right)
    up = Scale(_padded(panel.points, 1, most=6, beyond=MARGIN), bottom, TOP)
    parts = [label(left, TOP - 16.0, panel.title, kind="heading"), *up.grid(left, right)]
    for tick in across.ticks:
        parts.append(element("path", d=f"M{pixels(across(tick))} {bottom}v5"))
        parts.append(label(across(tick), bottom + 21.0, across.text(tick), "middle"))
    parts.append(element("path", d=f"M{left} {bottom}H{right}"))
    parts.append(label((left + right) / 2, bottom + 46.0, panel.across, "middle", "name"))
    side = label(left - 62.0, (TOP + bottom) / 2, panel.up, "middle", "name")
    side.set("transform", f"rotate(-90 {side.get('x')} {side.get('y')})")
    dots = [(across(x), up(y)) for x, y in panel.points]
    parts += [side, element("path", d=way(dots), class_="curve")]
    for x, y, text in _merged(dots, panel.labels):
        parts += [dot(x, y, DOT_RADIUS), label(x + 9.0, y - 7.0, text, kind="name")]
    return parts


def _padded(points: Sequence[tuple[float, float]], axis: int, most: int, beyond: float) -> list[float]:
    """Ticks of one coordinate with margins around its values."""
    values = [point[axis] for point in points]
    low, high = min(values), max(values)
    reach = high - low or 0.1 * max(abs(high), 1.0)
    return ticks(low - MARGIN * reach, high + beyond * reach, most)


def _merged(dots: list[tuple[float, float]], labels: Sequence[str]) -> list[tuple[float, float, str]]:
    """Dots that would cover each other as one, with all their labels."""
    groups: list[tuple[float, float, list[str]]] = []
    for (x, y), name in zip(dots, labels, strict=True):
        if groups and math.hypot(groups[-1][0] - x, groups[-1][1] - y) < CLOSE:
            groups[-1][2].append(name)
        else:
            groups.append((x, y, [name]))
    return [(x, y, ", ".join(names)) for x, y, names in groups]
