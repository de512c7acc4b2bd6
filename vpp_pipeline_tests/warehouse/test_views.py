"""Views of the market side, each on rows written by hand: bids, positions, limits, negotiations, changes, checks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vpp_pipeline.core.provenance import PACKAGE
from vpp_pipeline_tests.warehouse.made import Made
from vpp_pipeline_tests.warehouse.rows import DAY, NEXT_DAY

NOON, ONE, TWO = (datetime(2023, 8, 15, hour, tzinfo=UTC) for hour in (19, 20, 21))  # 12:00, 13:00, 14:00 Pacific


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.mark.parametrize("file", sorted((PACKAGE / "warehouse" / "sql").glob("*.sql")), ids=lambda file: file.stem)
def test_a_view_opens_with_a_sentence_and_is_described(file: Path):
    words = file.read_text(encoding="utf-8")
    assert words.startswith("-- ")
    assert words.splitlines()[0].endswith((".", "…"))
    assert words.count("create or replace view") == words.count("comment on view") == 1


def bids(made: Made, **columns: list) -> None:
    made.table("bids.final_bids", **columns)


def test_a_bid_shows_its_curve_and_how_far_prices_may_fall(made: Made):
    bids(
        made,
        bid_id=["a", "b"],
        status=["bid", "no_bid"],
        start_utc=[NOON, ONE],
        total_capacity_mw=[2.0, 0.0],
        duration_hours=[3, 1],
        forecast_price=[85.0, 40.0],
        bid_price_usd_per_mwh=[68.81, None],
    )
    made.table(
        "bids.bid_segments",
        bid_id=["a", "a"],
        segment=[1, 2],
        from_mw=[0.0, 1.6],
        to_mw=[1.6, 2.0],
        price_usd_per_mwh=[68.81, 77.89],
    )
    answer = made.ask(
        "select pacific, total_mwh, curve, round(headroom_usd_per_mwh, 2) from bids.bids_of_day order by bid_id"
    )
    assert answer == [("12:00", 6.0, "1.60 MW from $68.81, 2.00 MW from $77.89", 16.19), ("13:00", 0.0, None, None)]


def test_a_block_covers_each_of_its_hours_and_charging_counts_against_energy(made: Made):
    made.table(
        "market.price_forecast",
        start_utc=[NOON, ONE, TWO],
        energy_usd_per_mwh=[40.0, 50.0, 60.0],
        spin_usd_per_mw_h=[1.0, 2.0, 3.0],
    )
    bids(made, product=["energy"], status=["bid"], start_utc=[NOON], duration_hours=[2], total_capacity_mw=[1.5])
    made.table(
        "dispatch.schedule",
        prosumer_id=["p", "q"],
        start_utc=[NOON, NOON],
        discharge_kw=[1500.0, 300.0],
        solar_sold_kw=[0.0, 200.0],
        spin_kw=[100.0, 0.0],
        nonspin_kw=[0.0, 0.0],
        grid_charge_kw=[0.0, 500.0],
    )
    answer = made.ask(
        """select pacific, product, bid_mw, delivered_mw, grid_charge_mw, net_mw, forecast_price
           from dispatch.position_by_hour
           where product != 'nonspin' order by start_utc, product"""
    )
    assert answer == [
        ("12:00", "energy", 1.5, 2.0, 0.5, 1.5, 40.0),
        ("12:00", "spin", 0.0, 0.1, 0.0, 0.1, 1.0),
        ("13:00", "energy", 1.5, 0.0, 0.0, 0.0, 50.0),
        ("13:00", "spin", 0.0, 0.0, 0.0, 0.0, 2.0),
        ("14:00", "energy", 0.0, 0.0, 0.0, 0.0, 60.0),
        ("14:00", "spin", 0.0, 0.0, 0.0, 0.0, 3.0),
    ]


def test_limits_are_named_where_they_stop_somebody(made: Made):
    """Four stores of 10 kWh and 5 kW in one hour: at full power, empty, backing reserve, full; one is away."""
    who = ["power", "empty", "backing", "full", "away"]
    made.table(
        "dispatch.schedule",
        prosumer_id=who,
        start_utc=[NOON] * 5,
        discharge_kw=[5.0, 2.0, 0.0, 0.0, 0.0],
        spin_kw=[0.0, 0.0, 3.0, 0.0, 0.0],
        nonspin_kw=[0.0] * 5,
        charge_kw=[0.0, 0.0, 0.0, 2.0, 0.0],
        grid_charge_kw=[0.0, 0.0, 0.0, 2.0, 0.0],
        solar_sold_kw=[0.0] * 5,
        stored_kwh=[6.0, 1.0, 4.0, 10.0, 5.0],
    )
    made.table(
        "fleet.availability",
        prosumer_id=who,
        start_utc=[NOON] * 5,
        max_charge_kw=[5.0] * 5,
        max_discharge_kw=[5.0, 5.0, 5.0, 5.0, 0.0],
        min_stored_kwh=[1.0] * 5,
        max_stored_kwh=[10.0] * 5,
        solar_kw=[0.0] * 5,
        load_kw=[1.0] * 5,
        export_limit_kw=[20.0] * 5,
        limited_by=[None, None, None, None, "away"],
    )
    made.table("fleet.prosumers", prosumer_id=who, discharge_efficiency=[1.0] * 5, terminal_stored_kwh=[0.0] * 5)
    assert dict(made.ask("select prosumer_id, limit_name from dispatch.limits_reached")) == {
        "power": "inverter power, selling",
        "empty": "floor of the state of charge",
        "backing": "reserve backing",
        "full": "full store",
        "away": "owner: away",
    }


def test_a_funnel_counts_who_is_left_at_each_step(made: Made):
    made.table("market.opportunities", opportunity_id=["o", "idle"], product=["energy", "spin"])
    made.table(
        "negotiation.summary",
        opportunity_id=["o", "idle"],
        asked=[10, 10],
        bids=[8, 0],
        members=[4, 0],
        status=["agreed", "no_bid"],
    )
    made.table(
        "negotiation.segments",
        opportunity_id=["o"] * 3,
        segment=["home battery", "home ev", "home battery"],
        round=[1, 1, 2],
        prosumers=[5, 3, 5],
        mean_offer_usd_per_mwh=[20.0, None, 25.0],
    )
    made.table("dispatch.payments", opportunity_id=["o", "o"], prosumer_id=["p", "q"])
    answer = made.ask(
        "select opportunity_id, asked, bids, countered, agreed, delivering from negotiation.funnel order by all"
    )
    assert answer == [("idle", 10, 0, 0, 0, 0), ("o", 10, 8, 5, 4, 2)]


def test_concessions_are_means_weighted_by_capacity(made: Made):
    made.table("market.opportunities", opportunity_id=["o"], product=["energy"])
    made.table(
        "negotiation.segments",
        opportunity_id=["o"] * 2,
        segment=["home battery", "business battery"],
        round=[1, 1],
        prosumers=[5, 1],
        capacity_kw=[100.0, 300.0],
        mean_ask_usd_per_mwh=[60.0, 40.0],
        mean_offer_usd_per_mwh=[20.0, None],
        accepted=[2, 1],
        accepted_kw=[40.0, 300.0],
        left=[1, 0],
    )
    (answer,) = made.ask(
        """select round, talks, mean_ask_usd_per_mwh, mean_offer_usd_per_mwh, accepted, accepted_mw
           from negotiation.concessions"""
    )
    assert answer == (1, 6, 45.0, 20.0, 3, 0.34)


def test_changes_compare_with_the_last_day_there_is(made: Made):
    later = [moment.replace(day=16) for moment in (NOON, ONE, TWO)]
    for day, starts in ((DAY, [NOON, ONE, TWO]), (NEXT_DAY, later)):
        made.table("market.price_forecast", day, start_utc=starts, hour_ending=[13, 14, 15])
    common = {"bid_id": ["a", "b", "c"], "product": ["energy"] * 3}
    made.table(
        "bids.final_bids", DAY, **common, start_utc=[NOON, ONE, TWO], status=["bid", "no_bid", "bid"],
        total_capacity_mw=[1.0, 0.0, 2.0], bid_price_usd_per_mwh=[50.0, None, 60.0], reason=["", "", ""],
    )  # fmt: skip
    made.table(
        "bids.final_bids", NEXT_DAY, **common, start_utc=later, status=["bid", "bid", "no_bid"],
        total_capacity_mw=[1.0, 0.5, 0.0], bid_price_usd_per_mwh=[50.0, 55.0, None],
        reason=["", "enough deals", "too few deals"],
    )  # fmt: skip
    answer = made.ask(
        "select market_date, day_before, hour_ending, change_mw, what from bids.changes order by hour_ending"
    )
    assert answer == [(NEXT_DAY, DAY, 14, 0.5, "new: enough deals"), (NEXT_DAY, DAY, 15, -2.0, "gone: too few deals")]


def test_a_day_of_checks_is_one_row(made: Made):
    made.table(
        "bids.checks",
        check_name=["held", "noted", "broken"],
        passed=[True, False, False],
        is_warning=[False, True, False],
        violations=[0, 5, 2],
    )
    (answer,) = made.ask("select rules, held, warnings, broken, violations, not_held from bids.checks_by_day")
    assert answer == (3, 1, 1, 1, 2, "broken, noted")


def test_errors_of_the_forecast_are_actual_less_expected(made: Made):
    made.table("market.price_forecast", start_utc=[NOON, ONE], node=["N", "N"], energy_usd_per_mwh=[40.0, 50.0])
    made.table("market.prices", start_utc=[NOON], node=["N"], energy_usd_per_mwh=[55.0])
    answer = made.ask("select energy_error_usd_per_mwh from market.forecast_against_actual order by start_utc")
    assert answer == [(15.0,), (None,)]


def test_oasis_repeats_the_price_at_the_end_of_an_energy_curve_and_has_one_point_of_reserve(made: Made):
    bids(
        made,
        bid_id=["e", "s", "none"],
        product=["energy", "spin", "nonspin"],
        status=["bid", "bid", "no_bid"],
        start_utc=[NOON, NOON, NOON],
        duration_hours=[1, 2, 1],
    )
    made.table(
        "bids.bid_segments",
        bid_id=["e", "e", "s"],
        segment=[1, 2, 1],
        from_mw=[0.0, 1.6, 0.0],
        to_mw=[1.6, 2.0, 3.0],
        price_usd_per_mwh=[68.81, 77.89, 5.0],
    )
    answer = made.ask(
        """select STARTTIME, STOPTIME_GMT, MARKETPRODUCTTYPE, SCH_BID_XAXISDATA, SCH_BID_Y1AXISDATA from bids.oasis
           order by MARKETPRODUCTTYPE, STARTTIME, SCH_BID_XAXISDATA"""
    )
    noon, one = "2023-08-15 12:00:00", "2023-08-15 13:00:00"
    assert answer == [
        (noon, "2023-08-15T20:00:00-00:00", "EN", 0.0, 68.81),
        (noon, "2023-08-15T20:00:00-00:00", "EN", 1.6, 77.89),
        (noon, "2023-08-15T20:00:00-00:00", "EN", 2.0, 77.89),
        (noon, "2023-08-15T20:00:00-00:00", "SR", 3.0, 5.0),
        (one, "2023-08-15T21:00:00-00:00", "SR", 3.0, 5.0),
    ]


def test_a_resource_earns_with_reserve_and_without(made: Made):
    bids(
        made,
        bid_id=["a", "b", "c", "d"],
        resource_id=["north", "north", "north", "south"],
        product=["energy", "spin", "nonspin", "energy"],
        status=["bid", "bid", "bid", "no_bid"],
        start_utc=[NOON, NOON, ONE, ONE],
        duration_hours=[2, 1, 1, 1],
        total_capacity_mw=[2.0, 0.5, 0.7, 0.0],
        expected_profit_usd=[40.0, 6.0, 3.0, 0.0],
        payments_usd=[10.0, 2.0, 1.0, 0.0],
    )
    made.table(
        "market.resources",
        resource_id=["north", "south"],
        participation=["hourly", "none"],
        certified_spin_mw=[1.0, 0.0],
        certified_nonspin_mw=[None, 0.0],
    )
    made.table("fleet.prosumers", prosumer_id=["p", "q", "r"], resource_id=["north", "north", "south"])
    question = """
        select resource_id, prosumers, is_assumed, bids, energy_mwh, round(reserve_mw_h, 2), energy_profit_usd,
               reserve_profit_usd, expected_profit_usd, payments_usd
        from bids.by_resource order by resource_id
    """
    assert made.ask(question) == [
        ("north", 2, True, 3, 4.0, 1.2, 40.0, 9.0, 49.0, 13.0),
        ("south", 1, False, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ]


def test_a_bid_is_compared_with_that_of_the_same_resource(made: Made):
    for day, start, south_mw in ((DAY, NOON, 2.0), (NEXT_DAY, datetime(2023, 8, 16, 19, tzinfo=UTC), 3.0)):
        made.table("market.price_forecast", day, start_utc=[start], hour_ending=[13])
        made.table(
            "bids.final_bids",
            day,
            bid_id=["a", "b"],
            resource_id=["north", "south"],
            product=["energy", "energy"],
            status=["bid", "bid"],
            start_utc=[start, start],
            total_capacity_mw=[1.0, south_mw],
            bid_price_usd_per_mwh=[50.0, 50.0],
        )
    assert made.ask("select resource_id, mw_before, mw_now from bids.changes") == [("south", 2.0, 3.0)]


def test_a_settled_bid_says_what_its_difference_comes_from(made: Made):
    """2 MW for two hours, expected at $50 and cleared at $60, of which 1 MW is awarded; spin that is not awarded."""
    names = {"opportunity_id": ["o1", "o2"], "product": ["energy", "spin"], "bid_id": ["a", "b"]}
    bids(
        made,
        **names,
        status=["bid", "bid"],
        start_utc=[NOON, ONE],
        duration_hours=[2, 1],
        total_capacity_mw=[2.0, 1.0],
        expected_mw=[2.0, None],
        forecast_price=[50.0, 5.0],
        bid_price_usd_per_mwh=[40.0, 4.0],
        expected_revenue_usd=[200.0, 5.0],
        payments_usd=[80.0, 2.0],
        expected_profit_usd=[120.0, 3.0],
    )
    made.table(
        "evaluation.settlement",
        **names,
        clearing_price=[60.0, 3.0],
        bid_mw=[2.0, 1.0],
        awarded_mw=[1.0, 0.0],
        delivered_mw=[0.75, 0.0],
        shortfall_mw=[0.25, 0.0],
        absent_members=[3, 0],
        revenue_usd=[120.0, 0.0],
        no_pay_usd=[0.0, 0.0],
        payments_usd=[40.0, 0.0],
        profit_usd=[70.0, 0.0],
    )
    question = """
        select pacific, expected_mw, paid_usd, price_effect_usd, award_effect_usd, difference_usd, what
        from evaluation.settled_bids order by opportunity_id
    """
    assert made.ask(question) == [
        (
            *("12:00", 2.0, 120.0, 40.0, -120.0, -50.0),
            "less awarded than expected; 0.250 MW not delivered, 3 members unavailable",
        ),
        ("13:00", 1.0, 0.0, -2.0, -3.0, -3.0, "not awarded: the price is below the bid"),
    ]


def test_each_day_is_one_row_with_its_status_and_its_checks(made: Made):
    for day, status in ((DAY, "bid"), (NEXT_DAY, "no_bid")):
        start = datetime(day.year, day.month, day.day, 19, tzinfo=UTC)
        of_day = {"bid_id": ["a"], "status": [status], "expected_profit_usd": [40.0], "start_utc": [start]}
        made.table("bids.final_bids", day, **of_day)
        made.table("market.price_forecast", day, start_utc=[start], source=["OASIS"], node=["n"])
    made.table("evaluation.settled_days", expected_net_usd=[30.0], net_usd=[25.0], payments_usd=[9.0])
    made.table(
        "bids.checks",
        check_name=["solar_is_forecast_as_asked", "every_note_is_understood", "money_adds_up"],
        passed=[False, False, True],
        is_warning=[True, True, False],
        description=["no meters", "one note", "fine"],
    )
    question = """
        select status, bids, expected_profit_usd, expected_net_usd, net_usd, difference_usd, warnings, failed_checks,
               is_synthetic, stand_ins
        from bids.days order by market_date
    """
    assert made.ask(question) == [
        ("settled", 1, 40.0, 30.0, 25.0, -5.0, 2, 0, False, "no meters"),
        ("no bid", 0, 40.0, None, None, None, 0, 0, False, None),
    ]
