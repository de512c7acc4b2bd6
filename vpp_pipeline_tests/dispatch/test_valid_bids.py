"""Bids that the market would not take are left out with their reason, and everything else goes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.bidding.bids import Stamp, form_bids, refusals
from vpp_pipeline.bidding.valid_bids import refusals_of, solve_valid_day
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.payments import payments_of
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.tables import charging_table, positions_table, schedule_table
from vpp_pipeline.schemas import ScenarioQuantities
from vpp_pipeline.settings import MarketRules, OptimiserSettings, Settings
from vpp_pipeline.verification.bids import bid_curves_are_valid_for_caiso, bids_meet_80_percent_of_required_capacity
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.dispatch.small_days import RULES, STARTS, deal, fleet, random_day, small_day

STAMP = Stamp("f", "0.1.0", 1, "run", datetime(2023, 8, 14, 15, tzinfo=UTC))


def tables_of(day: DayProblem, solution: DaySolution, rules: MarketRules) -> dict[str, pl.DataFrame]:
    """The day's tables from opportunities to bids, as the chain makes them."""
    names = day.opportunity_id.astype(str)
    first = day.covers.argmax(axis=1)
    opportunities = pl.DataFrame(
        {
            "opportunity_id": names,
            "product": [PRODUCTS[product] for product in day.product],
            "start_utc": [STARTS + timedelta(hours=int(hour)) for hour in first],
            "duration_hours": day.hours.astype(np.int32),
            "required_capacity_mw": day.required_mw,
            "forecast_price": day.price,
        }
    ).with_columns(market_date=pl.lit(day.market_date))
    agreements = pl.DataFrame(
        {
            "opportunity_id": names[day.agreement_opportunity],
            "prosumer_id": day.fleet.prosumer_id[day.agreement_prosumer].astype(str),
            "committed_capacity_kw": day.committed_kw,
            "reservation_price_usd_per_mwh": day.call_price / 2.0,
            "agreed_price_usd_per_mwh": day.call_price,
            "floor_price_usd_per_mwh": day.call_price,
            "cap_price_usd_per_mwh": day.call_price,
        }
    ).with_columns(
        market_date=pl.lit(day.market_date),
        holds_option=pl.lit(True),
        reference_price_usd_per_mwh=pl.lit(None, pl.Float64),
        share_fraction=pl.lit(None, pl.Float64),
        recharge_factor=pl.lit(0.0),
    )
    schedule, positions = schedule_table(day, solution), positions_table(day, solution)
    limits = {"max_discharge_kw": 1e6, "max_charge_kw": 1e6, "min_stored_kwh": 0.0}
    envelope = schedule.select("prosumer_id", "start_utc", **{name: pl.lit(value) for name, value in limits.items()})
    payments = payments_of(opportunities, agreements, schedule, positions, charging_table(day, solution), envelope)
    summary = opportunities.select("opportunity_id", status=pl.lit("agreed"), reason=pl.lit("deals"))
    members = pl.DataFrame({"prosumer_id": day.fleet.prosumer_id.astype(str)}).with_columns(availability_fraction=0.9)
    bids, segments = form_bids(opportunities, summary, agreements, positions, payments, members, rules, STAMP)
    return {
        "fleet.prosumers": members,
        "fleet.availability": envelope,
        "market.opportunities": opportunities,
        "dispatch.positions": positions,
        "dispatch.payments": payments,
        "dispatch.scenario_quantities": ScenarioQuantities.create_empty(),
        "bids.final_bids": bids,
        "bids.bid_segments": segments,
    }


def evening(spin_usd: float, agreed_usd: object) -> DayProblem:
    """Three full stores of 1 MWh; spin in the second hour, and energy at 80 $ in the fourth."""
    stores = fleet(3, 4, initial_stored_kwh=1000.0, max_stored_kwh=1000.0, max_discharge_kw=400.0)
    spin = deal("spin", [1], spin_usd, 1.0, kw=390.0, agreed=agreed_usd)
    return small_day(stores, [30.0] * 4, [spin, deal("energy", [3], 80.0, 1.0, kw=390.0, agreed=50.0)])


def test_a_reserve_bid_above_the_cap_is_no_bid_and_the_energy_is_sold():
    """Members ask 300 $ for what pays 340 $, more than the 250 $ that a bid for reserve may ask."""
    day = evening(340.0, 300.0)
    answer = solve_valid_day(day, RULES, OptimiserSettings())
    assert answer.is_bid.tolist() == [False, True]
    assert answer.refusals == {"spin_0": "its cost of $300.00/MW·h is above the market's cap of $250.00/MW·h"}
    assert "without 1 bid that the market would not take" in answer.method
    assert answer.objective_usd <= answer.bound_usd
    assert not answer.schedule.spin_kw.any()
    bids = tables_of(day, answer, RULES)["bids.final_bids"].sort("opportunity_id")
    assert bids["status"].to_list() == ["bid", "no_bid"]
    assert bids["reason"][1] == answer.refusals["spin_0"]


def test_the_average_decides_not_the_dearest_member():
    """240, 240 and 260 $ come to 246.67 $ at most: below the cap of 250 $, so the bid goes out, dear member and all."""
    answer = solve_valid_day(evening(340.0, [240.0, 240.0, 260.0]), RULES, OptimiserSettings())
    assert answer.is_bid.tolist() == [True, True]
    assert answer.refusals == {}


def test_a_cost_at_the_cap_is_valid_and_a_thousandth_of_a_cent_above_is_not():
    at_cap, above = evening(340.0, 250.0), evening(340.0, 250.00001)
    assert solve_valid_day(at_cap, RULES, OptimiserSettings()).is_bid.tolist() == [True, True]
    assert solve_valid_day(above, RULES, OptimiserSettings()).is_bid.tolist() == [False, True]


def test_a_cost_below_the_markets_floor_asks_the_floor():
    rules = MarketRules(energy_price_floor_usd_per_mwh=60.0)
    day = evening(20.0, 5.0)
    tables = tables_of(day, solve_valid_day(day, rules, OptimiserSettings()), rules)
    energy = tables["bids.final_bids"].row(by_predicate=pl.col("product") == "energy", named=True)
    assert energy["bid_price_usd_per_mwh"] == 60.0  # its delivery costs 50
    assert bid_curves_are_valid_for_caiso(tables, Settings(rules=rules)).passed


def test_charging_counts_as_a_cost():
    """40 $ of calls and 40 $ of charging for 0.4 MWh: 200 $ a MWh."""
    bid = {"opportunity_id": ["o"], "product": ["energy"], "quantity_mw": [0.4], "duration_hours": [1]}
    cost = {"called_usd": [40.0], "charging_cost_usd": [40.0], "delivered_mwh": [0.4]}
    assert refusals(pl.DataFrame(bid | cost), MarketRules(energy_price_cap_usd_per_mwh=200.0)) == {}
    words = "its cost of $200.00/MWh is above the market's cap of $199.00/MWh"
    assert refusals(pl.DataFrame(bid | cost), MarketRules(energy_price_cap_usd_per_mwh=199.0)) == {"o": words}


@tries(30)
@given(st.integers(0, 60), st.floats(5.0, 90.0), st.floats(0.5, 25.0), st.floats(-150.0, 60.0))
def test_whatever_the_limits_every_bid_left_is_valid(seed: int, energy_cap: float, reserve_cap: float, low: float):
    rules = MarketRules(
        energy_price_floor_usd_per_mwh=min(low, energy_cap),
        energy_price_cap_usd_per_mwh=energy_cap,
        reserve_price_cap_usd_per_mw_h=reserve_cap,
    )
    day = random_day(seed)
    answer = solve_valid_day(day, rules, OptimiserSettings(method="exact"))
    assert refusals_of(day, answer, rules) == {}
    names = day.opportunity_id.astype(str)
    assert not answer.is_bid[np.isin(names, list(answer.refusals))].any()
    tables, given_rules = tables_of(day, answer, rules), Settings(rules=rules)
    for check in (bid_curves_are_valid_for_caiso, bids_meet_80_percent_of_required_capacity):
        result = check(tables, given_rules)
        assert result.passed, result.description
    reasons = tables["bids.final_bids"].filter(pl.col("opportunity_id").is_in(list(answer.refusals)))
    assert set(reasons["reason"]) == set(answer.refusals.values())


def test_limits_that_refuse_some_bids_occur_in_these_days():
    rules = MarketRules(energy_price_cap_usd_per_mwh=40.0, reserve_price_cap_usd_per_mw_h=8.0)
    answers = [solve_valid_day(random_day(seed), rules, OptimiserSettings()) for seed in range(8)]
    assert sum(len(answer.refusals) for answer in answers) >= 5
    assert sum(int(answer.is_bid.sum()) for answer in answers) >= 5
