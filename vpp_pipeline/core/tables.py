"""A day's tables by their warehouse names, and large tables set beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol, runtime_checkable

import polars as pl

from vpp_pipeline.core.errors import NoDataError

Day = Mapping[str, pl.DataFrame]  # warehouse table name -> that table's rows of one day
Tables = dict[str, pl.DataFrame]  # what a stage adds to it
SCHEDULE_BEFORE = "dispatch.schedule_before"  # `dispatch.schedule` of the day before, where there is one
#: tables of storage resources: cut from a pool before any deal, and once deals are struck
AGGREGATED = ("fleet.storage_classes", "fleet.storage_members", "fleet.baseline")
BOUND = ("dispatch.storage_resources", "dispatch.storage_shares", "dispatch.storage_limits", "dispatch.storage_plan")
#: `fleet.storage_classes` and `fleet.storage_members` of the last day before that has any
CLASSES_BEFORE, MEMBERS_BEFORE = "fleet.storage_classes_before", "fleet.storage_members_before"
PART_ROWS = 1_000_000  # of deals or payments that are worked on at a time
LLM_CALLS_BEFORE = "negotiation.llm_calls_before"  # `negotiation.llm_calls` of the last day before that has any


@runtime_checkable
class ReadsRows(Protocol):
    """A day in files, of whose tables some rows can be read without the others."""

    def rows_where(self, table: str, wanted: pl.Expr, columns: list[str] | None = None) -> pl.DataFrame:
        """The ``wanted`` rows; all columns, or those named."""
        ...


def rows_where(day: Day, table: str, wanted: pl.Expr, columns: list[str] | None = None) -> pl.DataFrame:
    """The ``wanted`` rows of a table; all columns, or those named. Of a day in files the others are not kept."""
    if isinstance(day, ReadsRows):
        return day.rows_where(table, wanted, columns)
    rows = day[table].lazy().filter(wanted)
    return (rows.select(columns) if columns else rows).collect()


def in_parts(rows: pl.LazyFrame, name: str, most: int = PART_ROWS) -> Iterator[pl.Expr]:
    """Conditions on column ``name``: each is of so many of its values, in order, as at most ``most`` rows have.

    A value with more rows comes alone.

    >>> rows = pl.LazyFrame({"x": ["a", "a", "b", "c", "c", "c"]})
    >>> [rows.filter(part).collect()["x"].to_list() for part in in_parts(rows, "x", most=3)]
    [['a', 'a', 'b'], ['c', 'c', 'c']]
    """
    counted = rows.group_by(name).len().sort(name).collect()
    values, first, held = counted[name], 0, 0
    for place, count in enumerate(counted["len"]):
        if place > first and held + count > most:
            yield pl.col(name).is_in(values[first:place].implode())
            first, held = place, 0
        held += count
    if len(values):
        yield pl.col(name).is_in(values[first:].implode())


def side_by_side(
    left: pl.DataFrame, right: pl.DataFrame, on: list[str], how: Literal["inner", "full"] = "inner"
) -> pl.DataFrame:
    """``left`` joined with ``right``, of which no other column has the same name.

    `validate` sorts tables by their key: where both hold the same keys in the same order, rows are set beside each
    other, which takes a tenth of a join's time and memory.
    """
    if left.select(on).equals(right.select(on)):
        return left.hstack(right.drop(on))
    return left.join(right, on=on, how=how, coalesce=True)


def with_missing(rows: pl.DataFrame, **values: str | None) -> pl.DataFrame:
    """``rows`` with these columns of text, each one value throughout a day that was published before there were any."""
    missing = {name: pl.lit(value, pl.String) for name, value in values.items() if name not in rows.columns}
    return rows.with_columns(**missing)


def optional_table(day: Day, table: str) -> pl.DataFrame | None:
    """The table; None for a day that was published before there was such a table."""
    try:
        return day[table]
    except (KeyError, NoDataError):
        return None
