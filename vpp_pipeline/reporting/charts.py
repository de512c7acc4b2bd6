"""Charts of report and desk: what is drawn of the elements and axes of `svg.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.reporting.html import many, number
from vpp_pipeline.reporting.svg import (
    Frame,
    Scale,
    Series,
    dot,
    drawing,
    element,
    every_third_hour,
    label,
    rectangle,
    ticks,
    way,
)

NARROW, WIDE = 360.0, 520.0  # side by side in threes and in twos; on a phone both as wide as the screen
LOW, HIGH = 220.0, 270.0  # their heights
MOST_LABELS = 16  # below a chart of days
LABEL_PX, VALUE_PX = 26.0, 44.0  # height of a value above its dot, and width of a value


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
