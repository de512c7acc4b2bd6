"""Days small enough to solve by hand. Every number asserted here is derived in the test's docstring."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, small_day

CLOSE = {"abs": 1e-6}


def solved(day: DayProblem) -> DaySolution:
    return solve_day(day, RULES, OptimiserSettings(gap_target_fraction=0.0))


def test_three_batteries_buy_in_the_cheap_hour_and_sell_in_the_dear_one():
    """One-way efficiencies 0.8; 100 kWh stores that start and end at 50. 0.12 MW at 100 $/MWh are wanted in hour 1.

    Each sells 40 kW, which takes 40 / 0.8 = 50 kWh out of its store, so it must buy 50 / 0.8 = 62.5 kWh in hour 0, at
    20 $/MWh. Revenue 0.12 x 100 = 12.00; owners 0.12 x 30 = 3.60; charging 3 x 0.0625 x 20 = 3.75; profit 4.65.
    """
    batteries = fleet(
        3,
        2,
        charge_efficiency=0.8,
        discharge_efficiency=0.8,
        initial_stored_kwh=50,
        terminal_stored_kwh=50,
        max_stored_kwh=100,
        max_charge_kw=70,
        max_discharge_kw=50,
    )
    answer = solved(small_day(batteries, [20.0, 100.0], [deal("energy", [1], 100.0, 0.12, kw=45.0, agreed=30.0)]))
    assert answer.quantity_mw == pytest.approx([0.12])
    assert answer.schedule.discharge_kw == pytest.approx(np.array([[0.0, 40.0]] * 3), **CLOSE)
    assert answer.schedule.grid_charge_kw == pytest.approx(np.array([[62.5, 0.0]] * 3), **CLOSE)
    assert answer.schedule.stored_kwh == pytest.approx(np.array([[100.0, 50.0]] * 3), **CLOSE)
    assert answer.objective_usd == pytest.approx(4.65, **CLOSE)
    assert answer.bound_usd == pytest.approx(4.65, **CLOSE)
    assert answer.no_sale_charging_usd == pytest.approx(np.zeros(3), **CLOSE)


@pytest.mark.parametrize(
    ("call_hours", "bids_mw", "profit_usd"), [(1.0, 0.96, 5.76), (1.8, 0.53, 3.18), (2.0, 0.0, 0.0)]
)
def test_reserve_is_limited_by_the_energy_that_backs_it(call_hours: float, bids_mw: float, profit_usd: float):
    """1,000 kWh stores at 600, floor 200, discharge efficiency 0.8: 400 kWh back 400 x 0.8 / tau kW.

    tau 1 h: 320 kW each, 0.96 MW at 10 - 4 = 6 $: 5.76. tau 1.8 h: 177.8 kW each, 0.533 rounded down to 0.53 MW: 3.18.
    tau 2 h: 160 kW each, 0.48 MW, below the market's 0.5 MW: no bid. R is 0.96 MW at 1 h, then 0.6 MW.
    """
    batteries = fleet(
        3,
        1,
        discharge_efficiency=0.8,
        initial_stored_kwh=600,
        terminal_stored_kwh=600,
        min_stored_kwh=200,
        max_discharge_kw=450,
    )
    required_mw = 1.0 if call_hours == 1.0 else 0.6
    rules = RULES.model_copy(update={"reserve_call_hours": call_hours})
    day = small_day(batteries, [0.0], [deal("spin", [0], 10.0, required_mw, kw=390.0, agreed=4.0)], rules=rules)
    answer = solve_day(day, rules, OptimiserSettings())
    assert answer.quantity_mw == pytest.approx([bids_mw], abs=1e-9)
    assert answer.schedule.spin_kw.sum() == pytest.approx(1000.0 * bids_mw, **CLOSE)
    assert answer.objective_usd == pytest.approx(profit_usd, **CLOSE)
    assert answer.schedule.stored_kwh == pytest.approx(np.full((3, 1), 600.0), **CLOSE)


def test_an_ev_is_charged_in_its_cheapest_hours_whatever_is_sold():
    """20 kWh must be 45 at the end of hour 1: 25 / 0.9 = 27.78 kWh from the grid at 20 kW, hours at 50 and 20 $/MWh.

    20 kWh in hour 1 (0.40 $) and 7.78 kWh in hour 0 (0.3889 $): 0.7889 $ that no sale causes.
    """
    ev = fleet(
        1,
        3,
        charge_efficiency=0.9,
        initial_stored_kwh=20,
        terminal_stored_kwh=20,
        min_stored_kwh=[[0.0, 45.0, 0.0]],
        max_stored_kwh=60,
        max_charge_kw=[[20.0, 20.0, 0.0]],
        drive_kwh=[[0.0, 0.0, 10.0]],
    )
    nobody_answers = deal("energy", [2], 90.0, 0.1, kw=0.0, agreed=0.0)
    answer = solved(small_day(ev, [50.0, 20.0, 5.0], [nobody_answers]))
    assert answer.schedule.grid_charge_kw == pytest.approx(np.array([[7.0 / 0.9, 20.0, 0.0]]), **CLOSE)
    assert answer.schedule.stored_kwh == pytest.approx(np.array([[27.0, 45.0, 35.0]]), **CLOSE)
    assert answer.no_sale_charging_usd == pytest.approx([0.4 + 7.0 / 0.9 * 0.05], **CLOSE)
    assert answer.objective_usd == pytest.approx(-0.788889, **CLOSE)


@pytest.mark.parametrize(
    ("evening_usd", "sold_at_noon_mw", "sold_in_the_evening_mw", "profit_usd"),
    [(100.0, 0.0, 0.12, 10.8), (30.0, 0.15, 0.0, 3.0)],
)
def test_solar_is_stored_where_the_evening_pays_for_the_loss(
    evening_usd: float, sold_at_noon_mw: float, sold_in_the_evening_mw: float, profit_usd: float
):
    """50 kW of surplus in each of three homes at noon; owners ask 10 $/MWh; 0.8 of what is stored comes back.

    Sold at noon, a MWh earns 30 - 10 = 20. Stored, it earns 0.8 x (100 - 10) = 72 in a dear evening: 0.12 MW x 90 =
    10.80; in a cheap one 0.8 x (30 - 10) = 16, so it goes at noon: 0.15 MW x 20 = 3.00.
    """
    homes = fleet(
        3,
        2,
        discharge_efficiency=0.8,
        solar_kw=[[60.0, 0.0]] * 3,
        load_kw=10.0,
        max_charge_kw=[[50.0, 0.0]] * 3,
        max_discharge_kw=100,
    )
    deals = [
        deal("energy", [0], 30.0, 0.15, kw=58.0, agreed=10.0),
        deal("energy", [1], evening_usd, 0.15, kw=58.0, agreed=10.0),
    ]
    answer = solved(small_day(homes, [30.0, evening_usd], deals))
    assert answer.quantity_mw == pytest.approx([sold_at_noon_mw, sold_in_the_evening_mw], abs=1e-9)
    assert answer.schedule.solar_sold_kw.sum() == pytest.approx(1000.0 * sold_at_noon_mw, **CLOSE)
    assert answer.schedule.solar_charge_kw.sum() == pytest.approx(1000.0 * sold_in_the_evening_mw / 0.8, **CLOSE)
    assert answer.schedule.grid_charge_kw.sum() == pytest.approx(0.0, **CLOSE)
    assert answer.objective_usd == pytest.approx(profit_usd, **CLOSE)


@pytest.mark.parametrize(("dear_usd", "bids_mw", "profit_usd"), [(120.0, 0.16, 9.4), (600.0, 0.0, 0.0)])
def test_seventy_percent_of_r_is_lifted_to_eighty_or_not_bid(dear_usd: float, bids_mw: float, profit_usd: float):
    """R = 0.2 MW at 100 $/MWh. Cheap owners (30 $) have 0.14 MW, 70 % of R; the rest is dear.

    0.14 MW alone would earn 0.14 x 70 = 9.80, but 0.16 MW is the least bid. With 0.02 MW at 120 $ it earns
    9.80 - 0.02 x 20 = 9.40 and is bid; at 600 $ it would earn 9.80 - 0.02 x 500 = -0.20 and is not.
    """
    solar = fleet(5, 1, solar_kw=np.array([[50.0], [50.0], [40.0], [70.0], [70.0]]))
    one = deal(
        "energy", [0], 100.0, 0.2, kw=[50.0, 50.0, 40.0, 70.0, 70.0], agreed=[30.0, 30.0, 30.0, dear_usd, dear_usd]
    )
    answer = solved(small_day(solar, [100.0], [one]))
    assert answer.quantity_mw == pytest.approx([bids_mw], abs=1e-9)
    assert answer.is_bid.tolist() == [bids_mw > 0]
    assert answer.objective_usd == pytest.approx(profit_usd, **CLOSE)
    assert answer.schedule.solar_sold_kw.sum() == pytest.approx(1000.0 * bids_mw, **CLOSE)


def test_a_block_is_delivered_at_constant_power_by_members_that_rotate():
    """0.12 MW for three hours; members 0, 1, 2 rest in hours 0, 1, 2, member 3 never: three of 40 kW in each hour.

    0.36 MWh at 50 - 20 = 30 $: 10.80.
    """
    power = np.full((4, 3), 40.0)
    power[[0, 1, 2], [0, 1, 2]] = 0.0
    members = fleet(4, 3, initial_stored_kwh=120, max_discharge_kw=power)
    answer = solved(
        small_day(members, [40.0, 50.0, 60.0], [deal("energy", [0, 1, 2], 50.0, 0.12, kw=40.0, agreed=20.0)])
    )
    assert answer.quantity_mw == pytest.approx([0.12])
    assert answer.schedule.discharge_kw == pytest.approx(power, **CLOSE)
    assert answer.schedule.stored_kwh[:, -1] == pytest.approx([40.0, 40.0, 40.0, 0.0], **CLOSE)
    assert answer.objective_usd == pytest.approx(10.8, **CLOSE)


@pytest.mark.parametrize(("each_kw", "bids_mw"), [(166.0, 0.0), (170.0, 0.51)])
def test_reserve_below_the_markets_half_megawatt_is_not_bid(each_kw: float, bids_mw: float):
    """Three of 166 kW hold 0.498 MW, below 0.5 MW; three of 170 kW hold 0.51 MW."""
    members = fleet(3, 1, initial_stored_kwh=1000, max_discharge_kw=each_kw)
    answer = solved(small_day(members, [0.0], [deal("nonspin", [0], 9.0, 0.6, kw=each_kw, agreed=1.0)]))
    assert answer.quantity_mw == pytest.approx([bids_mw], abs=1e-9)
    assert answer.objective_usd == pytest.approx(8.0 * bids_mw, **CLOSE)


def test_charging_in_an_hour_with_a_bid_is_delivered_by_the_others():
    """Hour 0 sells 0.12 MW of solar net; an EV must take 30 kW in that hour, so the homes sell 150 kW gross.

    Revenue 0.12 x 100 = 12.00; owners 0.15 x 40 = 6.00; nothing is bought: 6.00. Without a bid the EV pays 30 kW x 100
    $/MWh = 3.00, the no-sale value is -3.00.
    """
    members = fleet(
        4,
        1,
        solar_kw=np.array([[60.0], [60.0], [60.0], [0.0]]),
        max_charge_kw=np.array([[0.0], [0.0], [0.0], [30.0]]),
        min_stored_kwh=np.array([[0.0], [0.0], [0.0], [30.0]]),
    )
    answer = solved(
        small_day(members, [100.0], [deal("energy", [0], 100.0, 0.12, kw=[50.0, 50.0, 50.0, 0.0], agreed=40.0)])
    )
    assert answer.quantity_mw == pytest.approx([0.12])
    assert answer.schedule.solar_sold_kw[:, 0] == pytest.approx([50.0, 50.0, 50.0, 0.0], **CLOSE)
    assert answer.schedule.grid_charge_kw[:, 0] == pytest.approx([0.0, 0.0, 0.0, 30.0], **CLOSE)
    assert answer.objective_usd == pytest.approx(6.0, **CLOSE)
    assert answer.no_sale_charging_usd == pytest.approx([0.0, 0.0, 0.0, 3.0], **CLOSE)
