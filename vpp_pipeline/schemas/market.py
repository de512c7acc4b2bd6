"""What the market offers, and what is expected of it."""

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


class PriceScenarios(dy.Schema):
    """Prices that may come instead of the forecast: it plus the errors of past forecasts, each a whole day's.

    Empty where a day is solved for its forecast alone (`risk.scenarios` = 1). Over all scenarios, the mean of every
    price is the forecast.
    """

    market_date = market_day(primary_key=True)
    scenario = column(dy.Int32, "Number of the scenario, from 1; all are equally likely.", min=1, primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    energy_usd_per_mwh = price("Price of energy.")
    spin_usd_per_mw_h = price("Price of spinning reserve, $ per MW held for one hour; never below 0.")
    nonspin_usd_per_mw_h = price("Price of non-spinning reserve, $ per MW held for one hour; never below 0.")
    error_date = column(dy.Date, "The past day whose errors it takes over (in the first place, where it blends days).")


class MeteredHours(dy.Schema):
    """What meters had shown when the day's bids close, all of them together: the hours that forecasts rest on.

    Empty without a source of meters. Hours of broken meters are left out, and say so in `market.meter_quarantine`.
    """

    market_date = market_day(primary_key=True)
    quantity = choice("What was measured.", ("solar", "load", "charging"), primary_key=True)
    site_type = choice("Kind of site; load is told by kind.", ("home", "business", "all"), primary_key=True)
    start_utc = moment("Start of the metered hour.", primary_key=True)
    metered_date = column(dy.Date, "Trade date (Pacific) that the metered hour belongs to.")
    hour_ending = count("OASIS hour label of the metered hour.", max=25)
    metered_per_unit = amount(
        "Solar: kW per kW installed. Load: kW per kW of the sites' yearly mean. Charging: kWh over the mean hour's of "
        "28 days."
    )
    meters = count("Meters that the hour rests on.")
    source = text("Where it comes from; `synthetic (file)` was made by our own seeded generator.")


class MeterQuarantine(dy.Schema):
    """Days of meters that no forecast uses, each with the reason; nothing is filled in for them."""

    market_date = market_day(primary_key=True)
    meter_id = text("The meter; `every meter` where the whole source cannot be used.", primary_key=True)
    column_name = text("Column at fault.", primary_key=True)
    problem = text("What is wrong.", primary_key=True)
    site_type = text("Kind of site, as the file says.", nullable=True)
    first_date = column(dy.Date, "First trade date that is set aside; empty for all.", nullable=True)
    days = count("Trade dates that are set aside for this.")
    file = text("The file of the first one.", nullable=True)
    file_row = count("Its row, the header of a CSV being row 1.", nullable=True)
    value = text("What was found there.", nullable=True)
    remedy = text("What to do.")


METHOD = "How the forecast was made; where another one stands in, what was asked for and why it could not be made."
MADE_FOR = "Trade date that the forecast was first made for; an earlier one where the last good forecast stands in."


class SolarForecast(dy.Schema):
    """Expected solar output per kW installed."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    solar_kw_per_kw = fraction("Average output over the hour per kW installed.")
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


class LoadForecast(dy.Schema):
    """Expected consumption, as a multiple of a site's mean load."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    site_type = choice("Kind of site.", ("home", "business"), primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    load_per_mean = amount("Average load over the hour divided by the site's yearly mean.")
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


class ChargingForecast(dy.Schema):
    """Expected charging of EVs, as a multiple of their mean hour; the day's mean scales what each EV drives."""

    market_date = market_day(primary_key=True)
    start_utc = moment(START, primary_key=True)
    hour_ending = count("OASIS hour label.", max=25)
    charging_per_mean = amount("Energy charged in the hour over the mean hour's; 1 throughout: as the fleet states.")
    method = text(METHOD)
    made_for_date = column(dy.Date, MADE_FOR)


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
