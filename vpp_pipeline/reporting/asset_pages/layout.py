"""What the page of a table says about one day (or one opportunity) of it: a sentence, figures, a line, five rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

ROWS = 5


@dataclass(frozen=True)
class Line:
    """A curve through the table: ``value`` for each ``by``, in its order; without it all rows, highest first."""

    words: str  # what is drawn, with its unit
    value: pl.Expr
    by: str | None = None
    is_ranked: bool = False  # highest first instead of in the order of ``by``

    def of(self, frame: pl.DataFrame) -> list[float]:
        """The points; none where there are no rows."""
        value = self.value.cast(pl.Float64).alias("value")
        found = frame.group_by(self.by).agg(value).sort(self.by) if self.by else frame.select(value)
        if self.is_ranked or self.by is None:
            found = found.sort("value", descending=True)
        return [point for point in found["value"].to_list() if point is not None]


@dataclass(frozen=True)
class Page:
    """Declared once per table; :mod:`vpp_pipeline.defs.metadata` shows it."""

    says: str  # one sentence; {…} are the figures
    figures: Mapping[str, pl.Expr]  # name, which the unit ends -> one number (or word) of the table
    line: Line
    columns: Mapping[str, str]  # of the five rows: short heading, so that they fit into a cell -> column
    nothing: str = ""  # the sentence where the table may be empty and is
    first: str | None = None  # the five rows are those where this column is highest; else the table's first
    days: bool = field(default=False)  # one row a day: the line is drawn over the days before as well

    def measured(self, frame: pl.DataFrame) -> dict[str, Any]:
        """Every figure that the table has; one without a value (the mean of nothing) is left out."""
        found = frame.select(**self.figures).row(0, named=True)
        return {name: value for name, value in found.items() if value is not None}

    def sentence(self, frame: pl.DataFrame) -> str:
        """``says`` with its figures; ``nothing`` where there are no rows."""
        if frame.is_empty() and self.nothing:
            return self.nothing
        return self.says.format_map(_Known(self.measured(frame)))

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The five rows to show."""
        if self.first is not None:
            frame = frame.top_k(ROWS, by=self.first)
        return frame.head(ROWS).select(self.columns.values())


class _Unknown:
    """A figure without a value."""

    def __format__(self, how: str) -> str:
        return "–"


class _Known(dict[str, Any]):
    def __missing__(self, name: str) -> _Unknown:
        return _Unknown()


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


def pacific_hour(by: str) -> pl.Expr:
    """The Pacific hour, as 19:00, of the row where ``by`` is highest."""
    return pl.col("start_utc").sort_by(by).last().dt.convert_time_zone("America/Los_Angeles").dt.strftime("%H:%M")
