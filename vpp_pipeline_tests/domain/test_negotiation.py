"""How a deal is struck: by hand, and by property over random terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpp_pipeline.domain.negotiation import agreements_of, negotiate
from vpp_pipeline.domain.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.domain.examples import calls_of, terms_of

DEAL = ["opportunity_id", "prosumer_id"]
ENDS = ["accept", "withdraw", "reject"]


def talk(terms: Terms, **policy: object) -> pl.DataFrame:
    return negotiate(terms, calls_of(terms), NegotiationPolicy(**policy))


def deals(terms: Terms, **policy: object) -> pl.DataFrame:
    return agreements_of(talk(terms, **policy), terms, NegotiationPolicy(**policy))


def lines(messages: pl.DataFrame, prosumer: str) -> list[tuple[int, str, float]]:
    """What was said with one prosumer: round, kind, price, in order of speech."""
    order = pl.col("kind").replace_strict({"ask": 0, "offer": 1, "accept": 2, "withdraw": 2, "reject": 2})
    said = messages.filter(prosumer_id=prosumer).sort("round", order)
    return [(r, kind, round(price, 9)) for r, kind, price in said.select("round", "kind", "price_usd_per_mwh").rows()]


# --- by hand -------------------------------------------------------------------------------------------------------

# supply (50 + 25) / R 50 = 1.5 makes the aggregator's patience 1: offers rise from half of 80 evenly, 40, 60, 80.
# a falls from 70 to 30 in equal steps; b holds out (patience 1/2): a quarter of the way from 130 to 90 at half time.
TWO = terms_of([[50, 25]], [[30, 90]], [[70, 130]], [[80, 80]], required_kw=[50.0], patience=[1.0, 0.5])


def test_two_prosumers_over_three_rounds_by_hand() -> None:
    said = talk(TWO)
    assert lines(said, "a") == [(1, "ask", 70), (1, "offer", 40), (2, "ask", 50), (2, "offer", 60), (2, "accept", 55)]
    assert lines(said, "b") == [
        *[(1, "ask", 130), (1, "offer", 40), (2, "ask", 120), (2, "offer", 60)],
        *[(3, "ask", 90), (3, "offer", 80), (3, "withdraw", 90)],
    ]


def test_the_deal_by_hand_becomes_one_agreement() -> None:
    deal = deals(TWO).row(0, named=True)
    assert deals(TWO).height == 1
    assert (deal["prosumer_id"], deal["committed_capacity_kw"], deal["closed_round"], deal["rank"]) == ("a", 50.0, 2, 1)
    assert (deal["reservation_price_usd_per_mwh"], deal["agreed_price_usd_per_mwh"]) == (30.0, 55.0)
    assert deal["expected_satisfaction_score"] == pytest.approx(5 + 5 * 25 / 55)
    assert "Closed in round 2 at 55.0 $ against a least price of 30.0 $; rank 1 of 1" in deal["reason"]


def test_scarce_capacity_makes_the_aggregator_concede_sooner() -> None:
    # a third of R: patience 1.5 / (1/3) = 4.5, at most 4: 0.5 ** (1/4) = 84 % of the way after half the time
    scarce = terms_of([[10]], [[90]], [[200]], [[80]], required_kw=[30.0])
    ample = terms_of([[300]], [[90]], [[200]], [[80]], required_kw=[30.0])  # patience 0.25: 0.5 ** 4 = 6 %
    offers = [talk(terms).filter(kind="offer", round=2)["price_usd_per_mwh"][0] for terms in (scarce, ample)]
    assert offers == pytest.approx([40 + 40 * 0.5**0.25, 40 + 40 * 0.5**4])


def test_without_capacity_a_prosumer_stays_silent() -> None:
    said = talk(terms_of([[0, 5]], [[30, 30]], [[40, 40]], [[80, 80]]))
    assert said["prosumer_id"].unique().to_list() == ["b"]


@pytest.mark.parametrize("ceiling", [0.0, -7.0])
def test_a_price_that_leaves_nothing_to_offer_is_rejected_at_once(ceiling: float) -> None:
    said = talk(terms_of([[5]], [[30]], [[40]], [[ceiling]]))
    assert lines(said, "a") == [(1, "ask", 40), (1, "reject", ceiling)]


def test_it_stops_early_when_every_deal_is_closed() -> None:
    said = talk(terms_of([[5, 5]], [[10, 10]], [[12, 15]], [[80, 80]]), rounds=10)  # first offer 40
    assert said["round"].max() == 1
    assert said.filter(kind="accept")["price_usd_per_mwh"].to_list() == [26.0, 27.5]


def test_a_single_round_is_the_final_one() -> None:
    said = talk(TWO, rounds=1)
    assert lines(said, "a") == [(1, "ask", 30), (1, "offer", 80), (1, "accept", 55)]
    assert lines(said, "b") == [(1, "ask", 90), (1, "offer", 80), (1, "withdraw", 90)]


def test_nobody_with_capacity_means_no_words() -> None:
    assert talk(terms_of([[0, 0]], [[30, 30]], [[40, 40]], [[80, 80]])).is_empty()


# --- properties ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Random terms with the policy they are negotiated under."""

    terms: Terms
    rounds: int
    opening_offer_fraction: float

    @property
    def policy(self) -> NegotiationPolicy:
        return NegotiationPolicy(rounds=self.rounds, opening_offer_fraction=self.opening_offer_fraction)

    @property
    def messages(self) -> pl.DataFrame:
        return negotiate(self.terms, calls_of(self.terms), self.policy)

    def beside_messages(self) -> pl.DataFrame:
        """Every message next to the private terms of both sides."""
        o, i = np.indices(self.terms.capacity_kw.shape)
        private = pl.DataFrame(
            {
                "opportunity_id": self.terms.opportunity_id[o.ravel()].astype(str),
                "prosumer_id": self.terms.prosumer_id[i.ravel()].astype(str),
                "can_kw": self.terms.capacity_kw.ravel(),
                "reservation": self.terms.reservation.ravel(),
                "ceiling": self.terms.ceiling.ravel(),
            }
        )
        return private.join(self.messages, on=DEAL, how="left")


PRICE = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 20.0, 35.0, 50.0]), st.floats(0, 200))
CEILING = st.one_of(PRICE, st.floats(-50, 0))
MARKUP = st.one_of(st.just(0.0), PRICE)
KW = st.one_of(st.just(0.0), st.floats(0.001, 500))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count, members = draw(st.integers(1, 3)), draw(st.integers(1, 4))

    def array(values: st.SearchStrategy[float]) -> list[list[float]]:
        return draw(st.lists(st.lists(values, min_size=members, max_size=members), min_size=count, max_size=count))

    reservation = array(PRICE)
    asks = (np.array(reservation) + np.array(array(MARKUP))).tolist()
    patience = draw(st.lists(st.floats(0.1, 8), min_size=members, max_size=members))
    required_kw = draw(st.lists(st.floats(1, 1000), min_size=count, max_size=count))
    terms = terms_of(array(KW), reservation, asks, array(CEILING), required_kw, patience)
    return Case(terms, draw(st.integers(1, 10)), draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])))


random_terms = settings(max_examples=60, deadline=None)


@given(cases())
@random_terms
def test_every_negotiation_ends_once_and_within_its_rounds(case: Case) -> None:
    said = case.messages
    endings = said.filter(pl.col("kind").is_in(ENDS))
    assert said["round"].max() in (None, *range(1, case.rounds + 1))
    assert sorted(endings.select(DEAL).rows()) == sorted(said.select(DEAL).unique().rows())


@given(cases())
@random_terms
def test_asks_never_rise_and_offers_never_fall(case: Case) -> None:
    step = pl.col("price_usd_per_mwh").diff().over(DEAL)
    said = case.messages.sort(*DEAL, "round")
    assert (said.filter(kind="ask").select(step).to_series().drop_nulls() <= 0).all()
    assert (said.filter(kind="offer").select(step).to_series().drop_nulls() >= 0).all()


@given(cases())
@random_terms
def test_a_deal_lies_between_ask_and_offer_reservation_and_ceiling(case: Case) -> None:
    table = case.beside_messages()
    spoken = {k: table.filter(kind=k).select(*DEAL, "round", **{k: "price_usd_per_mwh"}) for k in ("ask", "offer")}
    closed = (
        table.filter(kind="accept").join(spoken["ask"], on=[*DEAL, "round"]).join(spoken["offer"], on=[*DEAL, "round"])
    )
    assert closed.height == table.filter(kind="accept").height  # both spoke in the round that closed
    agreed = closed["price_usd_per_mwh"]
    assert (agreed >= closed["ask"] - 1e-12).all()
    assert (agreed <= closed["offer"] + 1e-12).all()
    assert (agreed >= closed["reservation"] - 1e-12).all()
    assert (agreed <= closed["ceiling"] + 1e-12).all()
    assert (closed["capacity_kw"] == closed["can_kw"]).all()


@given(cases())
@random_terms
def test_nobody_speaks_after_the_end(case: Case) -> None:
    said = case.messages
    ended = said.filter(pl.col("kind").is_in(ENDS)).select(*DEAL, end="round")
    assert said.join(ended, on=DEAL).filter(pl.col("round") > pl.col("end")).is_empty()


@given(cases())
@random_terms
def test_a_deal_closes_exactly_where_the_ceiling_reaches_the_reservation(case: Case) -> None:
    table = case.beside_messages()
    possible = (pl.col("can_kw") > 0) & (pl.col("ceiling") > 0) & (pl.col("ceiling") >= pl.col("reservation"))
    due = table.filter(possible).select(DEAL).unique().rows()
    closed = table.filter(kind="accept").select(DEAL).rows()
    assert sorted(closed) == sorted(due)


@given(cases())
@random_terms
def test_the_last_word_of_each_side_is_its_limit(case: Case) -> None:
    last = case.beside_messages().filter(pl.col("round") == case.rounds)
    asks, offers = last.filter(kind="ask"), last.filter(pl.col("kind") == "offer")
    ended_at_once = pl.col("ceiling") <= 0
    asks = asks.filter(~ended_at_once)
    np.testing.assert_array_equal(asks["price_usd_per_mwh"], asks["reservation"])
    np.testing.assert_array_equal(offers["price_usd_per_mwh"], offers["ceiling"])


@given(cases())
@random_terms
def test_the_same_terms_give_the_same_words(case: Case) -> None:
    assert case.messages.equals(case.messages)


@given(cases())
@random_terms
def test_an_opportunity_alone_is_negotiated_as_among_all(case: Case) -> None:
    together = case.messages
    for name in case.terms.opportunity_id:
        alone = case.terms.only(case.terms.opportunity_id == name)
        assert negotiate(alone, calls_of(alone), case.policy).equals(together.filter(opportunity_id=name))


@given(cases())
@random_terms
def test_agreements_are_the_closed_deals_at_their_price(case: Case) -> None:
    agreed = agreements_of(case.messages, case.terms, case.policy)
    accepted = case.messages.filter(kind="accept").sort(DEAL)
    assert agreed.select(DEAL).rows() == accepted.select(DEAL).rows()
    assert agreed["agreed_price_usd_per_mwh"].to_list() == accepted["price_usd_per_mwh"].to_list()
    for _, group in agreed.group_by("opportunity_id"):
        assert sorted(group["rank"]) == list(range(1, group.height + 1))
