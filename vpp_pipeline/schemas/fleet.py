"""Tables of the fleet: prosumers, notes, quarantine, and envelope."""

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

HARD_CAP_USD_PER_MWH = 2000.0  # of energy bids (CAISO tariff 39.6.1.1): a higher cost could never be earned
_HOURS = r"([01]?\d|2[0-4])-([01]?\d|2[0-4])"
HOURS_PATTERN = rf"^{_HOURS}(, {_HOURS})*$"
_DAY = r"(mon|tue|wed|thu|fri|sat|sun|\d{4}-\d{2}-\d{2})"
DAYS_PATTERN = rf"^{_DAY}(, {_DAY})*$"


class Prosumers(dy.Schema):
    """The fleet: devices, limits, and owner preferences."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    site_id = text("Home or business; its battery and its EV are two prosumers.")
    resource_id = text(
        "Resource that its site belongs to, of `market.resources`; one that takes part as storage is cut into those of "
        "`fleet.storage_members`."
    )
    site_type = choice("Type of the site.", ("home", "business"))
    archetype = text(
        "Kind of household or business, as the generator drew it; null for a fleet from a file.", nullable=True
    )
    store = choice("Type of the store.", ("battery", "ev", "none"))
    has_solar = column(dy.Bool, "Whether solar panels are behind the same meter.")
    has_v2g = column(dy.Bool, "Whether the owner lets the EV discharge to the grid.")
    capacity_kwh = amount("Usable capacity of the store.")
    max_charge_kw = amount("Largest charging power of the store.")
    max_discharge_kw = amount("Largest discharging power of the store.")
    charge_efficiency = number("Energy stored per energy charged, one way.", min_exclusive=0.0, max=1.0)
    discharge_efficiency = number(
        "Energy delivered per energy taken from the store, one way.", min_exclusive=0.0, max=1.0
    )
    initial_stored_kwh = amount("Initial state of charge, when the market day begins.")
    terminal_stored_kwh = amount("Terminal state of charge that is owed when the market day ends.")
    solar_size_kw = amount("Installed capacity of the solar panels.")
    mean_load_kw = amount("Yearly mean load behind this meter.")
    export_limit_kw = amount("This prosumer's share of its site's export limit.")
    ev_arrival_hour = column(
        dy.Int32, "Pacific hour at which the EV returns; null for other stores.", min=0, max=24, nullable=True
    )
    ev_departure_hour = column(
        dy.Int32, "Pacific hour at which the EV leaves; null for other stores.", min=0, max=24, nullable=True
    )
    ev_ready_fraction = fraction(
        "State of charge that the EV must have when it leaves; null for other stores.", nullable=True
    )
    ev_drive_kwh = amount("Energy that the EV uses for driving in a day.")
    ev_ready_hour = column(
        dy.Int32,
        "Pacific hour by which the EV must hold its ready charge; null: when it leaves.",
        min=0,
        max=24,
        nullable=True,
    )
    backup_reserve_fraction = fraction("Share of the capacity that the owner reserves as backup at all times.")
    backup_reserve_hours = amount(
        "Hours of the day's mean load behind this meter that the store reserves at all times."
    )
    quiet_hours = text(
        "Pacific hours in which the store may not discharge, e.g. `21-23` or `0-7, 21-23`; null for none.",
        regex=HOURS_PATTERN,
        nullable=True,
    )
    no_charge_hours = text(
        "Pacific hours in which the store may not charge, e.g. `16-21`; null for none.",
        regex=HOURS_PATTERN,
        nullable=True,
    )
    no_export_hours = text(
        "Pacific hours in which neither store nor solar may export, e.g. `16-21`; null for none.",
        regex=HOURS_PATTERN,
        nullable=True,
    )
    opt_out_days = text(
        "Opt-out days, on which nothing is sold: weekdays and dates, e.g. `sat, sun, 2023-12-25`; null for none.",
        regex=DAYS_PATTERN,
        nullable=True,
    )
    participation_willingness_fraction = fraction("Willingness to take part; a lower one raises the reservation price.")
    minimum_compensation_usd_per_kwh = column(
        dy.Float64,
        "Compensation that the owner asks per kWh discharged, on top of wear.",
        min=0.0,
        max=HARD_CAP_USD_PER_MWH / 1000.0,
    )
    wear_usd_per_mwh = column(dy.Float64, "Battery wear per MWh discharged.", min=0.0, max=HARD_CAP_USD_PER_MWH)
    maximum_cycles_per_day = number("Full cycles a day that the owner allows.", min_exclusive=0.0)
    patience = number(
        "Exponent of the concession tactic: below 1 holds out, above 1 concedes early.", min_exclusive=0.0
    )
    availability_fraction = fraction("Probability that the prosumer delivers when called.")
    note = text("Note in the owner's own words; null without one.", nullable=True)


class Availability(dy.Schema):
    """Envelope: the limits of each prosumer in each hour after all owner preferences."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    max_charge_kw = amount("Largest charging power in the hour.")
    max_discharge_kw = amount("Largest discharging power in the hour.")
    min_stored_kwh = amount("Floor of the state of charge at the end of the hour.")
    max_stored_kwh = amount("Ceiling of the state of charge at the end of the hour.")
    solar_kw = amount("Expected solar output in the hour.")
    load_kw = amount("Expected load in the hour.")
    drive_kwh = amount("Energy that an EV uses for driving in the hour.")
    export_limit_kw = amount("Largest export in the hour, net of the load that its own solar does not serve.")
    limited_by = choice(
        "Why the store may not discharge in the hour; null where it may.",
        ("away", "opted out", "no export", "quiet hours", "below its floor"),
        nullable=True,
    )


ENTRIES = ("charge", "discharge", "below", "above", "first", "last", "cycles")


class StorageClasses(dy.Schema):
    """Classes of owners that are bid as one storage resource each; no rows where no resource takes part as storage.

    A class follows one shape, kept from day to day while the fleet hardly changes; each day fits it again. What all
    members together can do on the stored side around `fleet.baseline`, docs/method.md section 11b.
    """

    market_date = market_day(primary_key=True)
    resource_id = text("Storage resource that the class is bid as.", primary_key=True)
    pool_id = text("Resource of `market.resources` whose members the class is cut from.")
    version = text("Hash of the shapes of all classes of the pool, the same while they are kept.")
    made_for_date = column(dy.Date, "Market day for which the shapes were made.")
    entry = choice(
        "What is limited: energy into the store, out of it, below and above the baseline; above the floor at the day's "
        "start, below the baseline at its end, and out of it over the day.",
        ENTRIES,
        primary_key=True,
    )
    hour_number = column(dy.Int32, "Hour of the day from 1; 0 for limits of the day.", min=0, max=25, primary_key=True)
    shape_kwh = amount("One unit of the shape that is kept.")
    limit_kwh = amount("Limit of all members together on this day, weighted by their availability.")


class StorageMembers(dy.Schema):
    """Owners of each storage resource, and the part of its stored energy that each gives."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    resource_id = text("Storage resource that it belongs to, of `fleet.storage_classes`.")
    share_fraction = fraction("Part of the resource's stored energy, of all members with a deal or without.")


class BaselineHours(dy.Schema):
    """What each member of a storage resource does whatever the market awards: charging that it needs, and sun.

    A store that can never discharge also charges where it is paid to. Where the owner has a deal for it, its sun is
    sold as the resource's self-schedule.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    grid_charge_kw = amount("Charging from the grid.")
    solar_charge_kw = amount("Charging from the prosumer's own solar.")
    solar_sold_kw = amount("Own solar that is to be sold.")
    stored_kwh = amount("State of charge at the end of the hour.")
    spare_reserve_kw = amount("Reserve that it can hold beyond its part of the resource, weighted by its availability.")


class Notes(dy.Schema):
    """Owners' notes and the preferences read from them, each limit with its quote.

    A reading can only tighten the owner's other columns. A part that was not understood stays and sets no limit.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text("Prosumer that carries the note.", primary_key=True)
    part = column(dy.Int32, "Part of the note, from 1, in the order of the text.", min=1, primary_key=True)
    applies_to = text(
        "Prosumer whose limit the part sets: of the same site, with the device that the note names.", primary_key=True
    )
    quote = text("The owner's own words, verbatim.")
    read_by = choice(
        "Whether rules read the note, or a language model where the rules understood nothing.", ("rule", "model")
    )
    preference = text("Column of `fleet.prosumers` that the note tightens; null if not understood.", nullable=True)
    wanted = text("Value that the note asks for, in that column's unit; null if not understood.", nullable=True)
    before = text("Value of the column without the note; null if not understood.", nullable=True)
    after = text("Value of the column in `fleet.prosumers`; null if not understood.", nullable=True)
    status = choice("Result of the reading.", ("applied", "already met", "no such device", "not understood"))


class Quarantine(dy.Schema):
    """Rows of the fleet file that cannot take part today, each with its reason; the other rows do."""

    market_date = market_day(primary_key=True)
    file_row = column(dy.Int32, "Row of the file, the header being row 1.", min=1, primary_key=True)
    column_name = text("Column or columns at fault.", primary_key=True)
    prosumer_id = text("Prosumer of the row; null where its cell is empty.", nullable=True)
    value = text("Value at fault; null where the cell is empty.", nullable=True)
    problem = text("What is wrong with the value.", primary_key=True)
    remedy = text("What to do about it.")
    file = text("File that holds the row.")
    row_json = text("The whole row as JSON, unchanged.")
