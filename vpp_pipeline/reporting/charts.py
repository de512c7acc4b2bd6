"""Charts of report and desk as SVG without scripts: elements, scales, axes, bars, lines, and what is drawn with them.

They take their colors from the page's style sheet, by class.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.reporting.html import many, number

NARROW, WIDE = 360.0, 520.0  # side by side in threes and in twos; on a phone both as wide as the screen
LOW, HIGH = 220.0, 270.0  # their heights
MOST_LABELS = 16  # below a chart of days
LABEL_PX, VALUE_PX = 26.0, 44.0  # height of a value above its dot, and width of a value


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
class Offer:
    """MW that are offered at one price in one place; negative ones charge."""

    place: int
    mw: float
    kind: str
    tooltip: str


@dataclass(frozen=True)
class PricedBid:
    """A bid in the hours from ``place`` on."""

    place: int
    hours: int
    mw: float
    price: float
    expected: float


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

    def levels(self, values: Sequence[float | None], kind: str) -> ET.Element:
        """A level over each place that has a value, not joined to the next."""
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        parts = [f"M{pixels(self.x(k))} {pixels(self.y(value))}H{pixels(self.x(k + 1))}" for k, value in known]
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
    cleared: Sequence[float | None] = (),
) -> Markup:
    """Bars up to the bid price, under the line of the forecast; a dot where a request offers another price, and the
    clearing prices, once known, as a second line.

    Where several resources bid in one hour the bar reaches to the price nearest to zero, and a lighter one spans them.
    """
    known = [value for value in cleared if value is not None]
    values = [*forecast, *known, *(bid.price for bid in bids), *(bid.expected for bid in bids), 0.0]
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
    lines = [frame.steps(forecast, "forecast"), *([frame.steps(cleared, "cleared")] if known else [])]
    return frame.drawing(title, description, [*frame.axes(unit, every_third_hour(labels)), *bars, *lines, *dots])


def stack_chart(
    title: str,
    description: str,
    labels: Sequence[str],
    offers: Sequence[Offer],
    awarded: Sequence[float | None],
    before: Sequence[tuple[str, Sequence[float | None]]],
) -> Markup:
    """MW offered in each hour ending, the first offers of a place nearest to zero, under the MW ``awarded``, once
    settled, and lines of what was offered ``before`` (class, MW)."""
    ends: dict[tuple[int, bool], float] = {}
    spans = []
    for offer in offers:
        start = ends.get((offer.place, offer.mw < 0.0), 0.0)
        ends[offer.place, offer.mw < 0.0] = start + offer.mw
        spans.append((offer, start, start + offer.mw))
    drawn = [value for values in (awarded, *(values for _, values in before)) for value in values if value is not None]
    reach = [*ends.values(), *drawn, 0.0]
    frame = Frame(NARROW, LOW, labels, ticks(min(reach), max([*reach, 0.01])))
    bars = [frame.bar(offer.place, start, end, offer.kind, offer.tooltip) for offer, start, end in spans]
    hours = [place for place, hour in enumerate(labels) if int(hour) % 3 == 0]
    lines = [*(frame.steps(values, kind) for kind, values in before), frame.levels(awarded, "awarded")]
    return frame.drawing(title, description, [*frame.axes("MW, by hour ending", hours), *bars, *lines])


def days_chart(
    title: str, description: str, labels: Sequence[str], settled: Sequence[float], expected: Sequence[float | None]
) -> Markup:
    """A bar of settled $ for each day, with the level that was expected."""
    known = [*settled, *(value for value in expected if value is not None)]
    frame = Frame(WIDE, HIGH, labels, ticks(min([*known, 0.0]), max([*known, 0.01])))
    bars = [
        frame.bar(place, 0.0, value, "paid", f"day {day}: settled {usd(value)}")
        for place, (day, value) in enumerate(zip(labels, settled, strict=True))
    ]
    every = max(1, math.ceil(len(labels) / MOST_LABELS))
    axes = frame.axes("$", range(0, len(labels), every))
    return frame.drawing(title, description, [*axes, *bars, frame.levels(expected, "awarded")])


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
    """Mean ask and mean offer of each round as two lines, with the deals that closed in it.

    Values stand beside their dots, clear of the axes; of many rounds, those of the first and the last.
    """
    known = [value for value in (*asks, *offers) if value is not None]
    names = [number(each, 0) for each in rounds]
    frame = Frame(NARROW, LOW, names, ticks(min([*known, 0.0]), max(known)), below=44.0, right=16.0)
    while frame.y(max(known)) < frame.top + LABEL_PX:  # the highest value has its label above it
        frame = replace(frame, ticks=[*frame.ticks, 2 * frame.ticks[-1] - frame.ticks[-2]])
    parts, every = frame.axes(unit, ()), math.ceil(VALUE_PX / frame.step)
    for up, name, kind, texts in (
        (25.0, "round", "strong", names),
        (8.0, "deals", None, [f"{one:,}" for one in deals]),
    ):
        y, places = frame.height - up, range(0, len(texts), every)
        parts += [label(2.0, y, name), *(label(frame.x(k + 0.5), y, texts[k], "middle", kind) for k in places)]
    labeled = range(len(rounds)) if every == 1 else (0, len(rounds) - 1)
    for values, others, kind in ((asks, offers, "ask"), (offers, asks, "offer")):
        points = [(k, frame.x(k + 0.5), frame.y(value), value) for k, value in enumerate(values) if value is not None]
        parts.append(element("path", d=way((x, y) for _, x, y, _ in points), class_=f"way {kind}"))
        for place, x, y, value in points:
            parts.append(dot(x, y, 4.0, f"dot {kind}", f"{kind} {usd(value)}"))
            if place in labeled:
                at = _beside(frame, y, others[place], is_above=value >= (others[place] or 0.0))
                parts.append(label(x, at, usd(value), "middle", f"strong {kind}"))
    return frame.drawing(title, description, parts)


def _beside(frame: Frame, y: float, other: float | None, *, is_above: bool) -> float:
    """Where the label of a dot at ``y`` stands: on the side that is asked for, unless that one alone meets an axis or
    the dot of the ``other`` line."""

    def is_clear(baseline: float) -> bool:
        top, bottom = baseline - 11.0, baseline + 3.0
        lines = [frame.y(0.0), *([] if other is None else [frame.y(other)])]
        return frame.top <= top and bottom <= frame.y.start and not any(top <= line <= bottom for line in lines)

    above, below = y - 9.0, y + 18.0
    first, second = (above, below) if is_above else (below, above)
    return second if is_clear(second) and not is_clear(first) else first


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
