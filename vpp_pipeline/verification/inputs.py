"""Checks of what goes in: prices, forecasts, prosumers, and what their owners ask for."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.tables import Day, kept
from vpp_pipeline.fleet.device_rules import device_faults
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.verdict import Verdict, judge

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


def prices_are_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast was made as the settings ask; warns where another method took its place, and says why."""
    table = day["market.price_forecast"]
    method, days = table["method"][0], float(table["history_days"].to_numpy().max())
    if IN_PLACE_OF in method:
        return Verdict(1, f"prices are forecast as {method}", days, is_warning=True)
    return Verdict(0, f"prices are forecast by {method}, from {days:.0f} days", days)


def the_sun_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of the sun was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.solar_forecast"), "the sun")


def the_load_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of the load was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.load_forecast"), "the load")


def charging_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of charging was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.charging_forecast"), "charging")


def _as_asked(table: pl.DataFrame | None, what: str) -> Verdict:
    """Measured: days since the forecast was first made for."""
    if table is None or "method" not in table.columns:
        return Verdict(0, f"0 words are kept on how {what} was forecast", 0.0)
    rows = table.unique(["method", "made_for_date"], maintain_order=True).with_columns(
        days=(pl.col("market_date") - pl.col("made_for_date")).dt.total_days()
    )
    oldest = float(rows["days"].to_numpy().max())
    old = rows.filter((pl.col("days") > 0) | pl.col("method").str.contains(IN_PLACE_OF, literal=True))
    if old.height:
        told = "; ".join(f"{method} ({days} days old)" for method, days in old.select("method", "days").iter_rows())
        return Verdict(old.height, f"{what} is forecast by the {told}", oldest, is_warning=True)
    methods, hours = ", ".join(rows["method"].unique().sort()), table["start_utc"].n_unique()
    return Verdict(0, f"{what} is forecast for {hours} hours by: {methods}", oldest)


def meters_are_whole_and_up_to_date(day: Day, settings: Settings) -> Verdict:
    """No meter is set aside, and the newest hours are young enough; warns with the first reason. Measured: hours from
    the end of the newest one (of the quantity that is latest) to the deadline."""
    hours, aside = kept(day, "market.metered_hours"), kept(day, "market.meter_quarantine")
    if hours is None or aside is None:
        return Verdict(0, "0 meters are kept with this day", 0.0)
    late = settings.forecast.meters_late_hours
    newest = hours.group_by("quantity").agg(end=pl.col("start_utc").max().dt.offset_by("1h")).sort("end", "quantity")
    if newest.is_empty() and aside.is_empty():
        return Verdict(0, "0 meters: forecasts rest on none", 0.0)
    told = [
        f"{meter}, {column}: {problem} ({days} days; row {row} of {file})"
        if meter != "every meter"
        else f"every meter: {problem}"
        for meter, column, problem, days, row, file in aside.select(
            "meter_id", "column_name", "problem", "days", "file_row", "file"
        ).iter_rows()
    ]
    age = 0.0
    if newest.height:
        deadline = bid_deadline_utc(hours["market_date"][0])
        age = (deadline - newest["end"][0]).total_seconds() / 3600.0
        if age > late:
            told.insert(0, f"{newest['quantity'][0]} is late: its newest hour ends {age:.0f} hours before bids close")
    if told:
        more = f"; and {len(told) - 1} more in market.meter_quarantine" if len(told) > 1 else ""
        return Verdict(len(told), f"{told[0]}{more}", age, is_warning=True)
    return Verdict(0, f"{hours.height} metered hours, the newest ends {age:.0f} hours before bids close", age)


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


def every_prosumer_of_the_file_takes_part(day: Day, settings: Settings) -> Verdict:
    """No row of the fleet is in quarantine; warns with the first that is, and its reason."""
    fleet = day["fleet.prosumers"].height
    aside = day["fleet.quarantine"].unique("file_row", keep="first", maintain_order=True)
    told = aside.select("file_row", "prosumer_id", "column_name", "problem")
    held = f"all {fleet} prosumers of the fleet take part"
    return judge(told, f"row(s) of {fleet + aside.height} in quarantine", held, fleet, is_warning=True)


def every_note_is_understood(day: Day, settings: Settings) -> Verdict:
    """Every part of every owner's note limits something; warns with the first that does not: its words were not
    understood, or the site has no such device."""
    notes = day["fleet.notes"]
    idle = notes.filter(pl.col("status").is_in(["not understood", "no such device"]))
    not_read = idle.unique(["prosumer_id", "part"], maintain_order=True)
    held = f"{notes.height} readings of owners' notes, all understood"
    return judge(
        not_read.select("prosumer_id", "quote", "status"),
        "part(s) of owners' notes limit nothing",
        held,
        notes.height,
        is_warning=True,
    )
