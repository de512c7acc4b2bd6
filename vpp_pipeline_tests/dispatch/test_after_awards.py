"""Dispatch after awards: worked by hand on two stores, and never worse than another dispatch that keeps the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.dispatch import after_awards
from vpp_pipeline.dispatch.after_awards import Cleared, Deals, _sun_first, dispatch_after_awards, in_parts
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.evaluation.settle_day import dispatched_anew, limits_broken, redispatch
from vpp_pipeline.evaluation.settlement import cheapest_usd_per_mwh, imbalance_usd, net_export_mw
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.small_days import RULES, fleet, random_day

FULL = {"initial_stored_kwh": 10.0, "capacity_kwh": 10.0, "max_discharge_kw": 10.0}
#: energy at 20 and 80 $/MWh, and for each MW of reserve held for one hour 100 $
HOURS = np.array([[20.0, 80.0], [100.0, 100.0], [100.0, 100.0]])


def at(*energy: float, reserve: float = 100.0) -> np.ndarray:
    """The same with other prices."""
    return np.stack([np.array(energy), np.full(len(energy), reserve), np.full(len(energy), reserve)])


def deals(energy: list[float], spin: float = 0.0, prosumers: int = 2) -> Deals:
    """10 kW of each in the second hour: energy at these $/MWh, and spin where it has a price."""
    most, price = np.zeros((2, 3, prosumers, 2))
    most[0, :, 1], price[0, :, 1] = 10.0, energy
    if spin:
        most[1, :, 1], price[1, :, 1] = 10.0, spin
    return Deals(most, price)


def cleared(energy_kw: float, spin_kw: float = 0.0, leftover: float = 20.0, owed_kw: float = 0.0) -> Cleared:
    """Awards in the second hour, ``owed_kw`` of them to a request; deviations a quarter worse than the price."""
    reserve = np.array([[0.0, spin_kw], [0.0, 0.0]]) / 1000.0
    position, owed = np.array([[0.0, energy_kw], [0.0, owed_kw]]) / 1000.0
    return Cleared(position, reserve, owed, HOURS, 1.25, leftover)


def test_the_cheaper_deal_is_called_whoever_was_planned():
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([50.0, 45.0]), cleared(8.0), 1.0)
    assert done.discharge_kw[:, 1].tolist() == pytest.approx([0.0, 8.0])


def test_more_is_delivered_where_a_surplus_beats_the_deal():
    """2 kW more than the award bring 80 · 0.75 = 60 $ and cost 30, and a leftover of 0.9 · 20 = 18."""
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([50.0, 30.0]), cleared(8.0), 1.0)
    assert done.discharge_kw[:, 1].tolist() == pytest.approx([0.0, 10.0])


def test_what_is_dearer_than_the_imbalance_is_not_called():
    """To buy 8 kW back costs 80 · 1.25 = 100 $/MWh, the deals 120."""
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([120.0, 120.0]), cleared(8.0), 1.0)
    assert done.discharge_kw.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("spot", [-60.0, 20.0, 80.0, 500.0])
def test_an_awarded_request_is_delivered_and_not_bought_back(spot: float):
    """Deals of 120 $ cost more than to buy 8 kW back, even at 80 $: owed 6 of them, 6 are delivered all the same."""
    market = replace(cleared(8.0, owed_kw=6.0), price=at(20.0, spot))
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([120.0, 120.0]), market, 1.0)
    assert done.discharge_kw[:, 1].sum() == pytest.approx(20.0 if spot == 500.0 else 6.0)


def test_more_than_a_request_is_owed_may_be_delivered_and_less_of_it_where_stores_cannot():
    """30 kW owed by two stores of 10 kW each: both deliver all they have, and 10 kW are short."""
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([120.0, 120.0]), cleared(30.0, owed_kw=30.0), 1.0)
    assert done.discharge_kw[:, 1].tolist() == pytest.approx([10.0, 10.0])
    nothing = Deals(*np.zeros((2, 3, 2, 2)))
    assert dispatch_after_awards(fleet(2, 2, **FULL), nothing, cleared(8.0, owed_kw=8.0), 1.0).exported_kw.max() < 1e-9


def test_nothing_is_charged_in_the_hour_of_a_request_at_its_expense():
    """An award is of net export: with 10 kW owed and 10 kW of power each, a store that charged would be netted."""
    market = replace(cleared(10.0, owed_kw=10.0), price=at(200.0, 1.0))
    half = {"initial_stored_kwh": 5.0, "terminal_stored_kwh": 0.0, "max_charge_kw": 5.0}
    done = dispatch_after_awards(fleet(2, 2, **FULL | half), deals([30.0, 30.0]), market, 1.0)
    assert (done.exported_kw - done.grid_charge_kw)[:, 1].sum() == pytest.approx(10.0)


@pytest.mark.parametrize(("reserve_usd", "held_kw"), [(100.0, 10.0), (20.0, 5.0)])
def test_awarded_reserve_is_held_where_it_is_worth_more_than_energy(reserve_usd: float, held_kw: float):
    """10 kW of spin and 15 kW of energy for two stores of 10 kW: to buy 5 kW back costs 80 · 1.25 − 30 = 70 $/MWh.

    Missing spin costs 125 $ or 25 $ a MW; a surplus of energy would earn no more than 12.
    """
    market = replace(cleared(15.0, 10.0), price=at(20.0, 80.0, reserve=reserve_usd))
    done = dispatch_after_awards(fleet(2, 2, **FULL), deals([30.0, 30.0], spin=1.0), market, 1.0)
    assert done.spin_kw[:, 1].sum() == pytest.approx(held_kw)
    assert done.discharge_kw[:, 1].sum() == pytest.approx(20.0 - held_kw)


def test_nobody_is_called_without_a_deal_and_a_store_is_not_emptied_for_its_credit():
    nothing = Deals(*np.zeros((2, 3, 2, 2)))
    done = dispatch_after_awards(fleet(2, 2, **FULL, max_charge_kw=5.0), nothing, cleared(8.0, leftover=20.0), 1.0)
    assert done.discharge_kw.sum() == pytest.approx(0.0, abs=1e-9)
    assert done.grid_charge_kw.sum() == pytest.approx(0.0, abs=1e-9)


def test_parts_are_small_and_hold_everyone_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(after_awards, "MOST_AT_ONCE", 4)
    parts = list(in_parts(11))
    assert [len(part) for part in parts] == [4, 4, 3]
    assert sorted(np.concatenate(parts).tolist()) == list(range(11))


def worth_usd(day: DayProblem, options: Deals, market: Cleared, done: DaySchedule) -> float:
    """What the linear program maximizes, computed anew by the settlement's own function."""
    surplus = net_export_mw(done) - market.position_mw
    sold = np.stack([done.exported_kw, done.spin_kw, done.nonspin_kw])
    owed = np.maximum(market.owed_mw - net_export_mw(done), 0.0) * (market.owed_mw > 0.0)
    short = market.reserve_mw - sold[1:].sum(axis=1) / 1000.0
    unpaid_usd = market.imbalance_factor * (np.maximum(market.price[1:], 0.0) * short).sum()
    kept = np.where(day.fleet.has_store, done.stored_kwh[:, -1] / day.fleet.charge_efficiency, 0.0).sum() / 1000.0
    return float(
        imbalance_usd(market.price[0], surplus, market.imbalance_factor).sum()
        - unpaid_usd
        - after_awards.LATE_USD_PER_MW * owed.sum()
        - (options.price * sold).sum() / 1000.0
        + after_awards.LEFTOVER_FRACTION * market.leftover_usd_per_mwh * kept
    )


@pytest.mark.parametrize("seed", seeds(range(24)))
def test_no_limit_is_broken_and_the_proportional_dispatch_is_never_better(seed: int):
    """Random days, awards, prices, and absences; the proportional dispatch is one that keeps every limit."""
    day, rng = random_day(seed), np.random.default_rng(1000 + seed)
    planned = solve_day(day, RULES, OptimiserSettings()).schedule
    share = rng.choice([0.0, 0.4, 1.0], (3, len(day.market_price)))
    is_there = rng.random(len(day.fleet)) < 0.7
    by_hour = (day.by_prosumer_and_hour(p, day.committed_kw) * (share[p] > 0.0) for p in range(3))
    prices = (day.by_prosumer_and_hour(p, day.call_price) for p in range(3))
    options = Deals(np.stack(list(by_hour)), np.stack(list(prices)))
    sold = np.stack([planned.sold_kw(p).sum(axis=0) for p in range(3)]) / 1000.0
    price = day.market_price * rng.uniform(0.3, 2.0, len(day.market_price))
    position = net_export_mw(planned) - (1.0 - share[0]) * sold[0]
    cleared_prices = np.stack([price, *rng.uniform(0.0, 60.0, (2, len(price)))])
    owed = share[0] * sold[0] * (rng.random(len(price)) < 0.3)
    market = Cleared(position, share[1:] * sold[1:], owed, cleared_prices, 1.25, cheapest_usd_per_mwh(price))
    ours = dispatched_anew(day.fleet, planned, options, market, is_there, RULES.reserve_call_hours)
    simple = redispatch(day.fleet, planned, share[:, None, :] * is_there[None, :, None], RULES.reserve_call_hours)
    broken = limits_broken(day.fleet, ours)
    assert {kind: int(where.sum()) for kind, where in broken.items() if where.any()} == {}
    assert (np.minimum(ours.charge_kw, ours.discharge_kw) < 1e-5).all()
    for product in range(3):
        assert (ours.sold_kw(product) <= options.most_kw[product] * is_there[:, None] + 1e-6).all()
    if not any(where.any() for where in limits_broken(day.fleet, simple).values()):
        assert worth_usd(day, options, market, ours) >= worth_usd(day, options, market, simple) - 1e-4


def test_a_fleet_in_parts_earns_almost_what_it_earns_as_one(solved_day, monkeypatch: pytest.MonkeyPatch):
    """Parts of 20; who stays away is a tenth of them, or nobody: reserve that one part lacks no other part makes up."""
    day = solved_day()
    problem, planned = day.problem, day.solution.schedule
    options = Deals(
        *(
            np.stack([problem.by_prosumer_and_hour(p, values) for p in range(3)])
            for values in (problem.committed_kw, problem.call_price)
        )
    )
    reserve = np.stack([planned.spin_kw.sum(axis=0), planned.nonspin_kw.sum(axis=0)]) / 1000.0
    owed = 0.0 * problem.market_price
    market = Cleared(net_export_mw(planned), reserve, owed, at(*problem.market_price, reserve=1000.0), 1.25, 20.0)
    some = np.arange(len(problem.fleet)) % 10 != 3
    everyone = np.ones_like(some)

    def dispatched(is_there: np.ndarray) -> tuple[DaySchedule, float]:
        done = dispatched_anew(problem.fleet, planned, options, market, is_there, problem.call_hours)
        assert not any(where.any() for where in limits_broken(problem.fleet, done).values())
        return done, worth_usd(problem, options, market, done)

    (_, one), (_, one_of_some) = dispatched(everyone), dispatched(some)
    monkeypatch.setattr(after_awards, "MOST_AT_ONCE", 20)
    (done, many), (_, many_of_some) = dispatched(everyone), dispatched(some)
    assert (done.spin_kw + done.nonspin_kw).sum() == pytest.approx(1000.0 * reserve.sum(), rel=1e-6)
    paid_usd = float((options.price * np.stack([done.exported_kw, done.spin_kw, done.nonspin_kw])).sum()) / 1000.0
    assert one - 0.03 * paid_usd <= many <= one + 1e-4
    assert many_of_some <= one_of_some + 1e-4


def test_sun_to_spare_does_not_pass_through_a_store_that_discharges():
    """Owed 6 kW of 10 kW of sun each and a full store: sun is sold beside it, whatever the program happens to find."""
    sunny = fleet(2, 2, **FULL, max_charge_kw=10.0, charge_efficiency=0.8, discharge_efficiency=0.8, solar_kw=10.0)
    through = {"discharge_kw": 3.0, "solar_charge_kw": 5.0, "solar_sold_kw": 1.0}
    names = (
        "grid_charge_kw",
        "solar_charge_kw",
        "discharge_kw",
        "solar_sold_kw",
        "spin_kw",
        "nonspin_kw",
        "stored_kwh",
    )
    before = DaySchedule(*(np.full((2, 2), through.get(name, 0.0)) for name in names))
    after = _sun_first(sunny, before)
    assert after.exported_kw == pytest.approx(before.exported_kw)
    assert after.discharge_kw == pytest.approx(np.zeros((2, 2)))  # 3 of the 3.2 that leave the store again
    assert after.solar_charge_kw == pytest.approx(np.full((2, 2), 5.0 - 3.0 / 0.64))
    gained = 0.8 * after.solar_charge_kw - after.discharge_kw / 0.8
    assert gained == pytest.approx(0.8 * before.solar_charge_kw - before.discharge_kw / 0.8)


def test_a_store_that_would_burn_energy_at_negative_prices_does_one_thing_at_a_time():
    market = replace(cleared(8.0), price=at(-60.0, -60.0))
    lossy = fleet(2, 2, **FULL, max_charge_kw=10.0, charge_efficiency=0.8, discharge_efficiency=0.8)
    done = dispatch_after_awards(lossy, deals([1.0, 1.0]), market, 1.0)
    assert (np.minimum(done.charge_kw, done.discharge_kw) < 1e-6).all()
