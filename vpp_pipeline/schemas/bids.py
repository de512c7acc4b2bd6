"""Tables of bids, checks, runs, and settlement."""

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
    """The day's bids, one row per opportunity, with the reason for each no-bid."""

    bid_id = text("Name of the bid; equal inputs give equal names.", primary_key=True)
    opportunity_id = text(OPPORTUNITY, unique=True)
    resource_id = text("Resource that is bid, of `market.resources` or `dispatch.storage_resources`.")
    market_date = market_day()
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Number of hours in the block.", min=1, max=25)
    status = choice("Whether the opportunity is bid.", ("bid", "no_bid"))
    reason = text("Why the opportunity is bid or not, in one sentence.")
    required_capacity_mw = amount("Required capacity (R) throughout the block.")
    total_capacity_mw = amount(
        "Capacity bid throughout the block; 0 for a no-bid. Energy of a storage resource: the discharge that it "
        "offers beside its members' sun."
    )
    expected_mw = number(
        "MW expected to clear at the forecast: all that is bid; of a storage resource its plan, net of charging; null "
        "for old days.",
        nullable=True,
    )
    forecast_price = price("Expected price, or the offered price of a request, mean over the block.")
    bid_price_usd_per_mwh = price(
        "Price of the first segment that sells, below which the coalition does not run; null for a no-bid.",
        nullable=True,
    )
    expected_revenue_usd = number("Expected price times expected MW times hours.")
    payments_usd = number("Payments to prosumers if the bid is awarded.")
    charging_cost_usd = number("Charging cost that this bid must recover.")
    expected_profit_usd = number("Expected revenue less payments and charging cost.")
    profit_margin_fraction = number(
        "Expected profit over expected revenue; null where the revenue is not above 0.", nullable=True
    )
    reliability_score = fraction(
        "Probability that at least 80% of the MW are delivered; null for a no-bid.", nullable=True
    )
    coalition_size = count("Number of prosumers dispatched in the bid; of a storage resource, of those who may be.")
    satisfaction_score = number(
        "Members' mean satisfaction, 0-10; null for a no-bid.", min=0.0, max=10.0, nullable=True
    )
    seed = column(dy.Int64, "Seed of the generated fleet; null for a fleet from a file.", nullable=True)
    fingerprint = text("Hash of the inputs, settings, and code version of this bid.")
    code_version = text("Version of the code that computed the bid.")
    run_id = text("Run that computed the bid.")
    created_utc = moment("Moment at which the bid was computed.")


class BidSegments(dy.Schema):
    """Bid curves: MW and price of each segment, both rising, at most ten segments a bid.

    Energy of a storage resource is one curve from charging (negative MW) to discharging, which begins at its
    self-schedule.
    """

    market_date = market_day()
    bid_id = text("Bid that the segment belongs to.", primary_key=True)
    segment = column(dy.Int32, "Number of the segment, from 1.", min=1, max=10, primary_key=True)
    from_mw = number("Lower end of the segment; negative where it charges.")
    to_mw = number("Upper end of the segment.")
    price_usd_per_mwh = price("Lowest price at which the segment runs; for charging, the highest that it pays.")


class Settlement(dy.Schema):
    """Account of each bid at clearing prices, with the prosumers that are available (drawn)."""

    market_date = market_day()
    bid_id = text("Bid that is settled.", primary_key=True)
    opportunity_id = text(OPPORTUNITY)
    resource_id = text("Resource that was bid, of `market.resources`.")
    product = choice("Market product.", PRODUCTS)
    clearing_price = price("Clearing price, mean over the block; the offered price for a request.")
    bid_mw = amount("Capacity that was bid.")
    awarded_mw = number(
        "Capacity in segments at or below the clearing price; of a storage resource, what the market awards it over "
        "the day, negative where it charges."
    )
    delivered_mw = number(
        "Award less the shortfall; energy of a storage resource as delivered, its members' own charging aside."
    )
    shortfall_mw = amount("Awarded capacity that the fleet did not deliver; energy is net of its own charging.")
    absent_members = count("Number of members that were unavailable (drawn).")
    empty_members = count("Number of available members that delivered less than their part of the award.")
    revenue_usd = number("Clearing price times awarded MW times hours.")
    no_pay_usd = number("Reserve revenue that is not paid because the reserve was not held.")
    imbalance_usd = number(
        "Imbalance cost: clearing price times `settlement.imbalance_factor` times the missing MWh; of a storage "
        "resource less what a surplus earned."
    )
    payments_usd = number("Payments to prosumers for their deliveries.")
    charging_cost_usd = number("Charging cost recovered, in proportion to the award, at forecast prices.")
    wear_usd = amount("Wear of the stores that delivered; a cost of the owners, covered by their payments.")
    profit_usd = number("Revenue less no-pay, imbalance, payments, and charging cost.")


class Runs(dy.Schema):
    """Runs that published bids of a day, also those whose bids a later run replaced; rows are only added."""

    market_date = market_day(primary_key=True)
    run_id = text("Run that computed the bids.", primary_key=True)
    published_utc = moment("Moment at which the run's bids were first published.")
    started_by = choice(
        "How the run was started; null where this is unknown.",
        ("schedule", "command line", "Dagster"),
        nullable=True,
    )
    seconds = amount(
        "Time from the start of the run to its publication; null where the start is unknown.", nullable=True
    )
    code_version = text("Version of the code that computed the bids.")
    fingerprint = text("Hash of the run's inputs, settings, and code version.")
    engine = text("Negotiation engine of the run.")
    settings = text("Settings that differ from the defaults, as JSON of group.name and value.")
    price_source = text("Source of the prices, such as `synthetic`.")
    node = text("Pricing node of the energy prices.")
    prices_version = text("Hash of price forecast and price scenarios; null for old runs.", nullable=True)
    fleet_version = text(
        "Hash of prosumers, their limits, and initial states of charge; null for old runs.", nullable=True
    )
    requests_version = text("Hash of the requests among the opportunities; null for old runs.", nullable=True)
    deals_version = text("Hash of the agreements; null for old runs.", nullable=True)
    prosumers = count("Number of prosumers in the fleet.")
    bids = count("Number of opportunities that are bid.")
    energy_mwh = amount("Energy bid, MW times hours; of storage resources what clears at the forecast.")
    spin_mw_h = amount("Spinning reserve bid, MW times hours; of storage resources what clears at the forecast.")
    nonspin_mw_h = amount("Non-spinning reserve bid, MW times hours; of storage resources what clears at the forecast.")
    expected_revenue_usd = number("Expected revenue of the run's bids.")
    payments_usd = number("Payments to prosumers if all bids are awarded.")
    expected_profit_usd = number("Expected profit of the run's bids.")
    objective_usd = number("Expected profit of the day's schedule.")
    bound_usd = number("Dual bound on the objective.")
    gap_fraction = number("Share of what bidding could add that the schedule may lack, as in `dispatch.proof`.")
    violations = count("Number of violations of blocking checks; always 0 in published bids.")
    warnings = count("Number of checks that failed with a warning.")


class RunBids(dy.Schema):
    """Bids of every run that published, one row per run and opportunity; `bids.final_bids` holds the last run's."""

    market_date = market_day(primary_key=True)
    run_id = text("Run that computed the bid.", primary_key=True)
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Number of hours in the block.", min=1, max=25)
    status = choice("Whether the opportunity is bid.", ("bid", "no_bid"))
    required_capacity_mw = amount("Required capacity (R) throughout the block.")
    total_capacity_mw = amount("Capacity bid throughout the block; 0 for a no-bid.")
    curve = text("Bid curve in words: up to so many MW from this price on; null for a no-bid.", nullable=True)
    bid_price_usd_per_mwh = price("Price of the first segment of the bid curve; null for a no-bid.", nullable=True)
    forecast_price = price("Expected price, or the offered price of a request, mean over the block.")
    payments_usd = number("Payments to prosumers if the bid is awarded.")
    expected_profit_usd = number("Expected revenue less payments and charging cost.")
    coalition_size = count("Number of prosumers dispatched in the bid.")
    reason = text("Why the opportunity is bid or not, in one sentence.")


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
    metric = text("Name of the number in `metric_value`, which ends in its unit; null for old days.", nullable=True)
    metric_value = number("Value of the metric; null for old days.", nullable=True)
