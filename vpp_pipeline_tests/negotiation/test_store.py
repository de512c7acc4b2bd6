"""What is negotiated again and what is reused, in memory and in the lake."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.negotiation.store import AGREEMENTS, MESSAGES, SEGMENTS, InMemory, Store, negotiate_missing
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline.warehouse.day import LakeNegotiations
from vpp_pipeline_tests.examples import DAY, calls_of, terms_of

POLICY, RULES = NegotiationPolicy(), MarketRules()
SLOTS = ["energy_he01", "energy_he02"]


@pytest.fixture(params=[lambda folder: InMemory(), lambda folder: LakeNegotiations(Lake(folder), DAY)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    made: Store = request.param(tmp_path)
    return made


def terms(least: float = 30.0) -> Terms:
    """Two opportunities, three prosumers; ``least``: what the first asks in the second opportunity."""
    return terms_of(
        [[400.0, 300.0, 300.0]] * 2,
        [[30.0, 30.0, 30.0], [least, 30.0, 30.0]],
        [[60.0] * 3] * 2,
        [[80.0] * 3] * 2,
    )


def negotiated(store: Store, given: Terms, policy: NegotiationPolicy = POLICY, **more: bool) -> list[bool]:
    calls = calls_of(given, [1.0, 1.0]).with_columns(slot=pl.Series(SLOTS))
    return negotiate_missing(store, calls, given, policy, RULES, **more)["is_new"].to_list()


def test_an_opportunity_is_negotiated_again_where_what_it_rests_on_has_changed(store: Store) -> None:
    assert negotiated(store, terms()) == [True, True]
    assert negotiated(store, terms()) == [False, False]
    assert negotiated(store, terms(least=31.0)) == [False, True]
    assert negotiated(store, terms(least=31.0), NegotiationPolicy(rounds=2)) == [True, True]
    assert negotiated(store, terms(least=31.0), NegotiationPolicy(rounds=2), reuse=False) == [True, True]


def test_the_lake_gives_back_what_memory_does(tmp_path: Path) -> None:
    memory, lake = InMemory(), LakeNegotiations(Lake(tmp_path), DAY)
    for store in (memory, lake):
        negotiated(store, terms())
    for table in (MESSAGES, AGREEMENTS, SEGMENTS):
        assert memory.read(table, SLOTS).equals(lake.read(table, SLOTS))
        assert memory.read(table, SLOTS[1:]).height < memory.read(table, SLOTS).height
    assert memory.read(AGREEMENTS, SLOTS, ["rank"]).columns == ["rank"]


def test_a_file_that_is_gone_or_damaged_is_made_again(tmp_path: Path) -> None:
    store = LakeNegotiations(Lake(tmp_path), DAY)
    negotiated(store, terms())
    store.lake.path("negotiation.deals", f"{DAY}|{SLOTS[0]}").unlink()
    store.lake.path("negotiation.rounds", f"{DAY}|{SLOTS[1]}").write_bytes(b"torn")
    assert negotiated(store, terms()) == [True, True]
    assert negotiated(store, terms()) == [False, False]
