"""The protocol of the negotiation, and the least price: each breach is found out, and nothing honest is."""

from __future__ import annotations

import ast
import inspect

import polars as pl
import pytest

from vpp_pipeline.core.tables import Day
from vpp_pipeline.negotiation.agreements import summarise
from vpp_pipeline.negotiation.negotiate import ENGINES, negotiate
from vpp_pipeline.negotiation.terms import prepare_terms
from vpp_pipeline.settings import NegotiationPolicy, Settings
from vpp_pipeline.verification import negotiation
from vpp_pipeline.verification.negotiation import (
    check_negotiation,
    negotiations_follow_the_protocol,
    nobody_is_paid_below_reservation,
)
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay
from vpp_pipeline_tests.negotiation.seeded_faults import (
    HALF_SHARE,
    HEARD,
    INDEXED,
    INDEXED_SAMPLED,
    POSTED,
    SAMPLED,
    SEEDED,
    TOO_DEAR,
    Seeded,
    small_day,
)
from vpp_pipeline_tests.verification.tampering import (
    CALLS,
    DEAL,
    DEALS,
    FORECAST,
    MESSAGES,
    PAID,
    SUMMARY,
    TALKS,
    Fault,
    assert_caught,
    edit,
    edited,
)

IS_IN = pl.col("holds_option")

# --- each rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SEEDED, ids=str)
def test_this_fault_is_found_and_at_most_two_that_follow_from_it(case: Seeded) -> None:
    tables, settings = small_day(**case.policy)
    tampered = {**tables, case.table: case.tamper(tables)}
    found = set(check_negotiation(tampered, settings)["fault"])
    assert case.fault in found
    assert len(found) <= 3, found
    result = negotiations_follow_the_protocol(tampered, settings)
    assert not result.passed


def test_there_is_a_seeded_fault_for_every_rule() -> None:
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(negotiation))) if isinstance(node, ast.Call)]
    named = [call.args[-1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_fault"]
    contract = list(ast.walk(ast.parse(inspect.getsource(negotiation._contract_faults))))  # rules by name
    named += [key for node in contract if isinstance(node, ast.Dict) for key in node.keys if key is not None]
    named += [node.slice for node in contract if isinstance(node, ast.Subscript)]
    words = [word.value for word in named if isinstance(word, ast.Constant)]
    assert len(words) == len(set(words)) > 20
    assert set(words) == {case.fault for case in SEEDED}


# --- of whom no word is kept ---------------------------------------------------------------------------------------


def test_of_a_large_fleet_only_the_words_of_the_sample_are_there() -> None:
    tables, settings = small_day(**SAMPLED)
    assert set(tables[MESSAGES]["prosumer_id"]) == {TOO_DEAR}
    assert tables[DEALS]["holds_option"].sum() == 6
    assert check_negotiation(tables, settings).is_empty()


def test_an_invented_member_is_caught() -> None:
    tables, settings = small_day(**SAMPLED)
    invented = tables[DEALS].filter(rank=1).with_columns(prosumer_id=pl.lit("prosumer_99"), rank=pl.lit(7, pl.Int32))
    faults = check_negotiation({**tables, DEALS: pl.concat([tables[DEALS], invented])}, settings)
    assert {"another reservation price", "commitment beyond the envelope"} <= set(faults["fault"])


def test_an_unheard_option_without_a_price_is_caught() -> None:
    tables, settings = small_day(**SAMPLED)
    unpriced = edited(tables[DEALS], pl.col("rank") == 6, agreed_price_usd_per_mwh=None)
    assert not check_negotiation({**tables, DEALS: unpriced}, settings).is_empty()


def renegotiated(honest: SolvedDay, **choices: object) -> tuple[Day, Settings]:
    """The default day negotiated by another policy."""
    policy, calls = NegotiationPolicy(**choices), honest.tables[CALLS]
    settings = honest.settings.model_copy(update={"negotiation": policy})
    terms = prepare_terms(calls, honest.tables[FORECAST], honest.fleet, policy, settings.rules)
    struck = negotiate(terms, policy)
    made = calls.select("opportunity_id", engine=pl.lit("e"), fingerprint=pl.lit("f"), seconds=pl.lit(0.0))
    summary = summarise(struck.segments, struck.agreements, calls, terms.asked, settings.rules, made)
    tables = {MESSAGES: struck.messages, DEALS: struck.agreements, SUMMARY: summary, TALKS: struck.segments}
    return {**honest.tables, **tables}, settings


# --- no false alarms -----------------------------------------------------------------------------------------------


AUCTION = {"engine": "uniform_clearing", "contract": "fixed"}


@pytest.mark.parametrize("policy", [{}, HEARD, SAMPLED, AUCTION, INDEXED, INDEXED_SAMPLED, POSTED, HALF_SHARE], ids=str)
def test_an_honest_small_day_breaks_no_rule(policy: dict[str, object]) -> None:
    tables, settings = small_day(**policy)
    assert check_negotiation(tables, settings).is_empty()


def test_an_owner_who_asks_for_nothing_and_gets_nothing_is_content(honest: SolvedDay) -> None:
    free = honest.tables["fleet.prosumers"].with_columns(
        wear_usd_per_mwh=pl.lit(0.0),
        minimum_compensation_usd_per_kwh=pl.lit(0.0),
        participation_willingness_fraction=pl.lit(1.0),
    )
    policy = NegotiationPolicy(contract="fixed", opening_markup_fraction=0.0, opening_offer_fraction=0.0)
    settings = honest.settings.model_copy(update={"negotiation": policy})
    flat = honest.tables[FORECAST].with_columns(energy_usd_per_mwh=pl.lit(30.0))  # no better use to wait for
    only = honest.tables[CALLS].filter(product="energy").head(1).with_columns(forecast_price=pl.lit(100.0))
    day = NegotiatedDay(free, honest.tables["fleet.availability"], flat, only, settings)
    assert day.struck.agreements.filter("holds_option", pl.col("agreed_price_usd_per_mwh") == 0).height > 0
    assert check_negotiation(day.tables, settings).is_empty()


def test_the_default_day_breaks_no_rule(honest: SolvedDay) -> None:
    for check in (negotiations_follow_the_protocol, nobody_is_paid_below_reservation):
        assert check(honest.tables, honest.settings).passed


CHOICES: list[dict[str, object]] = [
    {"rounds": 1},
    {"rounds": 10, "opening_offer_fraction": 1.0},
    {"transcript_prosumers": 0},
    {"transcript_prosumers": 20, "maximum_coalition": 5},
    {"ranking": "original", "maximum_coalition": 3},
    {"contract": "fixed", "auction_depth": 1.0, "opening_markup_fraction": 3.0},
    {"contract": "fixed", "transcript_prosumers": 20, "maximum_coalition": 5},
    {"contract": "fixed"},
    {"posted": "half_share", "posted_multiple": 1.0, "opening_premium_fraction": 3.0},
    {"posted": "half_share"},
]


@pytest.mark.parametrize(
    ("engine", "choices"),
    [  # each choice with one engine in every run, with the others in `make test-all`
        pytest.param(engine, choices, marks=[] if (e + c) % len(ENGINES) == 0 else pytest.mark.slow)
        for e, engine in enumerate(ENGINES)
        for c, choices in enumerate(CHOICES)
    ],
    ids=str,
)
def test_no_engine_breaks_a_rule_on_the_default_day(honest: SolvedDay, engine: str, choices: dict[str, object]) -> None:
    tables, settings = renegotiated(honest, engine=engine, **choices)
    assert tables[DEALS]["holds_option"].any()
    assert check_negotiation(tables, settings).is_empty()


def test_a_deal_above_the_ceiling_is_caught_though_no_word_of_it_is_kept(honest: SolvedDay) -> None:
    tables, settings = renegotiated(honest, transcript_prosumers=20, contract="fixed")
    deals, heard = tables[DEALS], tables[MESSAGES]["prosumer_id"].unique()
    assert 0 < len(heard) <= 20 < len(honest.fleet)
    dearest = pl.col("rank") == pl.col("rank").max().over("opportunity_id")
    unheard = dearest & IS_IN & ~pl.col("prosumer_id").is_in(heard.implode())
    above = edited(deals, unheard, agreed_price_usd_per_mwh=pl.col("agreed_price_usd_per_mwh") + 1000.0)
    faults = check_negotiation({**tables, DEALS: above}, settings)
    fixed = "agreed price is not what the forecast pays"
    assert set(faults["fault"]) == {"price above the ceiling", "another satisfaction", fixed}


# --- the least price -----------------------------------------------------------------------------------------------


def underpaid(day: Day) -> pl.DataFrame:
    """Payments with one a hundredth of a cent below the least price, where a payment is large enough to show it."""
    least = day[PAID].join(
        day[DEALS].select(*DEAL, least="reservation_price_usd_per_mwh"), on=DEAL, maintain_order="left"
    )
    short = edited(
        least, pl.col("payment_usd") > 0.1, payment_usd=pl.col("least") * pl.col("dispatched_kwh") / 1000 - 1e-4
    )
    return short.drop("least")


def without_the_first_paid(day: Day) -> pl.DataFrame:
    return day[DEALS].join(day[PAID].head(1), on=DEAL, how="anti")


CHECK, BELOW = nobody_is_paid_below_reservation, "deals below the owner's reservation price"
LOWER = pl.col("reservation_price_usd_per_mwh") - 0.01
FAULTS = [
    Fault(
        negotiations_follow_the_protocol,
        "a deal at another price",
        DEALS,
        edit(DEALS, IS_IN, agreed_price_usd_per_mwh=pl.col("agreed_price_usd_per_mwh") + 1.0),
        "violations of the protocol",
        None,
    ),
    Fault(CHECK, "agreed below it", DEALS, edit(DEALS, IS_IN, agreed_price_usd_per_mwh=LOWER), BELOW),
    Fault(CHECK, "an option without a price", DEALS, edit(DEALS, IS_IN, agreed_price_usd_per_mwh=None), BELOW),
    Fault(CHECK, "the payment is short of it", PAID, underpaid, BELOW),
    Fault(CHECK, "nothing is paid", PAID, edit(PAID, payment_usd=0.0), BELOW),
    Fault(CHECK, "a payment has no agreement", DEALS, without_the_first_paid, BELOW),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_the_least_price_is_not_taken_from_the_agreement(honest: SolvedDay) -> None:
    """An agreement that states a lower least price and pays just that does not pass."""
    forged = edited(honest.tables[DEALS], IS_IN, reservation_price_usd_per_mwh=0.0, agreed_price_usd_per_mwh=0.0)
    assert not CHECK(honest.with_table(DEALS, forged), honest.settings).passed
