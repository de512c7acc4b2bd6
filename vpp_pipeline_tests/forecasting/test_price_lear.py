"""The linear forecast and the mean of both models: right by hand, the same each time, without look-ahead."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import METHOD as MEAN
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.price_boosted import LAG_DAYS
from vpp_pipeline.forecasting.price_boosted import METHOD as TREES
from vpp_pipeline.forecasting.price_lear import (
    LEARNS_DAYS,
    METHOD,
    HourlyLasso,
    LearPrices,
    day_features,
    hourly_lassos,
    learn_lear,
)
from vpp_pipeline.forecasting.price_models import LEARNERS, choose, learn_average, past_forecasts
from vpp_pipeline.schemas import PriceForecast
from vpp_pipeline.settings import ForecastSettings
from vpp_pipeline_tests.forecasting.price_history import before, day_of_prices, patterned

SUNDAY = date(2024, 7, 14)
FIRST = date(2024, 1, 1)
DAYS = patterned(SUNDAY - timedelta(days=240), SUNDAY + timedelta(days=1))


@pytest.fixture(scope="module")
def model() -> LearPrices:
    return learn_lear(SUNDAY, before(DAYS, SUNDAY, LEARNS_DAYS))


def energy(forecast: pl.DataFrame) -> np.ndarray:
    return forecast["energy_usd_per_mwh"].to_numpy()


def past(count: int) -> dict[date, pl.DataFrame]:
    wanted = [SUNDAY - timedelta(days=back) for back in range(count, 0, -1)]
    return {day: DAYS[day] for day in wanted if day in DAYS}


def test_a_lasso_by_hand():
    """Columns at right angles, of spread 1: at the penalty's step of least AIC the strong one alone is used.

    y = 3 + 2 a, plus 0.01 of a column that is left out: AIC is n log RSS + 2 per coefficient, and RSS of 8 rows falls
    from 32 to 8 · 0.01² with a; b explains nothing.
    """
    a, b = np.tile([1.0, -1.0], 4), np.tile([1.0, 1.0, -1.0, -1.0], 2)
    rest = np.repeat([1.0, -1.0], 4)
    coefficient, intercept = hourly_lassos(np.column_stack([a, b]), (3.0 + 2.0 * a + 0.01 * rest)[:, None], np.ones(8))
    np.testing.assert_allclose(coefficient[:, 0], [2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(intercept, [3.0])


def test_a_row_counts_by_its_weight():
    """Two rows of each of a column's values: the line goes through the weighted means, 0 and (1 · 4 + 3 · 8) / 4."""
    column = np.array([0.0, 0.0, 1.0, 1.0])[:, None]
    target = np.array([1.0, -1.0, 4.0, 8.0])[:, None]
    coefficient, intercept = hourly_lassos(column, target, np.array([1.0, 1.0, 1.0, 3.0]))
    np.testing.assert_allclose([coefficient[0, 0], intercept[0]], [7.0, 0.0], atol=1e-9)


def test_columns_that_never_change_or_say_the_same_are_no_obstacle():
    rng = np.random.default_rng(3)
    one = rng.normal(size=40)
    columns = np.column_stack([one, one, np.full(40, 7.0)])
    coefficient, intercept = hourly_lassos(columns, np.column_stack([5.0 * one, np.full(40, 2.0)]), np.ones(40))
    np.testing.assert_allclose(columns @ coefficient + intercept, np.column_stack([5.0 * one, np.full(40, 2.0)]))
    assert coefficient[2].tolist() == [0.0, 0.0]


def test_a_price_by_hand():
    """$30 + $10 · sinh(0.5 · 1 + 0.1), within the prices that were learnt from."""
    lasso = HourlyLasso(30.0, 10.0, -20.0, 40.0, np.array([[0.5, 9.0]]), np.array([0.1, 0.0]))
    assert lasso.expected(np.array([1.0])).tolist() == pytest.approx([30.0 + 10.0 * np.sinh(0.6), 40.0])


def test_features_by_hand():
    """Monday to Thursday at $10, $20, $40 and an unknown price: asinh((p - 20) / 5)."""
    days = [FIRST + timedelta(days=k) for k in range(4)]
    prices = np.tile(np.array([10.0, 20.0, 40.0, np.nan])[:, None], (1, 24))
    row = day_features(days, prices, 20.0, 5.0)[3]
    decayed = (40.0 + 0.6 * 20.0 + 0.36 * 10.0) / 1.96
    levels = np.array([40.0, decayed, 70.0 / 3.0]).repeat(24)
    np.testing.assert_allclose(row[:72], np.arcsinh((levels - 20.0) / 5.0))
    assert row[72:].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]  # Thursday, no rest; nor was Wednesday


def test_a_missing_day_has_the_prices_of_the_last_one_known():
    days = [FIRST + timedelta(days=k) for k in range(4)]
    prices = np.tile(np.array([10.0, 20.0, np.nan, np.nan])[:, None], (1, 24))
    assert np.sinh(day_features(days, prices, 0.0, 1.0)[3, 0]) == pytest.approx(20.0)
    assert np.isnan(day_features(days, prices, 0.0, 1.0)[0, :72]).all()  # nothing is known before the first


@given(st.integers(1, 44), st.floats(-100.0, 1000.0))
@settings(max_examples=25, deadline=None)
def test_a_days_features_do_not_change_with_its_own_prices_or_later_ones(place: int, level: float):
    days = [FIRST + timedelta(days=k) for k in range(45)]
    prices = np.random.default_rng(7).normal(50.0, 20.0, (45, 24))
    changed = prices.copy()
    changed[place:] = level
    first, second = (day_features(days, table, 40.0, 10.0) for table in (prices, changed))
    np.testing.assert_array_equal(second[: place + 1], first[: place + 1])
    assert place == 44 or not np.array_equal(second[place + 1], first[place + 1])


def test_it_learns_that_sundays_are_cheaper_which_the_mean_of_a_week_cannot(model: LearPrices):
    actual = energy(DAYS[SUNDAY])
    mine = model.forecast(SUNDAY, before(DAYS, SUNDAY, LAG_DAYS))
    weekly = forecast_prices(SUNDAY, before(DAYS, SUNDAY, 7))
    assert np.abs(energy(mine) - actual).mean() < 3.0 < 15.0 < np.abs(energy(weekly) - actual).mean()
    assert PriceForecast.is_valid(mine)
    assert mine["method"].unique().to_list() == [METHOD]
    assert mine["latest_input_utc"][0] <= bid_deadline_utc(SUNDAY)
    assert mine["history_days"][0] == model.days == 226  # 240 without the first two weeks
    assert mine["spin_usd_per_mw_h"].unique().to_list() == [2.0]  # prices that never change
    assert mine["nonspin_usd_per_mw_h"].unique().to_list() == [1.0]


@pytest.mark.parametrize("name", ["lear", "average"])
def test_the_same_history_gives_the_same_forecast_whatever_the_order_of_its_rows(name: str):
    learn, history = LEARNERS[name].learn, before(DAYS, SUNDAY, LEARNS_DAYS)
    lags = before(DAYS, SUNDAY, LAG_DAYS)
    first = learn(SUNDAY, history, None).forecast(SUNDAY, lags)
    shuffled = (rows.sample(fraction=1.0, shuffle=True, seed=3) for rows in (history, lags))
    assert learn(SUNDAY, next(shuffled), None).forecast(SUNDAY, next(shuffled)).equals(first)


def test_prices_that_are_not_known_are_refused(model: LearPrices):
    history, lags = before(DAYS, SUNDAY, LEARNS_DAYS), before(DAYS, SUNDAY, LAG_DAYS)
    for ahead in (0, 1):
        late = DAYS[SUNDAY + timedelta(days=ahead)]
        with pytest.raises(InputError, match="may not know"):
            learn_lear(SUNDAY, pl.concat([history, late]))
        with pytest.raises(InputError, match="may not know"):
            model.forecast(SUNDAY, pl.concat([lags, late.head(1)]))
    earlier = SUNDAY - timedelta(days=1)
    with pytest.raises(InputError, match="learnt from prices up to the day before"):
        model.forecast(earlier, before(DAYS, earlier, LAG_DAYS))


def test_a_short_history_is_not_learnt_from():
    with pytest.raises(InputError, match="176 days of prices to learn from before 2024-07-14, and 182 are needed"):
        learn_lear(SUNDAY, before(DAYS, SUNDAY, 190))


@pytest.mark.parametrize(("day", "labels"), [(date(2024, 11, 3), [1, 2, 25, 3]), (date(2025, 3, 9), [1, 2, 4, 5])])
def test_days_of_25_and_23_hours_have_theirs(model: LearPrices, day: date, labels: list[int]):
    days = patterned(day - timedelta(days=30), day)
    found = model.forecast(day, before(days, day, LAG_DAYS))
    assert found["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    assert found["hour_ending"].to_list()[:4] == labels
    assert 25 not in labels or energy(found)[1] == energy(found)[2]  # the hour that is repeated
    after = day + timedelta(days=1)  # the day of the clock change is now the youngest
    assert np.isfinite(energy(model.forecast(after, before(days, after, LAG_DAYS)))).all()


def test_gaps_in_the_history_are_no_zeros():
    gone = {SUNDAY - timedelta(days=back) for back in (1, 5, 60, 61, 100)}
    days = {day: rows for day, rows in DAYS.items() if day not in gone}
    model = learn_lear(SUNDAY, before(days, SUNDAY, LEARNS_DAYS))
    found = energy(model.forecast(SUNDAY, before(days, SUNDAY, LAG_DAYS)))
    assert np.abs(found - energy(DAYS[SUNDAY])).max() < 25.0
    assert model.days == 226 - len(gone)


def test_negative_prices_and_spikes_stay_within_what_has_been():
    """Noons at -$40 on every third day, and one evening at $1,900: nothing beyond both is forecast."""
    days = dict(DAYS)
    for k, day in enumerate(days):
        if k % 3 == 0:
            is_noon = pl.col("hour_ending").is_between(11, 15)
            price = pl.when(is_noon).then(-40.0).otherwise("energy_usd_per_mwh")
            days[day] = days[day].with_columns(energy_usd_per_mwh=price)
    last = SUNDAY - timedelta(days=1)
    spike = pl.when(pl.col("hour_ending") == 20).then(1900.0).otherwise("energy_usd_per_mwh")
    days[last] = days[last].with_columns(energy_usd_per_mwh=spike, spin_usd_per_mw_h=pl.lit(400.0))
    model = learn_lear(SUNDAY, before(days, SUNDAY, LEARNS_DAYS))
    found = model.forecast(SUNDAY, before(days, SUNDAY, LAG_DAYS))
    assert PriceForecast.is_valid(found)
    assert -41.0 < energy(found).min() < 10.0
    assert energy(found).max() <= 1900.0
    assert (found["nonspin_usd_per_mw_h"] <= found["spin_usd_per_mw_h"]).all()
    calm = np.delete(energy(found), 19)
    assert np.abs(calm).max() < 120.0  # one hour's spike is not the day's


def test_the_average_is_the_mean_of_both_of_every_price():
    history, lags = before(DAYS, SUNDAY, LEARNS_DAYS), before(DAYS, SUNDAY, LAG_DAYS)
    both = learn_average(SUNDAY, history)
    found = both.forecast(SUNDAY, lags)
    trees, lines = (member.forecast(SUNDAY, lags) for member in (both.boosted, both.lear))
    for column in ("energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h"):
        np.testing.assert_allclose(found[column], (trees[column] + lines[column]) / 2.0, atol=1e-4)
    assert found["method"][0] == f"mean of {TREES} and {METHOD}"
    assert PriceForecast.is_valid(found)


@pytest.mark.parametrize(
    ("price", "days", "method"),
    [
        ("lear", 240, METHOD),
        ("average", 240, f"mean of {TREES} and {METHOD}"),
        ("lear", 150, f"{TREES}, in place of LEAR: it needs 196 days of prices, and there are 150"),
        ("average", 150, f"{TREES}, in place of the average: it needs 196 days of prices, and there are 150"),
        ("average", 40, f"{MEAN}, in place of the model: it needs 104 days of prices, and there are 40"),
    ],
)
def test_with_too_few_days_trees_stand_in_and_with_fewer_the_mean(price: str, days: int, method: str):
    forecaster = choose(SUNDAY, ForecastSettings(price=price), "file", lambda count: past(min(count, days)))
    assert forecaster.method == method
    made = forecaster.forecast(SUNDAY, before(DAYS, SUNDAY, forecaster.reads_days))
    assert made["method"].unique().to_list() == [method]


def test_errors_for_scenarios_are_of_days_outside_the_fit():
    """Both members learn anew from the days before: the same as a model of that day."""
    both = learn_average(SUNDAY, before(DAYS, SUNDAY, LEARNS_DAYS))
    expect = past_forecasts(SUNDAY, both, past(LEARNS_DAYS), 14)
    first = SUNDAY - timedelta(days=14)
    fresh = learn_average(first, before(DAYS, first, LEARNS_DAYS)).forecast(first, before(DAYS, first, LAG_DAYS))
    made = expect(first)
    assert made is not None
    assert made.equals(fresh)
    assert choose(SUNDAY, ForecastSettings(price="average"), "file", past, 60).method.startswith(f"{TREES}, in place")


@pytest.mark.slow
def test_real_prices_are_missed_by_less_than_trees_miss_them(real_days: dict[date, pl.DataFrame]):
    """June 2024: the mean of both is nearer than trees; the half years set aside are in docs/forecasts.md."""
    first = date(2024, 6, 1)
    models = {name: LEARNERS[name].learn for name in ("model", "average")}
    known = {name: before(real_days, first, LEARNERS[name].learns_days) for name in models}
    missed = {}
    for name, learn in models.items():
        model = learn(first, known[name], None)
        errors = [
            np.abs(energy(model.forecast(day, before(real_days, day, LAG_DAYS))) - energy(real_days[day])).mean()
            for day in (first + timedelta(days=k) for k in range(30))
        ]
        missed[name] = np.mean(errors)
    assert missed["average"] < missed["model"]


@pytest.fixture(scope="module")
def real_days() -> dict[date, pl.DataFrame]:
    from vpp_pipeline.market.price_files import CaisoFile

    folder = Path(__file__).resolve().parents[2] / "../shared/data/caiso_prices"
    if not folder.exists():
        pytest.skip("the real prices are not part of the project (../shared/data)")
    source = CaisoFile(folder, "TH_SP15_GEN-APND")
    return source.days([date(2024, 6, 30) - timedelta(days=back) for back in range(530, -1, -1)])


def test_a_flat_history_is_forecast_flat():
    days = {FIRST + timedelta(days=k): day_of_prices(FIRST + timedelta(days=k), 30.0) for k in range(200)}
    day = FIRST + timedelta(days=200)
    found = learn_lear(day, before(days, day, LEARNS_DAYS)).forecast(day, before(days, day, LAG_DAYS))
    assert found["energy_usd_per_mwh"].unique().to_list() == [30.0]
