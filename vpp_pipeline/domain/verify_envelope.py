"""The owner's wishes, found again in the hourly envelope: written down a second time, apart from `availability.py`."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.domain.verdict import Day

TOLERANCE_KWH = 1e-6
PACIFIC_TIME = "America/Los_Angeles"


def broken_wishes(day: Day) -> pl.DataFrame:
    """Rows ``prosumer_id, fault`` where `fleet.availability` forgets a limit that `fleet.prosumers` sets."""
    fleet = day["fleet.prosumers"].drop("market_date")
    hourly = day["fleet.availability"].join(fleet, on="prosumer_id", suffix="_of_device")
    clock = pl.col("start_utc").dt.convert_time_zone(PACIFIC_TIME).dt.hour().cast(pl.Int32)
    hourly = hourly.sort("prosumer_id", "start_utc").with_columns(clock=clock)
    hourly = hourly.with_columns(next_clock=pl.col("clock").shift(-1).over("prosumer_id").fill_null(24))
    is_away = _between(pl.col("clock"), "ev_departure_hour", "ev_arrival_hour")
    is_quiet = _between(pl.col("clock"), "quiet_start_hour", "quiet_end_hour")
    opted_out = pl.col("market_date").dt.weekday() == pl.col("opt_out_weekday")
    leaves_next = (pl.col("clock") < pl.col("ev_departure_hour")) & (
        pl.col("next_clock") >= pl.col("ev_departure_hour")
    )
    power = pl.max_horizontal("max_charge_kw", "max_discharge_kw")
    faults = {
        "envelope beyond the device": (pl.col("min_stored_kwh") > pl.col("max_stored_kwh") + TOLERANCE_KWH)
        | (pl.col("max_stored_kwh") > pl.col("capacity_kwh") + TOLERANCE_KWH)
        | (pl.col("max_charge_kw") > pl.col("max_charge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("max_discharge_kw") > pl.col("max_discharge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("export_limit_kw") > pl.col("export_limit_kw_of_device") + TOLERANCE_KWH),
        "envelope beyond the backup reserve": pl.col("min_stored_kwh")
        < pl.col("backup_reserve_fraction") * pl.col("capacity_kwh") - TOLERANCE_KWH,
        "has power while it is away": is_away & (power > 0),
        "leaves before it is ready": leaves_next
        & (pl.col("min_stored_kwh") < pl.col("ev_ready_fraction") * pl.col("capacity_kwh") - TOLERANCE_KWH),
        "discharges in quiet hours": is_quiet & (pl.col("max_discharge_kw") > 0),
        "sells on its day off": opted_out & (pl.max_horizontal("export_limit_kw", "max_discharge_kw") > 0),
    }
    hours = [
        hourly.filter(broken.fill_null(False)).select("prosumer_id", fault=pl.format(f"{name} at {{}}", "start_utc"))
        for name, broken in faults.items()
    ]
    driven = hourly.group_by("prosumer_id").agg(
        lost_kwh=pl.col("drive_kwh").sum(),
        owed_kwh=pl.when(is_away.fill_null(False).any()).then(pl.col("ev_drive_kwh").first()).otherwise(0.0),
    )
    wrong = driven.filter((pl.col("lost_kwh") - pl.col("owed_kwh")).abs() > TOLERANCE_KWH)
    drives = wrong.select("prosumer_id", fault=pl.format("drives {} kWh instead of {}", "lost_kwh", "owed_kwh"))
    return pl.concat([*hours, drives])


def _between(clock: pl.Expr, start: str, end: str) -> pl.Expr:
    """Whether the Pacific clock lies in [start, end), which may run past midnight; null where there is no start."""
    first, last = pl.col(start), pl.col(end)
    past_midnight = first > last
    return (past_midnight & ((clock >= first) | (clock < last))) | (~past_midnight & (clock >= first) & (clock < last))
