"""What a plan comes to: worked by hand on one store, and never past an owner's limits on many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.backtest.metrics import money_of, realise
from vpp_pipeline.evaluation.backtest.plans import Plan, at_fixed
from vpp_pipeline.evaluation.settle_day import limits_broken
from vpp_pipeline.negotiation.contract import Prices
from vpp_pipeline.settings import Settings
from vpp_pipeline_tests.dispatch.small_days import fleet

#: charges 20 kWh at 20 $/MWh, sells 10 kWh at 50 and 8 kWh at 80; begins and ends with 2 kWh, where 2 kWh are kept
PRICE = np.array([[20.0, 50.0, 80.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
STORE = {
    "charge_efficiency": 0.9,
    "initial_stored_kwh": 2.0,
    "terminal_stored_kwh": 2.0,
    "min_stored_kwh": 2.0,
    "max_charge_kw": 30.0,
    "max_discharge_kw": 30.0,
}
EVERYONE = np.array([True])
SETTINGS = Settings()


def plan(curve: pl.DataFrame | None = None, reserve_kw: float = 0.0) -> Plan:
    zero = np.zeros((1, 3))
    schedule = DaySchedule(
        grid_charge_kw=np.array([[20.0, 0.0, 0.0]]),
        solar_charge_kw=zero,
        discharge_kw=np.array([[0.0, 10.0, 8.0]]),
        solar_sold_kw=zero,
        spin_kw=np.array([[0.0, reserve_kw, 0.0]]),
        nonspin_kw=zero,
        stored_kwh=np.array([[20.0, 10.0, 2.0]]),
    )
    return Plan(
        fleet=fleet(1, 3, **STORE),
        schedule=schedule,
        product=np.array([0, 0, 1]),
        hour=np.array([1, 2, 1]),
        quantity_mw=np.array([0.010, 0.008, reserve_kw / 1000.0]),
        segments=curve,
        committed_kw=np.array([[10.0], [10.0], [10.0]]),
        deals=at_fixed(np.array([[30.0], [30.0], [1.0]])),
        seconds=0.0,
    )


def settled(share: list[float], is_there: np.ndarray = EVERYONE, factor: float = 1.25):
    made = plan()
    awarded = made.quantity_mw * np.array([*share, 1.0])
    done = realise(made, awarded, is_there, PRICE, SETTINGS)
    return done, money_of(made, done, awarded, PRICE, made.fleet.terminal_stored_kwh, factor)


def test_a_day_without_surprises_goes_as_planned():
    """Sales 10 kWh · 50 + 8 kWh · 80 = 1.14 $, charging 20 kWh · 20 = 0.40 $, owner 18 kWh · 30 = 0.54 $."""
    done, money = settled([1.0, 1.0])
    np.testing.assert_allclose(done.stored_kwh, plan().schedule.stored_kwh)
    assert money.energy_usd == pytest.approx(1.14)
    assert money.charging_usd == pytest.approx(0.40)
    assert money.payments_usd == pytest.approx(0.54)
    assert money.imbalance_usd == pytest.approx(0.0)
    assert money.leftover_usd == pytest.approx(0.0)


def test_what_is_not_awarded_is_not_charged_and_sold_back_at_a_worse_price():
    """Without the 50 $ sale, 10 kWh less are needed: 10 / 0.9 kWh of charging go back at 20 · 0.75 $/MWh."""
    done, money = settled([0.0, 1.0])
    assert done.grid_charge_kw[0, 0] == pytest.approx(20.0 - 10.0 / 0.9)
    np.testing.assert_allclose(done.stored_kwh[0], [10.0, 10.0, 2.0])
    assert money.energy_usd == pytest.approx(0.64)
    assert money.charging_usd == pytest.approx(0.40)
    assert money.imbalance_usd == pytest.approx(-10.0 / 0.9 * 15.0 / 1000.0)
    assert money.payments_usd == pytest.approx(0.24)


def test_who_is_away_is_bought_back_dearly_and_is_paid_nothing():
    """18 kWh missing at 50 and 80 $/MWh times 1.25; charging for them is left out and sold at 20 · 0.75."""
    done, money = settled([1.0, 1.0], np.array([False]))
    assert done.discharge_kw.sum() == 0.0
    back = 20.0 * 15.0 / 1000.0
    assert money.imbalance_usd == pytest.approx(1.25 * 1.14 - back)
    assert money.payments_usd == 0.0


def test_reserve_that_is_not_held_is_not_paid():
    made = plan(reserve_kw=5.0)
    price = PRICE + np.array([[0.0], [4.0], [0.0]])
    held, away = (realise(made, made.quantity_mw, there, price, SETTINGS) for there in (EVERYONE, ~EVERYONE))
    owed = made.fleet.terminal_stored_kwh
    assert money_of(made, held, made.quantity_mw, price, owed, 1.0).reserve_usd == pytest.approx(0.02)
    assert money_of(made, away, made.quantity_mw, price, owed, 1.0).reserve_usd == 0.0


def test_a_store_that_is_told_to_give_more_than_it_holds_runs_empty():
    """The plan orders 30 kWh of a store that holds 20: physics allows 20, below what its owner keeps."""
    made = plan()
    greedy = replace(made, schedule=replace(made.schedule, discharge_kw=np.array([[0.0, 15.0, 15.0]])))
    done = realise(greedy, made.quantity_mw, EVERYONE, PRICE, SETTINGS)
    np.testing.assert_allclose(done.discharge_kw[0], [0.0, 15.0, 5.0])
    assert done.stored_kwh[0, -1] == pytest.approx(0.0)


def test_awards_follow_the_curve():
    """8 kW from 40 $/MWh, 2 kW more from 60: 50 $ buys the first part only."""
    curve = pl.DataFrame(
        {"bid_id": ["0", "0"], "from_mw": [0.0, 0.008], "to_mw": [0.008, 0.010], "price_usd_per_mwh": [40.0, 60.0]}
    )
    np.testing.assert_allclose(plan(curve).awarded_mw(np.array([50.0, 80.0, 0.0])), [0.008, 0.0, 0.0])


def test_indexed_deals_are_paid_by_what_cleared():
    """A floor of $30 and a cap of $60: $50 is between them, $80 is above; 10 kWh · 50 + 8 kWh · 60 = $0.98."""
    none = np.full((3, 1), np.nan)
    floor, cap = np.array([[30.0], [30.0], [1.0]]), np.array([[60.0], [60.0], [2.0]])
    made = replace(plan(), deals=Prices(floor, cap, none, none, np.zeros((3, 1))))
    done = realise(made, made.quantity_mw, EVERYONE, PRICE, SETTINGS)
    money = money_of(made, done, made.quantity_mw, PRICE, made.fleet.terminal_stored_kwh, 1.25)
    assert money.payments_usd == pytest.approx(0.98)


def test_dispatch_after_awards_sells_later_what_was_not_awarded():
    """The $50 hour is not awarded: by the program its energy goes to the $200 hour, at 0.75 · 200 - 30 = $120 a MWh,
    more than the 0.9 · 90 / 0.9 = $90 that it is worth in the store; and more is charged, up to the store's 30 kW.
    """
    made = replace(plan(), is_dispatched_anew=True, committed_kw=np.full((3, 1), 30.0))
    awarded = np.array([0.0, 0.008, 0.0])
    price = np.array([[20.0, 50.0, 200.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    done = realise(made, awarded, EVERYONE, price, SETTINGS)
    assert done.discharge_kw[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert done.discharge_kw[0, 2] == pytest.approx(30.0)
    assert limits_broken(made.fleet, done)["stored"].sum() == 0


SHARE = st.floats(0.0, 1.0)


@given(st.tuples(SHARE, SHARE, SHARE), st.booleans())
def test_a_plan_within_limits_is_realised_within_limits(share: tuple[float, float, float], is_there: bool):
    made = plan(reserve_kw=5.0)
    done = realise(made, made.quantity_mw * np.array(share), np.array([is_there]), PRICE, SETTINGS)
    assert (done.stored_kwh >= made.fleet.min_stored_kwh - 1e-9).all()
    assert (done.stored_kwh[:, -1] >= made.fleet.terminal_stored_kwh - 1e-9).all()
    assert (done.charge_kw <= made.schedule.charge_kw + 1e-9).all()
    sells = np.array([share[0], share[1]]) * is_there
    np.testing.assert_allclose(done.discharge_kw[0, 1:], sells * made.schedule.discharge_kw[0, 1:], atol=1e-9)


@given(st.floats(1.0, 3.0), st.tuples(SHARE, SHARE))
def test_a_dearer_imbalance_never_pays(factor: float, share: tuple[float, float]):
    assert settled(list(share), factor=factor)[1].market_usd <= settled(list(share), factor=1.0)[1].market_usd + 1e-9
