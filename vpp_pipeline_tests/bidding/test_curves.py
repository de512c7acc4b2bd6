"""Price curves: rising, priced by merit order, within ten segments; by hand and over random merit orders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vpp_pipeline.bidding.curves import MW_TOLERANCE, Price, _energy_curve, bid_segments
from vpp_pipeline.core.arrays import round_down, round_up
from vpp_pipeline.settings import MarketRules
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import DAY

RULES = MarketRules()


@dataclass(frozen=True)
class Offer:
    """One bid of an hour: its members' power and the price for which each is called, and the money it must recover."""

    kw: list[float]
    called: list[float]
    required_mw: float
    quantity_mw: float
    average_cost: float = 0.0
    charging: float = 0.0  # $/MWh delivered, of every member

    @property
    def cost(self) -> list[float]:
        """$ per MWh delivered of each member."""
        return [price + self.charging for price in self.called]

    def curve(self, product: str = "energy") -> list[tuple[float, float, float]]:
        """from, to (MW) and price of each segment."""
        ids, kw = [f"m{k:02d}" for k in range(len(self.kw))], np.array(self.kw)
        key = {"opportunity_id": ["o"], "market_date": [DAY], "product": [product]}
        size = {"quantity_mw": [self.quantity_mw], "required_capacity_mw": [self.required_mw]}
        delivered = {"opportunity_id": "o", "prosumer_id": ids, "dispatched_kw": kw, "dispatched_kwh": kw}
        money = {"call_price_usd_per_mwh": self.called, "charging_cost_usd": kw * self.charging / 1000.0}
        segments = bid_segments(
            pl.DataFrame({"bid_id": ["b"]} | key | size | {"average_cost": [self.average_cost]}),
            pl.DataFrame(delivered | money),
            RULES,
        )
        assert segments["segment"].to_list() == list(range(1, segments.height + 1))
        return segments.select("from_mw", "to_mw", "price_usd_per_mwh").rows()


def test_a_merit_order_by_hand() -> None:
    # R 0.10: the first segment spans 0.08 MW at the mean of its members, (60 x 30 + 20 x 40) / 80 = 32.50; the next
    # 0.01 MW is m02's at 50; the last 0.01 m03's at 70
    offer = Offer([60, 20, 10, 10], [30, 40, 50, 70], required_mw=0.1, quantity_mw=0.1)
    assert offer.curve() == [(0.0, 0.08, 32.5), (0.08, 0.09, 50.0), (0.09, 0.1, 70.0)]


def test_the_first_price_is_at_least_the_average_cost() -> None:
    offer = Offer([60, 20, 10, 10], [30, 40, 50, 70], 0.1, 0.1, average_cost=45.001)
    assert offer.curve()[0] == (0.0, 0.08, 45.01)  # up to the cent
    assert Offer([50, 50], [30, 30], 0.1, 0.1, average_cost=80.0).curve() == [(0.0, 0.08, 80.0), (0.08, 0.1, 80.0)]


def test_charging_is_asked_for_with_the_call_price() -> None:
    assert Offer([50, 50], [30, 40], 0.1, 0.1, charging=20.0).curve()[-1] == (0.08, 0.1, 60.0)


def test_equal_prices_make_one_segment() -> None:
    assert Offer([80, 10, 10], [30, 40, 40], 0.1, 0.1).curve() == [(0.0, 0.08, 30.0), (0.08, 0.1, 40.0)]


def test_a_bid_of_80_percent_is_one_segment() -> None:
    assert Offer([40, 40], [30, 40], 0.1, 0.08).curve() == [(0.0, 0.08, 35.0)]


def test_80_percent_of_an_odd_requirement_is_rounded_up_to_the_step() -> None:
    assert Offer([100, 10], [30, 40], 0.11, 0.11).curve()[0][1] == 0.09  # 0.8 x 0.11 = 0.088


def test_reserve_asks_its_average_cost_up_to_the_cent() -> None:
    assert Offer([300, 300], [1, 1], 0.6, 0.6, average_cost=1.234).curve("spin") == [(0.0, 0.6, 1.24)]


def test_joining_keeps_the_dearer_price() -> None:
    # after 0.40 MW at 10 come ten steps of 0.01 MW; 20.1 is the nearest neighbour of 20, so these two are joined
    prices = [20.0, 20.1, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0]
    curve = Offer([400, *[10] * 10], [10.0, *prices], 0.5, 0.5).curve()
    assert len(curve) == 10
    assert curve[1] == (0.4, 0.42, 20.1)
    assert [price for *_, price in curve[2:]] == prices[2:]


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    kw = draw(st.lists(st.floats(1, 400), min_size=3, max_size=30))
    called = draw(st.lists(st.floats(0, 300), min_size=len(kw), max_size=len(kw)))
    required = draw(st.integers(10, 300))
    quantity = draw(st.integers(-(-required * 8 // 10), required))
    average = draw(st.floats(0, 300))
    return Offer(kw, called, required / 100, quantity / 100, average, draw(st.sampled_from([0.0, 17.3])))


random_offers = tries(100)


@given(offers())
@random_offers
def test_every_curve_is_valid_for_the_market(offer: Offer) -> None:
    curve = offer.curve()
    starts, ends, prices = zip(*curve, strict=True)
    assert 1 <= len(curve) <= 10
    assert (starts[0], ends[-1]) == (0.0, offer.quantity_mw)
    assert starts[1:] == ends[:-1]
    assert all(b > a for a, b in zip(starts, ends, strict=True))
    assert list(prices) == sorted(prices)
    assert all(abs(100 * x - round(100 * x)) < 1e-6 for x in (*ends, *prices))
    assert ends[0] >= 0.8 * offer.required_mw - 1e-9
    assert prices[0] >= offer.average_cost - 1e-9


@given(offers())
@random_offers
def test_no_mw_is_sold_below_the_cost_of_its_member(offer: Offer) -> None:
    merit_order = np.argsort(offer.cost, kind="stable")
    cost = np.array(offer.cost)[merit_order]
    reached_mw = np.cumsum(np.array(offer.kw)[merit_order])
    reached_mw *= offer.quantity_mw / reached_mw[-1]
    dearest = max(offer.average_cost, cost[-1])
    for start, end, price in offer.curve()[1:]:
        last_member = cost[min(np.searchsorted(reached_mw, end - 1e-9), len(cost) - 1)]
        assert price >= last_member - 1e-6
        assert price <= dearest + 0.01 + 1e-6
        assert start < end


@given(offers())
@random_offers
def test_each_later_segment_asks_what_the_member_of_its_last_mw_is_called_for(offer: Offer) -> None:
    """To the cent, or the first segment's price where that is higher; whatever a member is paid enters nowhere."""
    members = sorted(zip(offer.cost, offer.kw, strict=True))
    (_, _, first), *later = offer.curve()
    scale = offer.quantity_mw / sum(offer.kw)
    for _, end, price in later:
        reached_mw, dearest = 0.0, 0.0
        for cost, kw in members:
            dearest, reached_mw = cost, reached_mw + kw * scale
            if reached_mw >= end - 1e-9:
                break
        assert price == pytest.approx(max(first, math.ceil(dearest * 100 - 1e-6) / 100), abs=1e-6)


@given(offers())
@random_offers
def test_the_first_segment_pays_its_members_on_average(offer: Offer) -> None:
    order = np.argsort(offer.cost, kind="stable")
    cost, kw = np.array(offer.cost)[order], np.array(offer.kw)[order]
    _, end, price = offer.curve()[0]
    within = np.cumsum(kw) * (offer.quantity_mw / kw.sum()) < end - 1e-9
    cheapest_mean = np.average(cost[within], weights=kw[within]) if within.any() else cost[0]
    assert price >= cheapest_mean - 1e-6


def test_a_market_that_takes_one_segment_gets_one_at_the_dearest_price() -> None:
    bid = {"bid_id": ["b"], "opportunity_id": ["o"], "market_date": [DAY], "product": ["energy"]}
    size = {"quantity_mw": [0.1], "required_capacity_mw": [0.1], "average_cost": [38.0]}
    kw = np.array([60.0, 20.0, 10.0, 10.0])
    members = {"opportunity_id": "o", "prosumer_id": list("abcd"), "dispatched_kw": kw, "dispatched_kwh": kw}
    money = {"call_price_usd_per_mwh": [30.0, 40.0, 50.0, 70.0], "charging_cost_usd": np.zeros(4)}
    one = bid_segments(pl.DataFrame(bid | size), pl.DataFrame(members | money), MarketRules(maximum_segments=1))
    assert one.select("from_mw", "to_mw", "price_usd_per_mwh").rows() == [(0.0, 0.1, 70.0)]


@tries(200)
@given(
    st.lists(st.integers(1, 4_000), min_size=1, max_size=12), st.lists(st.integers(0, 12_000), min_size=12), st.data()
)
def test_a_curve_of_the_steps_at_which_the_price_changes_is_that_of_all_steps(
    watts: list[int], cents: list[int], data: st.DataObject
) -> None:
    """Members end on a step, beside one, or several within one; the price is looked up a few times for each."""
    step = RULES.quantity_step_mw
    ends, cost = np.cumsum(watts) * step / 40.0, np.sort(np.array(cents[: len(watts)])) / 100.0
    quantity_mw = max(step, math.floor(ends[-1] / step + 1e-6) * step)
    first_mw = step * data.draw(st.integers(1, max(1, round(quantity_mw / step))))
    bid, asked = {"quantity_mw": quantity_mw, "average_cost": float(cost[0])}, []

    def price_at(mw: float) -> float:
        asked.append(mw)
        return float(cost[min(int(np.searchsorted(ends, mw - MW_TOLERANCE)), len(cost) - 1)])

    curve = _energy_curve(Price(price_at, ends), first_mw, bid, RULES)
    assert len(asked) <= 3 * len(watts) + 3
    every_step = first_mw + step * np.arange(1, round((quantity_mw - first_mw) / step) + 1)
    assert curve == _energy_curve(Price(price_at, every_step), first_mw, bid, RULES)


def test_a_step_smaller_than_its_rounding_is_refused() -> None:
    """At a step of 1e-9 MW the curve of one bid took minutes."""
    with pytest.raises(ValidationError, match="quantity_step_mw"):
        MarketRules(quantity_step_mw=1e-9)


def test_a_curve_on_an_odd_step_ends_at_the_bid_s_mw() -> None:
    """A step of six digits or more: ends were rounded to six, and the whole day was refused for it."""
    rules = MarketRules(quantity_step_mw=0.000100001)
    quantity_mw = float(round_down(0.51234, rules.quantity_step_mw))
    first_mw = float(round_up(0.8 * quantity_mw, rules.quantity_step_mw))
    price = Price(lambda mw: 30.0 if mw < 0.45 else 40.0, np.array([0.45, 0.51234]))
    curve = _energy_curve(price, first_mw, {"quantity_mw": quantity_mw, "average_cost": 30.0}, rules)
    assert curve[-1][0] == pytest.approx(quantity_mw, abs=1e-12)
    assert len(curve) > 1
