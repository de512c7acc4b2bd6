"""Bids around a change of the market's rules, from prices that are not generated."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.settings import RiskSettings, Settings

COLUMNS = ["start_utc", "node", "energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Prices of 25 March to 20 May 2026 as a file that does not call them synthetic."""
    days = [date(2026, 3, 25) + timedelta(days=k) for k in range(57)]
    rows = pl.concat([Synthetic().day(day) for day in days]).select(COLUMNS)
    rows.write_parquet(tmp_path / "prices.parquet")
    return tmp_path / "prices.parquet"


def inputs(day: date, file: Path, scenarios: int = 1) -> DayInputs:
    return DayInputs(day, Settings(risk=RiskSettings(scenarios=scenarios)), file, None, None)


def test_a_forecast_takes_the_days_since_the_change_alone(file: Path):
    after = inputs(date(2026, 5, 6), file)
    assert [day.isoformat() for day in after.history] == [f"2026-05-{day:02d}" for day in range(1, 6)]
    assert after.forecast["history_days"].unique().to_list() == [5]
    assert after.regime_note.startswith("2 days of another market regime than 2026-05-06 do not count")
    assert inputs(date(2026, 5, 8), file).regime_note == ""


def test_too_few_days_since_the_change_are_an_error_that_names_it(file: Path):
    with pytest.raises(InputError, match=r"since 2026-05-01.*imbalance reserves; 2 are left, where a forecast needs 3"):
        _ = inputs(date(2026, 5, 3), file).forecast


def test_scenarios_learn_from_errors_since_the_change_alone(file: Path):
    scenarios = inputs(date(2026, 5, 16), file, scenarios=20).price_scenarios
    assert min(scenarios["error_date"]) >= date(2026, 5, 4)
