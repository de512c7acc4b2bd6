"""The learning forecast on real prices, where they are at hand; all figures: `python benchmarks/bench_forecast.py`."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.price_boosted import LAG_DAYS, LEARNS_DAYS, learn_prices
from vpp_pipeline.market.price_files import CaisoFile
from vpp_pipeline_tests.forecasting.price_history import NODE, before

PRICES = Path(__file__).resolve().parents[2] / "../shared/data/caiso_prices"
FIRST, DAYS = date(2024, 7, 1), 31


@pytest.mark.slow
@pytest.mark.skipif(not PRICES.exists(), reason="the real prices are not part of the project (../shared/data)")
def test_it_misses_a_month_by_less_than_the_mean_of_the_week_does():
    source = CaisoFile(PRICES, NODE)
    known = {FIRST + timedelta(days=k): source.day(FIRST + timedelta(days=k)) for k in range(-LEARNS_DAYS, DAYS)}
    model = learn_prices(FIRST, before(known, FIRST, LEARNS_DAYS))
    missed: dict[str, list[float]] = {"model": [], "mean": []}
    for k in range(DAYS):
        day = FIRST + timedelta(days=k)
        actual = known[day]["energy_usd_per_mwh"].to_numpy()
        made: dict[str, pl.DataFrame] = {
            "model": model.forecast(day, before(known, day, LAG_DAYS)),
            "mean": forecast_prices(day, before(known, day, 7)),
        }
        for name, forecast in made.items():
            missed[name].append(float(np.abs(forecast["energy_usd_per_mwh"].to_numpy() - actual).mean()))
    assert np.mean(missed["model"]) < 0.85 * np.mean(missed["mean"])
