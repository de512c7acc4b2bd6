"""Bootstrap intervals against cases that are known, and arms added up by hand."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.evaluation.backtest.bootstrap import block_bootstrap, by_arm, differences

FIRST = date(2024, 7, 1)


def test_days_that_are_all_alike_leave_no_doubt():
    found = block_bootstrap(np.full(28, 3.0))
    assert (found.mean, found.low, found.high) == (3.0, 3.0, 3.0)


def test_two_unlike_weeks_are_drawn_whole():
    """Draws are (0, 0), (0, 1), (1, 0) or (1, 1): a quarter each of means 0 and 1, so that 95 % reach from 0 to 1."""
    found = block_bootstrap(np.repeat([0.0, 1.0], 7))
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_one_week_says_nothing_about_the_next():
    found = block_bootstrap(np.arange(7.0))
    assert found.mean == 3.0
    assert np.isnan([found.low, found.high]).all()


def test_independent_days_give_the_textbook_interval():
    """Days drawn one by one: 1.96 standard errors to either side."""
    values = np.random.default_rng(1).normal(10.0, 4.0, size=400)
    found = block_bootstrap(values, block_days=1)
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)


def test_weeks_that_move_together_are_less_sure_than_their_days():
    weekly = np.repeat(np.random.default_rng(2).normal(size=30), 7)
    by_week, by_day = block_bootstrap(weekly), block_bootstrap(weekly, block_days=1)
    assert by_week.high - by_week.low > 2.0 * (by_day.high - by_day.low)


def test_a_short_last_week_counts_by_its_days():
    """One week of 0 and a single day of 8: the mean of all eight days is 1, not the mean of the two blocks."""
    assert block_bootstrap(np.array([0.0] * 7 + [8.0])).mean == 1.0


def rows(net: dict[str, list[float]]) -> pl.DataFrame:
    measures = {"surplus_usd": 1.0, "payments_usd": 2.0, "imbalance_usd": 0.5, "satisfaction": 5.0, "gini": 0.5}
    counts = {"dispatched": 3, "let_down": 0, "violations": 1, "feasible_80": 4, "met_80": 3, "feasible_100": 2}
    found = [
        {"market_date": FIRST + timedelta(days=k), "arm": arm, "net_usd": usd, "value_usd": usd + 1.0, "fleet_kw": 73.0}
        for arm, values in net.items()
        for k, usd in enumerate(values)
    ]
    rest = (
        measures
        | counts
        | {"met_100": 1, "fill_fraction": 0.9, "awarded_mwh": 1.0, "seconds": 2.0, "gap_fraction": 0.01}
        | {
            "energy_usd": 3.0,
            "reserve_usd": 1.0,
            "home_payments_usd": 0.5,
            "homes": 10,
            "prosumers": 13,
            "gap_usd": 0.1,
        }
    )
    return pl.DataFrame(found).with_columns(pl.lit(value).alias(name) for name, value in rest.items())


def test_arms_are_added_up_by_kilowatt_and_year():
    """(4 + 6) $ in 2 days are 5 $ a day, 1825 $ a year, 25 $ for each of 73 kW: half of the best arm's."""
    found = by_arm(rows({"ours": [4.0, 6.0], "best": [8.0, 12.0]}), "best").filter(arm="ours").row(0, named=True)
    assert found["net_usd_per_kw_year"] == pytest.approx(25.0)
    assert found["net_capture"] == pytest.approx(0.5)
    assert found["value_capture"] == pytest.approx(12.0 / 20.0)
    assert found["gross_usd"] == pytest.approx(14.0)  # 10 $ and twice 2 $ for owners
    assert found["owners_fraction"] == pytest.approx(4.0 / 14.0)
    assert found["reserve_fraction"] == pytest.approx(0.25)
    assert found["usd_per_home_year"] == pytest.approx(0.5 * 365 / 10)
    assert found["usd_per_business_year"] == pytest.approx(1.5 * 365 / 3)
    assert (found["success_80"], found["success_100"], found["violations"]) == (0.75, 0.5, 2)


def test_differences_are_taken_day_by_day():
    found = differences(rows({"ours": [4.0] * 14, "other": [1.0] * 7 + [5.0] * 7}), "net_usd", "ours")
    assert list(found) == ["other"]
    assert (found["other"].mean, found["other"].low, found["other"].high) == (1.0, -1.0, 3.0)
    unknown = rows({"ours": [4.0, math.nan, 4.0], "other": [1.0, 1.0, math.nan]})
    assert differences(unknown, "net_usd", "ours")["other"].mean == 3.0  # of the day that both have
