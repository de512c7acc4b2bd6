"""What goes to the market, and what it earned."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PRODUCTS,
    amount,
    choice,
    column,
    count,
    fraction,
    market_day,
    moment,
    number,
    price,
    text,
)


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
    profit_margin_fraction = number("Profit / revenue; empty where the revenue is 0.", nullable=True)
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
    price_usd_per_mwh = price("Lowest price at which the segment runs.")


class Settlement(dy.Schema):
    """What each bid earned at the prices that cleared, with those prosumers who were there (drawn)."""

    market_date = market_day()
    bid_id = text("The bid.", primary_key=True)
    opportunity_id = text(OPPORTUNITY)
    product = choice("Market product.", PRODUCTS)
    clearing_price = price("Price that cleared, mean over the block; the offered price for a request.")
    bid_mw = amount("MW bid.")
    awarded_mw = amount("MW in segments at or below the clearing price.")
    delivered_mw = amount("MW delivered: the award less what was missing.")
    shortfall_mw = amount("MW awarded that absent members, or members whose stores were empty, owed.")
    absent_members = count("Members that were not there.")
    empty_members = count("Members that were there and could not deliver all of their part.")
    revenue_usd = number("Clearing price x awarded MW x hours.")
    no_pay_usd = number("Reserve revenue that is not paid because it was not held.")
    imbalance_usd = number("Cost of missing energy: clearing price x a stated factor x MWh.")
    payments_usd = number("Payments to prosumers for what they delivered.")
    charging_cost_usd = number("Charging recovered, in proportion to the award, at forecast prices.")
    wear_usd = amount("Wear of the stores that delivered; the owners' cost, inside their payments.")
    profit_usd = number("Revenue - no-pay - imbalance - payments - charging.")


class Runs(dy.Schema):
    """Every run that published bids of a day, also those whose bids a later run replaced; rows are only ever added."""

    market_date = market_day(primary_key=True)
    run_id = text("Run that made the bids.", primary_key=True)
    published_utc = moment("When its bids were first published.")
    started_by = choice(
        "What started it; empty where that is not known any more.",
        ("schedule", "command line", "Dagster"),
        nullable=True,
    )
    seconds = amount("From its start to the publication; empty where the start is not known any more.", nullable=True)
    code_version = text("Version of the code.")
    fingerprint = text("Hash of inputs, settings and code version.")
    engine = text("How deals were struck.")
    settings = text("Settings that differ from the defaults, as JSON: group.name and value.")
    price_source = text("Where prices come from.")
    node = text("Pricing node.")
    prices_version = text("Hash of price forecast and scenarios.", nullable=True)
    fleet_version = text("Hash of prosumers, their limits, and what their stores begin with.", nullable=True)
    requests_version = text("Hash of the requests among the opportunities.", nullable=True)
    deals_version = text("Hash of the deals.", nullable=True)
    prosumers = count("Prosumers of the fleet.")
    bids = count("Bids.")
    energy_mwh = amount("Energy bid: MW times hours.")
    spin_mw_h = amount("Spinning reserve bid: MW times hours.")
    nonspin_mw_h = amount("Non-spinning reserve bid: MW times hours.")
    expected_revenue_usd = number("Expected revenue of its bids.")
    payments_usd = number("Payments to prosumers.")
    expected_profit_usd = number("Expected profit of its bids.")
    objective_usd = number("Expected profit of the day's schedule.")
    bound_usd = number("Bound on the objective.")
    gap_fraction = number("Proven gap between the two.")
    violations = count("Cases that broke a rule; such bids are not published.")
    warnings = count("Rules that only warn, and did.")


class RunBids(dy.Schema):
    """The bids of every run that published, one row per run and opportunity; `bids.final_bids` has the last run's."""

    market_date = market_day(primary_key=True)
    run_id = text("Run that made the bid.", primary_key=True)
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Hours in the block.", min=1, max=25)
    status = choice("Bid or not.", ("bid", "no_bid"))
    required_capacity_mw = amount("R.")
    total_capacity_mw = amount("MW bid.")
    curve = text("The price curve: up to so many MW from this price on.", nullable=True)
    bid_price_usd_per_mwh = price("Price below which the coalition would rather not run.", nullable=True)
    forecast_price = price("Expected (or offered) price.")
    payments_usd = number("Payments to prosumers.")
    expected_profit_usd = number("Revenue - payments - charging.")
    coalition_size = count("Prosumers dispatched.")
    reason = text("Why.")


#: former name of a check -> its name; the warehouse renames them in the history of `bids.checks`
RENAMED_CHECKS = {
    "days_begin_as_stated_or_where_the_last_one_ended": "initial_state_of_charge_is_as_stated_or_carried_over",
    "the_sun_is_forecast_as_asked": "solar_is_forecast_as_asked",
    "what_was_delivered_stays_within_limits": "settled_dispatch_stays_within_limits",
}


class Checks(dy.Schema):
    """The result of every check of the day, in numbers."""

    market_date = market_day(primary_key=True)
    check_name = text("Name of the check, which states what must be true.", primary_key=True)
    passed = column(dy.Bool, "Whether the check passed.")
    violations = count("Number of cases that violate the check.")
    is_warning = column(dy.Bool, "Whether a failure is a warning, which does not hold the bids back.")
    description = text("Result of the check in numbers, or its first violation.")
    metric = text("Name of the number in `metric_value`, which ends in its unit.", nullable=True)
    metric_value = number("Value of the metric; null for days checked before it was recorded.", nullable=True)
