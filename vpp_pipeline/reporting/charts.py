"""Charts as SVG from plain rows: those of the report, a sparkline for a cell, and curves through labelled points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from vpp_pipeline.reporting.html import Html, many, number, percent, tag, text

NARROW, WIDE = 360.0, 520.0  # side by side in threes and in twos; on a phone both as wide as the screen
SPARKLINE_WIDTH, SPARKLINE_HEIGHT, EDGE = 240, 40, 3
MOST_POINTS = 48
COLOUR = "#3b7dbd"  # read on white and on black
PICTURE_WIDTH, PICTURE_HEIGHT = 980, 452
PANEL_WIDTH, PANEL_HEIGHT = 370, 280
LEFT, TOP, BETWEEN = 82, 104, 120
INK, FAINT, GRID, LINE = "#1f2933", "#616e7c", "#e4e7eb", "#0b69a3"
ROOM, LABEL_ROOM = 0.08, 0.25  # around the values, and where labels need it
DOT_RADIUS, CLOSE = 5, 9.0  # px; points closer than CLOSE share one dot and label


@dataclass(frozen=True)
class Series:
    """One kind of bar in a stack: its words, its colour's class, a value per place."""

    words: str
    kind: str
    values: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: what it counts, and the parts that it is made of."""

    words: str
    parts: Sequence[tuple[float, str, str]]  # value, class, words that appear on it
    told: str  # what stands at its end

    @property
    def total(self) -> float:
        """Length of the whole bar."""
        return sum(value for value, _, _ in self.parts)


@dataclass(frozen=True)
class PricedBid:
    """A bid in the hours from ``place`` on."""

    place: int
    hours: int
    mw: float
    price: float
    expected: float


def prices_chart(
    title: str,
    words: str,
    unit: str,
    labels: Sequence[str],
    forecast: Sequence[float],
    kind: str,
    bids: Sequence[PricedBid],
) -> Html:
    """Bars up to each bid's price, under the line of the forecast; a dot where a request offers another price."""
    values = [*forecast, *(bid.price for bid in bids), *(bid.expected for bid in bids), 0.0]
    frame = Frame(NARROW, 220.0, labels, ticks(min(values), max(values)))
    bars, dots = [], []
    for bid in bids:
        for place in range(bid.place, min(bid.place + bid.hours, len(labels))):
            told = f"{labels[place]}: {number(bid.mw)} MW from {number(bid.price)} $, expected {number(bid.expected)} $"
            bars.append(frame.bar(place, 0.0, bid.price, kind, told))
            if bid.hours == 1 and abs(bid.expected - forecast[place]) > 0.005:
                told = f"{labels[place]}: a request offers {number(bid.expected)} $"
                x, y = frame.x(place + 0.5), frame.y(bid.expected)
                dots.append(tag("circle", tag("title", told), class_="offered", cx=x, cy=y, r=4.5))
    line = frame.stairs(forecast, "forecast")
    return drawing(
        title, words, frame.width, frame.height, frame.grid(unit, every_third_hour(labels)), *bars, line, *dots
    )


def stacked_hours(
    title: str, words: str, unit: str, labels: Sequence[str], up: Sequence[Series], down: Sequence[Series]
) -> Html:
    """Bars hour by hour, what is sold or held above the line and what is charged below it."""
    sums = [[sum(series.values[place] for series in side) for place in range(len(labels))] for side in (up, down)]
    frame = Frame(WIDE, 270.0, labels, ticks(-max([*sums[1], 0.0]), max([*sums[0], 0.1])))
    bars = []
    for sign, side in ((1.0, up), (-1.0, down)):
        base = [0.0] * len(labels)
        for series in side:
            for place, value in enumerate(series.values):
                if value >= 0.0005:
                    told = f"{labels[place]}: {number(value, 3)} {unit} {series.words}"
                    end = base[place] + sign * value
                    bars.append(frame.bar(place, base[place], end, series.kind, told))
                    base[place] = end
    return drawing(title, words, frame.width, frame.height, frame.grid(unit, every_third_hour(labels)), *bars)


def stored_chart(
    title: str, words: str, labels: Sequence[str], stored: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> Html:
    """Stored energy as a line between what owners keep and what stores may hold."""
    frame = Frame(WIDE, 270.0, labels, ticks(0.0, max([*high, 0.1])))
    ends = [frame.x(place + 1) for place in range(len(labels))]
    upper = "L".join(f"{x:.1f} {frame.y(value):.1f}" for x, value in zip(ends, high, strict=True))
    lower = "L".join(f"{x:.1f} {frame.y(value):.1f}" for x, value in reversed([*zip(ends, low, strict=True)]))
    way = "L".join(f"{x:.1f} {frame.y(value):.1f}" for x, value in zip(ends, stored, strict=True))
    dots = [
        tag(
            "circle",
            tag("title", f"end of the hour from {hour}: {number(value)} MWh"),
            class_="stored-dot",
            cx=x,
            cy=frame.y(value),
            r=3,
        )
        for hour, x, value in zip(labels, ends, stored, strict=True)
    ]
    band, line = tag("path", d=f"M{upper}L{lower}Z", class_="band"), tag("path", d=f"M{way}", class_="stored")
    grid = frame.grid("MWh", every_third_hour(labels))
    return drawing(title, words, frame.width, frame.height, band, grid, line, *dots)


def rounds_chart(
    title: str,
    words: str,
    unit: str,
    rounds: Sequence[int],
    asks: Sequence[float],
    offers: Sequence[float | None],
    deals: Sequence[int],
) -> Html:
    """Mean ask and mean offer of each round as two lines, with the deals that closed in it."""
    known = [value for value in (*asks, *offers) if value is not None]
    names = [f"round {number(each, 0)}" for each in rounds]
    frame = Frame(NARROW, 220.0, names, ticks(min([*known, 0.0]), max(known)), below=44.0, right=16.0)
    parts = [frame.grid(unit, ())]
    for place, (name, closed) in enumerate(zip(names, deals, strict=True)):
        parts.append(label(frame.x(place + 0.5), frame.height - 25.0, name, "middle", "strong"))
        parts.append(label(frame.x(place + 0.5), frame.height - 8.0, many(closed, "deal"), "middle"))
    for values, kind in ((asks, "ask"), (offers, "offer")):
        dots = [
            (frame.x(place + 0.5), frame.y(value), value) for place, value in enumerate(values) if value is not None
        ]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in dots)
        parts.append(tag("path", d=f"M{way or '0 0'}", class_=f"way {kind}"))
        for (x, y, value), other in zip(dots, asks if kind == "offer" else [*offers], strict=False):
            above = other is None or value >= other
            parts.append(
                tag("circle", tag("title", f"{kind} {number(value)} $"), class_=f"dot {kind}", cx=x, cy=y, r=4)
            )
            parts.append(label(x, y - 9.0 if above else y + 18.0, number(value), "middle", f"strong {kind}"))
    return drawing(title, words, frame.width, frame.height, *parts)


def bars_chart(title: str, words: str, bars: Sequence[Bar]) -> Html:
    """Bars side by side lying down, each under its own words."""
    row = min(max(250.0 / max(len(bars), 1), 38.0), 50.0)
    longest = max((bar.total for bar in bars), default=0.0) or 1.0
    height, room = row * len(bars) + 6.0, WIDE - 8.0
    parts = []
    for place, bar in enumerate(bars):
        y, x = 16.0 + place * row, 2.0
        parts.append(label(2.0, y, bar.words))
        parts.append(label(WIDE - 6.0, y, bar.told, "end", "strong"))
        parts.append(tag("rect", class_="track", x=2.0, y=y + 6.0, width=room, height=12.0, rx=2.0))
        for value, kind, told in bar.parts:
            width = room * value / longest
            if width > 0.0:
                parts.append(
                    tag("rect", tag("title", told), class_=kind, x=x, y=y + 6.0, width=max(width, 0.8), height=12.0)
                )
            x += width
    return drawing(title, words, WIDE, height, *parts)


def columns_chart(title: str, words: str, unit: str, labels: Sequence[str], stack: Sequence[Series]) -> Html:
    """A distribution: how many of each product lie in each class."""
    sums = [sum(series.values[place] for series in stack) for place in range(len(labels))]
    frame = Frame(WIDE, 270.0, labels, ticks(0.0, max([*sums, 1.0])))
    bars, base = [], [0.0] * len(labels)
    everything = sum(sums) or 1.0
    for series in stack:
        for place, value in enumerate(series.values):
            if value:
                told = f"{labels[place]}: {number(value, 0)} {series.words}, {percent(value / everything)} of all"
                bars.append(frame.bar(place, base[place], base[place] + value, series.kind, told, share=0.86))
                base[place] += value
    return drawing(title, words, frame.width, frame.height, frame.grid(unit, range(len(labels))), *bars)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that hold ``low`` and ``high``: about ``most`` steps of 1, 2 or 5 times a power of ten."""
    reach = high - low or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(reach / most))
    step = next(power * size for size in (1, 2, 5, 10) if reach / (power * size) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + reach if high == low else high) / step - 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


@dataclass(frozen=True)
class Frame:
    """A drawing of ``width`` x ``height`` with one place per label across and values from ticks[0] to ticks[-1] up."""

    width: float
    height: float
    labels: Sequence[str]
    ticks: Sequence[float]
    left: float = 46.0
    top: float = 26.0
    right: float = 8.0
    below: float = 28.0

    @property
    def bottom(self) -> float:
        """Where the plot ends."""
        return self.height - self.below

    @property
    def step(self) -> float:
        """Width of one place."""
        return (self.width - self.left - self.right) / max(len(self.labels), 1)

    def x(self, place: float) -> float:
        """Left edge of a place, counted from 0."""
        return self.left + place * self.step

    def y(self, value: float) -> float:
        """Height of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def grid(self, unit: str, shown: Iterable[int]) -> Html:
        """Lines and numbers at the side, the unit above them, and those labels below whose places are ``shown``."""
        digits = _digits(self.ticks)
        parts = [label(2.0, 11.0, unit)]
        for value in self.ticks:
            y = self.y(value)
            kind = "axis" if value == 0 else "grid"
            parts.append(tag("path", d=f"M{self.left:.0f} {y:.1f}H{self.width - self.right:.0f}", class_=kind))
            parts.append(label(self.left - 6.0, y + 4.0, number(value, digits), "end"))
        for place in shown:
            parts.append(
                label(self.x(place + 0.5), self.height - 9.0, self.labels[place].removesuffix(":00"), "middle")
            )
        return text(*parts)

    def bar(self, place: float, start: float, end: float, kind: str, words: str, share: float = 0.78) -> Html:
        """A bar from one value to another, with words that appear where a pointer rests on it."""
        top, low = min(self.y(start), self.y(end)), max(self.y(start), self.y(end))
        x, width = self.x(place) + self.step * (1 - share) / 2, self.step * share
        return tag("rect", tag("title", words), class_=kind, x=x, y=top, width=width, height=max(low - top, 0.6))

    def stairs(self, values: Sequence[float | None], kind: str) -> Html:
        """A line that is level over each place; broken where there is no value."""
        parts, is_open = [], False
        for place, value in enumerate(values):
            if value is None:
                is_open = False
                continue
            parts.append(f"{'L' if is_open else 'M'}{self.x(place):.1f} {self.y(value):.1f}H{self.x(place + 1):.1f}")
            is_open = True
        return tag("path", d="".join(parts) or "M0 0", class_=kind)


def drawing(title: str, words: str, width: float, height: float, *parts: str) -> Html:
    """An SVG that a screen reader announces by its title, which names it on the page, and describes by ``words``."""
    name = "-".join("".join(sign if sign.isalnum() else " " for sign in title.lower()).split())
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", words, id=f"{name}-words"),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-words",
    )


def label(x: float, y: float, words: str, anchor: str = "start", kind: str | None = None) -> Html:
    """Words in a drawing."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


def every_third_hour(labels: Sequence[str]) -> list[int]:
    """Places of the hours 0, 3, 6, … by their label ``HH:MM``, also on days of 23 and 25 hours."""
    return [place for place, words in enumerate(labels) if int(words[:2]) % 3 == 0]


def _digits(values: Sequence[float]) -> int:
    step = values[1] - values[0]
    return max(0, -math.floor(math.log10(step) + 1e-9))


def sparkline(values: Sequence[float], title: str) -> str:
    """The text of an SVG: the line, the area down to zero, and a dot on the highest value.

    More than ``MOST_POINTS`` values are drawn as the means of neighbours.
    """
    points = thinned(values)
    low, high = min(0.0, *points), max(0.0, *points)
    reach = high - low or 1.0
    step = (SPARKLINE_WIDTH - 2 * EDGE) / max(len(points) - 1, 1)

    def up(value: float) -> str:
        return f"{EDGE + (high - value) / reach * (SPARKLINE_HEIGHT - 2 * EDGE):.0f}"

    across = [f"{EDGE + number * step:.0f}" for number in range(len(points))]
    way = "L".join(f"{x},{up(value)}" for x, value in zip(across, points, strict=True))
    peak = max(range(len(points)), key=points.__getitem__)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{SPARKLINE_WIDTH}' height='{SPARKLINE_HEIGHT}' role='img'>"
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
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PICTURE_WIDTH}" height="{PICTURE_HEIGHT}" '
        f'viewBox="0 0 {PICTURE_WIDTH} {PICTURE_HEIGHT}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{PICTURE_WIDTH}" height="{PICTURE_HEIGHT}" fill="#ffffff"/>',
        _text(28, 36, title, 19, INK, weight=600),
        _text(28, 58, note, 13, FAINT),
    ]
    for place, panel in enumerate(panels):
        parts += _panel(panel, LEFT + place * (PANEL_WIDTH + BETWEEN))
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
