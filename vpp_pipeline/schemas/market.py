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
