"""What no prosumer can be, and what none is likely to be: sizes, hours and efficiencies, each with its remedy."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.settings import FleetSettings

TOLERANCE_KWH = 1e-6


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


def unlikely_sizes(prosumers: pl.DataFrame, settings: FleetSettings) -> pl.DataFrame:
    """Who is of a size that points to another unit: prosumer_id, column_name, problem, remedy.

    The bounds are far beyond any home or business with one meter, and each is a setting.
    """
    power, capacity = pl.max_horizontal("max_charge_kw", "max_discharge_kw"), "capacity_kwh"
    hours, is_store = pl.col(capacity) / power, pl.col("store") != "none"
    rules: list[tuple[str, pl.Expr, str, str]] = []
    for kind in ("home", "business"):
        limits = (
            (f"{kind}_limit_kw", ("max_charge_kw", "max_discharge_kw", "solar_size_kw", "mean_load_kw"), "W", "kW"),
            (f"{kind}_limit_kwh", (capacity,), "Wh", "kWh"),
        )
        for name, columns, probable, unit in limits:
            most = getattr(settings, name)
            problem = f"more than {most:g} {unit}, which no {kind} has: probably {probable}"
            remedy = f"Write {unit}, or raise fleet.{name}"
            is_kind = pl.col("site_type") == kind
            rules += [(column, is_kind & (pl.col(column) > most), problem, remedy) for column in columns]
    least, shortest, longest = (
        settings.least_capacity_kwh,
        settings.shortest_duration_hours,
        settings.longest_duration_hours,
    )
    both = "capacity_kwh, max_charge_kw, max_discharge_kw"
    unlike = "probably one of them in another unit"
    rules += [
        (
            capacity,
            is_store & (pl.col(capacity) < least),
            f"less than {least:g} kWh, which no store has: probably MWh",
            "Write kWh, or lower fleet.least_capacity_kwh",
        ),
        (
            both,
            is_store & (power > 0) & (hours < shortest),
            f"full within {60 * shortest:g} minutes: {unlike}",
            "Write kWh and kW, or lower fleet.shortest_duration_hours",
        ),
        (
            both,
            is_store & (power > 0) & (hours > longest),
            f"not full within {longest:g} hours: {unlike}",
            "Write kWh and kW, or raise fleet.longest_duration_hours",
        ),
    ]
    return pl.concat(
        prosumers.filter(broken).select(
            "prosumer_id", column_name=pl.lit(column), problem=pl.lit(problem), remedy=pl.lit(remedy)
        )
        for column, broken, problem, remedy in rules
    )
