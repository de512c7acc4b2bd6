"""Curves that rest on scenarios: a price for each MW from which most scenarios want it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.bidding.curves import bid_segments
from vpp_pipeline.settings import MarketRules
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.conftest import DAY

RULES = MarketRules()
Curve = list[tuple[float, float, float]]


def curve(
    wanted: list[tuple[float, float]],
    *,
    required_mw: float = 0.1,
    quantity_mw: float = 0.1,
    average_cost: float = 0.0,
    agreed: float = 30.0,
) -> Curve:
    """from, to and price; ``wanted``: price and MW of each scenario, the forecast first. Three equal members."""
    ids, kw = ["a", "b", "c"], 1000.0 * quantity_mw / 3.0
    key = {"opportunity_id": ["o"], "market_date": [DAY], "product": ["energy"]}
    paid = {"dispatched_kw": kw, "dispatched_kwh": kw, "call_price_usd_per_mwh": agreed, "charging_cost_usd": 0.0}
    return (
        bid_segments(
            pl.DataFrame(
                {"bid_id": ["b"], "quantity_mw": [quantity_mw], "required_capacity_mw": [required_mw]}
                | {"average_cost": [average_cost]}
                | key
            ),
            pl.DataFrame({"opportunity_id": "o", "prosumer_id": ids} | paid),
            RULES,
            pl.DataFrame(
                [("o", w, price, mw) for w, (price, mw) in enumerate(wanted)],
                schema=["opportunity_id", "scenario", "price_usd_per_mwh", "quantity_mw"],
                orient="row",
            ),
        )
        .select("from_mw", "to_mw", "price_usd_per_mwh")
        .rows()
    )


def in_two(price: float) -> Curve:
    """One price: the first segment ends at 80 % of R all the same."""
    return [(0.0, 0.08, price), (0.08, 0.1, price)]


def test_each_mw_is_priced_where_most_scenarios_begin_to_want_it():
    """At 40 $ nobody sells; from 55 all want 0.08, from 60 all of it."""
    wanted = [(62.0, 0.1), (40.0, 0.0), (50.0, 0.0), (55.0, 0.08), (58.0, 0.08), (60.0, 0.1), (80.0, 0.1)]
    assert curve(wanted) == [(0.0, 0.08, 55.0), (0.08, 0.1, 60.0)]


def test_a_lone_scenario_that_thinks_otherwise_is_outvoted():
    """One at 70 $ would rather sell later, one at 45 sells anyway: the price is still 55."""
    noes, ayes = (
        [(40.0, 0.0), (50.0, 0.0), (52.0, 0.0), (70.0, 0.0)],
        [(45.0, 0.1), (55.0, 0.1), (60.0, 0.1), (80.0, 0.1)],
    )
    assert curve([(62.0, 0.1), *noes, *ayes]) == in_two(55.0)


def test_no_mw_asks_more_than_the_forecast_at_which_it_was_decided():
    wanted = [(62.0, 0.1), (65.0, 0.0), (70.0, 0.0), (75.0, 0.0), (80.0, 0.1), (50.0, 0.0)]
    assert curve(wanted) == in_two(62.0)


def test_below_all_scenarios_the_merit_order_says_when_to_stop():
    wanted = [(62.0, 0.1), (50.0, 0.1), (70.0, 0.1)]
    assert curve(wanted, agreed=30.0) == in_two(30.0)
    assert curve(wanted, agreed=58.0) == in_two(50.0)  # at 50 $ the scenario's own fleet still wants it


def test_the_average_cost_is_the_least_price():
    wanted = [(62.0, 0.1), (40.0, 0.0), (50.0, 0.1), (55.0, 0.1)]
    assert curve(wanted, average_cost=57.123) == in_two(57.13)


@st.composite
def responses(draw: st.DrawFn) -> tuple[list[tuple[float, float]], float, float, float]:
    required = draw(st.integers(10, 300)) / 100
    quantity = draw(st.integers(-(-round(required * 100) * 8 // 10), round(required * 100))) / 100
    pairs = st.tuples(st.floats(-150, 900), st.floats(0, 1).map(lambda part: part * quantity))
    wanted = draw(st.lists(pairs, min_size=1, max_size=60))
    return [(draw(st.floats(10, 300)), quantity), *wanted], required, quantity, draw(st.floats(0, 300))


@given(responses())
@tries(150)
def test_every_curve_is_valid_for_the_market(case: tuple[list[tuple[float, float]], float, float, float]):
    wanted, required, quantity, average = case
    starts, ends, prices = zip(
        *curve(wanted, required_mw=required, quantity_mw=quantity, average_cost=average), strict=True
    )
    assert 1 <= len(ends) <= 10
    assert (starts[0], ends[-1]) == (0.0, pytest.approx(quantity))
    assert starts[1:] == ends[:-1]
    assert np.all(np.diff((0.0, *ends)) > 0)
    assert np.all(np.diff(prices) >= 0)
    assert ends[0] >= RULES.required_fraction * required - 1e-9
    assert average - 1e-9 <= prices[0]
    assert prices[-1] <= max(average, wanted[0][0]) + 0.01 + 1e-9
