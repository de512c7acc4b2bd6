"""A self-contained SVG of curves through labelled points: no library, no script, no font of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 980, 452
PANEL_WIDTH, PANEL_HEIGHT = 370, 280
LEFT, TOP, BETWEEN = 82, 104, 120
INK, FAINT, GRID, LINE = "#1f2933", "#616e7c", "#e4e7eb", "#0b69a3"
ROOM, LABEL_ROOM = 0.08, 0.25  # around the values, and where labels need it
DOT_RADIUS, CLOSE = 5, 9.0  # px; points closer than CLOSE share one dot and label


@dataclass(frozen=True)
class Panel:
    """One curve: its points in the data's units, a label for each, and what the axes show."""

    title: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]


@dataclass(frozen=True)
class _Axis:
    """Ticks over a range of data, and where a value lies between two pixels."""

    ticks: list[float]
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def words(self, value: float) -> str:
        step = self.ticks[1] - self.ticks[0]
        return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def draw(title: str, note: str, panels: Sequence[Panel]) -> str:
    """The text of an SVG file with the panels side by side."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(28, 36, title, 19, INK, weight=600),
        _text(28, 58, note, 13, FAINT),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (PANEL_WIDTH + BETWEEN))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float) -> list[str]:
    bottom = TOP + PANEL_HEIGHT
    across = _axis([x for x, _ in panel.points], left, left + PANEL_WIDTH, most=5, beyond=LABEL_ROOM)
    up = _axis([y for _, y in panel.points], bottom, TOP, most=6)
    parts = [_text(left, TOP - 16, panel.title, 15, INK, weight=600)]
    for tick in up.ticks:
        y = up.place(tick)
        parts.append(f'<path d="M{left:.1f} {y:.1f}h{PANEL_WIDTH}" stroke="{GRID}"/>')
        parts.append(_text(left - 10, y + 4, up.words(tick), 12, FAINT, anchor="end"))
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="{FAINT}"/>')
        parts.append(_text(x, bottom + 21, across.words(tick), 12, FAINT, anchor="middle"))
    parts.append(f'<path d="M{left:.1f} {bottom}h{PANEL_WIDTH}" stroke="{FAINT}"/>')
    parts.append(_text(left + PANEL_WIDTH / 2, bottom + 46, panel.across, 13, INK, anchor="middle"))
    middle = TOP + PANEL_HEIGHT / 2
    parts.append(_text(left - 62, middle, panel.up, 13, INK, anchor="middle", turn=True))

    dots = [(across.place(x), up.place(y)) for x, y in panel.points]
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    parts.append(f'<polyline points="{way}" fill="none" stroke="{LINE}" stroke-width="2" stroke-linejoin="round"/>')
    for x, y, label in _merged(dots, panel.labels):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT_RADIUS}" fill="{LINE}" stroke="#ffffff"/>')
        parts.append(_text(x + 9, y - 7, label, 12, INK))
    return parts


def _merged(dots: list[tuple[float, float]], labels: Sequence[str]) -> list[tuple[float, float, str]]:
    """Dots that would cover each other as one, with all their labels."""
    groups: list[tuple[float, float, list[str]]] = []
    for (x, y), label in zip(dots, labels, strict=True):
        if groups and math.hypot(groups[-1][0] - x, groups[-1][1] - y) < CLOSE:
            groups[-1][2].append(label)
        else:
            groups.append((x, y, [label]))
    return [(x, y, ", ".join(names)) for x, y, names in groups]


def _axis(values: Sequence[float], start: float, end: float, most: int, beyond: float = ROOM) -> _Axis:
    """About ``most`` steps of 1, 2 or 5 times a power of ten, with room around the values as shares of their range."""
    low, high = min(values), max(values)
    reach = high - low or 0.1 * max(abs(high), 1.0)
    low, high = low - ROOM * reach, high + beyond * reach
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * size for size in (1, 2, 5, 10) if (high - low) / (power * size) <= most)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    ticks = [low + k * step for k in range(round((high - low) / step) + 1)]
    return _Axis(ticks, low, high, start, end)


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    fill: str,
    *,
    anchor: str = "start",
    weight: int = 400,
    turn: bool = False,
) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}"{turned}>{escape(words)}</text>'
    )
