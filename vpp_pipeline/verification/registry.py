"""What must never be broken. Every claim is checked from the published tables alone, by code that shares nothing with
the solver or the negotiation engine, and answers with numbers."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from vpp_pipeline.core.errors import ViolationError
from vpp_pipeline.core.tables import Day
from vpp_pipeline.schemas import Checks, validate
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.bids import (
    bid_curves_are_valid_for_caiso,
    bids_meet_80_percent_of_required_capacity,
    bids_were_ready_before_the_deadline,
    coalitions_have_enough_members,
    money_adds_up,
    top_ups_are_a_fair_part_of_the_profit,
)
from vpp_pipeline.verification.inputs import (
    charging_is_forecast_as_asked,
    every_note_is_understood,
    every_prosumer_is_physical,
    every_prosumer_of_the_file_takes_part,
    meters_are_whole_and_up_to_date,
    prices_are_complete_and_ordered,
    prices_are_forecast_as_asked,
    the_load_is_forecast_as_asked,
    the_sun_is_forecast_as_asked,
)
from vpp_pipeline.verification.negotiation import (
    advice_comes_from_the_model_that_was_asked,
    negotiations_follow_the_protocol,
    nobody_is_paid_below_reservation,
)
from vpp_pipeline.verification.schedule import (
    days_begin_as_stated_or_where_the_last_one_ended,
    no_kilowatt_hour_is_sold_twice,
    no_prosumer_is_pushed_past_its_limits,
    the_schedule_is_proven_to_be_good,
)
from vpp_pipeline.verification.verdict import Verdict

#: claim -> table whose making it guards; every claim reads the day's tables up to that one
GUARDS: dict[Callable[[Day, Settings], Verdict], str] = {
    prices_are_complete_and_ordered: "market.price_forecast",
    prices_are_forecast_as_asked: "market.price_forecast",
    meters_are_whole_and_up_to_date: "market.meter_quarantine",
    the_sun_is_forecast_as_asked: "market.solar_forecast",
    the_load_is_forecast_as_asked: "market.load_forecast",
    charging_is_forecast_as_asked: "market.charging_forecast",
    every_prosumer_is_physical: "fleet.availability",
    every_prosumer_of_the_file_takes_part: "fleet.quarantine",
    every_note_is_understood: "fleet.notes",
    negotiations_follow_the_protocol: "negotiation.agreements",
    advice_comes_from_the_model_that_was_asked: "negotiation.llm_calls",
    days_begin_as_stated_or_where_the_last_one_ended: "dispatch.starts",
    no_prosumer_is_pushed_past_its_limits: "dispatch.schedule",
    the_schedule_is_proven_to_be_good: "dispatch.proof",
    no_kilowatt_hour_is_sold_twice: "dispatch.payments",
    nobody_is_paid_below_reservation: "dispatch.payments",
    bids_meet_80_percent_of_required_capacity: "bids.final_bids",
    coalitions_have_enough_members: "bids.final_bids",
    bid_curves_are_valid_for_caiso: "bids.final_bids",
    money_adds_up: "bids.final_bids",
    top_ups_are_a_fair_part_of_the_profit: "bids.final_bids",
    bids_were_ready_before_the_deadline: "bids.final_bids",
}

#: claims that only ever warn: worth a look, but no reason to hold the bids back
WARNINGS = {
    prices_are_forecast_as_asked,
    meters_are_whole_and_up_to_date,
    the_sun_is_forecast_as_asked,
    the_load_is_forecast_as_asked,
    charging_is_forecast_as_asked,
    every_prosumer_of_the_file_takes_part,
    every_note_is_understood,
    advice_comes_from_the_model_that_was_asked,
}


def verify(day: Day, settings: Settings, *, is_scheduled: bool = False) -> dict[str, Verdict]:
    """Every claim, by name; a scheduled run's bids must also have been made before the market closed."""
    verdicts = {claim.__name__: claim(day, settings) for claim in GUARDS}
    ready = bids_were_ready_before_the_deadline
    return verdicts | {ready.__name__: ready(day, settings, is_scheduled=is_scheduled)}


def checks_table(day: Day, settings: Settings, *, is_scheduled: bool = False) -> pl.DataFrame:
    """`bids.checks`: every claim and its answer. Raises ViolationError, naming each broken claim, if one is broken."""
    verdicts = verify(day, settings, is_scheduled=is_scheduled)
    broken = [
        f"{name}: {verdict.description}"
        for name, verdict in verdicts.items()
        if not (verdict.passed or verdict.is_warning)
    ]
    if broken:
        raise ViolationError("no bids are published; " + "; ".join(broken))
    market_date = day["market.price_forecast"]["market_date"][0]
    rows = [
        (market_date, name, verdict.passed, verdict.violations, verdict.is_warning, verdict.description)
        for name, verdict in verdicts.items()
    ]
    return validate(Checks, pl.DataFrame(rows, schema=Checks.column_names(), orient="row"))
