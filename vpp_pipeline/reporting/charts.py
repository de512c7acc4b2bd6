"""Charts as SVG without scripts: elements, scales, axes, bars, and lines, and every chart that is drawn with them.

Charts of the report take their colors from its style sheet, by class. Sparklines and pictures are images of their own
and carry theirs.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.reporting.html import many, number

NAMESPACE = "http://www.w3.org/2000/svg"  # of an SVG that is not part of a page
NARROW, WIDE = 360.0, 520.0  # side by side in threes and in twos; on a phone both as wide as the screen
LOW, HIGH = 220.0, 270.0  # their heights
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
class Series:
    """One kind of bar in a stack: its name, the class of its color, a value per place."""

    name: str
    kind: str
    values: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: its name, the parts that it is made of, and the text at its end."""

    name: str
    parts: Sequence[tuple[float, str, str]]  # value, class, tooltip
    end: str

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


@dataclass(frozen=True)
class Panel:
    """One curve of a picture: its points in the data's units, a label for each, and what the axes show."""

    title: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]


# Elements


def element(name: str, *children: ET.Element | str | None, **attributes: str | float | None) -> ET.Element:
    """An SVG element. ``class_`` is the attribute `class`, ``stroke_width`` is `stroke-width`; None is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    found = ET.Element(name, {key: value if isinstance(value, str) else pixels(value) for key, value in given.items()})
    for child in children:
        if isinstance(child, str):
            found.text = child
        elif child is not None:
            found.append(child)
    return found


def pixels(value: float, digits: int = 1) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.{digits}f}".removesuffix(".0")


def label(x: float, y: float, text: str, anchor: str | None = None, kind: str | None = None) -> ET.Element:
    """Text that begins at ``x``, or has its ``middle`` or ``end`` there."""
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def dot(x: float, y: float, radius: float, kind: str | None = None, tooltip: str | None = None) -> ET.Element:
    """A circle, with a text that appears where a pointer rests on it."""
    return element("circle", tooltip and element("title", tooltip), class_=kind, cx=x, cy=y, r=radius)


def rectangle(
    x: float, y: float, width: float, height: float, kind: str, tooltip: str | None = None, radius: float | None = None
) -> ET.Element:
    """A rectangle, with a text that appears where a pointer rests on it."""
    return element(
        "rect", tooltip and element("title", tooltip), class_=kind, x=x, y=y, width=width, height=height, rx=radius
    )


def way(points: Iterable[tuple[float, float]], digits: int = 1) -> str:
    """The path through points; through none, a path that draws nothing."""
    return "M" + ("L".join(f"{pixels(x, digits)},{pixels(y, digits)}" for x, y in points) or "0,0")


def svg(*parts: ET.Element, **attributes: str) -> str:
    """The text of a whole SVG."""
    return ET.tostring(element("svg", *parts, role="img", **attributes), encoding="unicode")


def drawing(title: str, description: str, width: float, height: float, parts: Iterable[ET.Element]) -> Markup:
    """An SVG that a screen reader announces by its title and description; the title is unique on the page."""
    name = "-".join("".join(sign if sign.isalnum() else " " for sign in title.lower()).split())
    return Markup(  # ElementTree has escaped every text in it
        svg(
            element("title", title, id=f"{name}-title"),
            element("desc", description, id=f"{name}-description"),
            *parts,
            viewBox=f"0 0 {width:g} {height:g}",
            aria_labelledby=f"{name}-title",
            aria_describedby=f"{name}-description",
        )
    )


# Scales and axes


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that hold ``low`` and ``high``: about ``most`` steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 87.3)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    reach = high - low or max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(reach / most))
    step = next(power * size for size in (1, 2, 5, 10) if reach / (power * size) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + reach if high == low else high) / step - 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Pixels from ``start`` to ``end`` for values from the first tick to the last."""

    ticks: Sequence[float]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def text(self, tick: float) -> str:
        """A tick with as many digits as the steps need."""
        return number(tick, max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9)))

    def grid(self, left: float, right: float) -> list[ET.Element]:
        """Of a scale upward: a line at each tick, and its value at the left side."""
        return [
            part
            for tick in self.ticks
            for part in (
                element(
                    "path",
                    d=f"M{pixels(left)} {pixels(self(tick))}H{pixels(right)}",
                    class_="grid" if tick else "axis",
                ),
                label(left - 6.0, self(tick) + 4.0, self.text(tick), "end"),
            )
        ]


@dataclass(frozen=True)
class Frame:
    """A chart of ``width`` x ``height`` with one place per label across and the values of ``ticks`` upward."""

    width: float
    height: float
    labels: Sequence[str]
    ticks: Sequence[float]
    left: float = 46.0
    top: float = 26.0
    right: float = 8.0
    below: float = 28.0

    @property
    def step(self) -> float:
        """Width of one place."""
        return (self.width - self.left - self.right) / max(len(self.labels), 1)

    @property
    def y(self) -> Scale:
        """Height of a value."""
        return Scale(self.ticks, self.height - self.below, self.top)

    def x(self, place: float) -> float:
        """Left edge of a place, counted from 0."""
        return self.left + place * self.step

    def axes(self, unit: str, labeled: Iterable[int]) -> list[ET.Element]:
        """Grid and values, the unit above them, and those labels below whose places are ``labeled``."""
        return [
            label(2.0, 11.0, unit),
            *self.y.grid(self.left, self.width - self.right),
            *(
                label(self.x(place + 0.5), self.height - 9.0, self.labels[place].removesuffix(":00"), "middle")
                for place in labeled
            ),
        ]

    def bar(self, place: float, start: float, end: float, kind: str, tooltip: str, share: float = 0.78) -> ET.Element:
        """A bar from one value to another, over a share of its place."""
        top, low = sorted((self.y(start), self.y(end)))
        x, width = self.x(place) + self.step * (1 - share) / 2, self.step * share
        return rectangle(x, top, width, max(low - top, 0.6), kind, tooltip)

    def between(self, low: Sequence[float], high: Sequence[float], kind: str) -> ET.Element:
        """The area from one value to the other, level over each place."""

        def edge(values: Sequence[float]) -> list[tuple[float, float]]:
            return [(self.x(k + side), self.y(value)) for k, value in enumerate(values) for side in (0, 1)]

        return element("path", d=f"{way([*edge(high), *reversed(edge(low))])}Z", class_=kind)

    def steps(self, values: Sequence[float | None], kind: str) -> ET.Element:
        """A line that is level over each place; broken where there is no value."""
        parts, is_open = [], False
        for place, value in enumerate(values):
            if value is not None:
                start = f"{'L' if is_open else 'M'}{pixels(self.x(place))} {pixels(self.y(value))}"
                parts.append(f"{start}H{pixels(self.x(place + 1))}")
            is_open = value is not None
        return element("path", d="".join(parts) or "M0 0", class_=kind)

    def stack(
        self, series: Sequence[Series], tooltip: Callable[[float, str], str], sign: float = 1.0, share: float = 0.78
    ) -> list[ET.Element]:
        """Bars of each place on top of each other, away from zero; ``tooltip`` takes a value and its series' name."""
        bars, base = [], [0.0] * len(self.labels)
        for each in series:
            for place, value in enumerate(each.values):
                if value >= 0.0005:
                    text = f"{self.labels[place]}: {tooltip(value, each.name)}"
                    end = base[place] + sign * value
                    bars.append(self.bar(place, base[place], end, each.kind, text, share))
                    base[place] = end
        return bars

    def drawing(self, title: str, description: str, parts: Iterable[ET.Element]) -> Markup:
        """The chart as an SVG of its size."""
        return drawing(title, description, self.width, self.height, parts)


def every_third_hour(labels: Sequence[str]) -> list[int]:
    """Places of the hours 0, 3, 6, … by their label ``HH:MM``, also on days of 23 and 25 hours."""
    return [place for place, label_ in enumerate(labels) if int(label_[:2]) % 3 == 0]


# Charts of the report


def prices_chart(
    title: str,
    description: str,
    unit: str,
    labels: Sequence[str],
    forecast: Sequence[float],
    kind: str,
    bids: Sequence[PricedBid],
) -> Markup:
    """Bars up to the bid price, under the line of the forecast; a dot where a request offers another price.

    Where several resources bid in one hour the bar reaches to the price nearest to zero, and a lighter one spans them.
    """
    values = [*forecast, *(bid.price for bid in bids), *(bid.expected for bid in bids), 0.0]
    frame = Frame(NARROW, LOW, labels, ticks(min(values), max(values)))
    bars, dots = [], []
    for place, hour in enumerate(labels):
        mine = [bid for bid in bids if bid.place <= place < bid.place + bid.hours]
        if mine:
            low, high = min(bid.price for bid in mine), max(bid.price for bid in mine)
            mw, prices = number(sum(bid.mw for bid in mine)), usd(low)
            if low < high:
                prices += f" to {usd(high)}"
                tooltip = f"{hour}: {many(len(mine), 'bid')}, {mw} MW at {prices}"
                bars.append(frame.bar(place, low, high, f"{kind} spread", tooltip))
            tooltip = f"{hour}: {mw} MW at {prices}, expected price {usd(mine[0].expected)}"
            bars.append(frame.bar(place, 0.0, min(max(0.0, low), high), kind, tooltip))
        for bid in mine:
            if bid.hours == 1 and abs(bid.expected - forecast[place]) > 0.005:
                tooltip = f"{hour}: a request offers {usd(bid.expected)}"
                dots.append(dot(frame.x(place + 0.5), frame.y(bid.expected), 4.5, "offered", tooltip))
    line = frame.steps(forecast, "forecast")
    return frame.drawing(title, description, [*frame.axes(unit, every_third_hour(labels)), *bars, line, *dots])


def stacked_hours(
    title: str, description: str, unit: str, labels: Sequence[str], up: Sequence[Series], down: Sequence[Series]
) -> Markup:
    """Bars hour by hour: sales and reserve above the line, charging below it."""
    frame = Frame(WIDE, HIGH, labels, ticks(-max([*_sums(down), 0.0]), max([*_sums(up), 0.1])))

    def tooltip(value: float, name: str) -> str:
        return f"{number(value, 3)} {unit} {name}"

    bars = [*frame.stack(up, tooltip), *frame.stack(down, tooltip, sign=-1.0)]
    return frame.drawing(title, description, [*frame.axes(unit, every_third_hour(labels)), *bars])


def columns_chart(title: str, description: str, unit: str, labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """A distribution: how many of each series lie in each class."""
    sums = _sums(series)
    frame = Frame(WIDE, HIGH, labels, ticks(0.0, max([*sums, 1.0])))

    def tooltip(value: float, name: str) -> str:
        return f"{number(value, 0)} {name}, {percent(value / sum(sums))} of all"

    bars = frame.stack(series, tooltip, share=0.86)
    return frame.drawing(title, description, [*frame.axes(unit, range(len(labels))), *bars])


def _sums(series: Sequence[Series]) -> list[float]:
    """Height of the stack in each place."""
    return [sum(values) for values in zip(*(each.values for each in series), strict=True)]


def energy_chart(
    title: str,
    description: str,
    labels: Sequence[str],
    stored: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    cleared: Sequence[float] | None = None,
) -> Markup:
    """State of charge at the end of each hour as a line between its limits; ``cleared``: as awarded, once settled."""
    frame = Frame(WIDE, HIGH, labels, ticks(0.0, max([*high, 0.001])))
    lower, line, upper, awarded = (
        [(frame.x(place + 1), frame.y(value)) for place, value in enumerate(values)]
        for values in (low, stored, high, cleared or ())
    )
    dots = [
        dot(x, y, 3.0, "stored-dot", f"end of the hour from {hour}: {number(value, 3)} MWh")
        for hour, (x, y), value in zip(labels, line, stored, strict=True)
    ]
    band = element("path", d=f"{way([*upper, *reversed(lower)])}Z", class_="band")
    curve = element("path", d=way(line), class_="stored")
    parts = [band, *frame.axes("MWh", every_third_hour(labels)), curve, *dots]
    if awarded:
        parts.append(element("path", d=way(awarded), class_="cleared"))
    return frame.drawing(title, description, parts)


def range_chart(
    title: str,
    description: str,
    labels: Sequence[str],
    ranges: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    energy: Sequence[float],
    reserves: Sequence[Series],
    cleared: Sequence[float | None],
) -> Markup:
    """MW of a storage resource by hour: ``ranges`` (class, low, high) of its curve, within them the planned award.

    ``energy``: net, negative where it charges. ``reserves`` stand on it. ``cleared``: net award, once settled.
    """
    bounds = [value for _, low, high in ranges for value in (*low, *high)]
    frame = Frame(WIDE, HIGH, labels, ticks(min([*bounds, 0.0]), max([*bounds, 0.001])))
    bars, top = [], [max(value, 0.0) for value in energy]
    for place, (hour, value) in enumerate(zip(labels, energy, strict=True)):
        if abs(value) >= 0.0005:
            tooltip = f"{hour}: {number(value, 3)} MW of energy"
            bars.append(frame.bar(place, 0.0, value, "energy" if value > 0.0 else "charge", tooltip, share=0.5))
        for each in reserves:
            if each.values[place] >= 0.0005:
                high, tooltip = (
                    top[place] + each.values[place],
                    f"{hour}: {number(each.values[place], 3)} MW {each.name}",
                )
                bars.append(frame.bar(place, top[place], high, each.kind, tooltip, share=0.5))
                top[place] = high
    areas = [frame.between(low, high, f"range {kind}") for kind, low, high in ranges]
    parts = [*areas, *frame.axes("MW", every_third_hour(labels)), *bars, frame.steps(cleared, "cleared")]
    return frame.drawing(title, description, parts)


def rounds_chart(
    title: str,
    description: str,
    unit: str,
    rounds: Sequence[int],
    asks: Sequence[float],
    offers: Sequence[float | None],
    deals: Sequence[int],
) -> Markup:
    """Mean ask and mean offer of each round as two lines, with the deals that closed in it."""
    known = [value for value in (*asks, *offers) if value is not None]
    names = [f"round {number(each, 0)}" for each in rounds]
    frame = Frame(NARROW, LOW, names, ticks(min([*known, 0.0]), max(known)), below=44.0, right=16.0)
    parts = frame.axes(unit, ())
    for place, (name, closed) in enumerate(zip(names, deals, strict=True)):
        parts.append(label(frame.x(place + 0.5), frame.height - 25.0, name, "middle", "strong"))
        parts.append(label(frame.x(place + 0.5), frame.height - 8.0, many(closed, "deal"), "middle"))
    for values, others, kind in ((asks, offers, "ask"), (offers, asks, "offer")):
        points = [
            (frame.x(place + 0.5), frame.y(value), value, other)
            for place, (value, other) in enumerate(zip(values, others, strict=True))
            if value is not None
        ]
        parts.append(element("path", d=way((x, y) for x, y, _, _ in points), class_=f"way {kind}"))
        for x, y, value, other in points:
            is_above = other is None or value >= other
            parts.append(dot(x, y, 4.0, f"dot {kind}", f"{kind} {usd(value)}"))
            parts.append(label(x, y - 9.0 if is_above else y + 18.0, usd(value), "middle", f"strong {kind}"))
    return frame.drawing(title, description, parts)


def bars_chart(title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Bars side by side lying down, each under its own name."""
    row = min(max(250.0 / max(len(bars), 1), 38.0), 50.0)
    length = WIDE - 8.0
    across = Scale((0.0, max((bar.total for bar in bars), default=0.0) or 1.0), 0.0, length)
    parts = []
    for place, bar in enumerate(bars):
        y, x = 16.0 + place * row, 2.0
        parts.append(label(2.0, y, bar.name))
        parts.append(label(WIDE - 6.0, y, bar.end, "end", "strong"))
        parts.append(rectangle(2.0, y + 6.0, length, 12.0, "track", radius=2.0))
        for value, kind, tooltip in bar.parts:
            if value > 0.0:
                parts.append(rectangle(x, y + 6.0, max(across(value), 0.8), 12.0, kind, tooltip))
            x += across(value)
    return drawing(title, description, WIDE, row * len(bars) + 6.0, parts)


# Images of their own


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
