"""Synthetic prices: reproducible, right on clock-change days, and like CAISO's where the product depends on it."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.synthetic_prices import EXAMPLE_NAME, Synthetic, energy_and_reserve, normals, write_example
from vpp_pipeline.schemas import Prices
from vpp_pipeline_tests.cases import seeds, tries

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"
CLOCK_CHANGES = {
    **dict.fromkeys([date(2023, 3, 12), date(2024, 3, 10), date(2025, 3, 9), date(2026, 3, 8)], 23),
    **dict.fromkeys([date(2023, 11, 5), date(2024, 11, 3), date(2025, 11, 2), date(2026, 11, 1)], 25),
}
DAYS = st.dates(date(2015, 1, 1), date(2040, 12, 31))
PINNED = [-0.0192875993456747, -0.007663487734730801, 1.0120355807784227]  # of seed 0 on 2023-08-15


def month(year: int, number: int, seed: int | None = None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    first = date(year, number, 1)
    days = [first + timedelta(days=k) for k in range(31) if (first + timedelta(days=k)).month == number]
    return [energy_and_reserve(day) if seed is None else energy_and_reserve(day, seed) for day in days]


@given(DAYS)
@tries(60)
def test_every_day_is_whole_ordered_and_valid(day: date) -> None:
    rows = Synthetic().day(day)
    assert Prices.is_valid(rows)
    assert rows["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    assert rows["start_utc"].is_sorted()
    assert rows["source"].unique().to_list() == ["synthetic"]
    assert (rows["nonspin_usd_per_mw_h"] > 0).all()
    assert (rows["spin_usd_per_mw_h"] >= rows["nonspin_usd_per_mw_h"]).all()
    assert rows["energy_usd_per_mwh"].is_between(-150, 2000).all()  # CAISO's floor and hard cap


@pytest.mark.parametrize(("day", "hours"), CLOCK_CHANGES.items())
def test_clock_change_days_have_23_or_25_hours(day: date, hours: int) -> None:
    rows = Synthetic().day(day)
    assert rows.height == hours
    assert rows["start_utc"].diff().drop_nulls().unique().to_list() == [timedelta(hours=1)]
    assert rows["energy_usd_per_mwh"].n_unique() == hours  # the repeated hour has a price of its own


def test_days_do_not_depend_on_the_order_of_calls() -> None:
    days = [date(2024, 2, 20) + timedelta(days=k) for k in range(15)]
    forwards = [Synthetic().day(day) for day in days]
    backwards = [Synthetic().day(day) for day in reversed(days)][::-1]
    assert all(a.equals(b) for a, b in zip(forwards, backwards, strict=True))


def test_another_process_makes_the_same_day() -> None:
    code = (
        "from datetime import date; from vpp_pipeline.market.synthetic_prices import Synthetic;"
        "print(Synthetic().day(date(2025, 6, 1))['energy_usd_per_mwh'].to_list())"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(Synthetic().day(date(2025, 6, 1))["energy_usd_per_mwh"].to_list())


def test_draws_are_pinned_to_the_bit_and_standard_normal() -> None:
    assert normals(0, date(2023, 8, 15), 3).tolist() == PINNED
    np.testing.assert_array_equal(normals(0, date(2023, 8, 15), 9)[:3], PINNED)
    many = normals(1, date(2023, 8, 15), 20_000)
    assert abs(many.mean()) < 0.03
    assert abs(many.std() - 1) < 0.02


def test_seeds_differ() -> None:
    day = date(2023, 8, 15)
    assert not Synthetic(seed=1).day(day).equals(Synthetic(seed=2).day(day))
    with pytest.raises(InputError):
        Synthetic(seed=-1)


def test_spring_has_negative_middays_and_no_negative_evenings() -> None:
    for year in (2023, 2024, 2026):
        for number in (4, 5):
            energy = np.array([prices[0] for prices in month(year, number)])
            assert (energy[:, 9:16] < 0).mean() > 0.05  # real ones: 0.36 to 0.995
            assert (energy[:, 19:22] < 0).mean() < 0.02


def test_reserve_is_scarce_on_some_summer_evenings_and_cheap_otherwise() -> None:
    spin = np.array([prices[1] for year in range(2021, 2027) for prices in month(year, 8)])
    scarce = spin.max(axis=1) > 50
    assert 0.1 < scarce.mean() < 0.6
    assert np.median(spin) < 3
    assert set(np.argmax(spin[scarce], axis=1)) <= {17, 18, 19, 20, 21}


def test_scarce_evenings_come_in_runs_and_levels_persist() -> None:
    days = [date(2021, 7, 1) + timedelta(days=k) for k in range(400)]
    prices = [energy_and_reserve(day) for day in days]
    night = np.array([energy[1] for energy, _, _ in prices])
    assert np.corrcoef(night[1:], night[:-1])[0, 1] > 0.4


def test_the_example_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    write_example(tmp_path / EXAMPLE_NAME)
    assert (tmp_path / EXAMPLE_NAME).read_bytes() == (ROOT / "data" / EXAMPLE_NAME).read_bytes()


def test_the_example_file_holds_exactly_the_generators_prices() -> None:
    prices = open_source(ROOT / "data" / EXAMPLE_NAME)
    for day in (date(2023, 7, 25), date(2023, 8, 15), date(2023, 8, 31)):
        made = Synthetic().day(day).with_columns(source=pl.lit("synthetic (file)"))
        assert prices.day(day).equals(made)


@pytest.mark.skipif(not DATA.exists(), reason="the real prices are not part of the project (../shared/data)")
def test_august_2023_resembles_the_real_one() -> None:
    """Tolerance: hour-of-day mean within 15 % (+3 $), deviation a third (+3 $), quartiles of the daily spread 30 %."""
    source = open_source(DATA / "caiso_prices", "TH_SP15_GEN-APND")
    days = [date(2023, 8, k) for k in range(1, 32)]
    real = np.array([source.day(day)["energy_usd_per_mwh"].to_numpy() for day in days])
    made = np.array([energy_and_reserve(day)[0] for day in days])
    np.testing.assert_allclose(made.mean(axis=0), real.mean(axis=0), rtol=0.15, atol=3)
    np.testing.assert_allclose(made.std(axis=0), real.std(axis=0), rtol=0.33, atol=3)
    quantiles = (0.25, 0.5, 0.75, 1.0)
    spreads = [np.quantile(np.ptp(prices, axis=1), quantiles) for prices in (made, real)]
    np.testing.assert_allclose(spreads[0], spreads[1], rtol=0.30)


@pytest.mark.skipif(not DATA.exists(), reason="the real prices are not part of the project (../shared/data)")
@pytest.mark.parametrize("seed", seeds([1, 2, 3]))
def test_any_seed_resembles_two_real_years(seed: int) -> None:
    """Tolerance over 2023-24: mean within 10 %, share of negative hours 4 points, median spin 50 %."""
    source = open_source(DATA / "caiso_prices", "TH_SP15_GEN-APND")
    days = [date(2023, 1, 12) + timedelta(days=5 * k) for k in range(144)]
    real = pl.concat([source.day(day) for day in days])
    made = [energy_and_reserve(day, seed) for day in days]
    energy, spin = np.concatenate([p[0] for p in made]), np.concatenate([p[1] for p in made])
    assert energy.mean() == pytest.approx(real["energy_usd_per_mwh"].mean(), rel=0.10)
    assert (energy < 0).mean() == pytest.approx((real["energy_usd_per_mwh"] < 0).mean(), abs=0.04)
    assert np.median(spin) == pytest.approx(real["spin_usd_per_mw_h"].median(), rel=0.5)
