"""The envelope: hourly limits of each prosumer by physics and owner preferences."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PACIFIC, between, day_flags, hour_flags
from vpp_pipeline.schemas import Availability, validate

TOLERANCE_KWH = 1e-6
#: why a store may not discharge, the first that holds
LIMITED_BY = ("away", "opted out", "no export", "quiet hours", "below its floor")
_NUMBERS = (
    "capacity_kwh",
    "max_charge_kw",
    "max_discharge_kw",
    "charge_efficiency",
    "discharge_efficiency",
    "initial_stored_kwh",
    "solar_size_kw",
    "mean_load_kw",
    "export_limit_kw",
    "ev_drive_kwh",
    "backup_reserve_fraction",
    "backup_reserve_hours",
)
_LIMITS = ("max_charge_kw", "min_stored_kwh", "max_stored_kwh", "drive_kwh")


def hourly_envelope(
    prosumers: pl.DataFrame,
    hours: pl.DataFrame,
    solar: pl.DataFrame,
    load: pl.DataFrame,
    charging: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Availability`, one per prosumer and hour.

    ``hours``: :func:`~vpp_pipeline.core.calendar.market_hours`; ``solar``, ``load``, ``charging``: the day's
    forecasts (without the last, every EV needs what it states).

    An EV that is away has no power and loses its driving energy, times the day's mean of the charging forecast, evenly
    over those hours; a trip in the hour that the spring day does not have is made in the next one. Its ready charge is
    a lower limit from the hour by which it must be ready (else the last one) until it leaves. The backup reserve, the
    larger of a share of the store and of hours of the day's mean load (drawn through the discharge efficiency; at most
    the store), is a lower limit of every hour. Where even charging at full power from the day's start does not reach a
    lower limit, that is the limit: the store charges at full power until it is there, and is free afterwards. In quiet
    hours the store does not discharge; in hours without export, and on an opt-out day, nothing is exported, from the
    store or from the sun.

    A slice of the fleet gives that slice's rows: memory is bounded by calling it slice by slice.
    """
    clock = hours["local_hour"].to_numpy()[None, :]
    p = {name: prosumers[name].to_numpy()[:, None] for name in _NUMBERS}
    capacity_kwh = p["capacity_kwh"]
    load_kw = p["mean_load_kw"] * _load_per_mean(prosumers, load)

    leaves, returns = _midnight_last(_hour(prosumers, "ev_departure_hour")), _hour(prosumers, "ev_arrival_hour")
    ready = _midnight_last(_hour(prosumers, "ev_ready_hour"))
    is_away = between(clock, leaves, returns)
    is_away |= ~is_away.any(axis=1, keepdims=True) & _next_hour(clock, leaves)
    is_quiet = hour_flags(prosumers["quiet_hours"], clock[0])
    no_export = hour_flags(prosumers["no_export_hours"], clock[0])
    opted_out = day_flags(prosumers["opt_out_days"], hours["market_date"][0])[:, None]
    may_not_charge = hour_flags(prosumers["no_charge_hours"], clock[0])

    backup_kwh = p["backup_reserve_hours"] * load_kw.mean(axis=1, keepdims=True) / p["discharge_efficiency"]
    reserve_kwh = np.minimum(np.maximum(p["backup_reserve_fraction"] * capacity_kwh, backup_kwh), capacity_kwh)
    ready_kwh = prosumers["ev_ready_fraction"].fill_null(0.0).to_numpy()[:, None] * capacity_kwh
    must_be_ready = _must_be_ready(clock, leaves, returns, ready)
    driven_kwh = p["ev_drive_kwh"] * (1.0 if charging is None else charging["charging_per_mean"].to_numpy().mean())
    away_hours = np.maximum(is_away.sum(axis=1, keepdims=True), 1)
    drive_kwh = np.where(is_away, driven_kwh / away_hours, 0.0)
    max_charge_kw = np.where(is_away | may_not_charge, 0.0, p["max_charge_kw"])
    max_stored_kwh = capacity_kwh + 0.0 * clock
    start_kwh, efficiency = p["initial_stored_kwh"][:, 0], p["charge_efficiency"][:, 0]
    reach_kwh = highest_reachable_kwh(start_kwh, efficiency, max_charge_kw, max_stored_kwh, drive_kwh)[:, 1:]
    floor_kwh = np.where(must_be_ready, np.maximum(reserve_kwh, ready_kwh), reserve_kwh)
    is_below = (reach_kwh < floor_kwh - TOLERANCE_KWH) & (p["max_discharge_kw"] > 0.0)
    why = np.select([is_away, opted_out, no_export, is_quiet, is_below], [0, 1, 2, 3, 4], default=5)

    columns = {
        "max_charge_kw": max_charge_kw,
        "max_discharge_kw": np.where(why < len(LIMITED_BY), 0.0, p["max_discharge_kw"]),
        "min_stored_kwh": np.where(reach_kwh < floor_kwh - TOLERANCE_KWH, np.maximum(reach_kwh, 0.0), floor_kwh),
        "max_stored_kwh": max_stored_kwh,
        "solar_kw": p["solar_size_kw"] * solar["solar_kw_per_kw"].to_numpy()[None, :],
        "load_kw": load_kw,
        "drive_kwh": drive_kwh,
        "export_limit_kw": np.where(opted_out | no_export, 0.0, p["export_limit_kw"]) + 0.0 * clock,
    }
    n, t = load_kw.shape
    keys = {
        "market_date": pl.repeat(hours["market_date"][0], n * t, eager=True),
        "prosumer_id": prosumers["prosumer_id"].gather(np.repeat(np.arange(n), t)),
        "start_utc": hours["start_utc"].gather(np.tile(np.arange(t), n)),
        "limited_by": pl.Series([*LIMITED_BY, None]).gather(why.ravel()),
    }
    return validate(Availability, pl.DataFrame(keys | {name: values.ravel() for name, values in columns.items()}))


def highest_reachable_kwh(
    initial_kwh: Array, charge_efficiency: Array, max_charge_kw: Array, max_stored_kwh: Array, drive_kwh: Array
) -> Array:
    """Stored energy (N, T+1) if each store charges all it can from the start; column 0 is the start. Step 1 h."""
    reach = np.empty((len(initial_kwh), max_charge_kw.shape[1] + 1))
    reach[:, 0] = initial_kwh
    for t in range(max_charge_kw.shape[1]):
        charged_kwh = reach[:, t] + charge_efficiency * max_charge_kw[:, t] - drive_kwh[:, t]
        reach[:, t + 1] = np.minimum(max_stored_kwh[:, t], charged_kwh)
    return reach


def out_of_reach(prosumers: pl.DataFrame, availability: pl.DataFrame) -> pl.DataFrame:
    """Who cannot end the day, or drive, even if they charge all they can: prosumer_id, column_name, problem, remedy.

    ``availability``: rows of :func:`hourly_envelope` for the same prosumers, whose floors are within reach. One row per
    prosumer: for the first hour in which driving needs more than the store holds, else for the energy owed at the end.
    """
    rows, hourly = prosumers.sort("prosumer_id"), availability.sort("prosumer_id", "start_utc")
    shape = (rows.height, -1)
    table = {name: hourly[name].to_numpy().reshape(shape) for name in _LIMITS}
    reach = highest_reachable_kwh(
        rows["initial_stored_kwh"].to_numpy(),
        rows["charge_efficiency"].to_numpy(),
        table["max_charge_kw"],
        table["max_stored_kwh"],
        table["drive_kwh"],
    )[:, 1:]
    owed_kwh = np.maximum(table["min_stored_kwh"], 0.0)
    owed_kwh[:, -1] = np.maximum(owed_kwh[:, -1], rows["terminal_stored_kwh"].to_numpy())
    is_short = reach < owed_kwh - TOLERANCE_KWH
    who = np.flatnonzero(is_short.any(axis=1))
    when = is_short[who].argmax(axis=1)
    pacific = hourly["start_utc"].head(reach.shape[1]).dt.convert_time_zone(str(PACIFIC))
    starts = pacific.dt.strftime("%Y-%m-%d %H:%M")
    found = pl.DataFrame(
        {
            "prosumer_id": rows["prosumer_id"].gather(who),
            "owed": owed_kwh[who, when].round(2),
            "reached": reach[who, when].round(2),
            "start": starts.gather(when),
        }
    )
    drives = pl.col("reached") < 0.0
    return found.select(
        "prosumer_id",
        column_name=pl.when(drives).then(pl.lit("ev_drive_kwh")).otherwise(pl.lit("terminal_stored_kwh")),
        problem=pl.when(drives)
        .then(pl.format("it drives {} kWh more than it holds in the hour from {} Pacific", -pl.col("reached"), "start"))
        .otherwise(
            pl.format(
                "it must hold {} kWh at the end of the hour from {} Pacific but reaches at most {} kWh",
                "owed",
                "start",
                "reached",
            )
        ),
        remedy=pl.when(drives)
        .then(pl.lit("Lower its driving energy, or raise its charging power or initial state of charge"))
        .otherwise(pl.lit("Lower the energy owed or its driving energy, or raise its charging power")),
    )


def _hour(prosumers: pl.DataFrame, name: str) -> Array:
    """A nullable integer column as (N, 1); an hour that never comes where it is empty."""
    values: Array = prosumers[name].fill_null(-99).to_numpy()[:, None]
    return values


def _next_hour(clock: Array, leaves: Array) -> Flags:
    """(N, T): the day's first hour from ``leaves`` on; none where there is no such hour."""
    later = (clock >= leaves) & (leaves >= 0)
    first: Flags = later & (np.cumsum(later, axis=1) == 1)
    return first


def _midnight_last(hour: Array) -> Array:
    """Hours at which something must be so: midnight is the end of a day, 24."""
    return np.where(hour == 0, 24, hour)


def _load_per_mean(prosumers: pl.DataFrame, load: pl.DataFrame) -> Array:
    """Load over its yearly mean (N, T), by kind of site."""
    by_kind = np.vstack(
        [load.filter(site_type=kind).sort("start_utc")["load_per_mean"] for kind in ("home", "business")]
    )
    return np.asarray(by_kind[(prosumers["site_type"] == "business").to_numpy().astype(int)])


def _must_be_ready(clock: Array, leaves: Array, returns: Array, ready: Array) -> Flags:
    """(N, T): whether the ready charge is owed at the hour's end: from the ready hour (else the last) to departure.

    An hour ends where the next one begins, so the spring day's missing hour and the autumn day's double one are right.
    """
    hour_end = np.append(clock[0, 1:], 24)[None, :]
    by = np.where(ready >= 0, ready, leaves)
    same_day = (hour_end >= by) & (clock < leaves)
    # a stay from one evening to the next morning
    past_midnight = ((hour_end >= by) & (clock >= returns)) | (clock < leaves)
    return np.where(by > leaves, past_midnight, same_day) & (leaves >= 0)
