"""Indexed deals: floors and caps by hand, what a delivery is paid, and that a posted cap rests on others alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.negotiation.agreements import deal_prices
from vpp_pipeline.negotiation.contract import COLUMNS, Prices, cheapest_usd_per_mwh, of_others, prices_of
from vpp_pipeline.negotiation.negotiate import negotiate, uniform_clearing
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.talks import TWO, asking, lines

NONE = math.nan
POSTED = {"engine": "uniform_clearing"}
LIES = (0.5, 0.8, 1.2, 2.0)


def words(terms: Terms, **policy: Any) -> pl.DataFrame:
    """Every word about the caps of indexed deals."""
    return negotiate(terms, NegotiationPolicy(**policy)).messages


def deals(terms: Terms, **policy: Any) -> pl.DataFrame:
    """Who is in with an indexed deal and who is out."""
    return negotiate(terms, NegotiationPolicy(**policy)).agreements


def deal(floor: float, cap: float, reference: float = NONE, share: float = NONE, factor: float = 0.0) -> Prices:
    return Prices(*(np.array([price]) for price in (floor, cap, reference, share, factor)))


def paid(prices: Prices, index: float) -> float:
    return float(prices.paid(np.array([index]))[0])


# --- a cap by concession -------------------------------------------------------------------------------------------


def test_a_cap_closes_at_the_ask_that_the_offer_meets_and_the_floor_stands_where_none_does() -> None:
    said = words(TWO)
    assert lines(said, "a") == [(1, "ask", 70), (1, "offer", 40), (2, "ask", 50), (2, "offer", 60), (2, "accept", 50)]
    assert lines(said, "b") == [
        *[(1, "ask", 130), (1, "offer", 40), (2, "ask", 120), (2, "offer", 60)],
        *[(3, "ask", 90), (3, "offer", 80), (3, "accept", 90)],
    ]
    reasons = dict(said.filter(kind="accept").select("prosumer_id", "reason").rows())
    assert reasons["a"] == "the offer meets the ask: the ask"
    assert reasons["b"] == "no offer reaches the floor, which stands: on stand-by at it"


def test_floor_cap_and_agreed_price_by_hand() -> None:
    """Expected is $45, 1.25 x $8 = $10 of it for recharging: $35 is above the floor of a, below its cap."""
    recharging = {"recharge_factor": np.array([1.25, 1.25]), "cheapest_usd_per_mwh": 8.0}
    table = deals(replace(TWO, expected_price=np.array([45.0]), **recharging))
    columns = ("floor_price_usd_per_mwh", "cap_price_usd_per_mwh", "agreed_price_usd_per_mwh", "recharge_factor")
    assert table.select(columns).rows() == [(30.0, 50.0, 35.0, 1.25), (90.0, 90.0, 90.0, 1.25)]
    assert table["expected_satisfaction_score"].to_list() == pytest.approx([5 + 5 * 5 / 35, 5.0])
    assert table.select("reference_price_usd_per_mwh", "share_fraction").null_count().row(0) == (2, 2)


def test_the_reasons_of_a_cap_and_of_standing_by() -> None:
    power = "bound by the power of its devices"
    assert deals(TWO)["reason"].to_list() == [
        "In: it closed in round 2 at a floor of $30.00 and a cap of $50.00, the ask (our ceiling $80.00): "
        f"50.0 kW, {power}; rank 1 of 2 by price over reliability.",
        "In: it is on stand-by at its floor of $90.00, which our ceiling of $80.00 does not reach: "
        f"25.0 kW, {power}; rank 2 of 2 by price over reliability.",
    ]


@pytest.mark.parametrize("ceiling", [0.0, -7.0])
@pytest.mark.parametrize("rounds", [1, 3, 10])
def test_where_there_is_nothing_to_offer_the_floor_stands_at_once(ceiling: float, rounds: int) -> None:
    terms = terms_of([[5]], [[30]], [[60]], [[ceiling]])
    assert lines(words(terms, rounds=rounds), "a") == [(1, "ask", 30 if rounds == 1 else 60), (1, "accept", 30)]


def test_the_floor_stands_as_soon_as_neither_side_can_move() -> None:
    stuck = terms_of([[5]], [[90]], [[90]], [[80]])
    said = words(stuck, rounds=5, opening_offer_fraction=1.0)
    assert lines(said, "a") == [(1, "ask", 90), (1, "offer", 80), (1, "accept", 90)]


def test_who_stands_by_counts_for_the_coalition_and_is_the_last_to_be_called() -> None:
    terms = terms_of([[10] * 4], [[30, 90, 40, 50]], [[60, 180, 80, 90]], [[80] * 4])
    table = deals(terms, maximum_coalition=3)
    assert table["holds_option"].to_list() == [True, False, True, True]
    out = table.row(1, named=True)
    assert (out["rank"], out["committed_capacity_kw"]) == (4, 0.0)
    assert [out[column] for column in COLUMNS.values()] == [None] * 5


def test_the_reason_beyond_the_largest_coalition_tells_floor_and_cap() -> None:
    terms = terms_of([[10] * 4], [[30, 31, 32, 33]], [[40] * 4], [[90] * 4], availability=[0.5, 1.0, 1.0, 1.0])
    assert deals(terms, maximum_coalition=3)["reason"][0] == (
        "Out: it closed in round 1 at a floor of $30.00 and a cap of $40.00, the ask (our ceiling $90.00), "
        "but rank 4 of 4 by price over reliability exceeds the largest coalition: 3."
    )


def test_a_negotiated_cap_grows_with_the_floor_that_is_told() -> None:
    """What `uniform_clearing` is for: here an owner that overstates its reservation price is capped higher."""
    honest = terms_of([[50]], [[30]], [[60]], [[80]], required_kw=[50.0 / 1.5])
    overstated = asking(honest, 1.2 * honest.reservation)
    caps = [deals(terms, rounds=3)["cap_price_usd_per_mwh"][0] for terms in (honest, overstated)]
    assert caps[1] > caps[0]


# --- a posted cap --------------------------------------------------------------------------------------------------

#: three homes at 10, 20, 40 and a shop at 7; medians of the others 30, 25, 15, and 20 for the shop, which is alone
FOUR = terms_of(
    [[40.0] * 4],
    [[10.0, 20.0, 40.0, 7.0]],
    [[99.0] * 4],
    [[-1.0] * 4],
    segment=["home", "home", "home", "shop"],
    expected_price=[42.0],
)


def test_a_cap_is_posted_of_the_others_and_taken_by_whose_floor_is_no_higher() -> None:
    said = words(FOUR, **POSTED)  # and the forecast, whose ceiling is below 0, counts for nothing
    assert lines(said, "a") == [(1, "ask", 10), (1, "offer", 45), (1, "accept", 45)]
    assert lines(said, "b") == [(1, "ask", 20), (1, "offer", 37.5), (1, "accept", 37.5)]
    assert lines(said, "c") == [(1, "ask", 40), (1, "offer", 22.5), (1, "withdraw", 40)]
    assert lines(said, "d") == [(1, "ask", 7), (1, "offer", 30), (1, "accept", 30)]
    table = deals(FOUR, **POSTED)
    assert table["agreed_price_usd_per_mwh"].to_list() == [42.0, 37.5, None, 30.0]
    assert table["reason"][2] == "Out: the posted cap, $22.50, does not exceed its ask, $40.00."


def test_a_half_share_is_of_what_exceeds_the_quartile_of_the_others() -> None:
    """Quartiles of the others: 25, 17.5, 12.5, 15. Of $42: 25 + 8.5, 17.5 + 12.25, out, 15 + 13.5."""
    table = deals(FOUR, **POSTED, posted="half_share")
    assert table["reference_price_usd_per_mwh"].to_list() == [25.0, 17.5, None, 15.0]
    assert table["share_fraction"].to_list() == [0.5, 0.5, None, 0.5]
    assert table["agreed_price_usd_per_mwh"].to_list() == [33.5, 29.75, None, 28.5]
    # the floor of b, 20, is 2.5 above its reference: half of 5 more reaches it
    assert prices_of(table.filter("holds_option")).call_price.tolist() == [10.0, 22.5, 7.0]


def test_the_multiple_of_the_median_is_a_setting() -> None:
    assert lines(words(FOUR, **POSTED, posted_multiple=2.0), "c") == [
        (1, "ask", 40),
        (1, "offer", 30),
        (1, "withdraw", 40),
    ]
    assert lines(words(FOUR, **POSTED, posted_multiple=3.0), "c")[-1] == (1, "accept", 45)


def test_to_an_owner_without_others_no_cap_can_be_posted() -> None:
    alone = terms_of([[40.0]], [[10.0]], [[10.0]], [[80.0]])
    assert lines(words(alone, **POSTED), "a") == [(1, "ask", 10), (1, "withdraw", 10)]
    assert deals(alone, **POSTED)["reason"].to_list() == [
        "Out: there is no other owner whose reservation price a cap could rest on."
    ]


# --- what a delivery is paid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "index", "expected"),
    [
        (deal(40, 60), 50, 50),  # all that is left
        (deal(40, 60), 90, 60),  # the cap
        (deal(40, 60), 40, 40),  # the floor, just
        (deal(40, 60), 30, 60),  # called below its floor: forced
        (deal(40, 60), -30, 60),
        (deal(40, 40), 10, 40),  # a fixed price, whatever clears
        (deal(40, 40), 90, 40),
        (deal(40, 60, 20, 0.5), 70, 45),  # 20 + half of 50
        (deal(40, 60, 20, 0.5), 60, 40),  # half of what is beyond 20 just reaches the floor
        (deal(40, 60, 20, 0.5), 59, 60),  # and here it does not: forced
        (deal(40, 60, 20, 0.5), 200, 60),
        (deal(40, 60, 50, 0.5), 45, 45),  # below its reference all that is left
        (deal(40, 60, 50, 0.5), 60, 55),
    ],
)
def test_what_is_paid_by_hand(prices: Prices, index: float, expected: float) -> None:
    assert paid(prices, index) == expected


def test_an_index_price_is_the_clearing_price_less_what_recharging_takes() -> None:
    """Four cheapest hours of -20, 10, 20, 30 dollars: a mean of 10, and 1.25 MWh are bought for each delivered."""
    cheapest = cheapest_usd_per_mwh(np.array([90.0, -20.0, 30.0, 10.0, 80.0, 20.0]))
    assert cheapest == 10.0
    assert deal(0, 0, factor=1.25).index_price(np.array([50.0]), cheapest).tolist() == [37.5]
    assert cheapest_usd_per_mwh(np.array([-50.0] * 24)) == 0.0


def test_agreements_of_older_code_had_one_fixed_price() -> None:
    older = pl.DataFrame({"agreed_price_usd_per_mwh": [40.0, 50.0]})
    prices = prices_of(older)
    assert prices.paid(np.array([-100.0, 100.0])).tolist() == [40.0, 50.0]
    assert prices.recharge_factor.tolist() == [0.0, 0.0]


AMOUNT = st.one_of(st.sampled_from([0.0, 10.0, 35.0, 50.0]), st.floats(0, 300))
INDEX = st.one_of(AMOUNT, st.floats(-200, 1000))


@st.composite
def deals_drawn(draw: st.DrawFn) -> Prices:
    """A cap at or above the floor, with or without a share beyond a reference of no more than the cap."""
    floor = draw(AMOUNT)
    cap = floor + draw(AMOUNT)
    if draw(st.booleans()):
        return deal(floor, cap)
    return deal(floor, cap, cap * draw(st.floats(0, 1)), draw(st.sampled_from([0.25, 0.5, 1.0])))


@given(deals_drawn(), INDEX)
@tries(500)
def test_a_delivery_is_paid_within_floor_and_cap(prices: Prices, index: float) -> None:
    floor, cap = prices.floor[0], prices.cap[0]
    assert floor <= paid(prices, index) <= cap
    worth = index
    if not math.isnan(prices.share[0]):
        worth = min(index, prices.reference[0] + prices.share[0] * (index - prices.reference[0]))
    is_forced = bool(prices.is_forced(np.array([index]))[0])
    assert paid(prices, index) == (cap if is_forced else pytest.approx(min(max(worth, floor), cap)))
    assert is_forced == (index < prices.call_price[0] - 1e-9)


@given(deals_drawn(), AMOUNT)
@tries(300)
def test_the_call_price_is_the_least_at_which_its_part_reaches_the_floor(prices: Prices, by: float) -> None:
    """And above it an owner is paid no less the more clears."""

    def worth(index: float) -> float:
        reference, share = prices.reference[0], prices.share[0]
        return index if math.isnan(share) else min(index, reference + share * (index - reference))

    call, floor = float(prices.call_price[0]), prices.floor[0]
    assert call >= floor
    assert worth(call) == pytest.approx(floor, abs=1e-6)
    assert worth(call - by - 0.01) < floor
    assert paid(prices, call + by) <= paid(prices, call + 2 * by + 1.0)


# --- of the others alone -------------------------------------------------------------------------------------------

OWNERS = st.lists(st.tuples(AMOUNT, st.sampled_from(["home ev", "home", "shop"])), min_size=1, max_size=9)


@given(OWNERS, st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1)))
@tries(500)
def test_the_quantile_of_others_is_that_without_oneself(owners: list[tuple[float, str]], quantile: float) -> None:
    values, segment = np.array([value for value, _ in owners]), np.array([kind for _, kind in owners])
    found = of_others(values, segment, quantile)
    for i in range(len(owners)):
        kin = np.flatnonzero(segment == segment[i])
        members = kin if len(kin) > 1 else np.arange(len(owners))
        others = values[members[members != i]]
        assert found[i] == pytest.approx(np.quantile(others, quantile) if len(others) else np.nan, nan_ok=True)


@st.composite
def posted_days(draw: st.DrawFn) -> tuple[Terms, NegotiationPolicy]:
    owners = draw(st.lists(st.tuples(AMOUNT, st.sampled_from(["home", "shop"])), min_size=2, max_size=6))
    least, segment = [[value for value, _ in owners]], [kind for _, kind in owners]
    count = len(owners)
    terms = terms_of([[10.0] * count], least, least, [[80.0] * count], segment=segment)
    policy = NegotiationPolicy(
        engine="uniform_clearing",
        posted=draw(st.sampled_from(["cap", "half_share"])),
        posted_multiple=draw(st.sampled_from([1.0, 1.5, 3.0])),
    )
    return terms, policy


@given(posted_days(), AMOUNT)
@tries(300)
def test_nothing_that_is_posted_to_an_owner_holds_its_own_word(
    case: tuple[Terms, NegotiationPolicy], told: float
) -> None:
    terms, policy = case
    outcome = uniform_clearing(terms, policy)
    for i in range(len(terms.prosumer_id)):
        reservation = terms.reservation.copy()
        reservation[0, i] = told
        other = uniform_clearing(replace(terms, reservation=reservation, opening_ask=reservation), policy)
        assert other.offer[0, 0, i] == outcome.offer[0, 0, i]
        if outcome.reference is not None and other.reference is not None:
            assert other.reference[0, i] == outcome.reference[0, i]


def gains(terms: Terms, policy: NegotiationPolicy, i: int, told: float, index: np.ndarray) -> np.ndarray:
    """What owner ``i`` gains per MWh at each of ``index`` prices where it tells ``told``: it is called by the rule."""
    reservation = terms.reservation.copy()
    reservation[0, i] = told
    lying = replace(terms, reservation=reservation, opening_ask=reservation)
    outcome = uniform_clearing(lying, policy)
    prices = deal_prices(outcome, lying, policy).of((np.zeros(len(index), dtype=int), np.full(len(index), i)))
    called = outcome.is_closed[0, i] & ~prices.is_forced(index)
    return np.where(called, prices.paid(index) - terms.reservation[0, i], 0.0)


@given(posted_days(), st.lists(INDEX, min_size=1, max_size=12), AMOUNT)
@tries(500)
def test_no_lie_gains_at_any_price_that_clears(
    case: tuple[Terms, NegotiationPolicy], cleared: list[float], anything: float
) -> None:
    """Truth is a dominant strategy under a posted cap, with a half share or without, whatever the others tell."""
    terms, policy = case
    edges = np.concatenate([terms.reservation[0] * k for k in (1.0, *LIES)])
    index = np.concatenate([cleared, edges, edges + 0.01, edges - 0.01])
    for i, true in enumerate(terms.reservation[0]):
        honest = gains(terms, policy, i, true, index)
        assert (honest >= -1e-6).all()
        for told in (*(true * lie for lie in LIES), anything, true + 0.01, max(0.0, true - 0.01)):
            assert (gains(terms, policy, i, told, index) <= honest + 1e-6).all()


def test_a_lie_by_hand() -> None:
    """Owner b at 20 under a cap of 37.5: told 24 it misses the 22 that clear, told 16 it is called for 18 and loses."""
    index = np.array([18.0, 22.0, 30.0, 90.0])
    policy = NegotiationPolicy(**POSTED)
    assert gains(FOUR, policy, 1, 20.0, index).tolist() == [0.0, 2.0, 10.0, 17.5]
    assert gains(FOUR, policy, 1, 24.0, index).tolist() == [0.0, 0.0, 10.0, 17.5]
    assert gains(FOUR, policy, 1, 16.0, index).tolist() == [-2.0, 2.0, 10.0, 17.5]
    assert gains(FOUR, policy, 1, 40.0, index).tolist() == [0.0, 0.0, 0.0, 0.0]  # above its cap: out
