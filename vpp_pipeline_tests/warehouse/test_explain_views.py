"""Why this bid, why this member, why these earnings: on a day of two hours and three owners, written by hand.

Owner a sells all it promised at noon; b's inverter is at its limit there; c holds an option at noon as well,
and sells at one o'clock, where a MWh is worth more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vpp_pipeline_tests.warehouse.made import Made

NOON, ONE = (datetime(2023, 8, 15, hour, tzinfo=UTC) for hour in (19, 20))
WHO = ["a", "b", "c"]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path)
    made.table(
        "market.opportunities",
        opportunity_id=["noon", "one"],
        product=["energy"] * 2,
        start_utc=[NOON, ONE],
        duration_hours=[1, 1],
        forecast_price=[80.0, 100.0],
        closed_reason=[None, None],
    )
    made.table(
        "negotiation.agreements",
        opportunity_id=["noon", "noon", "noon", "one", "one"],
        prosumer_id=["a", "b", "c", "c", "d"],
        holds_option=[True, True, True, True, False],
        committed_capacity_kw=[4.0, 6.0, 5.0, 5.0, 0.0],
        reservation_price_usd_per_mwh=[25.0, 30.0, 30.0, 30.0, 30.0],
        agreed_price_usd_per_mwh=[30.0, 40.0, 35.0, 40.0, None],
        reason=["in", "in", "in", "in", "Out: it asks more than can be paid."],
    )
    made.table(
        "negotiation.messages",
        opportunity_id=["noon"] * 3,
        prosumer_id=["a"] * 3,
        round=[1, 1, 2],
        kind=["ask", "offer", "ask"],
        price_usd_per_mwh=[50.0, 20.0, 35.0],
    )
    made.table(
        "dispatch.payments",
        opportunity_id=["noon", "noon", "one"],
        prosumer_id=WHO,
        dispatched_kw=[4.0, 5.0, 5.0],
        dispatched_kwh=[4.0, 5.0, 5.0],
        agreed_price_usd_per_mwh=[30.0, 40.0, 40.0],
        payment_usd=[0.12, 0.2, 0.2],
        satisfaction_score=[6.0, 7.0, 6.5],
    )
    made.table(
        "dispatch.schedule",
        prosumer_id=WHO,
        start_utc=[NOON] * 3,
        discharge_kw=[4.0, 5.0, 0.0],
        solar_sold_kw=[0.0] * 3,
        grid_charge_kw=[0.0] * 3,
        charge_kw=[0.0] * 3,
        spin_kw=[0.0] * 3,
        nonspin_kw=[0.0] * 3,
        stored_kwh=[5.0] * 3,
        stored_value_usd_per_mwh=[45.0, 45.0, 54.0],
    )
    made.table(
        "fleet.availability",
        prosumer_id=WHO,
        start_utc=[NOON] * 3,
        max_discharge_kw=[9.0, 5.0, 9.0],
        min_stored_kwh=[1.0] * 3,
        max_stored_kwh=[10.0] * 3,
        export_limit_kw=[20.0] * 3,
        limited_by=[None] * 3,
    )
    made.table(
        "fleet.prosumers",
        prosumer_id=[*WHO, "d"],
        store=["battery"] * 4,
        archetype=["retired"] * 4,
        discharge_efficiency=[0.9] * 4,
        terminal_stored_kwh=[0.0] * 4,
    )
    made.table(
        "bids.final_bids",
        opportunity_id=["noon", "one"],
        product=["energy"] * 2,
        status=["bid", "no_bid"],
        total_capacity_mw=[0.5, 0.0],
        required_capacity_mw=[0.5, 0.5],
        forecast_price=[80.0, 100.0],
        reason=["deals", "too little"],
    )
    made.table("dispatch.positions", opportunity_id=["noon", "one"], shadow_price_usd_per_mwh=[6.94, 0.0])
    made.table("negotiation.summary", opportunity_id=["noon", "one"], status=["agreed", "no_bid"])
    return made


def test_a_member_is_stopped_by_its_commitment_its_power_or_a_better_hour(made: Made):
    answer = made.ask(
        """select prosumer_id, dispatched_kw, limit_name, instead_opportunity_id, instead_usd_per_mwh,
                  margin_usd_per_mwh
           from explain.member where opportunity_id = 'noon' order by prosumer_id"""
    )
    assert answer == [
        ("a", 4.0, "its commitment", None, None, 50.0),
        ("b", 5.0, "inverter power, selling", None, None, 40.0),
        ("c", 0.0, "price: worth more in one", "one", 60.0, 45.0),
    ]


def test_reserve_held_in_an_hour_takes_nothing_from_energy_of_another(made: Made):
    made.table(
        "market.opportunities",
        opportunity_id=["noon", "one", "at noon"],
        product=["spin", "energy", "nonspin"],
        start_utc=[NOON, ONE, NOON],
        duration_hours=[1, 1, 1],
        forecast_price=[80.0, 100.0, 90.0],
    )
    question = """select instead_opportunity_id, limit_name from explain.member
                  where opportunity_id = 'noon' and prosumer_id = 'c'"""
    assert made.ask(question) == [(None, "R: others deliver it")]
    made.table(
        "negotiation.agreements",
        opportunity_id=["noon", "one", "at noon"],
        prosumer_id=["c"] * 3,
        holds_option=[True] * 3,
        committed_capacity_kw=[5.0] * 3,
        agreed_price_usd_per_mwh=[35.0] * 3,
    )
    made.table("dispatch.payments", opportunity_id=["at noon", "one"], prosumer_id=["c"] * 2, dispatched_kw=[5.0] * 2)
    assert made.ask(question) == [("at noon", "price: worth more in at noon")]


def test_a_member_tells_who_conceded_and_what_its_energy_is_worth_if_kept(made: Made):
    (answer,) = made.ask(
        """select first_ask_usd_per_mwh, first_offer_usd_per_mwh, owner_conceded_usd_per_mwh, desk_conceded_usd_per_mwh,
                  kept_usd_per_mwh
           from explain.member where prosumer_id = 'a'"""
    )
    assert answer == (50.0, 20.0, 20.0, 10.0, 50.0)


def test_a_bid_is_explained_in_words(made: Made):
    (answer,) = made.ask("select binding, delivering, options, why from explain.bid where opportunity_id = 'noon'")
    assert answer[:3] == ("R: required capacity is reached", 2, 3)
    assert answer[3] == (
        "0.50 of 0.50 MW: R: required capacity is reached. "
        "2 of 3 prosumers with an option deliver, each at one price, at $35.56/MWh on average against an expected "
        "$80.00/MWh. "
        "Their first asks were $50.00 and our first offers $20.00 on average; 1 of them conceded more than we did. "
        "Most frequent limits: inverter power, selling (1 of them), its commitment (1 of them). "
        "One more MW would earn $6.94 per hour. "
        "0.01 MW under option here mostly deliver in one instead: $60.00 per MW and hour after payment, against "
        "$45.00 here."
    )


def test_no_bid_is_explained_too(made: Made):
    assert made.ask("select binding, why from explain.bid where opportunity_id = 'one'") == [
        ("too few deals", "No bid: too little.")
    ]


def test_what_its_resource_may_not_offer_is_explained(made: Made):
    made.table("market.opportunities", opportunity_id=["noon", "one"], closed_reason=[None, "it is not certified"])
    assert made.ask("select opportunity_id, binding from explain.bid where status = 'no_bid'") == [
        ("one", "the resource may not offer it")
    ]


def test_earnings_have_their_reason_and_so_has_nothing(made: Made):
    answer = dict(made.ask("select prosumer_id, why from explain.earnings where prosumer_id in ('c', 'd')"))
    assert answer == {
        "c": "1 deliveries of 2 options, $0.05 above the reservation prices; most, $0.20, for one at $40.00",
        "d": "no option; most often: Out: it asks more than can be paid.",
    }


def test_kinds_of_homes_add_up_what_they_are_paid(made: Made):
    (answer,) = made.ask("select archetype, prosumers, delivering, round(payment_usd, 2) from fleet.by_archetype")
    assert answer == ("retired", 4, 3, 0.52)


def test_the_catalogue_knows_units_by_the_ends_of_names(made: Made):
    answer = dict(
        made.ask(
            "select column_name, unit from explain.catalogue where table_name in ('fleet.prosumers', 'market.prices')"
        )
    )
    assert answer["capacity_kwh"] == "kWh"
    assert answer["max_charge_kw"] == "kW"
    assert answer["backup_reserve_fraction"] == "0-1"
    assert answer["spin_usd_per_mw_h"] == "$/MW per hour"
    assert answer["start_utc"] == "UTC"
    assert answer["prosumer_id"] == ""
