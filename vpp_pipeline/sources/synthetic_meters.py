"""Example meters of our own making: seeded, labelled synthetic, to try the layout with before yours are at hand."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.market.price_files import SYNTHETIC_MARK
from vpp_pipeline.sources.profiles import clear_sky, clearness, load_forecast

SEED = 20230815
BUSINESS_EVERY = 5  # one site in five
EV_EVERY = 2
CHARGING_CLOCK = np.array([*[0.6] * 6, 0.3, *[0.1] * 9, 0.3, 0.8, 1.4, 1.8, 2.0, 1.8, 1.4, 1.0])  # mostly evenings
REST_DAYS_CHARGE = 0.7  # of a working day's
CHARGED_KWH_PER_DAY = 9.0


def synthetic_meters(first: date, last: date, sites: int) -> pl.DataFrame:
    """Rows in the layout of docs/meters.md, ``first`` to ``last``, both whole; the same for the same arguments."""
    rng = np.random.default_rng(SEED)
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    tables = []
    for k in range(sites):
        kind = "business" if k % BUSINESS_EVERY == BUSINESS_EVERY - 1 else "home"
        solar_kw = round(float(rng.uniform(4, 12) if kind == "home" else rng.uniform(50, 200)), 1)
        mean_kw = round(float(rng.uniform(0.7, 1.8) if kind == "home" else rng.uniform(20, 80)), 2)
        tables += [_day(day, f"meter_{k + 1:03d}", kind, solar_kw, mean_kw, k % EV_EVERY == 0, rng) for day in days]
    return pl.concat(tables)


def _day(
    day: date, meter_id: str, kind: str, solar_kw: float, mean_kw: float, has_ev: bool, rng: np.random.Generator
) -> pl.DataFrame:
    hours = market_hours(day)
    count, clock = hours.height, hours["local_hour"].to_numpy()
    load = load_forecast(day).filter(pl.col("site_type") == kind).sort("start_utc")["load_per_mean"].to_numpy()
    charging = CHARGING_CLOCK[clock] / CHARGING_CLOCK.mean() * CHARGED_KWH_PER_DAY / 24.0
    charging = charging * (1.0 if day.weekday() < 5 else REST_DAYS_CHARGE) * rng.lognormal(0.0, 0.4, count)
    sun = clear_sky(day) * clearness(day) * np.clip(rng.normal(1.0, 0.05, count), 0.8, 1.2)
    return hours.select(
        start_utc=pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        meter_id=pl.lit(meter_id),
        site_type=pl.lit(kind),
        solar_size_kw=pl.lit(solar_kw),
        mean_load_kw=pl.lit(mean_kw),
        solar_kwh=pl.Series(np.round(solar_kw * sun, 3)),
        load_kwh=pl.Series(np.round(mean_kw * load * rng.lognormal(0.0, 0.15, count), 3)),
        charging_kwh=pl.Series(np.round(charging, 3)) if has_ev else pl.lit(None, pl.Float64),
    )


def write_meters(file: Path, first: date, last: date, sites: int) -> int:
    """Write them as CSV under the line that labels them; how many rows."""
    rows = synthetic_meters(first, last, sites)
    file.write_text(f"{SYNTHETIC_MARK}\n{rows.write_csv()}", encoding="utf-8")
    return rows.height
