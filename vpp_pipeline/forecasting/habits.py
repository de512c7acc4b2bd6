"""What people do again: load and charging, as the mean of like hours of like days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import market_hours, rest_days
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.domain.forecast import ITS_ORIGINAL, REPEATED_HOUR
from vpp_pipeline.forecasting.metered import check_known

PAST_DAYS = 14


def like_hours(metered: pl.DataFrame, market_date: date, days: int = PAST_DAYS) -> Array:
    """What is expected in each hour (T,) of ``market_date``, in the meter's unit: load or charging, kW or kWh per hour.

    The mean of the same hour over the last ``days`` days that are alike: working days, or Saturdays, Sundays and
    holidays. An hour that no such day has (hour ending 3 after spring's clock change) takes the mean of all days, and
    hour ending 25 that of the hour it repeats.

    ``metered``: rows of :func:`~vpp_pipeline.forecasting.metered.as_metered` known when bids close; for most hours D-2
    is the youngest. Raises ``InputError`` for a later row, and for an hour that no day has: never a silent zero.
    """
    check_known(metered, market_date)
    recent = metered.filter(pl.col("market_date") >= market_date - timedelta(days=days + 1))
    dates = recent["market_date"].unique().sort().to_list()
    kind = pl.DataFrame({"market_date": dates, "is_rest": rest_days(dates)}, schema_overrides={"market_date": pl.Date})
    alike = recent.join(kind, on="market_date").filter(pl.col("is_rest") == bool(rest_days([market_date])[0]))
    value, like = pl.col("value").mean(), pl.col("hour_ending").replace(REPEATED_HOUR, ITS_ORIGINAL)
    hours = market_hours(market_date).with_columns(hour=like)
    for mean in (
        alike.group_by(hour="hour_ending").agg(alike=value),
        recent.group_by(hour="hour_ending").agg(any=value),
    ):
        hours = hours.join(mean, on="hour", how="left", maintain_order="left")
    expected: Array = hours.select(pl.coalesce("alike", "any")).to_series().cast(pl.Float64).to_numpy()
    if not np.isfinite(expected).all():
        missing = hours["hour_ending"].to_list()[int(np.flatnonzero(~np.isfinite(expected))[0])]
        raise NoDataError(
            f"no metered day before {market_date} has this hour",
            column="hour_ending",
            value=missing,
            remedy="Give whole days.",
        )
    return expected
