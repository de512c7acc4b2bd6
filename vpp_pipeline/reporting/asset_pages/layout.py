"""The page of a table for one day (or one opportunity): a sentence, figures, a curve, and five rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.display import percent, usd

ROWS = 5
SHARE = "0-1"  # the unit of a fraction
SMALL_USD = 0.01  # amounts below it, such as the cost of a question to a language model, have four digits


@dataclass(frozen=True)
class Line:
    """A curve through the table: ``value`` for each ``by``, in its order; without it all rows, highest first."""

    title: str  # of what is drawn
    value: pl.Expr
    unit: str  # as `amount` takes it
    by: str | None = None
    is_ranked: bool = False  # highest first instead of in the order of ``by``

    def points(self, frame: pl.DataFrame) -> list[float]:
        """The values along the curve; none where there are no rows."""
        value = self.value.cast(pl.Float64).alias("value")
        found = frame.group_by(self.by).agg(value).sort(self.by) if self.by else frame.select(value)
        if self.is_ranked or self.by is None:
            found = found.sort("value", descending=True)
        return [point for point in found["value"].to_list() if point is not None]

    def caption(self, points: Sequence[float]) -> str:
        """The title with the range of the points."""
        if not points:
            return f"{self.title}: no rows"
        bare = self.unit if self.unit == SHARE else "$" if self.unit.startswith("$") else ""
        return f"{self.title}: {amount(min(points), bare)} to {amount(max(points), self.unit)}"


@dataclass(frozen=True)
class Page:
    """Declared once per table; :mod:`vpp_pipeline.defs.metadata` shows it."""

    text: str  # one sentence; {…} are the figures, formatted as `Sentence` does
    figures: Mapping[str, pl.Expr]  # name, which the unit ends -> one number (or word) of the table
    line: Line
    columns: Mapping[str, str]  # of the five rows: short heading, so that they fit into a cell -> column
    empty: str = ""  # the sentence of a table without rows
    first: str | None = None  # the five rows are those where this column is highest; else the table's first
    is_daily: bool = False  # one row a day: the curve is drawn over the days before as well

    def values(self, frame: pl.DataFrame) -> dict[str, Any]:
        """Every figure that the table has; one without a value (the mean of no rows) is left out."""
        found = frame.select(**self.figures).row(0, named=True)
        return {name: value for name, value in found.items() if value is not None}

    def sentence(self, frame: pl.DataFrame, values: Mapping[str, Any] | None = None) -> str:
        """``text`` with its figures (``values`` where they are known); ``empty`` where there are no rows."""
        if frame.is_empty() and self.empty:
            return self.empty
        return Sentence().vformat(self.text, (), self.values(frame) if values is None else values)

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The five rows to show."""
        if self.first is not None:
            frame = frame.top_k(ROWS, by=self.first)
        return frame.head(ROWS).select(self.columns.values())


class Sentence(Formatter):
    """`str.format` with the formats `usd` and `percent`, and a dash for a figure without a value.

    >>> Sentence().format("{paid:usd} is {share:percent.2} of {all:usd.0}; {other:.1f}", paid=12.3, share=0.1, all=123)
    '$12.30 is 10.00% of $123; –'
    """

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The figure of that name, or None."""
        return kwargs.get(str(key))

    def format_field(self, value: Any, format_spec: str) -> str:
        """The text of one figure."""
        if value is None:
            return "–"
        kind, _, digits = format_spec.partition(".")
        if kind == "usd":
            return usd(value, int(digits or 2))
        if kind == "percent":
            return percent(value, int(digits or 1))
        return str(format(value, format_spec))


def amount(value: float, unit: str) -> str:
    """A value with its unit, at most four figures below 1,000; `$` and `$/…` are money, `0-1` is a share.

    >>> amount(12.3, "$/MWh"), amount(0.0012, "$"), amount(0.627, "0-1"), amount(1234.5, "kWh"), amount(3.0, "")
    ('$12.30/MWh', '$0.0012', '62.7%', '1,234 kWh', '3')
    """
    if unit.startswith("$"):
        return usd(value, 4 if 0 < abs(value) < SMALL_USD else 2) + unit.removeprefix("$")
    if unit == SHARE:
        return percent(value, 3 if abs(value) < 0.01 else 1)
    return (f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}") + (f" {unit}" if unit else "")


def total(column: str) -> pl.Expr:
    return pl.col(column).sum()


def mean(column: str) -> pl.Expr:
    return pl.col(column).mean()


def kinds(column: str) -> pl.Expr:
    """How many different values."""
    return pl.col(column).n_unique()


def where(condition: pl.Expr) -> pl.Expr:
    """How many rows."""
    return condition.sum()


def pacific_hour(by: str | pl.Expr) -> pl.Expr:
    """The Pacific hour, as 19:00, of the row where ``by`` is highest."""
    return pl.col("start_utc").sort_by(by).last().dt.convert_time_zone(str(PACIFIC)).dt.strftime("%H:%M")
