"""Who is in, in which order, and whether it is enough: ranking, coalitions and the boundaries of the summary."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.domain.negotiation import agreements_of, negotiate, summarise
from vpp_pipeline.domain.terms import Terms
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline_tests.domain.examples import calls_of, terms_of


def deals(terms: Terms, **choices: object) -> pl.DataFrame:
    policy = NegotiationPolicy(**choices)
    return agreements_of(negotiate(terms, calls_of(terms), policy), terms, policy)


# --- ranking and coalitions ----------------------------------------------------------------------------------------


def closing_at(prices: list[float], reservation: list[float], availability: list[float]) -> Terms:
    """Deals that close in one round at the given prices: (ask + offer) / 2 with ask = reservation."""
    ceilings = [2 * price - least for price, least in zip(prices, reservation, strict=True)]
    return terms_of([[10.0] * len(prices)], [reservation], [reservation], [ceilings], availability=availability)


def ranking(terms: Terms, **policy: object) -> list[str]:
    return deals(terms, rounds=1, **policy).sort("rank")["prosumer_id"].to_list()


def test_the_cheapest_per_chance_of_delivery_ranks_first() -> None:
    # 40 / 1.0 = 40, 38 / 0.9 = 42.2, 30 / 0.7 = 42.9
    assert ranking(closing_at([30.0, 38.0, 40.0], [20.0, 20.0, 20.0], [0.7, 0.9, 1.0])) == ["c", "b", "a"]


def test_ties_go_to_the_more_content_then_to_the_id() -> None:
    # all at 40; c gains 30, the others 20
    assert ranking(closing_at([40.0, 40.0, 40.0], [20.0, 20.0, 10.0], [1.0, 1.0, 1.0])) == ["c", "a", "b"]


def test_a_maximum_coalition_keeps_the_best_ranked() -> None:
    terms = closing_at([50.0, 40.0, 45.0, 35.0], [20.0] * 4, [1.0] * 4)
    assert ranking(terms, maximum_coalition=3) == ["d", "b", "c"]
    assert ranking(terms) == ["d", "b", "c", "a"]


# --- the summary ---------------------------------------------------------------------------------------------------


def summary_of(committed_kw: list[float], required_mw: float = 1.0, ceiling: float = 80.0) -> dict[str, object]:
    """The summary of one opportunity whose prosumers commit these capacities for certain."""
    count = len(committed_kw)
    terms = terms_of([committed_kw], [[30.0] * count], [[30.0] * count], [[ceiling] * count])
    calls, policy = calls_of(terms, [required_mw]), NegotiationPolicy()
    said = negotiate(terms, calls, policy)
    agreed = agreements_of(said, terms, policy)
    made = pl.DataFrame({"opportunity_id": ["o0"], "engine": ["concession"], "fingerprint": ["x"], "seconds": [0.5]})
    return summarise(said, agreed, calls, terms, MarketRules(), made).row(0, named=True)


@pytest.mark.parametrize(
    ("committed_kw", "status", "reason"),
    [
        ([400.0, 300.0, 300.0], "agreed", "3 deals hold 1.0 MW for 1.0 MW"),
        ([400.0, 300.0, 299.9], "relaxed", "3 deals hold 1.0 MW"),
        ([300.0, 250.0, 250.0], "relaxed", "3 deals hold 0.8 MW for 1.0 MW"),  # 80 % to the kW
        ([300.0, 250.0, 249.9], "no_bid", "0.8 MW under option, below 80 % of 1.0 MW"),
        ([500.0, 500.0], "no_bid", "only 2 deals closed, 3 members are needed"),
        ([500.0, 500.0, 0.0], "no_bid", "only 2 deals closed, 3 members are needed"),
        ([0.0, 0.0, 0.0], "no_bid", "no prosumer has capacity then"),
    ],
)
def test_the_status_follows_from_capacity_and_members(committed_kw: list[float], status: str, reason: str) -> None:
    row = summary_of(committed_kw)
    assert (row["status"], reason in row["reason"]) == (status, True), row["reason"]
    assert row["committed_capacity_mw"] == pytest.approx(sum(committed_kw) / 1000.0)
    assert row["asked"] == len(committed_kw)
    assert row["bids"] == row["members"] == sum(kw > 0 for kw in committed_kw)


def test_no_overlap_of_ask_and_offer_is_no_bid_with_its_price() -> None:
    row = summary_of([400.0, 300.0, 300.0], ceiling=29.0)
    assert (row["status"], row["members"], row["bids"], row["rounds"]) == ("no_bid", 0, 3, 3)
    assert row["reason"] == "no deal: at 50.0 $ no offer reaches an owner's least price"


@pytest.mark.parametrize("required_mw", [0.1, 0.3, 0.55, 0.7, 1.1, 1.7, 2.3, 4.4])
def test_eighty_percent_is_enough_for_every_requirement(required_mw: float) -> None:
    assert summary_of([200.0 * required_mw] * 4, required_mw)["status"] == "relaxed"
