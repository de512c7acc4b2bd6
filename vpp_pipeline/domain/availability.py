"""What each prosumer can do in each hour: physics first, then the owner's wishes."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array, Flags
from vpp_pipeline.errors import InputError
from vpp_pipeline.schemas import Availability, door

TOLERANCE_KWH = 1e-6


def hourly_envelope(
    prosumers: pl.DataFrame, hours: pl.DataFrame, solar: pl.DataFrame, load: pl.DataFrame
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Availability`, one per prosumer and hour.

    ``hours``: :func:`~vpp_pipeline.domain.calendar.market_hours`; ``solar``, ``load``: the day's forecasts.

    An EV that is away has no power and loses its driving energy evenly over those hours; what it must hold when it
    leaves is a lower limit of the hour before. The backup reserve is a lower limit of every hour. In quiet hours the
    store does not discharge; on an opt-out day nothing is exported.

    Raises InputError for a prosumer that cannot keep its own limits even if it charges all it can.
    """
    clock = hours["local_hour"].to_numpy()[None, :]
    p = {name: prosumers[name].to_numpy()[:, None] for name in prosumers.columns}
    capacity_kwh = p["capacity_kwh"]

    leaves, returns = _hour(prosumers, "ev_departure_hour"), _hour(prosumers, "ev_arrival_hour")
    is_away = _between(clock, leaves, returns)
    is_quiet = _between(clock, _hour(prosumers, "quiet_start_hour"), _hour(prosumers, "quiet_end_hour"))
    weekday = hours["market_date"][0].isoweekday()
    opted_out = _hour(prosumers, "opt_out_weekday") == weekday

    reserve_kwh = p["backup_reserve_fraction"] * capacity_kwh
    ready_kwh = prosumers["ev_ready_fraction"].fill_null(0.0).to_numpy()[:, None] * capacity_kwh
    next_clock = np.append(clock[0, 1:], 24)[None, :]  # the spring day has no 2:00, the autumn day two of 1:00
    leaves_next = (clock < leaves) & (next_clock >= leaves)
    floor_kwh = np.where(leaves_next, np.maximum(reserve_kwh, ready_kwh), reserve_kwh)
    away_hours = np.maximum(is_away.sum(axis=1, keepdims=True), 1)
    solar_per_kw = solar["solar_kw_per_kw"].to_numpy()[None, :]
    load_per_mean = np.vstack(
        [load.filter(site_type=kind).sort("start_utc")["load_per_mean"] for kind in ("home", "business")]
    )
    is_business = (prosumers["site_type"] == "business").to_numpy().astype(int)

    columns = {
        "max_charge_kw": np.where(is_away, 0.0, p["max_charge_kw"]),
        "max_discharge_kw": np.where(is_away | is_quiet | opted_out, 0.0, p["max_discharge_kw"]),
        "min_stored_kwh": floor_kwh,
        "max_stored_kwh": capacity_kwh + 0.0 * clock,
        "solar_kw": p["solar_size_kw"] * solar_per_kw,
        "load_kw": p["mean_load_kw"] * load_per_mean[is_business],
        "drive_kwh": np.where(is_away, p["ev_drive_kwh"] / away_hours, 0.0),
        "export_limit_kw": np.where(opted_out, 0.0, p["export_limit_kw"]) + 0.0 * clock,
    }
    _keeps_its_limits(prosumers, hours, columns)
    n, t = floor_kwh.shape
    keys = {
        "market_date": np.repeat(prosumers["market_date"].to_numpy(), t),
        "prosumer_id": np.repeat(prosumers["prosumer_id"].to_numpy(), t),
        "start_utc": pl.concat([hours["start_utc"]] * n),
    }
    return door(Availability, pl.DataFrame(keys | {name: values.ravel() for name, values in columns.items()}))


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


def _hour(prosumers: pl.DataFrame, name: str) -> Array:
    """A nullable integer column as (N, 1); an hour that never comes where it is empty."""
    values: Array = prosumers[name].fill_null(-99).to_numpy()[:, None]
    return values


def _between(clock: Array, start: Array, end: Array) -> Flags:
    """Whether the clock lies in [start, end), which may run past midnight."""
    wraps = start > end
    inside: Flags = np.where(wraps, (clock >= start) | (clock < end), (clock >= start) & (clock < end))
    return inside & (start >= 0)


def _keeps_its_limits(prosumers: pl.DataFrame, hours: pl.DataFrame, columns: dict[str, Array]) -> None:
    """Raise InputError naming the first prosumer whose floor or terminal energy is out of reach."""
    reach = highest_reachable_kwh(
        prosumers["initial_stored_kwh"].to_numpy(),
        prosumers["charge_efficiency"].to_numpy(),
        columns["max_charge_kw"],
        columns["max_stored_kwh"],
        columns["drive_kwh"],
    )[:, 1:]
    owed_kwh = columns["min_stored_kwh"].copy()
    owed_kwh[:, -1] = np.maximum(owed_kwh[:, -1], prosumers["terminal_stored_kwh"].to_numpy())
    short = np.argwhere(reach < owed_kwh - TOLERANCE_KWH)
    if len(short):
        i, t = short[0]
        raise InputError(
            f"{len(np.unique(short[:, 0]))} prosumers cannot keep their own limits, "
            f"first {prosumers['prosumer_id'][int(i)]}: it must hold {owed_kwh[i, t]:.2f} kWh at the end of the hour "
            f"from {hours['start_utc'][int(t)]:%Y-%m-%d %H:%M} UTC but reaches at most {reach[i, t]:.2f} kWh",
            remedy="Lower its ready-by charge, backup reserve or driving energy, or raise its charging power",
            column="ev_ready_fraction, backup_reserve_fraction, terminal_stored_kwh",
        )
