"""What a price model looks at: right by hand, and nothing of the day itself."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import holidays, rest_days
from vpp_pipeline.forecasting.price_boosted import day_table, decayed_mean, energy_features
from vpp_pipeline_tests.forecasting.price_history import day_of_prices

FIRST = date(2024, 1, 1)


def test_the_decayed_mean_weighs_each_day_by_six_tenths_of_the_next():
    prices = np.array([10.0, 20.0, 40.0, 999.0])[:, None]
    expected = [10.0, (20.0 + 0.6 * 10.0) / 1.6, (40.0 + 0.6 * 20.0 + 0.36 * 10.0) / 1.96]
    found = decayed_mean(prices)[:, 0]
    assert np.isnan(found[0])  # nothing is known before the first day
    np.testing.assert_allclose(found[1:], expected)


def test_days_that_are_missing_do_not_count():
    prices = np.array([10.0, np.nan, 40.0, 999.0])[:, None]
    assert decayed_mean(prices)[3, 0] == pytest.approx((40.0 + 0.36 * 10.0) / 1.36)


def test_a_day_of_23_hours_repeats_hour_2_and_one_of_25_leaves_out_its_repetition():
    spring = day_of_prices(date(2024, 3, 10), pl.col("hour_ending"))
    autumn = day_of_prices(date(2024, 11, 3), pl.col("hour_ending"))
    for rows, third in ((spring, 2.0), (autumn, 3.0)):
        days, prices = day_table(rows, rows["market_date"][0])
        assert prices.shape == (1, 24, 3)
        assert prices[0, :, 0].tolist() == [1.0, 2.0, third, *map(float, range(4, 25))]
        assert days == [rows["market_date"][0]]


def test_a_day_without_prices_is_a_row_without_numbers():
    rows = pl.concat([day_of_prices(date(2024, 1, 1), 1.0), day_of_prices(date(2024, 1, 3), 3.0)])
    days, prices = day_table(rows, date(2024, 1, 4))
    assert days == [FIRST + timedelta(days=k) for k in range(4)]
    assert np.isnan(prices[:, 0, 0]).tolist() == [False, True, False, True]


def test_holidays_are_those_of_the_market():
    assert sorted(holidays(2023)) == [
        date(2023, 1, 2),  # 1 January was a Sunday
        date(2023, 5, 29),
        date(2023, 7, 4),
        date(2023, 9, 4),
        date(2023, 11, 23),
        date(2023, 12, 25),
    ]
    assert rest_days([date(2024, 7, 4), date(2024, 7, 5), date(2024, 7, 6)]).tolist() == [True, False, True]


@given(st.integers(1, 44), st.floats(-100.0, 1000.0))
@settings(max_examples=25, deadline=None)
def test_a_days_features_do_not_change_with_its_own_prices_or_later_ones(place: int, level: float):
    days = [FIRST + timedelta(days=k) for k in range(45)]
    prices = np.random.default_rng(7).normal(50.0, 20.0, (45, 24, 3))
    features, centre = energy_features(days, prices)
    changed = prices.copy()
    changed[place:] = level
    others, other_centre = energy_features(days, changed)
    np.testing.assert_array_equal(others[: place + 1], features[: place + 1])
    np.testing.assert_array_equal(other_centre[: place + 1], centre[: place + 1])
    if place < 44:
        assert not np.array_equal(other_centre[place + 1], centre[place + 1])  # the day after does look at them
