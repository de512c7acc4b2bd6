"""What every engine keeps to, over random terms; and that tables say what the arrays say."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.negotiation.negotiate import ENGINES, in_blocks, negotiate
from vpp_pipeline.negotiation.outcome import End
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.random_terms import FIXED, cases
from vpp_pipeline_tests.negotiation.rules import broken_words
from vpp_pipeline_tests.negotiation.talks import DEAL, ENDS, TWO, every_pair

Case = tuple[Terms, NegotiationPolicy]
CONCESSION = cases(st.just("concession"), FIXED)
TABLES = ("messages", "agreements", "segments")

of_arrays = tries(500)
of_tables = tries(40)


@given(cases())
@of_arrays
def test_every_engine_keeps_to_the_rules(case: Case) -> None:
    terms, policy = case
    assert broken_words(ENGINES[policy.engine](terms, policy), terms, policy) == []


@given(CONCESSION)
@of_arrays
def test_a_deal_closes_exactly_where_the_ceiling_reaches_the_reservation(case: Case) -> None:
    terms, policy = case
    possible = (terms.capacity_kw > 0) & (terms.ceiling > 0) & (terms.ceiling >= terms.reservation)
    np.testing.assert_array_equal(ENGINES["concession"](terms, policy).is_closed, possible)


@given(CONCESSION)
@of_arrays
def test_with_indexed_deals_whoever_has_capacity_holds_an_option(case: Case) -> None:
    terms, policy = case
    policy = policy.model_copy(update={"contract": "indexed"})
    outcome = ENGINES["concession"](terms, policy)
    np.testing.assert_array_equal(outcome.is_closed, terms.capacity_kw > 0)
    reached = (terms.ceiling > 0) & (terms.ceiling >= terms.reservation)
    np.testing.assert_array_equal(outcome.end == End.ACCEPTED, reached & (terms.capacity_kw > 0))


@given(CONCESSION)
@of_arrays
def test_the_last_word_of_each_side_is_its_limit(case: Case) -> None:
    terms, policy = case
    outcome = ENGINES["concession"](terms, policy)
    for o, i in every_pair(terms) if len(outcome.ask) == policy.rounds else []:
        ask, offer = outcome.ask[-1, o, i], outcome.offer[-1, o, i]
        if not math.isnan(ask) and terms.ceiling[o, i] > 0:
            assert (ask, offer) == (terms.reservation[o, i], terms.ceiling[o, i])


@given(CONCESSION)
@of_arrays
def test_who_walks_away_early_could_not_have_closed_later(case: Case) -> None:
    terms, policy = case
    outcome = ENGINES["concession"](terms, policy)
    for o, i in every_pair(terms):
        last = outcome.end_round[o, i]
        if 0 < last < policy.rounds and not outcome.is_closed[o, i] and terms.ceiling[o, i] > 0:
            assert outcome.ask[last - 1, o, i] == terms.reservation[o, i] > terms.ceiling[o, i]


@given(cases())
@of_arrays
def test_an_opportunity_alone_is_negotiated_as_among_all(case: Case) -> None:
    terms, policy = case
    together = ENGINES[policy.engine](terms, policy)
    for o, name in enumerate(terms.opportunity_id):
        alone = ENGINES[policy.engine](terms.only(terms.opportunity_id == name), policy)
        held = len(alone.ask)
        for array in ("end", "end_round", "end_price"):
            np.testing.assert_array_equal(getattr(alone, array)[0], getattr(together, array)[o])
        for array in ("ask", "offer"):
            np.testing.assert_array_equal(getattr(alone, array)[:, 0], getattr(together, array)[:held, o])
            assert np.isnan(getattr(together, array)[held:, o]).all()  # others may go on


# --- the tables ----------------------------------------------------------------------------------------------------


@given(cases())
@of_tables
def test_the_same_terms_give_the_same_tables_alone_or_among_others(case: Case) -> None:
    terms, policy = case
    once, again = negotiate(terms, policy), negotiate(terms, policy)
    alone = [negotiate(terms.only(terms.opportunity_id == name), policy) for name in terms.opportunity_id]
    for table in TABLES:
        assert getattr(once, table).equals(getattr(again, table))
        among = getattr(once, table)
        by_itself = pl.concat([getattr(one, table) for one in alone])
        assert among.equals(by_itself)


def test_the_final_offer_is_called_so_whoever_else_is_at_the_table() -> None:
    """A round is the last by the policy, not by how long the longest negotiation of the block went on."""
    terms = terms_of([[5], [5]], [[10], [90]], [[12], [90]], [[80], [80]])
    together = negotiate(terms, NegotiationPolicy()).messages.filter(opportunity_id="o0")
    alone = negotiate(terms.only(terms.opportunity_id == "o0"), NegotiationPolicy()).messages
    assert together.equals(alone)


@pytest.mark.parametrize("pairs", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_change_nothing_but_the_memory(engine: str, pairs: int) -> None:
    terms = terms_of([[5, 9], [7, 5], [1, 2]], [[10, 30]] * 3, [[40, 50]] * 3, [[80, 20], [33, 40], [-1, 10]])
    policy = NegotiationPolicy(engine=engine)
    whole, blocks = negotiate(terms, policy), list(in_blocks(terms, policy, pairs=pairs))
    assert [len(block.opportunity_id) for block in blocks] == {1: [1] * 3, 2: [1] * 3, 3: [1] * 3, 5: [2, 1]}.get(
        pairs, [3]
    )
    for table in TABLES:
        assert pl.concat([getattr(block, table) for block in blocks]).equals(getattr(whole, table))


@pytest.mark.parametrize("engine", ENGINES)
def test_without_opportunities_there_is_nothing_to_tell(engine: str) -> None:
    nothing = negotiate(TWO.only(np.array([False])), NegotiationPolicy(engine=engine))
    assert [getattr(nothing, table).height for table in TABLES] == [0, 0, 0]
    assert nothing.messages.schema == negotiate(TWO, NegotiationPolicy(engine=engine)).messages.schema


@given(cases())
@of_tables
def test_every_negotiation_is_told_with_one_end_and_nothing_after_it(case: Case) -> None:
    terms, policy = case
    said = negotiate(terms, policy).messages
    ends = said.filter(pl.col("kind").is_in(ENDS)).select(*DEAL, end="round")
    able = {
        (str(terms.opportunity_id[o]), str(terms.prosumer_id[i]))
        for o, i in every_pair(terms)
        if terms.capacity_kw[o, i]
    }
    assert sorted(ends.select(DEAL).rows()) == sorted(able) == sorted(said.select(DEAL).unique().rows())
    assert said.join(ends, on=DEAL).filter(pl.col("round") > pl.col("end")).is_empty()


@given(cases())
@of_tables
def test_options_are_the_closed_deals_at_their_price(case: Case) -> None:
    terms, policy = case
    struck = negotiate(terms, policy)
    agreed, accepted = struck.agreements.filter("holds_option"), struck.messages.filter(kind="accept").sort(DEAL)
    assert agreed.select(DEAL).rows() == accepted.select(DEAL).rows()
    assert agreed["cap_price_usd_per_mwh"].to_list() == accepted["price_usd_per_mwh"].to_list()
    if policy.contract == "fixed":
        assert agreed["agreed_price_usd_per_mwh"].to_list() == accepted["price_usd_per_mwh"].to_list()
    assert agreed["committed_capacity_kw"].to_list() == accepted["capacity_kw"].to_list()
    for _, group in agreed.group_by("opportunity_id"):
        assert sorted(group["rank"]) == list(range(1, group.height + 1))


@given(cases())
@of_tables
def test_everyone_is_told_why(case: Case) -> None:
    terms, policy = case
    rows = negotiate(terms, policy).agreements
    assert rows.height == terms.capacity_kw.size
    is_in = rows["reason"].str.starts_with("In: ")
    assert (is_in == rows["holds_option"]).all()
    assert (is_in | rows["reason"].str.starts_with("Out: ")).all()
