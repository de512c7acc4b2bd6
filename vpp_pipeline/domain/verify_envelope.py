"""The owner's wishes, found again in the hourly envelope: written down a second time, apart from `envelope.py`."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import Day, kept

TOLERANCE_KWH = 1e-6
USED = (
    "capacity_kwh",
    "max_charge_kw",
    "max_discharge_kw",
    "export_limit_kw",
    "discharge_efficiency",
    "backup_reserve_fraction",
    "backup_reserve_hours",
    "ev_departure_hour",
    "ev_arrival_hour",
    "ev_ready_hour",
    "ev_ready_fraction",
    "ev_drive_kwh",
    "opt_out_days",
)
PACIFIC_TIME = "America/Los_Angeles"


def broken_wishes(day: Day) -> pl.DataFrame:
    """Rows ``prosumer_id, fault`` where `fleet.availability` forgets a limit that `fleet.prosumers` sets."""
    fleet = day["fleet.prosumers"].drop("market_date").with_row_index("device")
    envelope = day["fleet.availability"].drop("market_date", "limited_by")
    hourly = envelope.join(fleet.select("prosumer_id", "device", *USED), on="prosumer_id", suffix="_of_device")
    clock = pl.col("start_utc").dt.convert_time_zone(PACIFIC_TIME).dt.hour().cast(pl.Int32)
    hourly = hourly.sort("device", "start_utc").with_columns(clock=clock)
    hourly = hourly.with_columns(next_clock=pl.col("clock").shift(-1).over("device").fill_null(24))
    is_away = _between(pl.col("clock"), "ev_departure_hour", "ev_arrival_hour")
    for windows in ("quiet_hours", "no_charge_hours", "no_export_hours"):
        hourly = hourly.join(_windows(fleet, windows), on=["device", "clock"], how="left")
    is_quiet, may_not_charge = pl.col("quiet_hours_now"), pl.col("no_charge_hours_now")
    market_date = day["fleet.prosumers"]["market_date"][0]
    today = f"({market_date:%Y-%m-%d}|{market_date:%a})".lower()
    opted_out = pl.col("opt_out_days").str.contains(today)
    # at home, and either gone in the next hour or no further from leaving than the ready hour is, around the clock
    leaves, ready = pl.col("ev_departure_hour"), pl.col("ev_ready_hour").fill_null(pl.col("ev_departure_hour"))
    gone_next = is_away.shift(-1).over("device").fill_null(leaves % 24 == 0)
    hours_left, hours_ready = (leaves - pl.col("next_clock") + 48) % 24, (leaves - ready + 48) % 24
    owes_ready_charge = ~is_away & (gone_next | (hours_left <= hours_ready))
    hours_of_load = pl.col("backup_reserve_hours") * pl.col("load_kw").mean().over("device")
    backup_kwh = pl.min_horizontal(hours_of_load / pl.col("discharge_efficiency"), "capacity_kwh")
    power = pl.max_horizontal("max_charge_kw", "max_discharge_kw")
    faults = {
        "envelope beyond the device": (pl.col("min_stored_kwh") > pl.col("max_stored_kwh") + TOLERANCE_KWH)
        | (pl.col("max_stored_kwh") > pl.col("capacity_kwh") + TOLERANCE_KWH)
        | (pl.col("max_charge_kw") > pl.col("max_charge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("max_discharge_kw") > pl.col("max_discharge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("export_limit_kw") > pl.col("export_limit_kw_of_device") + TOLERANCE_KWH),
        "envelope beyond the backup reserve": pl.col("min_stored_kwh")
        < pl.col("backup_reserve_fraction") * pl.col("capacity_kwh") - TOLERANCE_KWH,
        "envelope beyond the hours of backup": pl.col("min_stored_kwh") < backup_kwh - TOLERANCE_KWH,
        "has power while it is away": is_away & (power > 0),
        "leaves before it is ready": owes_ready_charge
        & (pl.col("min_stored_kwh") < pl.col("ev_ready_fraction") * pl.col("capacity_kwh") - TOLERANCE_KWH),
        "discharges in quiet hours": is_quiet & (pl.col("max_discharge_kw") > 0),
        "charges in hours without charging": may_not_charge & (pl.col("max_charge_kw") > 0),
        "exports in hours without export": pl.col("no_export_hours_now")
        & (pl.max_horizontal("export_limit_kw", "max_discharge_kw") > 0),
        "sells on its day off": opted_out & (pl.max_horizontal("export_limit_kw", "max_discharge_kw") > 0),
    }
    hours = [
        hourly.filter(broken.fill_null(False)).select("prosumer_id", fault=pl.format(f"{name} at {{}}", "start_utc"))
        for name, broken in faults.items()
    ]
    level = _charging_level(day)
    driven = hourly.group_by("device", "prosumer_id").agg(
        lost_kwh=pl.col("drive_kwh").sum(),
        owed_kwh=pl.when(is_away.fill_null(False).any()).then(level * pl.col("ev_drive_kwh").first()).otherwise(0.0),
    )
    wrong = driven.filter((pl.col("lost_kwh") - pl.col("owed_kwh")).abs() > TOLERANCE_KWH)
    drives = wrong.select("prosumer_id", fault=pl.format("drives {} kWh instead of {}", "lost_kwh", "owed_kwh"))
    return pl.concat([*hours, drives])


def _charging_level(day: Day) -> float:
    """What EVs drive today over what they state; 1 on a day made before there was such a forecast."""
    expected = kept(day, "market.charging_forecast")
    if expected is None:
        return 1.0
    return float(expected["charging_per_mean"].sum()) / expected.height


def _between(clock: pl.Expr, start: str, end: str) -> pl.Expr:
    """Whether the Pacific clock lies in [start, end), which may run past midnight; null where there is no start."""
    first, last = pl.col(start), pl.col(end)
    past_midnight = first > last
    return (past_midnight & ((clock >= first) | (clock < last))) | (~past_midnight & (clock >= first) & (clock < last))


def _windows(fleet: pl.DataFrame, column: str) -> pl.DataFrame:
    """The Pacific hours (``clock``) that an owner's windows name, one row each, with ``<column>_now`` true."""
    windows = fleet.select("device", window=pl.col(column).str.split(", ")).drop_nulls().explode("window")
    edges = pl.col("window").str.split("-").list.eval(pl.element().cast(pl.Int32))
    first, last = edges.list.get(0), edges.list.get(1)
    clock = pl.int_ranges(first, pl.when(last < first).then(last + 24).otherwise(last))
    hours = windows.with_columns(clock=clock).explode("clock").with_columns((pl.col("clock") % 24).cast(pl.Int32))
    return hours.select("device", "clock", pl.lit(True).alias(f"{column}_now")).unique()
