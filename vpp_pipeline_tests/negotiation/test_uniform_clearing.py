"""One price for all, worked by hand, against a plain computation, and that the truth pays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.negotiation.negotiate import uniform_clearing
from vpp_pipeline.negotiation.outcome import End, Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.talks import agreements, fixed, lines, talk

ENGINE = {"engine": "uniform_clearing", "auction_depth": 1.0}


def auction(
    kw: list[float], least: list[float], ceiling: list[float], required_kw: float = 100.0, depth: float = 1.0
) -> tuple[dict[str, float], dict[str, str]]:
    """What winners are paid, and how it ended for the others."""
    terms = terms_of([kw], [least], [least], [ceiling], required_kw=[required_kw])
    outcome = uniform_clearing(terms, fixed(auction_depth=depth))
    ends = {name: End(end) for name, end in zip("abcdefgh", outcome.end[0], strict=False)}
    paid = {name: outcome.end_price[0, i] for i, (name, end) in enumerate(ends.items()) if end == End.ACCEPTED}
    return paid, {name: end.name.lower() for name, end in ends.items() if end != End.ACCEPTED}


# --- by hand -------------------------------------------------------------------------------------------------------


def test_the_first_ask_beyond_the_wanted_capacity_sets_the_price() -> None:
    # wanted max(1 x 100, 100 + 40) = 140 kW; 40, 80, 120, 160: the fourth reaches it
    paid, others = auction([40.0] * 5, [10.0, 20.0, 30.0, 40.0, 50.0], [80.0] * 5)
    assert paid == {"a": 40.0, "b": 40.0, "c": 40.0}
    assert others == {"d": "sets_the_price", "e": "priced_out"}


def test_what_is_said_in_the_one_round() -> None:
    terms = terms_of([[40.0] * 5], [[10.0, 20.0, 30.0, 40.0, 50.0]], [[99.0] * 5], [[80.0] * 5])
    said = talk(terms, **ENGINE)
    assert lines(said, "a") == [(1, "ask", 10), (1, "offer", 40), (1, "accept", 40)]
    assert lines(said, "d") == [(1, "ask", 40), (1, "offer", 40), (1, "reject", 40)]
    assert lines(said, "e") == [(1, "ask", 50), (1, "offer", 40), (1, "withdraw", 50)]


def test_where_too_little_is_offered_the_ceiling_is_paid() -> None:
    paid, others = auction([40.0] * 3, [10.0, 20.0, 30.0], [80.0] * 3)  # 120 kW of 140
    assert (paid, others) == ({"a": 80.0, "b": 80.0, "c": 80.0}, {})


def test_a_setter_that_cannot_be_afforded_leaves_the_ceiling() -> None:
    paid, others = auction([40.0] * 4, [10.0, 20.0, 30.0, 90.0], [80.0] * 4)
    assert (paid, others) == ({"a": 80.0, "b": 80.0, "c": 80.0}, {"d": "priced_out"})


def test_equal_costs_go_by_place() -> None:
    paid, others = auction([40.0] * 5, [10.0, 20.0, 40.0, 40.0, 40.0], [80.0] * 5)
    assert paid == {"a": 40.0, "b": 40.0, "c": 40.0}  # c wins and is paid just its ask
    assert others == {"d": "sets_the_price", "e": "priced_out"}


def test_who_is_dear_to_recharge_is_paid_less_for_the_same_ask() -> None:
    # C = 80; a MWh of a costs 20 more to recharge: costs a 10 + 20, b 20, c 35, d 30 + 10; order b, a, c, d; P = 40
    paid, others = auction([40.0] * 4, [10.0, 20.0, 35.0, 30.0], [60.0, 80.0, 80.0, 70.0])
    assert paid == {"a": 20.0, "b": 40.0, "c": 40.0}
    assert others == {"d": "sets_the_price"}


def test_nobody_is_paid_more_than_the_own_ceiling() -> None:
    paid, _ = auction([40.0] * 3, [10.0, 20.0, 35.0], [60.0, 80.0, 70.0])  # no setter: each its own ceiling
    assert paid == {"a": 60.0, "b": 80.0, "c": 70.0}


def test_the_largest_capacity_is_wanted_on_top() -> None:
    # wanted 100 + 60 kW; 10, 70, 100, 150, 170: e reaches it
    paid, others = auction([10.0, 60.0, 30.0, 50.0, 20.0], [1.0, 2.0, 3.0, 4.0, 5.0], [80.0] * 5)
    assert (set(paid), others) == ({"a", "b", "c", "d"}, {"e": "sets_the_price"})
    # wanted 100 + 50 kW; 20, 70, 100, 150: d reaches it
    paid, others = auction([20.0, 50.0, 30.0, 50.0, 20.0], [1.0, 2.0, 3.0, 4.0, 5.0], [80.0] * 5)
    assert (set(paid), others) == ({"a", "b", "c"}, {"d": "sets_the_price", "e": "priced_out"})


@pytest.mark.parametrize(
    ("depth", "winners"), [(1.0, "abc"), (1.4, "abc"), (1.7, "abcd"), (2.0, "abcd"), (3.0, "abcde")]
)
def test_depth_buys_a_multiple_of_the_requirement(depth: float, winners: str) -> None:
    paid, _ = auction([40.0] * 5, [10.0, 20.0, 30.0, 40.0, 50.0], [80.0] * 5, depth=depth)
    assert "".join(paid) == winners


def test_who_is_refused_takes_no_part() -> None:
    # without c the others' 120 kW fall short of 140, so there is no setter; c's ceiling counts for nothing either
    paid, others = auction([40.0, 40.0, 500.0, 40.0], [10.0, 20.0, 0.0, 30.0], [80.0, 80.0, -5.0, 80.0])
    assert (paid, others) == ({"a": 80.0, "b": 80.0, "d": 80.0}, {"c": "refused"})


def test_who_has_no_capacity_sets_no_price() -> None:
    paid, others = auction([40.0, 40.0, 0.0, 40.0, 40.0], [10.0, 20.0, 25.0, 30.0, 50.0], [80.0] * 5)
    assert (paid, others) == ({"a": 50.0, "b": 50.0, "d": 50.0}, {"c": "silent", "e": "sets_the_price"})


def test_who_loses_a_tie_is_not_told_that_the_price_is_below_an_equal_ask() -> None:
    terms = terms_of([[40.0] * 5], [[10.0, 20.0, 40.0, 40.0, 40.0]], [[99.0] * 5], [[80.0] * 5])
    reason = agreements(terms, **ENGINE)["reason"].to_list()[4]
    assert "$40.00, is below its ask, $40.00" not in reason


# --- against a plain computation -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Auction:
    """One opportunity: who can give how much, asks what, and is worth what."""

    kw: list[float]
    least: list[float]
    ceiling: list[float]
    required_kw: float
    depth: float

    @property
    def terms(self) -> Terms:
        return terms_of([self.kw], [self.least], [self.least], [self.ceiling], required_kw=[self.required_kw])

    def run(self) -> Outcome:
        return uniform_clearing(self.terms, fixed(auction_depth=self.depth))

    def by_the_docstring(self) -> tuple[dict[int, float], int | None]:
        """What each winner is paid, and who sets the price, in loops over the module's own words."""
        competing = [i for i, kw in enumerate(self.kw) if kw > 0 and self.ceiling[i] > 0]
        if not competing:
            return {}, None
        highest = max(self.ceiling[i] for i in competing)
        cost = {i: self.least[i] + (highest - self.ceiling[i]) for i in competing}
        target = max(self.depth * self.required_kw, self.required_kw + max(self.kw[i] for i in competing))
        total, before, setter = 0.0, [], None
        for i in sorted(competing, key=lambda i: (cost[i], i)):
            total += self.kw[i]
            if total >= target:
                setter = i
                break
            before.append(i)
        price = highest if setter is None or cost[setter] > highest else cost[setter]
        winners = [i for i in before if cost[i] <= highest]
        return {i: price - (highest - self.ceiling[i]) for i in winners}, setter


ROUND_PRICE, ANY_PRICE = st.integers(0, 8).map(lambda k: 10.0 * k), st.floats(0, 100)
PRICE = st.one_of(ROUND_PRICE, ANY_PRICE)
CEILING = st.one_of(PRICE, PRICE, PRICE, st.floats(-20, 0))
KW = st.one_of(st.sampled_from([0.0, 10.0, 25.0]), st.floats(0.1, 60))


@st.composite
def auctions(draw: st.DrawFn) -> Auction:
    count = draw(st.integers(2, 8))

    def values(of: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(of, min_size=count, max_size=count))

    kw, least, ceiling = values(KW), values(PRICE), values(CEILING)
    return Auction(kw, least, ceiling, draw(st.floats(1, 150)), draw(st.sampled_from([1.0, 1.5, 3.0])))


@given(auctions())
@tries(1000)
def test_it_is_what_the_docstring_says(case: Auction) -> None:
    outcome, (paid, setter) = case.run(), case.by_the_docstring()
    assert {int(i) for i in np.flatnonzero(outcome.is_closed[0])} == set(paid)
    for i, price in paid.items():
        assert outcome.end_price[0, i] == pytest.approx(price, abs=1e-9)
    sets = np.flatnonzero(outcome.end[0] == End.SETS_THE_PRICE)
    affordable = setter is not None and not math.isclose(case.least[setter], case.ceiling[setter], abs_tol=1e-9)
    if affordable:
        assert sets.tolist() == ([setter] if case.least[setter] < case.ceiling[setter] else [])


# --- the truth pays ------------------------------------------------------------------------------------------------


def profits(case: Auction, i: int, reports: list[float]) -> list[float]:
    """What prosumer ``i`` gains by each report of its reservation price, in $ per hour; the others' words stand."""
    one = case.terms
    told = np.repeat(one.reservation, len(reports), axis=0)
    told[:, i] = reports
    rows = {
        name: np.repeat(getattr(one, name), len(reports), axis=0) for name in ("capacity_kw", "bound_by", "ceiling")
    }
    ids, required = np.array([f"o{k}" for k in range(len(reports))]), np.repeat(one.required_kw, len(reports))
    terms = replace(one, opportunity_id=ids, required_kw=required, reservation=told, opening_ask=told, **rows)
    outcome = uniform_clearing(terms, fixed(auction_depth=case.depth))
    gained = (outcome.end_price[:, i] - case.least[i]) * case.kw[i] / 1000.0
    return np.where(outcome.is_closed[:, i], gained, 0.0).tolist()


@given(auctions(), st.lists(st.floats(0, 150), min_size=4, max_size=4))
@tries(500)
def test_the_true_reservation_price_pays_best(case: Auction, anything: list[float]) -> None:
    outbid = [price + (a - b) for price in case.least for a in case.ceiling for b in case.ceiling]
    for i, true in enumerate(case.least):
        reports = [true, 0.0, true / 2, true - 0.01, true + 0.01, 2 * true + 1, 1e4, *anything]
        reports += [max(0.0, price + by) for price in outbid for by in (-1e-3, 0.0, 1e-3)]
        truthful, *misreported = profits(case, i, [max(0.0, report) for report in reports])
        assert truthful >= 0.0
        assert max(misreported) <= truthful + 1e-9


def test_one_who_hides_behind_the_setter_wins_nothing() -> None:
    case = Auction([40.0] * 5, [10.0, 20.0, 30.0, 40.0, 50.0], [80.0] * 5, 100.0, 1.0)
    # c tells 30 truthfully and is paid 40; up to 40 nothing changes; behind d it sets or loses
    assert profits(case, 2, [30.0, 35.0, 39.0, 41.0, 60.0]) == pytest.approx([0.4, 0.4, 0.4, 0.0, 0.0])
    # d sets the price; as low as 25 it wins, and is paid c's 30: 10 $/MWh below its own least price
    assert profits(case, 3, [40.0, 35.0, 25.0]) == pytest.approx([0.0, 0.0, -0.4])


def test_with_a_largest_coalition_a_lie_does_not_win_a_tie() -> None:
    """Six are paid the same price and three may hold an option: who they are must not depend on what they ask."""
    least, kw = [10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 40.0], [40.0] * 7
    policy = {**ENGINE, "maximum_coalition": 3, "auction_depth": 2.0}

    def members(asked: list[float]) -> list[str]:
        terms = terms_of([kw], [asked], [asked], [[80.0] * 7], required_kw=[100.0])
        return agreements(terms, **policy).filter("holds_option")["prosumer_id"].to_list()

    honest = members(least)
    assert len(honest) == 3
    for i, lower in ((3, 1.0), (3, 15.0), (2, 5.0)):
        assert members([*least[:i], lower, *least[i + 1 :]]) == honest
