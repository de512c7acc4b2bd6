"""The charts of the page: each from plain rows to one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vpp_pipeline.report.axes import Frame, drawing, every_third_hour, label, ticks
from vpp_pipeline.report.markup import Html, tag
from vpp_pipeline.report.words import many, number, percent

NARROW, WIDE = 360.0, 520.0  # side by side in threes and in twos; on a phone both as wide as the screen


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
