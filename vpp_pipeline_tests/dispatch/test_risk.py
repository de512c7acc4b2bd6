"""Aversion to risk: by hand, against brute force, and the deterministic answer where there is nothing to fear."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.branch_and_bound import Limits, search
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.dispatch.scenarios import outcome_of, tilted_prices
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import SAMPLE, wanted_quantities
from vpp_pipeline.forecasting.price_scenarios import Scenarios, cvar
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, random_answer, random_day, small_day

SEEDS = range(12)
EXACT = OptimiserSettings(method="exact", gap_target_fraction=0.0)


def scenarios(day: DayProblem, price: Array, **given: Any) -> DayProblem:
    """The day with equally likely scenarios of prices (W, O), everyone there unless ``given`` says otherwise."""
    count = len(price)
    defaults: dict[str, Any] = {
        "probability": np.full(count, 1.0 / count),
        "price": price,
        "market_price": np.tile(day.market_price, (count, 1)),
        "delivered_fraction": np.ones(price.shape),
        "unpaid": np.zeros(price.shape),
        "shortfall_penalty_fraction": 0.25,
        "aversion": 0.5,
        "tail_fraction": 1.0 / 3.0,
    }
    return replace(day, scenarios=Scenarios(**(defaults | given)))


def random_scenarios(day: DayProblem, seed: int, aversion: float, count: int = 8) -> DayProblem:
    """Prices around those of the day, with the same mean, and members missing."""
    rng = np.random.default_rng(seed)
    price = day.price * (1.0 + 0.5 * rng.standard_normal((count, len(day.price))))
    market = day.market_price + 15.0 * rng.standard_normal((count, len(day.market_price)))
    return scenarios(
        day,
        price + day.price - price.mean(axis=0),
        market_price=market + day.market_price - market.mean(axis=0),
        delivered_fraction=rng.uniform(0.8, 1.0, price.shape),
        aversion=aversion,
    )


def two_hours() -> DayProblem:
    """0.1 MW of sun in an hour at 60 $/MWh expected, for 40 paid to owners, and in one at 50 for 40."""
    deals = [deal("energy", [hour], price, 0.1, kw=39.0, agreed=40.0) for hour, price in ((0, 60.0), (1, 50.0))]
    return small_day(fleet(3, 2, solar_kw=100.0), [60.0, 50.0], deals)


@pytest.mark.parametrize(
    ("aversion", "bids", "expected"),
    [
        (0.0, [True, True], 0.1 * 20 + 0.1 * 10),
        (0.5, [True, True], 0.5 * 3.0 + 0.5 * (0.1 * -10 + 0.1 * 10)),
        (0.6, [True, True], 0.4 * 3.0 + 0.6 * 0.0),
        (0.7, [False, True], 0.1 * 10),
        (1.0, [False, True], 0.1 * 10),
    ],
)
def test_the_worked_day_gives_up_the_bid_whose_worst_third_outweighs_what_it_brings(
    aversion: float, bids: list[bool], expected: float
):
    """The first price may be 90, 60 or 30, the second is sure. CVaR of the first alone: 30 - 40 = -10 $/MWh, so that it
    is worth (1 - λ) 20 - λ 10, which is nothing from λ = 2/3 on."""
    day = scenarios(two_hours(), np.array([[90.0, 50.0], [60.0, 50.0], [30.0, 50.0]]), aversion=aversion)
    answer = solve_day(day, RULES, EXACT)
    assert answer.is_bid.tolist() == bids
    assert answer.objective_usd == pytest.approx(expected)
    assert answer.bound_usd == pytest.approx(expected)


def test_prices_that_fall_together_are_feared_more_than_prices_that_do_not():
    """The same two spreads: together the worst third has both low, apart never."""
    day = replace(two_hours(), price=np.array([60.0, 60.0]))
    together = scenarios(day, np.array([[90.0, 90.0], [60.0, 60.0], [30.0, 30.0]]), aversion=0.8)
    apart = scenarios(day, np.array([[90.0, 30.0], [60.0, 60.0], [30.0, 90.0]]), aversion=0.8)
    assert solve_day(together, RULES, EXACT).is_bid.tolist() == [False, False]
    assert solve_day(apart, RULES, EXACT).is_bid.tolist() == [True, True]


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_without_aversion_the_answer_is_the_deterministic_one(seed: int):
    day = random_day(seed)
    plain, answer = random_answer(seed), solve_day(random_scenarios(day, seed, 0.0), RULES, OptimiserSettings())
    assert answer.objective_usd == plain.objective_usd
    assert answer.bound_usd == plain.bound_usd
    assert (answer.quantity_mw == plain.quantity_mw).all()
    assert (answer.schedule.stored_kwh == plain.schedule.stored_kwh).all()


@pytest.mark.parametrize("aversion", [0.4, 1.0])
@pytest.mark.parametrize("seed", seeds(SEEDS[:6]))
def test_one_scenario_like_the_forecast_gives_the_deterministic_answer(seed: int, aversion: float):
    day = random_day(seed)
    certain = scenarios(day, day.price[None, :], aversion=aversion, tail_fraction=0.1)
    answer, plain = solve_day(certain, RULES, EXACT), solve_day(day, RULES, EXACT)
    assert answer.objective_usd == pytest.approx(plain.objective_usd, rel=1e-9, abs=1e-9)
    assert answer.bound_usd == pytest.approx(plain.bound_usd, rel=1e-9, abs=1e-9)
    assert (answer.is_bid == plain.is_bid).all()


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_the_objective_is_what_the_schedule_earns_counted_scenario_by_scenario(seed: int):
    """Recomputed from powers and quantities, with a CVaR by sorting: nothing shared with the solver."""
    day = random_scenarios(random_day(seed), seed, 0.6)
    answer = solve_day(day, RULES, OptimiserSettings(method="exact"))
    outcome = outcome_of(day, answer)
    assert outcome.risk_adjusted_usd == pytest.approx(answer.objective_usd, rel=1e-6, abs=1e-6)
    assert outcome.cvar_usd <= outcome.scenario_usd.mean() + 1e-9


def earned(day: DayProblem, quantity_mw: Array) -> float:
    """Risk-adjusted profit of bare sun (no stores, one agreed price): straight from the definition."""
    assert day.scenarios is not None
    s, agreed = day.scenarios, day.call_price[0]
    profit = (s.worth - agreed) @ quantity_mw
    expected = float((day.price - agreed) @ quantity_mw)
    return (1.0 - s.aversion) * expected + s.aversion * cvar(profit, s.probability, s.tail_fraction)


@pytest.mark.parametrize("aversion", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", seeds(range(4)))
def test_no_grid_of_quantities_beats_the_search(seed: int, aversion: float):
    """Four hours of sun, 7 scenarios with missing members, unlike probabilities: 9^4 combinations of quantities."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(40.0, 70.0, 4)
    price = mean + 30.0 * rng.standard_normal((7, 4))
    weight = rng.dirichlet(np.ones(7))
    deals = [deal("energy", [hour], mean[hour], 0.13, kw=45.0, agreed=40.0) for hour in range(4)]
    day = scenarios(
        small_day(fleet(3, 4, solar_kw=100.0), mean, deals),
        price,
        probability=weight,
        delivered_fraction=rng.uniform(0.7, 1.0, price.shape),
        unpaid=rng.uniform(0.0, 10.0, price.shape),
        aversion=aversion,
        tail_fraction=0.25,
    )
    levels = [0.0, *np.linspace(0.11, 0.13, 8)]  # 80 % of 0.13 is 0.104, in steps 0.11
    assert day.minimum_mw == pytest.approx(np.full(4, 0.11))
    best = max(earned(day, np.array(q)) for q in itertools.product(levels, repeat=4))
    found = search(day, formulate(day, binary=False), (0.0, np.zeros(4)), 0.0, Limits(5_000, 1e6))
    assert best - 1e-9 <= found.objective_usd <= best + 0.05
    assert found.bound_usd == pytest.approx(found.objective_usd, abs=1e-6)
    settled = solve_day(day, RULES, EXACT)
    assert earned(day, settled.quantity_mw) == pytest.approx(settled.objective_usd, abs=1e-6)


@pytest.mark.parametrize("seed", seeds(SEEDS[:4], often=2))
def test_more_aversion_never_brings_more_profit_nor_a_worse_tail(seed: int):
    day = random_day(seed)
    outcomes = []
    for aversion in (0.01, 0.3, 0.6, 0.99):
        risky = random_scenarios(day, seed, aversion)
        outcome = outcome_of(risky, solve_day(risky, RULES.model_copy(update={"quantity_step_mw": 1e-6}), EXACT))
        outcomes.append((outcome.expected_usd, outcome.cvar_usd))
    profit, tail = np.array(outcomes).T
    assert np.diff(profit).max() <= 1e-3
    assert np.diff(tail).min() >= -1e-3


@pytest.mark.parametrize("seed", seeds(SEEDS[:6]))
def test_no_weights_of_the_scenarios_make_the_day_worth_less_than_it_is(seed: int):
    """CVaR as the least mean over its risk envelope: prices tilted by any weights bound the risk-adjusted day from
    above, and those by the duals meet it."""
    aversion, day = 0.7, random_scenarios(random_day(seed), seed, 0.7)
    assert day.scenarios is not None
    linear, count = formulate(day, binary=False), len(day.price)
    linear.set_bids(np.zeros(count), day.may_bid.astype(float))
    linear.set_quantities(np.zeros(count), unlimited_mw(day))
    adjusted_usd = linear.solve("HIGHS")
    most = aversion * day.scenarios.probability / day.scenarios.tail_fraction

    def worth(weight: Array) -> float:
        price, market_price = tilted_prices(day, weight)
        tilted = formulate(replace(day, price=price, market_price=market_price, scenarios=None), binary=False)
        tilted.set_bids(np.zeros(count), day.may_bid.astype(float))
        tilted.set_quantities(np.zeros(count), unlimited_mw(day))
        return tilted.solve("HIGHS")

    duals = np.asarray(linear.tail[0].dual_value)
    assert duals.sum() == pytest.approx(aversion)
    assert (duals >= -1e-9).all()
    assert (duals <= most + 1e-9).all()
    assert worth(duals) == pytest.approx(adjusted_usd, rel=1e-6, abs=1e-6)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        share = 0.5 * rng.dirichlet(np.ones(len(most))) + 0.5 * duals / aversion  # within the envelope, or scaled to it
        weight = aversion * share
        if (weight <= most).all():
            assert worth(weight) >= adjusted_usd - 1e-6
    even = aversion * day.scenarios.probability
    assert worth(even) >= adjusted_usd - 1e-6


def test_the_formulation_stays_parametrised_convex():
    problem = formulate(random_scenarios(random_day(0), 0, 0.5), binary=True).problem
    assert problem.is_dcp(dpp=True)
    assert problem.is_mixed_integer()


def battery_day() -> DayProblem:
    """Three stores with 40 kWh each to sell in one of two hours: 60 $ first, 100 $ later."""
    stores = fleet(3, 2, initial_stored_kwh=40.0, max_discharge_kw=39.0, max_stored_kwh=40.0, capacity_kwh=40.0)
    deals = [deal("energy", [hour], price, 0.1, kw=39.0, agreed=30.0) for hour, price in ((0, 60.0), (1, 100.0))]
    return small_day(stores, [60.0, 100.0], deals)


def test_what_is_wanted_follows_the_scenarios_prices_and_never_exceeds_the_bid():
    """0.1 MW is bid in the second hour alone. Below 30 $, what owners are paid, nobody wants to sell."""
    day = scenarios(battery_day(), np.array([[60.0, 40.0], [60.0, 29.0], [90.0, 31.0]]), aversion=0.0)
    answer = solve_day(day, RULES, EXACT)
    assert answer.quantity_mw == pytest.approx([0.0, 0.1])
    wanted = wanted_quantities(day, answer)
    assert wanted == pytest.approx(np.array([[0.0, 0.1], [0.0, 0.1], [0.0, 0.0], [0.0, 0.1]]), abs=1e-9)


def test_a_later_hour_that_pays_more_is_the_cost_of_an_earlier_one():
    """Both hours are bid, 40 kWh + 40 kWh of each store; a scenario with sun for one of them only sells the dearer."""
    stores = fleet(3, 2, initial_stored_kwh=80.0, max_discharge_kw=39.0, max_stored_kwh=80.0, capacity_kwh=80.0)
    deals = [deal("energy", [hour], 60.0, 0.1, kw=39.0, agreed=30.0) for hour in (0, 1)]
    day = scenarios(small_day(stores, [60.0, 60.0], deals), np.array([[50.0, 70.0], [70.0, 50.0], [20.0, 70.0]]))
    answer = solve_day(day, RULES, EXACT)
    assert answer.quantity_mw == pytest.approx([0.1, 0.1])
    scarce = replace(day, fleet=replace(day.fleet, initial_stored_kwh=np.full(3, 40.0)))
    assert wanted_quantities(day, answer) == pytest.approx(np.array([[0.1] * 2] * 3 + [[0.0, 0.1]]), abs=1e-9)
    assert wanted_quantities(scarce, answer)[1:] == pytest.approx(
        np.array([[0.02, 0.1], [0.1, 0.02], [0.0, 0.1]]), abs=1e-9
    )


def test_a_large_fleet_is_represented_by_a_sample_of_it():
    """Twice as many prosumers as are looked at, all alike: the answer of the whole."""
    count = 2 * SAMPLE
    sun = fleet(count, 2, solar_kw=100.0)
    deals = [deal("energy", [hour], 60.0, 20.0, kw=39.0, agreed=40.0) for hour in (0, 1)]
    day = scenarios(small_day(sun, [60.0, 60.0], deals), np.array([[50.0, 30.0], [39.0, 41.0]]))
    answer = replace(random_answer(0), quantity_mw=np.array([20.0, 18.0]), is_bid=np.array([True, True]))
    assert wanted_quantities(day, answer) == pytest.approx(np.array([[20.0, 18.0], [20.0, 0.0], [0.0, 18.0]]))


def test_without_scenarios_there_is_nothing_to_report():
    day, answer = random_day(3), random_answer(3)
    with pytest.raises(ValueError, match=r"risk\.scenarios"):
        outcome_of(day, answer)
    assert wanted_quantities(day, answer).shape == (0, len(day.price))
