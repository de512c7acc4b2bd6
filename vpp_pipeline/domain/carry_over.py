"""Stored energy from one market day to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl

from vpp_pipeline.domain.fleet import Fleet
from vpp_pipeline.schemas import Starts, door

TOLERANCE_KWH = 1e-4  # that of the schedule's verification


def starts_of(prosumers: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Starts`: what each prosumer begins the day with.

    ``before``: `dispatch.schedule` of the day before, whose last stored energy is carried over; None, or a prosumer
    that it does not hold: as `fleet.prosumers` says. A device that holds less than before begins full.

    Deals are struck from the stated start, so a carried start must be no lower: a schedule ends with at least the
    energy owed, and :func:`carries_less_than_stated` finds those whose stated start has risen since.
    """
    stated = prosumers.select("market_date", "prosumer_id", "capacity_kwh", stated="initial_stored_kwh")
    if before is None:
        day = pl.lit(None, pl.Date)
        return door(Starts, stated.with_columns(initial_stored_kwh=pl.col("stated"), carried_from=day))
    rows = stated.join(_ends(before), on="prosumer_id", how="left")
    kwh = pl.min_horizontal(pl.col("carried"), "capacity_kwh")
    begins = pl.when(pl.col("carried").is_null()).then("stated").otherwise(kwh)
    return door(Starts, rows.with_columns(initial_stored_kwh=begins))


def _ends(schedule: pl.DataFrame) -> pl.DataFrame:
    """What a day's schedule leaves in each store: prosumer_id, carried (kWh), carried_from."""
    return (
        schedule.sort("prosumer_id", "start_utc")
        .group_by("prosumer_id")
        .agg(carried=pl.col("stored_kwh").last(), carried_from=pl.col("market_date").last())
    )


def begin_with(fleet: Fleet, starts: pl.DataFrame) -> Fleet:
    """``fleet`` with the stored energy of ``starts`` at the day's beginning."""
    return replace(fleet, initial_stored_kwh=starts.sort("prosumer_id")["initial_stored_kwh"].to_numpy())


def owes_less_than_it_starts_with(prosumers: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """Who cannot carry over: prosumer_id, column_name, problem, remedy (see :func:`starts_of`)."""
    less = prosumers.filter(pl.col("terminal_stored_kwh") < pl.col("initial_stored_kwh") - TOLERANCE_KWH)
    return less.select(
        "prosumer_id",
        column_name=pl.lit("terminal_stored_kwh"),
        problem=pl.format(
            "with fleet.carry_over it would begin the day after {} with less than {} kWh",
            pl.lit(market_date.isoformat()),
            pl.col("initial_stored_kwh").round(2),
        ),
        remedy=pl.lit("Let terminal_stored_kwh be at least initial_stored_kwh"),
    )


def carries_less_than_stated(prosumers: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """Who begins the day with less than `fleet.prosumers` states: prosumer_id, column_name, problem, remedy.

    ``before``: as for :func:`starts_of`. It happens where the file, or a setting, states more than the day before.
    """
    nothing = pl.DataFrame(schema={"prosumer_id": pl.String, "carried": pl.Float64})
    rows = prosumers.join(nothing if before is None else _ends(before), on="prosumer_id")
    less = rows.filter(pl.col("carried") < pl.col("initial_stored_kwh") - TOLERANCE_KWH)
    return less.select(
        "prosumer_id",
        column_name=pl.lit("initial_stored_kwh"),
        problem=pl.format(
            "with fleet.carry_over it begins with {} kWh, less than the {} kWh that the fleet states",
            pl.col("carried").round(2),
            pl.col("initial_stored_kwh").round(2),
        ),
        remedy=pl.lit("State what is stored, or leave fleet.carry_over out for this day"),
    )
