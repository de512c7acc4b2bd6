"""Checks of the inputs: prices, forecasts, meters, requests, opportunities, prosumers, and owner preferences."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.display import printable, usd
from vpp_pipeline.core.tables import Day, optional_table, rows_where, with_missing
from vpp_pipeline.fleet.device_rules import device_faults
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult, count_violations, parts_of
from vpp_pipeline.verification.terms import block_hours

TOLERANCE_KWH = 1e-6
LEAST_PEAK_USD_PER_MWH = 1.0  # the dearest hour of a week's mean was never below $33 in 2023 and 2024
MOST_MEAN_USD_PER_MWH = 500.0  # the dearest week was at $157
NAMED = 5  # rows that a description names; the table has the others
SHOWN = 40  # characters of a value that a description shows
USED = (
    "capacity_kwh",
    "max_charge_kw",
    "max_discharge_kw",
    "export_limit_kw",
    "initial_stored_kwh",
    "charge_efficiency",
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
PACIFIC_TIME = str(CAISO.time_zone)


def prices_are_complete_and_ordered(day: Day, settings: Settings, table: str = "market.price_forecast") -> CheckResult:
    """Every hour of the market day once, in chronological order; a warning where the better reserve is cheaper."""
    prices = day[table]
    expected = market_hours(prices["market_date"][0])
    if prices["start_utc"].to_list() != expected["start_utc"].to_list():
        wanted, found = set(expected["start_utc"].to_list()), set(prices["start_utc"].to_list())
        missing, unexpected = len(wanted - found), len(found - wanted)
        return CheckResult(
            max(1, missing + unexpected),
            f"{prices.height} rows for {expected.height} hours: {missing} missing, {unexpected} unexpected",
            prices.height,
        )
    held = f"{prices.height} hours, each once and in order"
    for lesser in (product for product in CAISO.reserves if product.substitute):
        better = CAISO.product(str(lesser.substitute))
        inverted = prices.filter(pl.col(better.price_column) < pl.col(lesser.price_column) - 1e-9)
        if inverted.height:
            columns, words = (better.price_column, lesser.price_column), f"{better.name} below {lesser.name}"
            rows = inverted.select("start_utc", *columns)
            return count_violations(rows, f"hours with {words}", "", prices.height, is_warning=True)
        held += f"; {better.name} is never below {lesser.name}"
    return CheckResult(0, held, prices.height)


def every_prosumer_is_physical(day: Day, settings: Settings) -> CheckResult:
    """Device sizes, efficiencies, and limits are physical, and the envelope keeps every owner preference; a warning
    where a store does not reach its floor in time, with how long it charges at full power."""
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
    held = f"{fleet.height} prosumers, {energy_mwh:.1f} MWh, {power_mw:.1f} MW: all within physical limits"
    faults = pl.concat([unphysical, violated_preferences(day), short])
    low = _below_their_floor(day)
    if faults.is_empty() and low.height:
        first = "{} has {} kWh at the end of the hour from {} Pacific".format(*low.row(0))
        words = "prosumer(s) below a floor that charging at full power does not reach in time"
        return CheckResult(low.height, printable(f"{low.height} {words}; first: {first}"), power_mw, is_warning=True)
    return count_violations(faults, "faults in the fleet", held, power_mw)


def prices_are_forecast_as_asked(day: Day, settings: Settings) -> CheckResult:
    """Prices are forecast by the method of the settings and have the level and shape of this market; a warning where
    another method replaced it, with the reason, and where a unit or time zone is probably wrong."""
    table = day["market.price_forecast"]
    method, days = table["method"][0], float(table["history_days"].to_numpy().max())
    problems = [f"prices are forecast as {method}"] if IN_PLACE_OF in method else []
    for name, problem in _unlikely_prices(table).items():
        if name not in settings.forecast.accepted:
            problems.append(f"{problem}, or accept it: forecast.accepted_suspicions={name}")
    if problems:
        return CheckResult(len(problems), "; ".join(problems), days, is_warning=True)
    return CheckResult(0, f"prices are forecast by {method}, from {days:.0f} days", days)


def _unlikely_prices(forecast: pl.DataFrame) -> dict[str, str]:
    """Suspicion -> what is unlikely about the expected energy prices, the likely cause, and a remedy.

    Solar power makes noon cheap: at NP15, SP15, and ZP26, the mean price from 10:00 to 15:00 reached that from 18:00 to
    22:00 in none of 700 weeks of 2023 and 2024; with local time read as UTC it does in 98% of them.
    """
    clock = forecast["start_utc"].dt.convert_time_zone(PACIFIC_TIME).dt.hour()
    price, found = forecast["energy_usd_per_mwh"], dict[str, str]()
    noon = float(price.filter(clock.is_between(10, 14)).to_numpy().mean())
    evening = float(price.filter(clock.is_between(18, 21)).to_numpy().mean())
    if noon > evening:
        found["price_shape"] = (
            f"energy is expected to be dearer at noon, {usd(noon)}/MWh, than in the evening, {usd(evening)}/MWh, which "
            "solar power rules out: local time is probably read as UTC. Name its zone with --timezone"
        )
    highest, mean = float(price.abs().to_numpy().max()), float(price.to_numpy().mean())
    if highest < LEAST_PEAK_USD_PER_MWH:
        found["price_level"] = (
            f"in no hour is energy expected to cost more than {usd(highest)}/MWh: prices are probably in $/kWh"
        )
    elif mean > MOST_MEAN_USD_PER_MWH:
        found["price_level"] = (
            f"energy is expected to cost {usd(mean)}/MWh on average: prices are probably not in $/MWh"
        )
    return found


def solar_is_forecast_as_asked(day: Day, settings: Settings) -> CheckResult:
    """The solar forecast is of this day; a warning where an earlier one replaces it, with its age and the reason."""
    return _as_asked(optional_table(day, "market.solar_forecast"), "solar")


def the_load_is_forecast_as_asked(day: Day, settings: Settings) -> CheckResult:
    """The load forecast is of this day; a warning where an earlier one replaces it, with its age and the reason."""
    return _as_asked(optional_table(day, "market.load_forecast"), "the load")


def charging_is_forecast_as_asked(day: Day, settings: Settings) -> CheckResult:
    """The charging forecast is of this day; a warning where an earlier one replaces it, with its age and the reason."""
    return _as_asked(optional_table(day, "market.charging_forecast"), "charging")


def _as_asked(table: pl.DataFrame | None, what: str) -> CheckResult:
    """The result for one forecast; its value is the forecast's age in days."""
    if table is None or "method" not in table.columns:
        return CheckResult(0, f"0 records of how {what} was forecast", 0.0)
    rows = table.unique(["method", "made_for_date"], maintain_order=True).with_columns(
        days=(pl.col("market_date") - pl.col("made_for_date")).dt.total_days()
    )
    oldest = float(rows["days"].to_numpy().max())
    old = rows.filter((pl.col("days") > 0) | pl.col("method").str.contains(IN_PLACE_OF, literal=True))
    if old.height:
        methods = "; ".join(f"{method} ({days} days old)" for method, days in old.select("method", "days").iter_rows())
        return CheckResult(old.height, f"{what} is forecast by the {methods}", oldest, is_warning=True)
    methods, hours = ", ".join(rows["method"].unique().sort()), table["start_utc"].n_unique()
    return CheckResult(0, f"{what} is forecast for {hours} hours by: {methods}", oldest)


def meters_are_whole_and_up_to_date(day: Day, settings: Settings) -> CheckResult:
    """No meter is in quarantine, and the newest readings are recent enough; a warning with the first reason otherwise.

    The value is the age of the newest reading at the deadline, in hours, of the quantity whose readings are oldest.
    """
    hours, quarantine = optional_table(day, "market.metered_hours"), optional_table(day, "market.meter_quarantine")
    if hours is None or quarantine is None:
        return CheckResult(0, "0 meter tables are stored with this day", 0.0)
    late = settings.forecast.meters_late_hours
    newest = hours.group_by("quantity").agg(end=pl.col("start_utc").max().dt.offset_by("1h")).sort("end", "quantity")
    if newest.is_empty() and quarantine.is_empty():
        return CheckResult(0, "0 meters: no forecast uses any", 0.0)
    problems = [
        f"{meter}, {column}: {problem} ({days} days; row {row} of {file})"
        if meter != "every meter"
        else f"every meter: {problem}"
        for meter, column, problem, days, row, file in quarantine.select(
            "meter_id", "column_name", "problem", "days", "file_row", "file"
        ).iter_rows()
    ]
    age = 0.0
    if newest.height:
        deadline = bid_deadline_utc(hours["market_date"][0])
        age = (deadline - newest["end"][0]).total_seconds() / 3600.0
        if age > late:
            problems.insert(
                0, f"{newest['quantity'][0]} is late: its newest hour ends {age:.0f} hours before bids close"
            )
    if problems:
        more = f"; and {len(problems) - 1} more in market.meter_quarantine" if len(problems) > 1 else ""
        return CheckResult(len(problems), f"{problems[0]}{more}", age, is_warning=True)
    return CheckResult(0, f"{hours.height} metered hours, the newest ends {age:.0f} hours before bids close", age)


def every_request_is_offered(day: Day, settings: Settings) -> CheckResult:
    """No request for the day is in quarantine; a warning with the rows and their reasons otherwise."""
    quarantine = optional_table(day, "market.request_quarantine")
    if quarantine is None:
        return CheckResult(0, "0 rows of requests set aside are stored with this day", 0.0)
    offered = day["market.opportunities"].filter(pl.col("origin") == "request").height
    rows = quarantine.unique("file_row", keep="first", maintain_order=True)
    if rows.is_empty():
        return CheckResult(0, f"{offered} request(s), all offered", offered)
    words = rows.head(NAMED).select(
        pl.format(
            "row {} of {}, {} {}: {}. {}",
            *("file_row", "file", "column_name", pl.col("value").str.head(SHOWN).fill_null("empty")),
            *("problem", "remedy"),
        )
    )
    more = f"; and {rows.height - NAMED} more in market.request_quarantine" if rows.height > NAMED else ""
    told = f"{rows.height} row(s) of requests in quarantine, {offered} offered; {'; '.join(words.to_series())}{more}"
    return CheckResult(rows.height, printable(told), offered, is_warning=True)


def no_hour_is_offered_twice(day: Day, settings: Settings) -> CheckResult:
    """Each resource offers a product at most once in each hour, and in hours of the market day alone."""
    opportunities = with_missing(day["market.opportunities"], resource_id=DESK)
    hours = block_hours(opportunities).join(opportunities.select("opportunity_id", "resource_id"), on="opportunity_id")
    own = market_hours(day["market.price_forecast"]["market_date"][0])["start_utc"]
    faults = {
        "outside the market day": ~pl.col("start_utc").is_in(own.implode()),
        "of two opportunities": pl.struct("resource_id", "product", "start_utc").is_first_distinct().not_(),
    }
    broken = pl.concat([hours.filter(fault).with_columns(fault=pl.lit(name)) for name, fault in faults.items()])
    held = f"{opportunities.height} opportunities cover {hours.height} hours of products, each once"
    return count_violations(broken, "hours offered twice or outside the day", held, hours.height)


def violated_preferences(day: Day) -> pl.DataFrame:
    """Rows ``prosumer_id, fault`` where `fleet.availability` violates a limit that `fleet.prosumers` sets."""
    fleet, envelope = day["fleet.prosumers"], day["fleet.availability"].drop("market_date", "limited_by")
    parts = parts_of(fleet)
    return pl.concat(_violated_by(day, fleet.filter(part), envelope.filter(part)) for part in parts)


def _violated_by(day: Day, prosumers: pl.DataFrame, envelope: pl.DataFrame) -> pl.DataFrame:
    """The same of some ``prosumers``, whose hourly limits are ``envelope``."""
    fleet = prosumers.drop("market_date").with_row_index("device")
    hourly = envelope.join(fleet.select("prosumer_id", "device", *USED), on="prosumer_id", suffix="_of_device")
    clock = pl.col("start_utc").dt.convert_time_zone(PACIFIC_TIME).dt.hour().cast(pl.Int32)
    hourly = hourly.sort("device", "start_utc").with_columns(clock=clock)
    hourly = hourly.with_columns(next_clock=pl.col("clock").shift(-1).over("device").fill_null(24))
    is_away = _between(pl.col("clock"), "ev_departure_hour", "ev_arrival_hour")
    is_skipped = ~is_away.any().over("device") & pl.col("ev_arrival_hour").is_not_null()  # an hour that the day lacks
    hourly = hourly.with_columns(is_away=is_away | (is_skipped & _follows("ev_departure_hour")))
    is_away = pl.col("is_away")
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
    hourly = hourly.with_columns(
        reserve_kwh=pl.col("backup_reserve_fraction") * pl.col("capacity_kwh"),
        backup_kwh=backup_kwh,
        ready_kwh=pl.when(owes_ready_charge).then(pl.col("ev_ready_fraction") * pl.col("capacity_kwh")),
    )
    owed_kwh = pl.max_horizontal("reserve_kwh", "backup_kwh", "ready_kwh")
    hourly = _with_reach(hourly, pl.col("min_stored_kwh") < owed_kwh - TOLERANCE_KWH)

    def is_below(owed: str) -> pl.Expr:
        """A floor lower than is owed, or than charging at full power from the start reaches where that is less."""
        return pl.col("min_stored_kwh") < pl.min_horizontal(owed, "reach_kwh") - TOLERANCE_KWH

    faults = {
        "envelope exceeds the device": (pl.col("min_stored_kwh") > pl.col("max_stored_kwh") + TOLERANCE_KWH)
        | (pl.col("max_stored_kwh") > pl.col("capacity_kwh") + TOLERANCE_KWH)
        | (pl.col("max_charge_kw") > pl.col("max_charge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("max_discharge_kw") > pl.col("max_discharge_kw_of_device") + TOLERANCE_KWH)
        | (pl.col("export_limit_kw") > pl.col("export_limit_kw_of_device") + TOLERANCE_KWH),
        "floor below the backup reserve": is_below("reserve_kwh"),
        "floor below the backup hours": is_below("backup_kwh"),
        "power limit above 0 while the EV is away": is_away & (power > 0),
        "EV leaves below its ready-by charge": pl.col("ready_kwh").is_not_null() & is_below("ready_kwh"),
        "discharge limit above 0 in quiet hours": is_quiet & (pl.col("max_discharge_kw") > 0),
        "charge limit above 0 in hours without charging": may_not_charge & (pl.col("max_charge_kw") > 0),
        "export limit above 0 in hours without export": pl.col("no_export_hours_now")
        & (pl.max_horizontal("export_limit_kw", "max_discharge_kw") > 0),
        "exports or discharges on an opt-out day": opted_out
        & (pl.max_horizontal("export_limit_kw", "max_discharge_kw") > 0),
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


def _with_reach(hourly: pl.DataFrame, is_low: pl.Expr) -> pl.DataFrame:
    """``hourly``, sorted by device and hour, with ``reach_kwh``: what charging at full power from the start reaches.

    Of devices with an hour that ``is_low`` alone; null of the others, whose floors are all as owed.
    """
    reach: list[float | None] = []
    columns = ["max_charge_kw", "drive_kwh", "capacity_kwh", "charge_efficiency", "initial_stored_kwh"]
    low = hourly.select("device", *columns, low=is_low.fill_null(False).any().over("device"))
    device, stored = None, 0.0
    for row in low.filter("low").iter_rows(named=True):
        if row["device"] != device:
            device, stored = row["device"], row["initial_stored_kwh"]
        charged = stored + row["charge_efficiency"] * row["max_charge_kw"] - row["drive_kwh"]
        stored = min(charged, row["capacity_kwh"])
        reach.append(max(stored, 0.0))
    places = low["low"].arg_true()
    nothing = pl.Series("reach_kwh", [None], dtype=pl.Float64).new_from_index(0, hourly.height)
    return hourly.with_columns(nothing.scatter(places, pl.Series(reach, dtype=pl.Float64)))


def _follows(start: str) -> pl.Expr:
    """Whether the hour is the day's first from the Pacific hour ``start`` on."""
    later = (pl.col("clock") >= pl.col(start)).fill_null(False)
    return later & (later.cum_sum().over("device") == 1)


def _charging_level(day: Day) -> float:
    """Driving of the day relative to the stated driving; 1 for days without a charging forecast."""
    expected = optional_table(day, "market.charging_forecast")
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


def every_prosumer_of_the_file_takes_part(day: Day, settings: Settings) -> CheckResult:
    """No row of the fleet file is in quarantine; a warning with the first such row and its reason otherwise."""
    fleet = day["fleet.prosumers"].height
    quarantine = day["fleet.quarantine"].unique("file_row", keep="first", maintain_order=True)
    rows = quarantine.select("file_row", "prosumer_id", "column_name", "problem")
    held = f"all {fleet} prosumers of the fleet take part"
    return count_violations(rows, f"row(s) of {fleet + quarantine.height} in quarantine", held, fleet, is_warning=True)


def _below_their_floor(day: Day) -> pl.DataFrame:
    """Who cannot reach a floor in time: ``prosumer_id``, and state of charge and start of the last such hour."""
    low = rows_where(
        day,
        "fleet.availability",
        pl.col("limited_by") == "below its floor",
        ["prosumer_id", "start_utc", "min_stored_kwh"],
    )
    last = low.sort("start_utc").group_by("prosumer_id").last().sort("prosumer_id")
    start = pl.col("start_utc").dt.convert_time_zone(PACIFIC_TIME).dt.strftime("%Y-%m-%d %H:%M")
    return last.select("prosumer_id", pl.col("min_stored_kwh").round(2), start)


def every_note_is_understood(day: Day, settings: Settings) -> CheckResult:
    """Every part of every owner's note sets a limit; a warning with the first part that does not, because it was not
    understood or the site has no such device."""
    notes = day["fleet.notes"]
    idle = notes.filter(pl.col("status").is_in(["not understood", "no such device"]))
    not_read = idle.unique(["prosumer_id", "part"], maintain_order=True)
    held = f"{notes.height} readings of owners' notes, all understood"
    return count_violations(
        not_read.select("prosumer_id", "quote", "status"),
        "part(s) of owners' notes set no limit",
        held,
        notes.height,
        is_warning=True,
    )
