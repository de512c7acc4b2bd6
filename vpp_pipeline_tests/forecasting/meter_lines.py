"""Small meter files for tests: two homes and a business whose every number can be told in advance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import market_hours

DAY = date(2024, 7, 17)  # a Wednesday; its bids close at 17:00Z of the 16th
FIRST = date(2024, 6, 17)


def lines(first: date = FIRST, last: date = DAY) -> pl.DataFrame:
    """Rows of docs/meters.md as text. Home b uses twice what home a does; EVs charge 2 kWh an hour, on rest days 1."""
    days = pl.concat(market_hours(first + timedelta(days=k)) for k in range((last - first).days + 1))
    clock = pl.col("local_hour")
    is_summer = pl.col("market_date").dt.month().is_between(6, 8)
    sun = (
        pl.when(clock.is_between(8, 15) | (is_summer & clock.is_between(7, 18)))
        .then(pl.lit(0.5) + 0.01 * clock)
        .otherwise(0.0)
    )
    meters = []
    for meter, site, size, mean in (("a", "home", 4.0, 1.0), ("b", "home", 8.0, 2.0), ("c", "business", 100.0, 50.0)):
        shape = 0.5 + clock / 24.0
        is_rest = pl.col("market_date").dt.weekday() > 5
        meters.append(
            days.select(
                start_utc=pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
                meter_id=pl.lit(meter),
                site_type=pl.lit(site),
                solar_size_kw=pl.lit(str(size)),
                mean_load_kw=pl.lit(str(mean)),
                solar_kwh=(size * sun).round(4).cast(pl.String),
                load_kwh=(mean * shape).round(4).cast(pl.String),
                charging_kwh=pl.when(is_rest).then(pl.lit("1.0")).otherwise(pl.lit("2.0")) if meter == "a" else None,
            ).with_columns(pl.col("charging_kwh").cast(pl.String))
        )
    jitter = pl.when(pl.col("start_utc").str.slice(11, 2) == "00").then(pl.lit("0.9")).otherwise("charging_kwh")
    table = pl.concat(meters)
    return table.with_columns(charging_kwh=pl.when(pl.col("charging_kwh").is_null()).then(None).otherwise(jitter))


def write(folder: Path, rows: pl.DataFrame, name: str = "meters.csv") -> Path:
    file = folder / name
    rows.write_csv(file)
    return file


def with_value(column: str, value: str | None, meter: str, start: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """One cell is another."""
    here = (pl.col("meter_id") == meter) & (pl.col("start_utc") == start)
    return lambda rows: rows.with_columns(
        pl.when(here).then(pl.lit(value, pl.String)).otherwise(pl.col(column)).alias(column)
    )


def without(meter: str, start: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """One row is missing."""
    return lambda rows: rows.filter(~((pl.col("meter_id") == meter) & (pl.col("start_utc") == start)))


def twice(meter: str, start: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """One row occurs twice."""
    return lambda rows: pl.concat([rows, rows.filter((pl.col("meter_id") == meter) & (pl.col("start_utc") == start))])
