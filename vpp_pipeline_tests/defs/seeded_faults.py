"""A fault for each rule that Dagster checks: the table that is tampered with, and how."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import polars as pl

from vpp_pipeline.pipeline import SERVING
from vpp_pipeline_tests.defs.desk import DAY, TradingDesk

Fault = Callable[[pl.DataFrame], pl.DataFrame]
FIRST_BID = pl.col("opportunity_id") == pl.col("opportunity_id").filter(pl.col("status") == "bid").first()
FIRST_OPTION = pl.col("holds_option") & (pl.col("holds_option").cum_sum() == 1)
FIRST_ROW = pl.int_range(pl.len()) == 0


def changed(column: str, value: pl.Expr, where: pl.Expr = FIRST_ROW) -> Fault:
    """A fault: ``column`` becomes ``value`` in the rows ``where``."""
    return lambda frame: frame.with_columns(pl.when(where).then(value).otherwise(pl.col(column)).alias(column))


def with_row(row: dict[str, object]) -> Fault:
    """A fault: one row more."""
    return lambda frame: pl.concat([frame, pl.DataFrame([row], schema=frame.schema)])


def with_columns(columns: dict[str, pl.Expr]) -> Fault:
    """A fault: columns become other ones, throughout."""
    return lambda frame: frame.with_columns(**columns)


SERVES = pl.col("resource_id") == SERVING  # of the small day, whose request takes all owners
#: worth a look, but no reason to hold the bids back
WARNINGS = {
    "prices_are_forecast_as_asked",
    "meters_are_whole_and_up_to_date",
    "solar_is_forecast_as_asked",
    "the_load_is_forecast_as_asked",
    "charging_is_forecast_as_asked",
    "every_request_is_offered",
    "every_prosumer_of_the_file_takes_part",
    "every_note_is_understood",
    "advice_comes_from_the_model_that_was_asked",
}
SET_ASIDE = {
    "market_date": date.fromisoformat(DAY),
    "file_row": 7,
    "column_name": "capacity_kwh",
    "prosumer_id": "prosumer_x",
    "value": "-1",
    "problem": "less than 0",
    "remedy": "Write the true size",
    "file": "fleet.csv",
    "row_json": "{}",
}
NOT_OFFERED = {
    "market_date": date.fromisoformat(DAY),
    "file_row": 5,
    "column_name": "required_capacity_mw",
    "value": "0.05",
    "problem": "below the market's minimum of 0.1 MW",
    "remedy": "Ask for at least 0.1 MW",
    "file": "opportunities.csv",
    "row_json": "{}",
}
BROKEN_METER = {
    "market_date": date.fromisoformat(DAY),
    "meter_id": "meter_7",
    "column_name": "load_kwh",
    "problem": "an hour is missing; the row given is the one before",
    "site_type": "home",
    "first_date": date(2023, 8, 10),
    "days": 1,
    "file": "meters.csv",
    "file_row": 77,
    "value": "2023-08-10T19:00:00Z",
    "remedy": "Add the hour",
}
STOOD_IN = "last good, in place of metered: the forecast of 2023-08-13 stands in for 2023-08-15: no metered hour"
OLDER = {"method": pl.lit(STOOD_IN), "made_for_date": pl.lit(date(2023, 8, 13))}
NOT_READ = {
    "market_date": date.fromisoformat(DAY),
    "prosumer_id": "prosumer_001",
    "part": 1,
    "applies_to": "prosumer_001",
    "quote": "be nice",
    "read_by": "rule",
    "preference": None,
    "wanted": None,
    "before": None,
    "after": None,
    "status": "not understood",
}
NOT_THE_RULE = {
    "market_date": date.fromisoformat(DAY),
    "prosumer_id": "prosumer_001",
    "from_energy_usd": 1.0,
    "from_reserve_usd": 0.0,
    "from_charging_usd": 0.0,
    "owen_share_usd": 1.0,
    "top_up_usd": 1.0,
}
#: a storage resource of no pool, in each table of such resources
STORAGE = {"market_date": date.fromisoformat(DAY), "resource_id": "vpp-99"}
FIRST_HOUR = {"start_utc": datetime(2023, 8, 15, 7, tzinfo=UTC)}
LIMITS_OF_NONE = (
    STORAGE
    | FIRST_HOUR
    | dict.fromkeys(("self_schedule_mw", "own_charging_mw", "max_charge_mw", "max_discharge_mw"), 0.0)
    | dict.fromkeys(("reserve_beyond_mw", "lowest_stored_mwh", "highest_stored_mwh", "charge_price_usd_per_mwh"), 0.0)
    | dict.fromkeys(("discharge_price_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h"), None)
)
AWARD_OF_NONE = (
    STORAGE
    | FIRST_HOUR
    | dict.fromkeys(("charge_mw", "discharge_mw", "spin_mw", "nonspin_mw", "stored_mwh"), 0.0)
    | {"stored_value_usd_per_mwh": 0.0}
)
RESOURCE_OF_NONE = (
    STORAGE
    | {"pool_id": "vpp", "members": 0, "bound_members": 0, "charge_efficiency": 1.0, "discharge_efficiency": 1.0}
    | dict.fromkeys(("initial_stored_mwh", "first_backing_mwh", "final_stored_mwh", "daily_discharge_mwh"), 0.0)
    | {"certified_spin_mw": 0.0, "certified_nonspin_mw": 0.0, "call_hours": 1.0}
)
SHARE_OF_NONE = STORAGE | {"prosumer_id": "prosumer_001", "is_bound": True, "share_fraction": 1.0}


def seed(desk: TradingDesk, table: str, fault: Fault) -> None:
    desk.by_hand().write(table, fault(desk.by_hand().read(table)))


# rule -> the asset that it guards, the table that is tampered with, the fault
FAULTS: dict[str, tuple[str, str, Fault]] = {
    "prices_are_complete_and_ordered": ("market.price_forecast", "market.price_forecast", lambda frame: frame[1:]),
    "prices_are_forecast_as_asked": (
        "market.price_forecast",
        "market.price_forecast",
        changed("method", pl.lit("7-day hourly mean, in place of the model: 40 days of prices")),
    ),
    "meters_are_whole_and_up_to_date": (
        "market.meter_quarantine",
        "market.meter_quarantine",
        with_row(BROKEN_METER),
    ),
    "solar_is_forecast_as_asked": ("market.solar_forecast", "market.solar_forecast", with_columns(OLDER)),
    "the_load_is_forecast_as_asked": ("market.load_forecast", "market.load_forecast", with_columns(OLDER)),
    "charging_is_forecast_as_asked": ("market.charging_forecast", "market.charging_forecast", with_columns(OLDER)),
    "every_request_is_offered": (
        "market.request_quarantine",
        "market.request_quarantine",
        with_row(NOT_OFFERED),
    ),
    "no_hour_is_offered_twice": (
        "market.opportunities",
        "market.opportunities",
        changed("duration_hours", pl.col("duration_hours") + 1),
    ),
    "every_prosumer_is_physical": (
        "fleet.availability",
        "fleet.prosumers",
        changed("initial_stored_kwh", pl.col("capacity_kwh") + 1.0),
    ),
    "negotiations_follow_the_protocol": (
        "negotiation.agreements",
        "negotiation.agreements",
        changed("agreed_price_usd_per_mwh", pl.col("agreed_price_usd_per_mwh") + 1.0, FIRST_OPTION),
    ),
    "advice_comes_from_the_model_that_was_asked": (
        "negotiation.llm_calls",
        "negotiation.summary",
        changed("engine", pl.lit("llm")),
    ),
    "initial_state_of_charge_is_as_stated_or_carried_over": (
        "dispatch.starts",
        "dispatch.starts",
        changed("initial_stored_kwh", pl.col("initial_stored_kwh") + 1.0),
    ),
    "every_prosumer_of_the_file_takes_part": ("fleet.quarantine", "fleet.quarantine", with_row(SET_ASIDE)),
    "every_note_is_understood": ("fleet.notes", "fleet.notes", with_row(NOT_READ)),
    "no_prosumer_is_pushed_past_its_limits": (
        "dispatch.schedule",
        "dispatch.schedule",
        changed("discharge_kw", pl.col("discharge_kw") + 1000.0),
    ),
    "proxy_demand_exports_nothing": (
        "dispatch.schedule",
        "market.resources",
        changed("participation", pl.lit("proxy_demand"), SERVES),
    ),
    "the_schedule_is_proven_to_be_good": (
        "dispatch.proof",
        "dispatch.proof",
        changed("bound_usd", pl.col("bound_usd") + 1e6),  # $ left open, far more than half of what bidding could add
    ),
    "settled_dispatch_stays_within_limits": (
        "evaluation.dispatched",
        "evaluation.dispatched",
        changed("stored_kwh", pl.col("stored_kwh") + 1_000.0),
    ),
    "storage_awards_stay_within_what_was_bid": (
        "evaluation.storage_awards",
        "evaluation.storage_awards",
        with_row(AWARD_OF_NONE),
    ),
    "owners_are_paid_by_their_deals": (
        "evaluation.deliveries",
        "evaluation.deliveries",
        changed("paid_price_usd_per_mwh", pl.col("paid_price_usd_per_mwh") + 1.0),
    ),
    "the_settled_account_adds_up": (
        "evaluation.settled_days",
        "evaluation.settled_days",
        changed("net_usd", pl.col("net_usd") + 10.0),
    ),
    "no_kilowatt_hour_is_sold_twice": (
        "dispatch.payments",
        "dispatch.payments",
        changed("dispatched_kwh", 2.0 * pl.col("dispatched_kwh")),
    ),
    "nobody_is_paid_below_reservation": (
        "dispatch.payments",
        "dispatch.payments",
        changed("payment_usd", pl.lit(0.0)),
    ),
    "bids_meet_80_percent_of_required_capacity": (
        "bids.final_bids",
        "bids.final_bids",
        changed("total_capacity_mw", 0.5 * pl.col("required_capacity_mw"), FIRST_BID),
    ),
    "coalitions_have_enough_members": (
        "bids.final_bids",
        "bids.final_bids",
        changed("coalition_size", pl.lit(2, pl.Int32), FIRST_BID),
    ),
    "resources_bid_within_their_limits": (
        "bids.final_bids",
        "market.resources",
        changed("maximum_mw", pl.lit(0.01), SERVES),
    ),
    "bid_curves_are_valid_for_caiso": (
        "bids.final_bids",
        "bids.bid_segments",
        changed("price_usd_per_mwh", pl.lit(1_500.0)),
    ),
    "storage_state_of_charge_is_consistent": (
        "dispatch.storage_plan",
        "dispatch.storage_plan",
        with_row(AWARD_OF_NONE),
    ),
    "storage_members_can_deliver_every_award": (
        "dispatch.storage_limits",
        "dispatch.storage_shares",
        with_row(SHARE_OF_NONE),
    ),
    "storage_curves_span_their_resource": (
        "bids.final_bids",
        "dispatch.storage_limits",
        with_row(LIMITS_OF_NONE),
    ),
    "storage_reserve_is_covered": (
        "bids.final_bids",
        "dispatch.storage_resources",
        with_row(RESOURCE_OF_NONE),
    ),
    "money_adds_up": (
        "bids.final_bids",
        "bids.final_bids",
        changed("expected_profit_usd", pl.col("expected_profit_usd") + 0.01, FIRST_BID),
    ),
    "top_ups_are_a_fair_part_of_the_profit": ("bids.final_bids", "dispatch.owen_shares", with_row(NOT_THE_RULE)),
    "bids_were_ready_before_the_deadline": (
        "bids.final_bids",
        "market.price_forecast",
        changed("latest_input_utc", pl.col("start_utc")),
    ),
}
