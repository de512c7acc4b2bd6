"""The day as JSON documents in the shapes of the original project."""

import json
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.reporting.documents import documents_of, transcript_of, write_documents
from vpp_pipeline.schemas.documents import AggregatorOffer, ProsumerBid, ProsumerResponse

NEGOTIATION = {
    "success",
    "coalition_members",
    "total_capacity_mw",
    "negotiation_rounds",
    "final_bid_price",
    "prosumer_satisfaction_avg",
}
OPTIMIZATION = {
    "success",
    "total_bid_capacity_mw",
    "optimal_bid_price_mwh",
    "expected_profit",
    "dispatch_schedule",
    "prosumer_payments",
}
FINAL_BID = {
    "bid_id",
    "opportunity_id",
    "total_capacity_mw",
    "bid_price_mwh",
    "expected_profit",
    "profit_margin",
    "reliability_score",
    "coalition_size",
}


def test_every_opportunity_has_a_document_with_the_originals_fields(solved_day, tmp_path: Path):
    day = solved_day()
    assert write_documents(day.tables, tmp_path) == day.tables["bids.final_bids"].height
    document = json.loads((tmp_path / "energy_20230815_1200.json").read_text())
    assert set(document["negotiation"]) >= NEGOTIATION
    assert set(document["optimization"]) == OPTIMIZATION
    assert set(document["final_bid"]) == FINAL_BID
    assert list(tmp_path.glob("*.draft")) == []


def test_documents_agree_with_the_tables(solved_day):
    day = solved_day()
    bids = {row["opportunity_id"]: row for row in day.tables["bids.final_bids"].iter_rows(named=True)}
    documents = list(documents_of(day.tables))
    assert {document.opportunity_id for document in documents if document.final_bid} == {
        name for name, bid in bids.items() if bid["status"] == "bid"
    }
    for document in documents:
        bid = bids[document.opportunity_id]
        assert len(document.optimization.dispatch_schedule) == bid["coalition_size"]
        assert sum(document.optimization.prosumer_payments.values()) == pytest.approx(bid["payments_usd"], abs=0.0051)
        assert document.optimization.expected_profit == bid["expected_profit_usd"]


def test_a_document_without_a_bid_still_has_its_negotiation(solved_day):
    idle = next(document for document in documents_of(solved_day().tables) if document.final_bid is None)
    assert idle.negotiation.reason
    assert idle.optimization.dispatch_schedule == {}


def test_a_transcript_is_every_message_in_the_order_it_was_sent(solved_day):
    """The slowest deal of the noon request: an ask and an offer a round, and the answer last."""
    tables = solved_day().tables
    deal = tables["negotiation.agreements"].filter(pl.col("opportunity_id") == "energy_20230815_1200")
    slowest = (
        deal.filter("holds_option").sort("closed_round", "prosumer_id", descending=[True, False]).row(0, named=True)
    )
    spoken = tables["negotiation.messages"].filter(
        (pl.col("opportunity_id") == slowest["opportunity_id"]) & (pl.col("prosumer_id") == slowest["prosumer_id"])
    )
    messages = list(transcript_of(spoken))
    assert [type(message) for message in messages] == [ProsumerBid, AggregatorOffer] * slowest["closed_round"] + [
        ProsumerResponse
    ]
    assert isinstance(messages[-1], ProsumerResponse)
    assert messages[-1].answer == "accept"
    assert messages[-1].price_per_mwh == slowest["agreed_price_usd_per_mwh"]
