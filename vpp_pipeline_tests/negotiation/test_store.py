"""What is negotiated again and what is reused, in memory and in the lake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.negotiation.store import AGREEMENTS, MESSAGES, SEGMENTS, InMemory, Store, negotiate_missing
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import TABLES, is_in_order
from vpp_pipeline.settings import MarketRules, NegotiationPolicy
from vpp_pipeline.warehouse.day import LakeNegotiations
from vpp_pipeline_tests.examples import DAY, calls_of, terms_of

POLICY, RULES = NegotiationPolicy(), MarketRules()
SLOTS = ["energy_he01", "energy_he02"]
NAMES = ["o0", "o1"]


@pytest.fixture(params=[lambda folder: InMemory(), lambda folder: LakeNegotiations(Lake(folder).day(DAY))])
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
    return negotiate_missing(store, calls, [given], policy, RULES, **more)["is_new"].to_list()


def test_an_opportunity_is_negotiated_again_where_what_it_rests_on_has_changed(store: Store) -> None:
    assert negotiated(store, terms()) == [True, True]
    assert negotiated(store, terms()) == [False, False]
    assert negotiated(store, terms(least=31.0)) == [False, True]
    assert negotiated(store, terms(least=31.0), NegotiationPolicy(rounds=2)) == [True, True]
    assert negotiated(store, terms(least=31.0), NegotiationPolicy(rounds=2), reuse=False) == [True, True]


def test_the_lake_gives_back_what_memory_does(tmp_path: Path) -> None:
    memory, lake = InMemory(), LakeNegotiations(Lake(tmp_path).day(DAY, "run"))
    for store in (memory, lake):
        negotiated(store, terms())
    for table in (MESSAGES, AGREEMENTS, SEGMENTS):
        assert memory.read(table, NAMES).equals(lake.read(table, NAMES))
        assert memory.read(table, NAMES[1:]).height < memory.read(table, NAMES).height
    assert memory.read(AGREEMENTS, NAMES, ["rank"]).columns == ["rank"]


def test_a_file_that_is_gone_or_damaged_is_made_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    store = LakeNegotiations(lake.day(DAY, "run"))
    for table, damage in (("negotiation.deals", None), ("negotiation.messages", b"torn")):
        negotiated(store, terms())
        file = lake.path(store.kept.present(table))
        file.unlink()
        if damage:
            file.write_bytes(damage)
        assert negotiated(store, terms()) == [True, True]
        assert negotiated(store, terms()) == [False, False]


def test_blocks_and_what_is_kept_come_in_the_order_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpp_pipeline.negotiation.negotiate.in_blocks.__defaults__", (None, None, 3))
    memory, lake = InMemory(), LakeNegotiations(Lake(tmp_path).day(DAY, "run"))
    for given in (terms(), terms(least=31.0)):  # two blocks; then one, and one that is kept
        for store in (memory, lake):
            negotiated(store, given)
        for table in (MESSAGES, AGREEMENTS, SEGMENTS):
            assert memory.read(table, NAMES).equals(lake.read(table, NAMES))
            assert is_in_order(lake.read(table, NAMES), TABLES[table].primary_key())


def test_a_slot_that_is_no_longer_traded_goes_and_one_that_is_negotiated_alone_leaves_the_others(store: Store) -> None:
    negotiated(store, terms())
    before = store.read(AGREEMENTS, NAMES[:1])
    both, one = terms(least=31.0), np.array([False, True])
    calls = calls_of(both, [1.0, 1.0]).with_columns(slot=pl.Series(SLOTS))
    alone = (calls.filter(pl.Series(one)), [both.only(one)])
    negotiate_missing(store, *alone, POLICY, RULES, reuse=False, keep_others=True)
    assert store.read(AGREEMENTS, NAMES[:1]).equals(before)
    assert set(store.bases()) == set(NAMES)
    negotiate_missing(store, *alone, POLICY, RULES)
    assert set(store.bases()) == {NAMES[1]}


def test_blocks_of_several_resources_are_put_in_the_order_of_the_key(tmp_path: Path) -> None:
    both = terms()
    calls = calls_of(both, [1.0, 1.0]).with_columns(slot=pl.Series(SLOTS))
    by_resource = [both.only(np.array([False, True])), both.only(np.array([True, False]))]
    memory, lake = InMemory(), LakeNegotiations(Lake(tmp_path).day(DAY, "run"))
    for store in (memory, lake):
        negotiate_missing(store, calls, by_resource, POLICY, RULES)
    for table in (MESSAGES, AGREEMENTS, SEGMENTS):
        assert memory.read(table, NAMES).equals(lake.read(table, NAMES))
        assert is_in_order(lake.read(table, NAMES), TABLES[table].primary_key())


def test_opportunities_of_two_resources_share_a_slot(store: Store) -> None:
    both = terms()
    calls = calls_of(both, [1.0, 1.0]).with_columns(slot=pl.lit(SLOTS[0]))
    made = negotiate_missing(store, calls, [both], POLICY, RULES)
    assert made["is_new"].to_list() == [True, True]
    assert {name: basis["slot"] for name, basis in store.bases().items()} == dict.fromkeys(NAMES, SLOTS[0])
    for name in NAMES:
        assert store.read(AGREEMENTS, [name])["opportunity_id"].unique().to_list() == [name]
    assert not negotiate_missing(store, calls, [both], POLICY, RULES)["is_new"].any()


def test_bases_that_were_kept_by_slot_are_found_by_opportunity(tmp_path: Path) -> None:
    store = LakeNegotiations(Lake(tmp_path).day(DAY, "run"))
    negotiated(store, terms())
    by_slot = {slot: store.bases()[name] for slot, name in zip(SLOTS, NAMES, strict=True)}
    for table in ("negotiation.deals", SEGMENTS, MESSAGES):
        store.kept.write(table, store.kept.read(table), {"slots": json.dumps(by_slot)})
    assert set(store.bases()) == set(NAMES)
    assert negotiated(store, terms()) == [False, False]
