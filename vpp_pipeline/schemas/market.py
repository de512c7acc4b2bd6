"""Tables of the market: prices, forecasts, meters, and opportunities."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PRODUCTS,
    START,
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


class Prices(dy.Schema):
    """Day-ahead prices of one node, hour by hour, as published by the market operator."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24; 25 is the repeated autumn hour; the spring day has no 3.", max=25)
    node = text("Pricing node of the energy price.")
    energy_usd_per_mwh = price("Locational marginal price of energy.")
    spin_usd_per_mw_h = price("Price of spinning reserve, $ per MW held for one hour.")
    nonspin_usd_per_mw_h = price("Price of non-spinning reserve, $ per MW held for one hour.")
    source = text("Source of the prices; `synthetic` is the embedded seeded generator.")
    published_utc = moment("Moment at which the operator published these prices.")


class PriceForecast(dy.Schema):
    """Prices expected for the day, from data published before the deadline."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24, or 25 for the repeated autumn hour.", max=25)
    node = text("Pricing node of the energy price.")
    energy_usd_per_mwh = price("Expected price of energy.")
    spin_usd_per_mw_h = price("Expected price of spinning reserve, $ per MW held for one hour.")
    nonspin_usd_per_mw_h = price("Expected price of non-spinning reserve, $ per MW held for one hour.")
    source = text("Source of the prices that the forecast uses.")
    method = text("Method of the forecast, and the reason where it replaces another.")
    history_days = count("Number of past days with this hour.")
    latest_input_utc = moment("Publication of the latest price that the forecast uses.")


class PriceScenarios(dy.Schema):
    """Price scenarios: the forecast plus the errors of past forecasts, one past day each.

    No rows where a day is solved for its forecast alone (`risk.scenarios` = 1). Over all scenarios, the mean of every
    price is the forecast.
    """

    market_date = market_day(primary_key=True)
    scenario = column(dy.Int32, "Number of the scenario, from 1; all are equally likely.", min=1, primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24, or 25 for the repeated autumn hour.", max=25)
    energy_usd_per_mwh = price("Price of energy in the scenario.")
    spin_usd_per_mw_h = price("Price of spinning reserve, $ per MW held for one hour; at least 0.")
    nonspin_usd_per_mw_h = price("Price of non-spinning reserve, $ per MW held for one hour; at least 0.")
    error_date = column(
        dy.Date, "Past day whose forecast errors the scenario uses; the first one where it blends several."
    )


class MeteredHours(dy.Schema):
    """Metered hours, summed over meters, that were known at the deadline and that forecasts use.

    No rows without a source of meters. Hours of faulty meters are left out and listed in `market.meter_quarantine`.
    """

    market_date = market_day(primary_key=True)
    quantity = choice("Quantity that was metered.", ("solar", "load", "charging"), primary_key=True)
    site_type = choice("Type of the sites; load is metered by type.", ("home", "business", "all"), primary_key=True)
    start_utc = moment("Start of the metered hour.", primary_key=True)
    metered_date = column(dy.Date, "Trade date (Pacific) that the metered hour belongs to.")
    hour_ending = count("OASIS hour label of the metered hour.", max=25)
    metered_per_unit = amount(
        "Solar: kW per kW installed. Load: kW per kW of the sites' yearly mean. Charging: kWh over the mean hour's of "
        "28 days."
    )
    meters = count("Number of meters behind the value.")
    source = text("Source of the readings; `synthetic (file)` comes from the embedded seeded generator.")


class MeterQuarantine(dy.Schema):
    """Days of meters that no forecast uses, each with the reason; they are not filled in."""

    market_date = market_day(primary_key=True)
    meter_id = text("Meter at fault; `every meter` where the whole source cannot be used.", primary_key=True)
    column_name = text("Column at fault in the source.", primary_key=True)
    problem = text("What is wrong with the readings.", primary_key=True)
    site_type = text("Type of the site according to the file; null where it has none.", nullable=True)
    first_date = column(dy.Date, "First trade date in quarantine; null where all are.", nullable=True)
    days = count("Number of trade dates in quarantine for this problem.")
    file = text("File of the first faulty reading; null without a file.", nullable=True)
    file_row = count(
        "Row of the first faulty reading, the header of a CSV being row 1; null without a row.", nullable=True
    )
    value = text("Value of the first faulty reading; null where it has none.", nullable=True)
    remedy = text("What to do about it.")


METHOD = "Method of the forecast; where it replaces another, the method of the settings and the reason."
MADE_FOR = "Trade date of the forecast; an earlier one where the last good forecast replaces today's."


class SolarForecast(dy.Schema):
    """Expected solar output per kW installed."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24, or 25 for the repeated autumn hour.", max=25)
    solar_kw_per_kw = fraction("Mean output over the hour per kW installed.")
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


class LoadForecast(dy.Schema):
    """Expected consumption, as a multiple of a site's mean load."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    site_type = choice("Type of the site.", ("home", "business"), primary_key=True)
    hour_ending = count("OASIS hour label: 1-24, or 25 for the repeated autumn hour.", max=25)
    load_per_mean = amount("Mean load over the hour divided by the site's yearly mean.")
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


class ChargingForecast(dy.Schema):
    """Expected charging of EVs, as a multiple of their mean hour; the day's mean scales each EV's driving."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label: 1-24, or 25 for the repeated autumn hour.", max=25)
    charging_per_mean = amount(
        "Energy charged in the hour divided by that of the mean hour; 1 throughout without a forecast."
    )
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


PARTICIPATION = ("storage", "hourly", "proxy_demand", "none")
DESK = "vpp"  # the single resource of a desk that names no file of resources
RESOURCE = "Resource in the market, of `market.resources` or `fleet.storage_classes`."
CERTIFIED = "is certified for; null: assumed for all that its members can hold."


class Resources(dy.Schema):
    """Resources that bids are made for: who schedules each, how it takes part, its limits and its certification.

    From a file, or the single resource of the settings. A certification that the settings leave open is assumed, which
    `certified_spin_mw` and `certified_nonspin_mw` show as null; a file states it, and leaves out what is 0.
    """

    market_date = market_day(primary_key=True)
    resource_id = text("Name of the resource in the market.", primary_key=True)
    scheduling_coordinator_id = text("Scheduling coordinator that bids it; null: not stated.", nullable=True)
    participation = choice(
        "How it takes part: as storage that the market clears over the day, hour by hour, as demand that falls and "
        "exports nothing, or not at all.",
        PARTICIPATION,
    )
    sub_lap = text("Sub-load aggregation point that its members lie in; null: not stated.", nullable=True)
    node = text("Pricing node at which it settles.")
    minimum_mw = number("Pmin, negative where it charges; null: what its members can do.", max=0.0, nullable=True)
    maximum_mw = number("Pmax; null: what its members can do.", min_exclusive=0.0, nullable=True)
    certified_spin_mw = amount(f"MW of spinning reserve that it {CERTIFIED}", nullable=True)
    certified_nonspin_mw = amount(f"MW of non-spinning reserve that it {CERTIFIED}", nullable=True)
    source = text("Where it comes from: `settings`, or the name of the file.")


class Opportunities(dy.Schema):
    """Opportunities of the day: one product of one resource in a block of hours, with required capacity and expected
    price."""

    opportunity_id = text(OPPORTUNITY, primary_key=True)
    market_date = market_day()
    slot = text("Partition of `negotiation/rounds`: product and hour label of the first hour.")
    product = choice("Market product.", PRODUCTS)
    start_utc = moment("Start of the block.")
    duration_hours = column(dy.Int32, "Number of hours in the block.", min=1, max=25)
    required_capacity_mw = amount(
        "Required capacity (R) throughout the block; of storage the discharge or reserve that it offers before any "
        "deal, 0 in hours in which it charges or sells sun alone."
    )
    offerable_capacity_mw = amount("Capacity that all its members could offer throughout the block, by their limits.")
    forecast_price = price(
        "Expected price, or the offered price of a request, mean over the block; $/MWh, for reserves $/MW per hour."
    )
    market_price = price("Expected market price, mean over the block, regardless of a request's price.")
    origin = choice("Whether the desk's policy or a request states the opportunity.", ("policy", "request"))
    resource_id = text(RESOURCE)
    participation = choice("How the resource takes part; null for old days.", PARTICIPATION, nullable=True)
    closed_reason = text("Why the resource may not offer it; null where it may.", nullable=True)
    deadline_utc = moment("Deadline for bids of the market day.")


class RequestQuarantine(dy.Schema):
    """Requests for the day that are not offered, each with its reason; the others are.

    A row whose day cannot be read may be meant for any day, and is listed on each.
    """

    market_date = market_day(primary_key=True)
    file_row = column(dy.Int32, "Row of the file, as a text editor counts lines.", min=1, primary_key=True)
    column_name = text("Column at fault, or `the whole row`.", primary_key=True)
    value = text("Value at fault; null where the cell is empty.", nullable=True)
    problem = text("What is wrong with the value.", primary_key=True)
    remedy = text("What to do about it.")
    file = text("File that holds the row.")
    row_json = text("The whole row as JSON, unchanged.")
