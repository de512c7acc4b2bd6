"""All checks: the table that each one guards, its metric, and whether a failure blocks the bids.

Checks read the published tables alone, by code that shares nothing with the solver or the negotiation engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    resources_bid_within_their_limits,
)
from vpp_pipeline.verification.certificate import storage_members_can_deliver_every_award
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.verification.inputs import (
    charging_is_forecast_as_asked,
    every_note_is_understood,
    every_prosumer_is_physical,
    every_prosumer_of_the_file_takes_part,
    every_request_is_offered,
    meters_are_whole_and_up_to_date,
    no_hour_is_offered_twice,
    prices_are_complete_and_ordered,
    prices_are_forecast_as_asked,
    solar_is_forecast_as_asked,
    the_load_is_forecast_as_asked,
)
from vpp_pipeline.verification.money import money_adds_up, top_ups_are_a_fair_part_of_the_profit
from vpp_pipeline.verification.negotiation import (
    advice_comes_from_the_model_that_was_asked,
    negotiations_follow_the_protocol,
    nobody_is_paid_below_reservation,
)
from vpp_pipeline.verification.schedule import (
    initial_state_of_charge_is_as_stated_or_carried_over,
    no_kilowatt_hour_is_sold_twice,
    no_prosumer_is_pushed_past_its_limits,
    proxy_demand_exports_nothing,
    the_schedule_is_proven_to_be_good,
)
from vpp_pipeline.verification.settled_days import (
    owners_are_paid_by_their_deals,
    settled_dispatch_stays_within_limits,
    storage_awards_stay_within_what_was_bid,
    the_settled_account_adds_up,
)
from vpp_pipeline.verification.storage import (
    storage_curves_span_their_resource,
    storage_reserve_is_covered,
    storage_state_of_charge_is_consistent,
)

Check = Callable[[Day, Settings], CheckResult]

#: check -> table that it guards; every check reads the day's tables up to that one
GUARDS: dict[Check, str] = {
    prices_are_complete_and_ordered: "market.price_forecast",
    prices_are_forecast_as_asked: "market.price_forecast",
    meters_are_whole_and_up_to_date: "market.meter_quarantine",
    solar_is_forecast_as_asked: "market.solar_forecast",
    the_load_is_forecast_as_asked: "market.load_forecast",
    charging_is_forecast_as_asked: "market.charging_forecast",
    every_request_is_offered: "market.request_quarantine",
    no_hour_is_offered_twice: "market.opportunities",
    every_prosumer_is_physical: "fleet.availability",
    every_prosumer_of_the_file_takes_part: "fleet.quarantine",
    every_note_is_understood: "fleet.notes",
    negotiations_follow_the_protocol: "negotiation.agreements",
    advice_comes_from_the_model_that_was_asked: "negotiation.llm_calls",
    initial_state_of_charge_is_as_stated_or_carried_over: "dispatch.starts",
    no_prosumer_is_pushed_past_its_limits: "dispatch.schedule",
    proxy_demand_exports_nothing: "dispatch.schedule",
    storage_state_of_charge_is_consistent: "dispatch.storage_plan",
    storage_members_can_deliver_every_award: "dispatch.storage_limits",
    the_schedule_is_proven_to_be_good: "dispatch.proof",
    no_kilowatt_hour_is_sold_twice: "dispatch.payments",
    nobody_is_paid_below_reservation: "dispatch.payments",
    bids_meet_80_percent_of_required_capacity: "bids.final_bids",
    coalitions_have_enough_members: "bids.final_bids",
    resources_bid_within_their_limits: "bids.final_bids",
    bid_curves_are_valid_for_caiso: "bids.final_bids",
    storage_curves_span_their_resource: "bids.final_bids",
    storage_reserve_is_covered: "bids.final_bids",
    money_adds_up: "bids.final_bids",
    top_ups_are_a_fair_part_of_the_profit: "bids.final_bids",
    bids_were_ready_before_the_deadline: "bids.final_bids",
}

#: checks whose failure is a warning and does not hold the bids back
WARNINGS = {
    prices_are_forecast_as_asked,
    meters_are_whole_and_up_to_date,
    solar_is_forecast_as_asked,
    the_load_is_forecast_as_asked,
    charging_is_forecast_as_asked,
    every_request_is_offered,
    every_prosumer_of_the_file_takes_part,
    every_note_is_understood,
    advice_comes_from_the_model_that_was_asked,
}

#: checks of what a day in parts has once; any other is made of each part
OF_WHOLE_DAY = {check for check, table in GUARDS.items() if table.startswith("market.")} | {
    advice_comes_from_the_model_that_was_asked,
    bids_were_ready_before_the_deadline,
}

#: check -> name of the number in `CheckResult.value`, which ends in its unit, or in `_count`
METRICS: dict[Check, str] = {
    prices_are_complete_and_ordered: "priced_hours",
    prices_are_forecast_as_asked: "history_days",
    meters_are_whole_and_up_to_date: "newest_reading_age_hours",
    solar_is_forecast_as_asked: "forecast_age_days",
    the_load_is_forecast_as_asked: "forecast_age_days",
    charging_is_forecast_as_asked: "forecast_age_days",
    every_request_is_offered: "request_count",
    no_hour_is_offered_twice: "offered_hour_count",
    every_prosumer_is_physical: "discharge_power_mw",
    every_prosumer_of_the_file_takes_part: "prosumer_count",
    every_note_is_understood: "note_reading_count",
    negotiations_follow_the_protocol: "option_count",
    advice_comes_from_the_model_that_was_asked: "fallback_fraction",
    initial_state_of_charge_is_as_stated_or_carried_over: "carried_over_count",
    no_prosumer_is_pushed_past_its_limits: "largest_excess_kw_or_kwh",
    proxy_demand_exports_nothing: "largest_export_kw",
    storage_state_of_charge_is_consistent: "largest_difference_mwh",
    storage_members_can_deliver_every_award: "largest_use_fraction",
    the_schedule_is_proven_to_be_good: "gap_of_bidding_gain_fraction",
    no_kilowatt_hour_is_sold_twice: "sold_kwh",
    nobody_is_paid_below_reservation: "smallest_surplus_usd_per_mwh",
    bids_meet_80_percent_of_required_capacity: "smallest_fill_fraction",
    coalitions_have_enough_members: "smallest_coalition_count",
    resources_bid_within_their_limits: "largest_reserve_bid_mw",
    bid_curves_are_valid_for_caiso: "highest_price_usd_per_mwh",
    storage_curves_span_their_resource: "widest_curve_mw",
    storage_reserve_is_covered: "largest_reserve_mw",
    money_adds_up: "bid_profit_usd",
    top_ups_are_a_fair_part_of_the_profit: "top_ups_usd",
    bids_were_ready_before_the_deadline: "input_lead_hours",
    settled_dispatch_stays_within_limits: "largest_excess_kw_or_kwh",
    storage_awards_stay_within_what_was_bid: "discharged_mwh",
    owners_are_paid_by_their_deals: "payments_usd",
    the_settled_account_adds_up: "largest_difference_usd",
}


def verify(
    day: Day, settings: Settings, *, is_scheduled: bool = False, known: Mapping[str, CheckResult] | None = None
) -> dict[str, CheckResult]:
    """The results of all checks, by name; a scheduled run's bids must also be earlier than the deadline.

    ``known``: results of checks of the very same tables and settings, by name, which are not checked again.
    """
    known = known or {}
    results = {check.__name__: known.get(check.__name__) or check(day, settings) for check in GUARDS}
    ready = bids_were_ready_before_the_deadline
    return results | {ready.__name__: ready(day, settings, is_scheduled=is_scheduled)}


def checks_table(
    day: Day, settings: Settings, *, is_scheduled: bool = False, known: Mapping[str, CheckResult] | None = None
) -> pl.DataFrame:
    """`bids.checks`: the result of every check. Raises ViolationError where blocking checks failed, and names them.

    ``known``: as for :func:`verify`.
    """
    results = verify(day, settings, is_scheduled=is_scheduled, known=known)
    failures = [
        f"{name}: {result.description}" for name, result in results.items() if not (result.passed or result.is_warning)
    ]
    if failures:
        raise ViolationError("no bids are published; " + "; ".join(failures))
    market_date = day["market.price_forecast"]["market_date"][0]
    metrics = {check.__name__: metric for check, metric in METRICS.items()}
    rows = [
        (
            market_date,
            name,
            result.passed,
            result.violations,
            result.is_warning,
            result.description,
            metrics[name],
            result.value,
        )
        for name, result in results.items()
    ]
    return validate(Checks, pl.DataFrame(rows, schema=Checks.column_names(), orient="row"))
