"""Every table, declared once: columns, units, keys, bounds and the words a reader sees.

Validation at each asset's door, DuckDB comments, Dagster's *Columns* panel and the data dictionary derive from here.
The unit ends a column's name: ``_kw``, ``_kwh``, ``_mw``, ``_usd``, ``_usd_per_mwh`` (reserve prices: $ per MW held
for one hour), ``_fraction`` (0-1). Positive power is export to the grid. Moments are UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import dataframely as dy
import polars as pl

PRICE_LIMIT_USD_PER_MWH = 5_000.0  # a sanity bound on data, wider than any CAISO cap


C = TypeVar("C", bound=dy.Column)


def column(kind: Callable[..., C], words: str, **rules: Any) -> C:
    """A column and the sentence that describes it."""
    return kind(description=words, **rules)


def text(words: str, **rules: Any) -> dy.String:
    return column(dy.String, words, **rules)


def number(words: str, **rules: Any) -> dy.Float64:
    return column(dy.Float64, words, **rules)


def amount(words: str, **rules: Any) -> dy.Float64:
    """A number that is never negative."""
    return column(dy.Float64, words, min=0.0, **rules)


def fraction(words: str, **rules: Any) -> dy.Float64:
    return column(dy.Float64, words, min=0.0, max=1.0, **rules)


def count(words: str, **rules: Any) -> dy.Int32:
    return column(dy.Int32, words, min=0, **rules)


def moment(words: str, **rules: Any) -> dy.Datetime:
    return column(dy.Datetime, words, time_zone="UTC", time_unit="us", **rules)


def market_day(**rules: Any) -> dy.Date:
    return column(dy.Date, "CAISO trade date (Pacific).", **rules)


def choice(words: str, options: tuple[str, ...], **rules: Any) -> dy.String:
    return column(dy.String, f"{words} One of: {', '.join(options)}.", check=lambda c: c.is_in(options), **rules)


def price(words: str, **rules: Any) -> dy.Float64:
    return number(words, min=-PRICE_LIMIT_USD_PER_MWH, max=PRICE_LIMIT_USD_PER_MWH, **rules)


START = "Start of the hour."
OPPORTUNITY = "The opportunity: product, Pacific date and start."
PROSUMER = "The prosumer: one controllable store with the solar and load behind it."
PRODUCTS = ("energy", "spin", "nonspin")


class Prices(dy.Schema):
    """Day-ahead prices of one node, hour by hour, as published by the market operator."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24; 25 is the repeated autumn hour; the spring day has no 3.", max=25)
    node = text("Pricing node.")
    energy_usd_per_mwh = price("Locational marginal price of energy.")
    spin_usd_per_mw_h = price("Price of spinning reserve, $ per MW held for one hour.")
    nonspin_usd_per_mw_h = price("Price of non-spinning reserve, $ per MW held for one hour.")
    source = text("Where the prices come from; `synthetic` is made by our own seeded generator.")
    published_utc = moment("When the operator published these prices.")


class PriceForecast(dy.Schema):
    """Prices expected for the day, from what was published before its bids close."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    node = text("Pricing node.")
    energy_usd_per_mwh = price("Expected price of energy.")
    spin_usd_per_mw_h = price("Expected price of spinning reserve, $ per MW held for one hour.")
    nonspin_usd_per_mw_h = price("Expected price of non-spinning reserve, $ per MW held for one hour.")
    source = text("Source of the prices that the forecast rests on.")
    method = text("How the forecast was made.")
    history_days = count("Days of history that hold this hour.")
    latest_input_utc = moment("Publication of the youngest price that the forecast rests on.")


class SolarForecast(dy.Schema):
    """Expected solar output per kW installed."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    solar_kw_per_kw = fraction("Average output over the hour per kW installed.")


class LoadForecast(dy.Schema):
    """Expected consumption, as a multiple of a site's mean load."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    site_type = choice("Kind of site.", ("home", "business"), primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    load_per_mean = amount("Average load over the hour divided by the site's yearly mean.")


class Opportunities(dy.Schema):
    """What the market can buy from the fleet: a product in a block of hours, and how much we plan to offer."""

    opportunity_id = text(OPPORTUNITY, primary_key=True)
    market_date = market_day()
    slot = text("Partition of `negotiation/rounds`: product and first hour's label.")
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Hours in the block.", min=1, max=25)
    required_capacity_mw = number("MW to be delivered throughout the block (R).", min_exclusive=0.0)
    offerable_capacity_mw = amount("MW that the whole fleet could offer then, by its limits.")
    forecast_price = price("Expected (or offered) price, mean over the block; $/MWh, for reserves $/MW per hour.")
    market_price = price("Expected market price, mean over the block, whatever a request offers.")
    origin = choice("Who asks.", ("policy", "request"))
    deadline_utc = moment("When bids close.")


class Prosumers(dy.Schema):
    """The fleet: devices, limits and what each owner asks for."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    site_id = text("Home or business; its battery and its EV are two prosumers.")
    site_type = choice("Kind of site.", ("home", "business"))
    store = choice("What can be charged.", ("battery", "ev", "none"))
    has_solar = column(dy.Bool, "Solar panels behind the same meter.")
    has_v2g = column(dy.Bool, "The owner lets the EV discharge to the grid.")
    capacity_kwh = amount("Energy the store holds when full.")
    max_charge_kw = amount("Inverter limit while charging.")
    max_discharge_kw = amount("Inverter limit while discharging.")
    charge_efficiency = number("Stored energy per energy taken, one way.", min_exclusive=0.0, max=1.0)
    discharge_efficiency = number(
        "Energy delivered per energy taken from the store, one way.", min_exclusive=0.0, max=1.0
    )
    initial_stored_kwh = amount("Stored energy when the market day begins.")
    terminal_stored_kwh = amount("Stored energy owed when the market day ends.")
    solar_size_kw = amount("Solar installed.")
    mean_load_kw = amount("Yearly mean consumption behind this meter.")
    export_limit_kw = amount("This prosumer's share of its site's export limit.")
    ev_arrival_hour = column(dy.Int32, "Pacific hour at which the EV returns.", min=0, max=24, nullable=True)
    ev_departure_hour = column(dy.Int32, "Pacific hour at which the EV leaves.", min=0, max=24, nullable=True)
    ev_ready_fraction = fraction("Charge the EV must have when it leaves.", nullable=True)
    ev_drive_kwh = amount("Energy the EV loses while away.")
    backup_reserve_fraction = fraction("Share of the store that the owner keeps at all times.")
    quiet_start_hour = column(
        dy.Int32, "Pacific hour from which the store may not discharge.", min=0, max=24, nullable=True
    )
    quiet_end_hour = column(
        dy.Int32, "Pacific hour until which the store may not discharge.", min=0, max=24, nullable=True
    )
    opt_out_weekday = column(dy.Int32, "ISO weekday on which the owner sells nothing.", min=1, max=7, nullable=True)
    participation_willingness_fraction = fraction("How gladly the owner takes part; less asks for more money.")
    minimum_compensation_usd_per_kwh = amount("What the owner asks per kWh discharged, on top of wear.")
    wear_usd_per_mwh = amount("Battery wear per MWh discharged.")
    maximum_cycles_per_day = number("Full cycles a day that the owner allows.", min_exclusive=0.0)
    patience = number(
        "Exponent of the concession tactic: below 1 holds out, above 1 gives way early.", min_exclusive=0.0
    )
    availability_fraction = fraction("Probability that the prosumer delivers when called.")
    note = text("The owner's own words.", nullable=True)


class Availability(dy.Schema):
    """What each prosumer can do in each hour once its owner's wishes are honoured."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    max_charge_kw = amount("Most it may charge.")
    max_discharge_kw = amount("Most it may discharge.")
    min_stored_kwh = amount("Least stored energy at the end of the hour.")
    max_stored_kwh = amount("Most stored energy at the end of the hour.")
    solar_kw = amount("Expected solar output.")
    load_kw = amount("Expected consumption.")
    drive_kwh = amount("Energy an EV loses in the hour by driving.")
    export_limit_kw = amount("Most it may export.")


class Messages(dy.Schema):
    """Every word of the negotiation, in order: asks, offers, acceptances, withdrawals."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    round = column(dy.Int32, "Round of the negotiation, from 1.", min=1, max=10, primary_key=True)
    sender = choice("Who speaks.", ("prosumer", "aggregator"))
    kind = choice("What is said.", ("ask", "offer", "accept", "reject", "withdraw"), primary_key=True)
    capacity_kw = amount("Capacity spoken of.")
    price_usd_per_mwh = price("Price spoken of; $/MWh, for reserves $/MW per hour.")
    reason = text("Why.")


class Agreements(dy.Schema):
    """Options on prosumers' capacity: what each may be asked to deliver, and at what price."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    committed_capacity_kw = number("Most the prosumer may be asked for.", min_exclusive=0.0)
    reservation_price_usd_per_mwh = price("Least the owner must be paid.")
    agreed_price_usd_per_mwh = price("What the owner is paid when dispatched.")
    expected_satisfaction_score = number("Satisfaction if fully dispatched, 0-10.", min=0.0, max=10.0)
    rank = column(dy.Int32, "Rank by cost-effectiveness within the opportunity, from 1.", min=1)
    closed_round = column(dy.Int32, "Round in which the deal closed.", min=1, max=10)
    reason = text("Why this prosumer is in, and got this price.")


class Summary(dy.Schema):
    """How each opportunity's negotiation went."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    status = choice("Outcome: `agreed` reaches R, `relaxed` reaches 80 % of it.", ("agreed", "relaxed", "no_bid"))
    reason = text("Why, in a sentence.")
    rounds = count("Rounds held.")
    asked = count("Prosumers called.")
    bids = count("Prosumers that answered with an ask.")
    members = count("Deals that closed.")
    committed_capacity_mw = amount("Capacity under option.")
    required_capacity_mw = amount("R.")
    engine = text("Negotiation engine.")
    fingerprint = text("Hash of all inputs of this negotiation, its policy and the code version.")
    seconds = amount("Time the negotiation took (its share of a joint run).")


class Schedule(dy.Schema):
    """What every prosumer does in every hour if all bids are awarded."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    grid_charge_kw = amount("Charging from the grid.")
    solar_charge_kw = amount("Charging from the prosumer's own solar.")
    charge_kw = amount("All charging.")
    discharge_kw = amount("Discharge to the grid.")
    solar_sold_kw = amount("Own solar sold.")
    spin_kw = amount("Held as spinning reserve.")
    nonspin_kw = amount("Held as non-spinning reserve.")
    stored_kwh = amount("Stored energy at the end of the hour.")
    stored_value_usd_per_mwh = number("What one more stored MWh at the end of the hour is worth to the day (a dual).")


class Positions(dy.Schema):
    """What the optimiser decided for each opportunity."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    is_bid = column(dy.Bool, "Bid or no bid.")
    quantity_mw = amount("MW sold throughout the block.")
    shadow_price_usd_per_mwh = number(
        "What one more MW of R would earn per hour (a dual); negative where the 80 % rule costs."
    )


class Payments(dy.Schema):
    """What each prosumer delivers and earns in each opportunity that trades."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    dispatched_kw = amount("Mean power delivered or held over the block.")
    dispatched_kwh = amount("Power times hours.")
    agreed_price_usd_per_mwh = price("Agreed price.")
    payment_usd = number("Agreed price times energy (or capacity held).")
    charging_cost_usd = number("Charging to be recovered from this bid.")
    satisfaction_score = number("Satisfaction with the outcome, 0-10.", min=0.0, max=10.0)


class Reconciliation(dy.Schema):
    """The day's money, added up: bid profits plus what no bid carries equal the optimiser's objective."""

    market_date = market_day(primary_key=True)
    sum_bid_profit_usd = number("Sum of expected_profit_usd over the day's bids.")
    unallocated_usd = number("Profit (or cost) of charging that no bid carries, and the rounding of bids to cents.")
    rounding_usd = number("Part of unallocated_usd that is the rounding of bids to cents.")
    satisfaction_term_usd = number("Weight on satisfaction in the objective; no money changes hands for it.")
    no_sale_value_usd = number("Value of the day with no bids: minus the cost of charging that owners need anyway.")
    objective_usd = number("The optimiser's objective.")


class Charging(dy.Schema):
    """What each prosumer's charging from the market costs, and how much of it its sales must recover."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    charging_usd = number("Charging bought at the market price, outside hours in which the fleet sells energy.")
    no_sale_charging_usd = number("Cheapest charging that meets the owner's limits with no sales.")
    to_recover_usd = number("The difference: charging that the sales have caused (or saved).")


class Proof(dy.Schema):
    """How the day was solved, and how far the answer can be from the best there is."""

    market_date = market_day(primary_key=True)
    method = text("Which method gave the schedule; fallbacks are named.")
    solver = text("Solver.")
    status = text("What the solver said.")
    objective_usd = number("Objective of the schedule.")
    bound_usd = number("No schedule can do better than this.")
    gap_fraction = amount("(bound - objective) / |bound|.")
    seconds = amount("Time to solve.")
    prosumers = count("Prosumers in the problem.")
    hours = count("Hours in the problem.")
    bids = count("Opportunities that trade.")


class FinalBids(dy.Schema):
    """The day's bids, one row per opportunity, with the reason where there is none."""

    bid_id = text("Name of the bid; the same inputs give the same name.", primary_key=True)
    opportunity_id = text(OPPORTUNITY, unique=True)
    market_date = market_day()
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Hours in the block.", min=1, max=25)
    status = choice("Bid or not.", ("bid", "no_bid"))
    reason = text("Why.")
    required_capacity_mw = amount("R.")
    total_capacity_mw = amount("MW bid.")
    forecast_price = price("Expected (or offered) price.")
    bid_price_usd_per_mwh = price("Price below which the coalition would rather not run.", nullable=True)
    expected_revenue_usd = number("Expected price x MW x hours.")
    payments_usd = number("Payments to prosumers.")
    charging_cost_usd = number("Charging that this bid must recover.")
    expected_profit_usd = number("Revenue - payments - charging.")
    profit_margin_fraction = number("Profit / revenue.", nullable=True)
    reliability_score = fraction("Probability that at least 80 % of the MW are delivered.", nullable=True)
    coalition_size = count("Prosumers dispatched.")
    satisfaction_score = number("Members' mean satisfaction, 0-10.", min=0.0, max=10.0, nullable=True)
    seed = column(dy.Int64, "Seed of the fleet.", nullable=True)
    fingerprint = text("Hash of inputs, settings and code version that made this bid.")
    code_version = text("Version of the code.")
    run_id = text("Run that made the bid.")
    created_utc = moment("When it was made.")


class BidSegments(dy.Schema):
    """The price curve of each bid: rising in MW and price, at most ten segments."""

    market_date = market_day()
    bid_id = text("The bid.", primary_key=True)
    segment = column(dy.Int32, "Number of the segment, from 1.", min=1, max=10, primary_key=True)
    from_mw = amount("Where the segment begins.")
    to_mw = number("Where it ends.", min_exclusive=0.0)
    price_usd_per_mwh = price("Least price at which the segment runs.")


class Settlement(dy.Schema):
    """What each bid earned at the prices that cleared; delivery as awarded."""

    market_date = market_day()
    bid_id = text("The bid.", primary_key=True)
    opportunity_id = text(OPPORTUNITY)
    product = choice("Market product.", PRODUCTS)
    clearing_price = price("Price that cleared, mean over the block; the offered price for a request.")
    bid_mw = amount("MW bid.")
    awarded_mw = amount("MW in segments at or below the clearing price.")
    delivered_mw = amount("MW delivered; here all that was awarded.")
    revenue_usd = number("Clearing price x awarded MW x hours.")
    payments_usd = number("Payments to prosumers, in proportion to the award.")
    charging_cost_usd = number("Charging recovered, in proportion to the award, at forecast prices.")
    profit_usd = number("Revenue - payments - charging.")


class Checks(dy.Schema):
    """Every rule the day was held against, with its numbers."""

    market_date = market_day(primary_key=True)
    check_name = text("The rule, as a claim.", primary_key=True)
    passed = column(dy.Bool, "Whether it held.")
    violations = count("Cases that broke it.")
    description = text("The answer in numbers.")


#: table name in the warehouse -> schema; the order is that of the pipeline
TABLES: dict[str, type[dy.Schema]] = {
    "market.prices": Prices,
    "market.price_forecast": PriceForecast,
    "market.solar_forecast": SolarForecast,
    "market.load_forecast": LoadForecast,
    "market.opportunities": Opportunities,
    "fleet.prosumers": Prosumers,
    "fleet.availability": Availability,
    "negotiation.messages": Messages,
    "negotiation.summary": Summary,
    "negotiation.agreements": Agreements,
    "dispatch.schedule": Schedule,
    "dispatch.positions": Positions,
    "dispatch.proof": Proof,
    "dispatch.charging": Charging,
    "dispatch.payments": Payments,
    "dispatch.reconciliation": Reconciliation,
    "bids.final_bids": FinalBids,
    "bids.bid_segments": BidSegments,
    "bids.checks": Checks,
    "evaluation.settlement": Settlement,
}


def sentence(schema: type[dy.Schema]) -> str:
    """First sentence of a table's description."""
    return (schema.__doc__ or "").strip()


def door(schema: type[dy.Schema], frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` validated, columns in declared order, rows in key order: what an asset may hand on."""
    key = schema.primary_key()
    return schema.validate(frame.select(schema.column_names()), cast=True).sort(key)
