"""The frame of a chart: where values lie, and what its axes show. Colours are classes; the page's style gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vpp_pipeline.report.markup import Html, tag, text
from vpp_pipeline.report.words import number


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
