"""Who is in, in which order, and why everyone else is out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.negotiation.agreements import agreements_of, options
from vpp_pipeline.negotiation.negotiate import concession, negotiate
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.rules import is_a_sentence
from vpp_pipeline_tests.negotiation.talks import TWO, agreements, fixed


def told(terms: Terms, prosumer: str, **policy: object) -> str:
    """Why one prosumer is in or out."""
    return str(agreements(terms, **policy).row(by_predicate=pl.col("prosumer_id") == prosumer, named=True)["reason"])


def test_the_deal_by_hand_becomes_one_option() -> None:
    deal = options(agreements(TWO)).row(0, named=True)
    assert options(agreements(TWO)).height == 1
    assert (deal["prosumer_id"], deal["committed_capacity_kw"], deal["closed_round"], deal["rank"]) == ("a", 50.0, 2, 1)
    assert (deal["reservation_price_usd_per_mwh"], deal["agreed_price_usd_per_mwh"]) == (30.0, 55.0)
    assert deal["expected_satisfaction_score"] == pytest.approx(5 + 5 * 25 / 55)


def test_who_is_out_commits_nothing() -> None:
    b = agreements(TWO).row(1, named=True)
    assert (b["prosumer_id"], b["holds_option"], b["committed_capacity_kw"]) == ("b", False, 0.0)
    assert b["reservation_price_usd_per_mwh"] == 90.0
    empty = ("agreed_price_usd_per_mwh", "expected_satisfaction_score", "rank", "closed_round")
    assert [b[name] for name in empty] == [None] * 4


def test_the_reason_of_a_deal() -> None:
    assert told(TWO, "a") == (
        "In: it closed in round 2 at $55.00, half-way between ask and offer (its reservation price $30.00, "
        "our ceiling $80.00): "
        "50.0 kW, bound by the power of its devices; rank 1 of 1 by price over reliability."
    )


@pytest.mark.parametrize(
    ("terms", "policy", "reason"),
    [
        (TWO, {}, "Out: deadlock in round 3: our last offer, $80.00, does not reach its last ask, $90.00."),
        (
            terms_of([[5, 5]], [[30, 30]], [[40, 40]], [[80, -7]]),
            {},
            "Out: after recharging and margin the expected price leaves -$7.00 to offer; it asked $40.00.",
        ),
        (
            terms_of([[5, 0]], [[30, 30]], [[40, 40]], [[80, 80]]),
            {},
            "Out: it has nothing to offer then, because of its EV being away.",
        ),
        (  # a, c, b ask 10, 20, 30 with 40 kW each; 60 + 40 kW are wanted, so b's are the first beyond
            terms_of([[40, 40, 40]], [[10, 30, 20]], [[10, 30, 20]], [[80, 80, 80]], required_kw=[60.0]),
            {"engine": "uniform_clearing", "auction_depth": 1},
            "Out: its ask, $30.00, is the first beyond the wanted capacity; it sets the price for the others.",
        ),
        (
            terms_of([[40, 40]], [[10, 90]], [[10, 90]], [[80, 80]]),
            {"engine": "uniform_clearing"},
            "Out: the clearing price for it, $80.00, does not exceed its ask, $90.00.",
        ),
    ],
    ids=["deadlock", "refused", "silent", "sets the price", "priced out"],
)
def test_the_reason_of_who_is_out(terms: Terms, policy: dict[str, object], reason: str) -> None:
    assert told(terms, "b", **policy) == reason
    assert is_a_sentence(reason)


# --- ranking and coalitions ----------------------------------------------------------------------------------------


def closing_at(
    prices: list[float], reservation: list[float], availability: list[float], kw: list[float] | None = None
) -> Terms:
    """Deals that close in one round at the given prices: (ask + offer) / 2 with ask = reservation."""
    ceilings = [2 * price - least for price, least in zip(prices, reservation, strict=True)]
    return terms_of([kw or [10.0] * len(prices)], [reservation], [reservation], [ceilings], availability=availability)


def ranking(terms: Terms, **policy: object) -> list[str]:
    return options(agreements(terms, rounds=1, **policy)).sort("rank")["prosumer_id"].to_list()


def test_the_cheapest_per_chance_of_delivery_ranks_first() -> None:
    # 40 / 1.0 = 40, 38 / 0.9 = 42.2, 30 / 0.7 = 42.9
    assert ranking(closing_at([30.0, 38.0, 40.0], [20.0, 20.0, 20.0], [0.7, 0.9, 1.0])) == ["c", "b", "a"]


def test_who_never_delivers_ranks_last() -> None:
    assert ranking(closing_at([30.0, 38.0, 40.0], [20.0, 20.0, 20.0], [0.0, 0.9, 1.0])) == ["c", "b", "a"]


def test_ties_go_to_the_more_content_then_to_the_id() -> None:
    # all at 40; c gains 30, the others 20
    assert ranking(closing_at([40.0, 40.0, 40.0], [20.0, 20.0, 10.0], [1.0, 1.0, 1.0])) == ["c", "a", "b"]


def test_a_maximum_coalition_keeps_the_best_ranked() -> None:
    terms = closing_at([50.0, 40.0, 45.0, 35.0], [20.0] * 4, [1.0] * 4)
    assert ranking(terms, maximum_coalition=3) == ["d", "b", "c"]
    assert ranking(terms) == ["d", "b", "c", "a"]


def test_who_is_beyond_the_largest_coalition_keeps_its_rank_and_is_told_so() -> None:
    terms = closing_at([50.0, 40.0, 45.0, 35.0], [20.0] * 4, [1.0] * 4)
    a = agreements(terms, rounds=1, maximum_coalition=3).row(0, named=True)
    assert (a["prosumer_id"], a["holds_option"], a["rank"], a["closed_round"]) == ("a", False, 4, 1)
    assert (a["committed_capacity_kw"], a["agreed_price_usd_per_mwh"]) == (0.0, None)
    assert a["reason"] == (
        "Out: it closed in round 1 at $50.00, half-way between ask and offer (its reservation price $20.00, "
        "our ceiling $80.00), but rank 4 of 4 by price over reliability exceeds the largest coalition: 3."
    )


def test_each_opportunity_is_ranked_by_itself() -> None:
    terms = terms_of([[5, 5], [5, 5]], [[10, 20], [20, 10]], [[10, 20], [20, 10]], [[80, 80], [80, 80]])
    rows = agreements(terms, rounds=1).select("opportunity_id", "prosumer_id", "rank").rows()
    assert rows == [("o0", "a", 1), ("o0", "b", 2), ("o1", "a", 2), ("o1", "b", 1)]


# --- the ranking of the first project ------------------------------------------------------------------------------


def bid_score(price: float, capacity: float) -> float:
    """The first project's `bid_score`, line by line: price in $/MWh, capacity in kW."""
    price_score = 1.0 / max(price, 1.0)
    capacity_score = capacity / 1000.0
    reliability_score = 1.0
    capacity_bonus = min(capacity / 10.0, 2.0)
    return price_score + capacity_score + reliability_score + capacity_bonus


def test_the_original_ranks_by_its_bid_score() -> None:
    # a 1/50 + 0.005 + 1 + 0.5 = 1.525; b 1/40 + 0.010 + 1 + 1 = 2.035; c 1/25 + 0.012 + 1 + 1.2 = 2.252;
    # d 1/80 + 0.030 + 1 + 2 = 3.0425; e 1/2 + 0.020 + 1 + 2 = 3.52
    prices, kw = [50.0, 40.0, 25.0, 80.0, 2.0], [5.0, 10.0, 12.0, 30.0, 20.0]
    terms = closing_at(prices, [20.0, 20.0, 20.0, 20.0, 1.0], [1.0] * 5, kw)
    scores = [1.525, 2.035, 2.252, 3.0425, 3.52]
    assert [bid_score(*bid) for bid in zip(prices, kw, strict=True)] == pytest.approx(scores)
    assert ranking(terms, ranking="original") == ["e", "d", "c", "b", "a"]  # d, the dearest, comes second
    assert ranking(terms) == ["e", "c", "b", "a", "d"]
    assert "rank 2 of 5 by the original's bid score." in told(terms, "d", rounds=1, ranking="original")


def test_the_original_order_depends_on_the_units() -> None:
    """10 $/MWh against 100 times that, and 101 kW more: units alone decide which of the two is better."""
    cheap, dear = (10.0, 20.0), (1000.0, 121.0)  # $/MWh, kW
    assert bid_score(*cheap) < bid_score(*dear)  # 0.1 + 0.02 + 1 + 2 < 0.001 + 0.121 + 1 + 2
    in_mw = [bid_score(price, kw / 1000.0) for price, kw in (cheap, dear)]
    assert in_mw[0] > in_mw[1]  # 0.1 + 0.00002 + 1 + 0.002 > 0.001 + 0.000121 + 1 + 0.0121
    in_cents_per_kwh = [bid_score(price / 10.0, kw) for price, kw in (cheap, dear)]
    assert in_cents_per_kwh[0] > in_cents_per_kwh[1]  # 1 + 0.02 + 1 + 2 > 0.01 + 0.121 + 1 + 2
    terms = closing_at([cheap[0], dear[0]], [5.0, 5.0], [1.0, 1.0], [cheap[1], dear[1]])
    assert ranking(terms, ranking="original") == ["b", "a"]
    assert ranking(terms) == ["a", "b"]


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0])
def test_price_over_reliability_does_not_depend_on_the_units(factor: float) -> None:
    prices, least, reliability = [30.0, 38.0, 40.0], [20.0, 20.0, 20.0], [0.7, 0.9, 1.0]
    scaled = closing_at([factor * p for p in prices], [factor * p for p in least], reliability, [10.0 * factor] * 3)
    assert ranking(scaled) == ranking(closing_at(prices, least, reliability))


# --- of a large fleet ----------------------------------------------------------------------------------------------


def test_every_deal_is_told_and_of_the_others_those_whose_words_are_kept() -> None:
    terms = terms_of([[5, 5, 5, 5]], [[30, 90, 90, 30]], [[40, 90, 90, 40]], [[80] * 4])
    policy, kept = fixed(), np.array([False, False, True, False])
    rows = agreements_of(concession(terms, policy), terms, policy, kept)
    assert rows.select("prosumer_id", "holds_option").rows() == [("a", True), ("c", False), ("d", True)]


def test_a_fleet_of_which_no_word_is_kept_still_has_its_deals() -> None:
    struck = negotiate(TWO, fixed(transcript_prosumers=0))
    assert struck.messages.is_empty()
    assert struck.agreements["prosumer_id"].to_list() == ["a"]
    assert struck.agreements.equals(negotiate(TWO, fixed()).agreements.filter("holds_option"))
