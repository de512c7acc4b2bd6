"""Who takes part, and what each can do."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    PROSUMER,
    START,
    amount,
    choice,
    column,
    fraction,
    market_day,
    moment,
    number,
    text,
)

HARD_CAP_USD_PER_MWH = 2000.0  # of energy bids (CAISO tariff 39.6.1.1): more can never be earned, so it is a slip
_HOURS = r"([01]?\d|2[0-4])-([01]?\d|2[0-4])"
HOURS_PATTERN = rf"^{_HOURS}(, {_HOURS})*$"
_DAY = r"(mon|tue|wed|thu|fri|sat|sun|\d{4}-\d{2}-\d{2})"
DAYS_PATTERN = rf"^{_DAY}(, {_DAY})*$"


class Prosumers(dy.Schema):
    """The fleet: devices, limits and what each owner asks for."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    site_id = text("Home or business; its battery and its EV are two prosumers.")
    site_type = choice("Kind of site.", ("home", "business"))
    archetype = text(
        "Kind of household or business, as the generator drew it; empty for a fleet of your own.", nullable=True
    )
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
    ev_ready_hour = column(
        dy.Int32,
        "Pacific hour by which the EV must hold its ready charge; empty: when it leaves.",
        min=0,
        max=24,
        nullable=True,
    )
    backup_reserve_fraction = fraction("Share of the store that the owner keeps at all times.")
    backup_reserve_hours = amount("Hours of the day's mean load behind this meter that the store keeps at all times.")
    quiet_hours = text(
        "Pacific hours in which the store may not discharge, e.g. `21-23` or `0-7, 21-23`.",
        regex=HOURS_PATTERN,
        nullable=True,
    )
    no_charge_hours = text(
        "Pacific hours in which the store may not charge, e.g. `16-21`.", regex=HOURS_PATTERN, nullable=True
    )
    no_export_hours = text(
        "Pacific hours in which nothing is exported, from the store or from the sun, e.g. `16-21`.",
        regex=HOURS_PATTERN,
        nullable=True,
    )
    opt_out_days = text(
        "Days on which the owner sells nothing: weekdays and dates, e.g. `sat, sun, 2023-12-25`.",
        regex=DAYS_PATTERN,
        nullable=True,
    )
    participation_willingness_fraction = fraction("How gladly the owner takes part; less asks for more money.")
    minimum_compensation_usd_per_kwh = column(
        dy.Float64,
        "What the owner asks per kWh discharged, on top of wear.",
        min=0.0,
        max=HARD_CAP_USD_PER_MWH / 1000.0,
    )
    wear_usd_per_mwh = column(dy.Float64, "Battery wear per MWh discharged.", min=0.0, max=HARD_CAP_USD_PER_MWH)
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
    export_limit_kw = amount("Most it may export, net of the load that its own solar does not serve.")
    limited_by = choice(
        "Why the store may not discharge in the hour, if so.",
        ("away", "opted out", "no export", "quiet hours"),
        nullable=True,
    )


class Notes(dy.Schema):
    """What owners wrote in their own words, and what was read into it: each limit with its quote.

    A reading can only tighten what the owner's other columns say. What was not understood is kept, and limits nothing.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text("The prosumer that carries the note.", primary_key=True)
    part = column(dy.Int32, "Part of the note, from 1, in the order of the text.", min=1, primary_key=True)
    applies_to = text("The prosumer whose limit it is: of the same site, with the device spoken of.", primary_key=True)
    quote = text("The owner's own words, verbatim.")
    read_by = choice(
        "Who read the words: our rules, or a language model where these understood nothing.", ("rule", "model")
    )
    preference = text("Column of `fleet.prosumers` that the words tighten; empty if not understood.", nullable=True)
    wanted = text("What the words ask for, in that column's unit.", nullable=True)
    before = text("The column's value without the note.", nullable=True)
    after = text("The column's value in `fleet.prosumers`.", nullable=True)
    status = choice("What became of it.", ("applied", "already met", "no such device", "not understood"))


class Quarantine(dy.Schema):
    """Rows of the fleet's file that cannot take part today, each with its reason; the others go on."""

    market_date = market_day(primary_key=True)
    file_row = column(dy.Int32, "Row of the file, the header being row 1.", min=1, primary_key=True)
    column_name = text("Column or columns at fault.", primary_key=True)
    prosumer_id = text(PROSUMER, nullable=True)
    value = text("What was found there.", nullable=True)
    problem = text("What is wrong.", primary_key=True)
    remedy = text("What to do.")
    file = text("The file.")
    row_json = text("The whole row as it was, so that nothing is lost.")
