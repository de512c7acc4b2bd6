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
