"""SVG without scripts: elements, scales, and axes, of which the charts of report and desk are drawn.

They take their colors from the page's style sheet, by class.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vpp_pipeline.reporting.html import number


@dataclass(frozen=True)
class Series:
    """One kind of bar in a stack: its name, the class of its color, a value per place."""

    name: str
    kind: str
    values: Sequence[float]


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
