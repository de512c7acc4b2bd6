"""What is kept of what was said: every word, a sample of them, and each round at a glance."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.negotiation.negotiate import negotiate
from vpp_pipeline.negotiation.terms import Terms, is_kept
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.random_terms import cases
from vpp_pipeline_tests.negotiation.talks import fixed

COLUMNS = ["segment", "round", "prosumers", "capacity_kw", "mean_ask_usd_per_mwh", "mean_offer_usd_per_mwh"]

# --- whose words are kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prosumers", "most", "kept"),
    [
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 3, [0, 2, 4]),
        (10, 4, [0, 3, 6, 9]),
        (10, 1, [0]),
        (10, 0, []),
        (6, 5, [0, 1, 2, 3, 5]),
    ],
)
def test_whose_words_are_kept(prosumers: int, most: int, kept: list[int]) -> None:
    assert np.flatnonzero(is_kept(prosumers, most)).tolist() == kept


@given(st.integers(1, 30_000), st.integers(0, 30_000))
@tries(500)
def test_as_many_as_wanted_are_kept_from_first_to_last_and_evenly(prosumers: int, most: int) -> None:
    places = np.flatnonzero(is_kept(prosumers, most))
    assert len(places) == min(prosumers, most)
    if most >= 2 and prosumers >= 2:
        assert (places[0], places[-1]) == (0, prosumers - 1)
        gaps = np.diff(places)
        assert gaps.max() - gaps.min() <= 1


def test_a_sample_holds_the_same_words_as_the_whole() -> None:
    terms = terms_of([[5] * 5] * 2, [[10, 60, 79, 90, 30]] * 2, [[12, 100, 200, 95, 40]] * 2, [[80] * 4 + [-1]] * 2)
    whole = negotiate(terms, fixed())
    sample = negotiate(terms, fixed(transcript_prosumers=3))
    assert sample.messages.equals(whole.messages.filter(pl.col("prosumer_id").is_in(["a", "c", "e"])))
    assert sample.segments.equals(whole.segments)


# --- each round at a glance ----------------------------------------------------------------------------------------


def test_two_kinds_of_prosumers_at_a_glance() -> None:
    # of `TWO` with c beside a: c holds 150 kW and asks 60, 35, 10, the mean of a and c is weighted 1:3;
    # 225 of 150 kW on offer: the aggregator offers 40, 60, 80
    terms = terms_of(
        [[50, 25, 150]],
        [[30, 90, 10]],
        [[70, 130, 60]],
        [[80, 80, 80]],
        required_kw=[150.0],
        patience=[1.0, 0.5, 1.0],
        segment=["home battery", "home ev", "home battery"],
    )
    table = negotiate(terms, fixed()).segments
    assert table.select(COLUMNS).rows() == [
        ("home battery", 1, 2, 200.0, (70 + 3 * 60) / 4, 40.0),
        ("home battery", 2, 2, 200.0, (50 + 3 * 35) / 4, 60.0),
        ("home ev", 1, 1, 25.0, 130.0, 40.0),
        ("home ev", 2, 1, 25.0, 120.0, 60.0),
        ("home ev", 3, 1, 25.0, 90.0, 80.0),
    ]
    assert table.select("accepted", "accepted_kw", "left").rows() == [
        (0, 0.0, 0),
        (2, 200.0, 0),
        (0, 0.0, 0),
        (0, 0.0, 0),
        (0, 0.0, 1),
    ]


def test_who_is_refused_leaves_without_an_offer() -> None:
    terms = terms_of([[10, 30]], [[30, 30]], [[40, 40]], [[-1, 80]])
    row = negotiate(terms, fixed()).segments.row(0, named=True)
    assert (row["prosumers"], row["capacity_kw"], row["left"], row["accepted"]) == (2, 40.0, 1, 1)
    assert (row["mean_ask_usd_per_mwh"], row["mean_offer_usd_per_mwh"]) == (40.0, 40.0)  # the offer to b alone
    alone = negotiate(terms_of([[10]], [[30]], [[40]], [[-1]]), fixed()).segments
    assert alone["mean_offer_usd_per_mwh"].to_list() == [None]


def test_the_silent_are_in_no_segment() -> None:
    terms = terms_of([[0, 5]], [[30, 30]], [[40, 40]], [[80, 80]], segment=["home ev", "home battery"])
    assert negotiate(terms, fixed()).segments["segment"].to_list() == ["home battery"]


def by_hand(terms: Terms, messages: pl.DataFrame) -> dict[tuple[str, str, int], dict[str, float | None]]:
    """The same sums, message by message."""
    kind_of = dict(zip(terms.prosumer_id, terms.segment, strict=True))
    said: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in messages.iter_rows(named=True):
        said[row["opportunity_id"], str(kind_of[row["prosumer_id"]]), row["round"]].append(row)

    def mean(rows: list[dict[str, Any]]) -> float | None:
        weight = sum(row["capacity_kw"] for row in rows)
        return sum(row["price_usd_per_mwh"] * row["capacity_kw"] for row in rows) / weight if rows else None

    table = {}
    for key, rows in said.items():
        asks, offers, accepts = ([row for row in rows if row["kind"] == kind] for kind in ("ask", "offer", "accept"))
        table[key] = {
            "prosumers": len(asks),
            "capacity_kw": sum(row["capacity_kw"] for row in asks),
            "mean_ask_usd_per_mwh": mean(asks),
            "mean_offer_usd_per_mwh": mean(offers),
            "accepted": len(accepts),
            "accepted_kw": sum(row["capacity_kw"] for row in accepts),
            "left": sum(row["kind"] in ("withdraw", "reject") for row in rows),
        }
    return table


@given(cases(), st.lists(st.sampled_from(["home battery", "home ev", "business none"]), min_size=4, max_size=4))
@tries(60)
def test_segments_add_up_what_was_said(case: tuple[Terms, NegotiationPolicy], kinds: list[str]) -> None:
    terms, policy = case
    terms = replace(terms, segment=np.array(kinds[: len(terms.prosumer_id)]))
    struck = negotiate(terms, policy)
    expected = by_hand(terms, struck.messages)
    found = {
        (row["opportunity_id"], row["segment"], row["round"]): row for row in struck.segments.iter_rows(named=True)
    }
    assert set(found) == set(expected)
    for key, row in expected.items():
        assert {name: found[key][name] for name in row} == pytest.approx(row)
