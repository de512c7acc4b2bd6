"""How a deal is struck by concessions, worked by hand."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.negotiation.negotiate import concession
from vpp_pipeline.negotiation.outcome import End
from vpp_pipeline_tests.examples import terms_of
from vpp_pipeline_tests.negotiation.talks import DEAL, ENDS, TWO, agreements, asking, fixed, lines, prices, talk


def test_two_prosumers_over_three_rounds() -> None:
    said = talk(TWO)
    assert lines(said, "a") == [(1, "ask", 70), (1, "offer", 40), (2, "ask", 50), (2, "offer", 60), (2, "accept", 55)]
    assert lines(said, "b") == [
        *[(1, "ask", 130), (1, "offer", 40), (2, "ask", 120), (2, "offer", 60)],
        *[(3, "ask", 90), (3, "offer", 80), (3, "withdraw", 90)],
    ]


def test_each_word_names_its_speaker_and_its_reason() -> None:
    said = talk(TWO).sort("prosumer_id", "round")
    words = [tuple(row) for row in said.select("prosumer_id", "round", "kind", "sender", "reason").rows()]
    assert set(words) >= {
        ("a", 1, "ask", "prosumer", "opening ask"),
        ("a", 2, "ask", "prosumer", "concedes"),
        ("a", 2, "offer", "aggregator", "counter-offer"),
        ("a", 2, "accept", "prosumer", "the offer meets the ask: half-way between ask and offer"),
        ("b", 3, "offer", "aggregator", "final offer"),
        (
            "b",
            3,
            "withdraw",
            "prosumer",
            "deadlock: the offer does not reach the ask, and no side can concede",
        ),
    }


def test_ten_rounds() -> None:
    # asks 70 - 40 k/9 and offers 40 + 40 k/9 after k steps: 30 apart, closed by 80 k/9 once k reaches 3.375, in round 5
    said = talk(TWO, rounds=10)
    assert prices(said, "a", "ask") == pytest.approx([70 - 40 * k / 9 for k in range(5)])
    assert prices(said, "a", "offer") == pytest.approx([40 + 40 * k / 9 for k in range(5)])
    assert lines(said, "a")[-1] == (5, "accept", 55.0)
    # b concedes (k/9)^2 of the way, and walks away in the last round
    assert prices(said, "b", "ask") == pytest.approx([130 - 40 * (k / 9) ** 2 for k in range(10)])
    assert prices(said, "b", "offer") == pytest.approx([40 + 40 * k / 9 for k in range(10)])
    assert lines(said, "b")[-1] == (10, "withdraw", 90.0)


def test_a_single_round_is_the_final_one() -> None:
    said = talk(TWO, rounds=1)
    assert lines(said, "a") == [(1, "ask", 30), (1, "offer", 80), (1, "accept", 55)]
    assert lines(said, "b") == [(1, "ask", 90), (1, "offer", 80), (1, "withdraw", 90)]


def test_who_gives_way_early_asks_less_at_half_time() -> None:
    # from 70 to 30: patience 4 concedes 0.5 ** (1/4) = 84 % of 40 by half time, patience 0.25 only 0.5 ** 4 = 6 %
    terms = terms_of([[5, 5, 5]], [[30] * 3], [[70] * 3], [[20] * 3], patience=[4.0, 1.0, 0.25])
    asks = [prices(talk(terms), name, "ask")[1] for name in "abc"]
    assert asks == pytest.approx([70 - 40 * 0.5**0.25, 50.0, 70 - 40 * 0.5**4])


def test_scarce_capacity_makes_the_aggregator_concede_sooner() -> None:
    # a third of R: patience 1.5 / (1/3) = 4.5, at most 4: 0.5 ** (1/4) = 84 % of the way after half the time
    scarce = terms_of([[10]], [[90]], [[200]], [[80]], required_kw=[30.0])
    ample = terms_of([[300]], [[90]], [[200]], [[80]], required_kw=[30.0])  # patience 0.25: 0.5 ** 4 = 6 %
    twice = terms_of([[60]], [[90]], [[200]], [[80]], required_kw=[30.0])  # patience 1.5 / 2
    offers = [prices(talk(terms), "a", "offer")[1] for terms in (scarce, ample, twice)]
    assert offers == pytest.approx([40 + 40 * 0.5**0.25, 40 + 40 * 0.5**4, 40 + 40 * 0.5 ** (1 / 0.75)])


# --- how it ends ---------------------------------------------------------------------------------------------------


def test_a_deadlock_ends_it_as_soon_as_neither_side_can_move() -> None:
    # no markup: the ask stands at 90 from the start; the first offer is the whole ceiling of 80
    stuck = terms_of([[5, 5]], [[90, 70]], [[90, 110]], [[80, 80]], required_kw=[10 / 1.5])
    said = talk(stuck, rounds=5, opening_offer_fraction=1.0)
    assert lines(said, "a") == [(1, "ask", 90), (1, "offer", 80), (1, "withdraw", 90)]
    # b still moves, 10 a round, and meets the 80 in round 4
    asks = [(r, kind, p) for r, kind, p in lines(said, "b") if kind != "offer"]
    assert asks == [(1, "ask", 110), (2, "ask", 100), (3, "ask", 90), (4, "ask", 80), (4, "accept", 80)]


@pytest.mark.parametrize("opening_offer", [0.0, 0.5, 0.99])
def test_while_one_side_can_move_nobody_walks_away(opening_offer: float) -> None:
    stuck = terms_of([[5]], [[90]], [[90]], [[80]])
    said = talk(stuck, rounds=5, opening_offer_fraction=opening_offer)
    assert lines(said, "a")[-1] == (5, "withdraw", 90)


@pytest.mark.parametrize("ceiling", [0.0, -7.0])
@pytest.mark.parametrize("rounds", [1, 3, 10])
def test_a_price_that_leaves_nothing_to_offer_is_rejected_at_once(ceiling: float, rounds: int) -> None:
    # in a single round the opening ask is the final one
    terms = terms_of([[5]], [[30]], [[40]], [[ceiling]])
    assert lines(talk(terms, rounds=rounds), "a") == [(1, "ask", 30 if rounds == 1 else 40), (1, "reject", ceiling)]


def test_a_hopeless_ceiling_does_not_keep_others_from_their_deal() -> None:
    terms = terms_of([[5, 5]], [[10, 10]], [[12, 12]], [[-1, 80]])
    said = talk(terms)
    assert lines(said, "a") == [(1, "ask", 12), (1, "reject", -1)]
    assert lines(said, "b") == [(1, "ask", 12), (1, "offer", 40), (1, "accept", 26)]


def test_it_stops_early_when_every_deal_is_closed() -> None:
    said = talk(terms_of([[5, 5]], [[10, 10]], [[12, 15]], [[80, 80]]), rounds=10)  # first offer 40
    assert said["round"].max() == 1
    assert said.filter(kind="accept")["price_usd_per_mwh"].to_list() == [26.0, 27.5]


def test_without_capacity_a_prosumer_stays_silent() -> None:
    said = talk(terms_of([[0, 5]], [[30, 30]], [[40, 40]], [[80, 80]]))
    assert said["prosumer_id"].unique().to_list() == ["b"]


def test_nobody_with_capacity_means_no_words() -> None:
    assert talk(terms_of([[0, 0]], [[30, 30]], [[40, 40]], [[80, 80]])).is_empty()


@pytest.mark.parametrize("rounds", range(1, 11))
def test_nobody_speaks_after_the_end(rounds: int) -> None:
    terms = terms_of([[5] * 5], [[10, 60, 79, 90, 30]], [[12, 100, 200, 95, 40]], [[80, 80, 80, 80, -1]])
    said = talk(terms, rounds=rounds)
    ended = said.filter(pl.col("kind").is_in(ENDS)).select(*DEAL, end="round")
    assert ended.height == 5
    assert said.join(ended, on=DEAL).filter(pl.col("round") > pl.col("end")).is_empty()


def test_the_ends_of_a_negotiation_are_told_apart() -> None:
    terms = terms_of([[5, 5, 5, 0]], [[30, 90, 30, 30]], [[40, 90, 40, 40]], [[80, 80, 0, 80]])
    outcome = concession(terms, fixed())
    assert [End(end) for end in outcome.end[0]] == [End.ACCEPTED, End.DEADLOCK, End.REFUSED, End.SILENT]
    assert outcome.is_closed.tolist() == [[True, False, False, False]]
    assert outcome.end_round.tolist() == [[1, 3, 1, 0]]


# --- what it does not promise --------------------------------------------------------------------------------------


def test_who_overstates_the_least_price_earns_more() -> None:
    """The price splits the difference, so truth does not pay: that is what `uniform_clearing` is for."""
    honest = terms_of([[50]], [[30]], [[30]], [[80]])
    assert agreements(honest, rounds=1)["agreed_price_usd_per_mwh"].to_list() == [55.0]  # (30 + 80) / 2
    overstated = asking(honest, honest.reservation + 20.0)
    assert agreements(overstated, rounds=1)["agreed_price_usd_per_mwh"].to_list() == [65.0]  # (50 + 80) / 2
