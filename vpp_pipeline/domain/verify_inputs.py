"""Checks of what goes in: prices and prosumers."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict, judge
from vpp_pipeline.domain.verify_envelope import broken_wishes
from vpp_pipeline.settings import Settings

TOLERANCE_KWH = 1e-6


def prices_are_complete_and_ordered(day: Day, settings: Settings, table: str = "market.price_forecast") -> Verdict:
    """Every hour of the market day once, in order of time; warns where spin is cheaper than nonspin."""
    prices = day[table]
    expected = market_hours(prices["market_date"][0])
    if prices["start_utc"].to_list() != expected["start_utc"].to_list():
        wanted, found = set(expected["start_utc"].to_list()), set(prices["start_utc"].to_list())
        missing, alien = len(wanted - found), len(found - wanted)
        return Verdict(
            max(1, missing + alien),
            f"{prices.height} rows for {expected.height} hours: {missing} missing, {alien} alien",
            prices.height,
        )
    inverted = prices.filter(pl.col("spin_usd_per_mw_h") < pl.col("nonspin_usd_per_mw_h") - 1e-9)
    if inverted.height:
        columns = inverted.select("start_utc", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")
        return judge(columns, "hours with spin below nonspin", "", prices.height, is_warning=True)
    return Verdict(0, f"{prices.height} hours, each once and in order; spin is never below nonspin", prices.height)


def device_faults() -> dict[str, pl.Expr]:
    """What no row of `fleet.prosumers` can be: the fault in words, and when a row has it (null: it cannot be said)."""
    return {fault: broken for fault, (broken, _) in _device_rules().items()}


def device_remedies() -> dict[str, str]:
    """What to do about each of :func:`device_faults`."""
    return {fault: remedy for fault, (_, remedy) in _device_rules().items()}


def _device_rules() -> dict[str, tuple[pl.Expr, str]]:
    """Fault -> when a row has it, and what to do about it."""
    store, capacity = pl.col("store"), pl.col("capacity_kwh")
    leaves, returns, ready = pl.col("ev_departure_hour"), pl.col("ev_arrival_hour"), pl.col("ev_ready_hour")
    power = pl.max_horizontal("max_charge_kw", "max_discharge_kw")
    asks_for_ev = returns.is_not_null() | leaves.is_not_null() | ready.is_not_null()
    asks_for_ev |= pl.col("ev_ready_fraction").is_not_null() | (pl.col("ev_drive_kwh") > 0)
    is_ev, has_no_store = store == "ev", store == "none"
    return {
        "starts with more than it holds": (
            pl.col("initial_stored_kwh") > capacity + TOLERANCE_KWH,
            "Lower initial_stored_kwh to capacity_kwh or less",
        ),
        "owes more than it holds": (
            pl.col("terminal_stored_kwh") > capacity + TOLERANCE_KWH,
            "Lower terminal_stored_kwh to capacity_kwh or less",
        ),
        "has power without a store": (has_no_store & (power > 0), "Write 0 for both powers, or name the store"),
        "has capacity without a store": (has_no_store & (capacity > 0), "Write capacity_kwh 0, or name the store"),
        "has a store without capacity": (~has_no_store & (capacity <= 0), "Write its capacity_kwh, or store none"),
        "is an EV without hours": (
            is_ev & (leaves.is_null() | returns.is_null()),
            "Write the hours at which it leaves and returns",
        ),
        "leaves and returns at the same hour": (
            is_ev & (leaves % 24 == returns % 24),
            "Write two hours; leave out the row of an EV that is away all day",
        ),
        "must be ready while it is away": (
            is_ev
            & pl.when(leaves < returns)
            .then((ready > leaves) & (ready < returns))
            .otherwise((ready > leaves) | (ready < returns)),
            "Write an hour of its stay at home as ev_ready_hour: from ev_arrival_hour to ev_departure_hour",
        ),
        "asks for an EV that it is not": (
            (store != "ev") & asks_for_ev,
            "Leave the columns ev_… empty (ev_drive_kwh 0), or write store ev",
        ),
        "allows V2G without an EV": ((store != "ev") & pl.col("has_v2g"), "Write has_v2g false, or store ev"),
        "gives more than it took": (
            pl.max_horizontal("charge_efficiency", "discharge_efficiency") > 1.0,
            "Write one-way efficiencies of at most 1",
        ),
        "discharges an EV without V2G": (
            is_ev & ~pl.col("has_v2g") & (pl.col("max_discharge_kw") > 0),
            "Write max_discharge_kw 0, or has_v2g true if its owner allows it",
        ),
        "asks for hours of a load that it has not": (
            (pl.col("backup_reserve_hours") > 0) & (pl.col("mean_load_kw") <= 0),
            "Write mean_load_kw on this row, or the reserve as backup_reserve_fraction",
        ),
        "repeats its site's solar or load": (
            ((pl.col("solar_size_kw") > 0) & pl.struct("site_id", "solar_size_kw").is_duplicated())
            | ((pl.col("mean_load_kw") > 0) & pl.struct("site_id", "mean_load_kw").is_duplicated()),
            "Write a site's solar and load on one of its rows only",
        ),
        "disagrees with itself on solar": (
            pl.col("has_solar") != (pl.col("solar_size_kw") > 0),
            "Write has_solar true and its solar_size_kw, or has_solar false and 0",
        ),
    }


def every_prosumer_is_physical(day: Day, settings: Settings) -> Verdict:
    """Sizes, efficiencies and limits that a device can have, and an envelope that honours every wish of its owner."""
    fleet = day["fleet.prosumers"]
    unphysical = pl.concat(
        [fleet.filter(broken).select("prosumer_id", fault=pl.lit(fault)) for fault, broken in device_faults().items()]
    )
    hours = day["market.price_forecast"].height
    short = (
        fleet.select("prosumer_id")
        .join(day["fleet.availability"].group_by("prosumer_id").len(), on="prosumer_id", how="left")
        .with_columns(pl.col("len").fill_null(0))
        .filter(pl.col("len") != hours)
        .select("prosumer_id", fault=pl.format("{} hours", "len"))
    )
    power_mw = float(fleet["max_discharge_kw"].sum()) / 1000.0
    energy_mwh = float(fleet["capacity_kwh"].sum()) / 1000.0
    held = f"{fleet.height} prosumers, {energy_mwh:.1f} MWh, {power_mw:.1f} MW: all physical"
    return judge(pl.concat([unphysical, broken_wishes(day), short]), "faults in the fleet", held, power_mw)
