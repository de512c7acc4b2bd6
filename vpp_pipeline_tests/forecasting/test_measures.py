"""The measures of docs/forecasts.md, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.forecast_measures import EFFICIENCY, coverage, earned, pinball, plan


def prices(*energy: float, reserve: float = 0.0) -> np.ndarray:
    return np.column_stack([energy, np.full(len(energy), reserve), np.zeros(len(energy))])


def test_a_battery_buys_low_and_sells_high_and_loses_15_percent():
    power = plan(prices(10.0, 50.0, 50.0))[:, 0]
    # an hour of charging at 1 MW stores 0.922 MWh, of which 0.85 MWh come out again
    np.testing.assert_allclose([power[0], power[1:].sum()], [-1.0, 0.85], atol=1e-9)
    assert earned(prices(10.0, 50.0, 50.0), prices(10.0, 50.0, 50.0), False) == pytest.approx(0.85 * 50 - 10)


def test_a_wrong_forecast_earns_what_actual_prices_pay():
    assert earned(prices(10.0, 50.0), prices(50.0, 10.0), False) == pytest.approx(0.85 * 10 - 50)


def test_no_spread_beyond_the_losses_no_trade():
    np.testing.assert_allclose(plan(prices(45.0, 50.0)), 0.0, atol=1e-9)


def test_reserve_is_held_only_of_what_is_stored():
    found = plan(prices(10.0, 10.5, 10.5, 10.0, reserve=5.0))
    assert found[0, 1] == pytest.approx(0.0)  # empty at the start of the first hour
    assert found[:, 1].max() <= EFFICIENCY * 2.0
    assert earned(prices(10.0, 10.5, 10.5, 10.0, reserve=5.0), prices(10.0, 10.5, 10.5, 10.0, reserve=5.0), True) > 0.0


def test_pinball_and_coverage():
    actual = np.array([10.0, 20.0])
    assert pinball(actual, np.array([8.0, 24.0]), 0.5) == pytest.approx(0.5 * (2.0 + 4.0) / 2.0)
    assert pinball(actual, np.array([8.0, 24.0]), 0.9) == pytest.approx((0.9 * 2.0 + 0.1 * 4.0) / 2.0)
    assert coverage(actual, np.array([5.0, 21.0]), np.array([15.0, 30.0])) == 0.5
