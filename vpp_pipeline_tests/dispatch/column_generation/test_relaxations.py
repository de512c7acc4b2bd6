"""The relaxation by columns is that of CVXPY's linear problem."""

from __future__ import annotations

import pytest

from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.column_generation.two_methods import (
    EVERY_SEED,
    SEEDS,
    assert_same_relaxation,
    of_size,
    without_negative_prices,
)
from vpp_pipeline_tests.dispatch.small_days import random_day
from vpp_pipeline_tests.dispatch.test_risk import random_scenarios


@pytest.mark.parametrize("seed", EVERY_SEED)
def test_the_relaxation_is_the_same_to_seven_digits(seed: int):
    assert_same_relaxation(without_negative_prices(random_day(seed)))


@pytest.mark.parametrize("aversion", [0.3, 1.0])
@pytest.mark.parametrize("seed", seeds(SEEDS[:10]))
def test_the_relaxation_under_risk_is_the_same_to_seven_digits(seed: int, aversion: float):
    assert_same_relaxation(without_negative_prices(random_scenarios(random_day(seed), seed, aversion)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("seed", seeds(SEEDS[:6]))
def test_prosumers_who_share_columns_give_the_same_relaxation(seed: int, groups: int):
    assert_same_relaxation(without_negative_prices(random_day(seed)), groups)


@pytest.mark.parametrize("seed", seeds(SEEDS[:20]))
def test_the_relaxation_of_devices_of_many_mwh_is_the_same_to_seven_digits(seed: int):
    assert_same_relaxation(of_size(without_negative_prices(random_day(seed)), 3_000.0))
