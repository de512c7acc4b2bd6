"""Made-up prices for the forecasting tests: days of a known pattern, with noise that is the same in every run."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import market_hours, prices_published_utc

NODE = "TH_SP15_GEN-APND"


def day_of_prices(day: date, energy: object, spin: float = 2.0, source: str = "file") -> pl.DataFrame:
    """Rows of `market.prices`: ``energy`` is one number, one for each hour, or an expression of `hour_ending`."""
    hours = market_hours(day)
    column = energy if isinstance(energy, pl.Expr) else pl.lit(pl.Series(np.broadcast_to(energy, hours.height)))
    return hours.select(
        "market_date",
        "start_utc",
        "hour_ending",
        node=pl.lit(NODE),
        energy_usd_per_mwh=column.cast(pl.Float64),
        spin_usd_per_mw_h=pl.lit(spin),
        nonspin_usd_per_mw_h=pl.lit(spin / 2.0),
        source=pl.lit(source),
        published_utc=pl.lit(prices_published_utc(day)),
    )


@cache
def _patterned(day: date, seed: int) -> pl.DataFrame:
    clock = market_hours(day)["local_hour"].to_numpy()
    noise = np.random.default_rng([seed, day.toordinal()]).normal(0.0, 1.0, len(clock))
    shape = 40.0 - 25.0 * ((clock >= 10) & (clock < 15)) + 30.0 * ((clock >= 18) & (clock < 22))
    return day_of_prices(day, shape - 20.0 * (day.weekday() == 6) + noise)


def patterned(first: date, last: date, seed: int = 1) -> dict[date, pl.DataFrame]:
    """Days with a cheap noon and a dear evening; Sundays are 20 $/MWh cheaper; noise of 1 $/MWh."""
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    return {day: _patterned(day, seed) for day in days}


def before(days: dict[date, pl.DataFrame], market_date: date, count: int) -> pl.DataFrame:
    """Rows of those of the ``count`` days before that there are."""
    wanted = [market_date - timedelta(days=back) for back in range(count, 0, -1)]
    return pl.concat(days[day] for day in wanted if day in days)
