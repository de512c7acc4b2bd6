"""Whether a negotiation is enough to bid, at the boundaries of the rules."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.negotiation.agreements import summarise
from vpp_pipeline.negotiation.negotiate import negotiate
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline_tests.examples import calls_of, terms_of


def summary_of(
    committed_kw: list[float],
    required_mw: float = 1.0,
    ceiling: float = 80.0,
    contract: str = "fixed",
    **policy: object,
) -> dict[str, object]:
    """The summary of one opportunity whose prosumers commit these capacities for certain."""
    count = len(committed_kw)
    terms = terms_of([committed_kw], [[30.0] * count], [[30.0] * count], [[ceiling] * count])
    struck = negotiate(terms, NegotiationPolicy(contract=contract, **policy))
    made = pl.DataFrame({"opportunity_id": ["o0"], "engine": ["concession"], "fingerprint": ["x"], "seconds": [0.5]})
    calls = calls_of(terms, [required_mw])
    return summarise(struck.segments, struck.agreements, calls, terms.asked, MarketRules(), made).row(0, named=True)


@pytest.mark.parametrize(
    ("committed_kw", "status", "reason"),
    [
        ([400.0, 300.0, 300.0], "agreed", "3 deals hold 1.0 MW for 1.0 MW"),
        ([400.0, 300.0, 299.9], "relaxed", "3 deals hold 1.0 MW"),
        ([300.0, 250.0, 250.0], "relaxed", "3 deals hold 0.8 MW for 1.0 MW"),  # 80 % to the kW
        ([300.0, 250.0, 249.9], "no_bid", "0.8 MW under option, below 80% of 1.0 MW"),
        ([500.0, 500.0], "no_bid", "deals closed: 2, members needed: 3"),
        ([500.0, 500.0, 0.0], "no_bid", "deals closed: 2, members needed: 3"),
        ([0.0, 0.0, 0.0], "no_bid", "no prosumer has capacity then"),
    ],
)
@pytest.mark.parametrize("contract", ["indexed", "fixed"])
def test_the_status_follows_from_capacity_and_members(
    contract: str, committed_kw: list[float], status: str, reason: str
) -> None:
    row = summary_of(committed_kw, contract=contract)
    assert (row["status"], reason in row["reason"]) == (status, True), row["reason"]
    assert row["committed_capacity_mw"] == pytest.approx(sum(committed_kw) / 1000.0)
    assert row["asked"] == len(committed_kw)
    assert row["bids"] == row["members"] == sum(kw > 0 for kw in committed_kw)


def test_no_overlap_of_ask_and_offer_is_no_bid_with_its_price() -> None:
    row = summary_of([400.0, 300.0, 300.0], ceiling=29.0)
    assert (row["status"], row["members"], row["bids"], row["rounds"]) == ("no_bid", 0, 3, 3)
    assert row["reason"] == "no deal: at $50.00 no offer reaches an owner's reservation price"


def test_with_indexed_deals_who_stands_by_at_its_floor_is_a_member() -> None:
    row = summary_of([400.0, 300.0, 300.0], ceiling=29.0, contract="indexed")
    assert (row["status"], row["members"], row["bids"], row["rounds"]) == ("agreed", 3, 3, 3)
    assert row["reason"] == "3 deals hold 1.0 MW for 1.0 MW"


@pytest.mark.parametrize("required_mw", [0.1, 0.3, 0.55, 0.7, 1.1, 1.7, 2.3, 4.4])
def test_eighty_percent_is_enough_for_every_requirement(required_mw: float) -> None:
    assert summary_of([200.0 * required_mw] * 4, required_mw)["status"] == "relaxed"


def test_only_options_count_towards_the_requirement() -> None:
    row = summary_of([250.0] * 4, maximum_coalition=3)
    assert (row["status"], row["members"], row["committed_capacity_mw"], row["bids"]) == ("no_bid", 3, 0.75, 4)


def test_bids_are_counted_even_where_no_word_is_kept() -> None:
    heard = summary_of([400.0, 300.0, 300.0])
    assert summary_of([400.0, 300.0, 300.0], transcript_prosumers=0) == heard
