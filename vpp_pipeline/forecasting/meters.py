"""Files of metered hours: the layout, what it takes to be read at all, and synthetic examples of it.

What a wrong hour does to its meter is in `meter_checks.py`; this is what refuses a whole file. Columns: docs/meters.md.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import bid_deadline_utc, local_midnight_utc, market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.table_cells import moments
from vpp_pipeline.core.table_file import TableFile, check_columns, files_of, read_tables
from vpp_pipeline.forecasting.meter_checks import EVERY_METER, MEASURED, Measured, Metered, checked
from vpp_pipeline.forecasting.metered import WINDOW_DAYS
from vpp_pipeline.forecasting.profiles import clear_sky, clearness, load_forecast
from vpp_pipeline.market.price_files import SYNTHETIC_MARK
from vpp_pipeline.schemas import MeterQuarantine, validate
from vpp_pipeline.settings import ForecastSettings

KEYS = ("start_utc", "meter_id", "site_type")
COLUMNS = (*KEYS, "solar_size_kw", "mean_load_kw", *MEASURED)
HOUR = timedelta(hours=1)
FILE, SYNTHETIC = "file", "synthetic (file)"
SEED = 20230815
BUSINESS_EVERY = 5  # one site in five
EV_EVERY = 2
CHARGING_CLOCK = np.array([*[0.6] * 6, 0.3, *[0.1] * 9, 0.3, 0.8, 1.4, 1.8, 2.0, 1.8, 1.4, 1.0])  # mostly evenings
REST_DAYS_CHARGE = 0.7  # of a working day's
CHARGED_KWH_PER_DAY = 9.0


def meters_of_day(
    path: Path | None, market_date: date, time_zone: str | None = None, settings: ForecastSettings | None = None
) -> Metered:
    """What meters had shown when the bids of ``market_date`` closed; nothing without a source.

    ``time_zone``: of moments without an offset; ``settings``: where the panels are, and which suspicions count.

    A file that cannot be read is no exception here: it is set aside whole, with its reason, so that a last good
    forecast can stand in.
    """
    if path is None:
        return Metered()
    try:
        return checked(read_meters(path, market_date, time_zone), market_date, settings)
    except InputError as error:
        row = {
            "market_date": market_date,
            "meter_id": EVERY_METER,
            "column_name": "",
            "problem": str(error).replace(str(path), path.name),  # tables are published: folders are nobody's business
            "site_type": None,
            "first_date": None,
            "days": 0,
            "file": path.name,
            "file_row": None,
            "value": None,
            "remedy": "Correct what is named, then make the day again",
        }
        return Metered(quarantine=validate(MeterQuarantine, pl.DataFrame([row], schema_overrides=_KINDS)))


_KINDS: dict[str, pl.DataType | type[pl.DataType]] = {
    "site_type": pl.String,
    "first_date": pl.Date,
    "file_row": pl.Int32,
    "value": pl.String,
}


def read_meters(path: Path, market_date: date, time_zone: str | None = None) -> Measured:
    """Rows of the four weeks before, to the last hour that is over when bids close; later rows are not looked at.

    ``time_zone``: of moments without an offset.

    Raises ``InputError`` for a path, a layout, a moment or a row without a meter that cannot be used.
    """
    tables = read_tables(path, "meters")
    is_synthetic = any(SYNTHETIC_MARK in (comment.strip() for comment in table.comments) for table in tables)
    rows = pl.concat((_rows_of(table.whole(), time_zone) for table in tables), how="diagonal")
    known = rows.filter(pl.col("start_utc").dt.truncate("1h") + HOUR <= bid_deadline_utc(market_date))
    first = local_midnight_utc(market_date - timedelta(days=WINDOW_DAYS + 1))
    source = SYNTHETIC if is_synthetic else FILE
    return Measured(known.filter(pl.col("start_utc") >= first), _newest(known), source)


def content_of(path: Path | None) -> str:
    """A hash of the files, for those who keep results that rest on them."""
    digest = hashlib.sha256()
    for file in files_of(path, "meters") if path is not None else []:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _rows_of(table: TableFile, time_zone: str | None) -> pl.DataFrame:
    """``file``, ``row`` and our columns of one table as text, ``start_utc`` as a moment."""
    names = table.rows.columns
    measured = [name for name in MEASURED if name in names]
    sizes = [size for name in measured if (size := MEASURED[name].per)]
    needed = [*KEYS, *sizes, *([] if measured else [" or ".join(MEASURED)])]
    check_columns(names, COLUMNS, needed, "meters (docs/meters.md)", table.name, table.header_row)
    if table.rows.is_empty():
        raise InputError("a header and no rows", file=table.name, remedy="Give a file with metered hours.")
    rows = table.with_decimal_points([*measured, *sizes]).numbered.select(
        "file", "row", *(name for name in COLUMNS if name in names)
    )
    nameless = rows.filter(pl.col("meter_id").cast(pl.String).str.strip_chars().fill_null("") == "")
    if nameless.height:
        raise InputError(
            "a row without a meter",
            file=table.name,
            row=nameless["row"][0],
            column="meter_id",
            value=nameless["meter_id"][0],
            remedy="Name the meter of each row.",
        )
    start = moments(rows, "start_utc", time_zone, ["meter_id"])
    text = [pl.col(name).cast(pl.String) for name in rows.columns[2:] if name != "start_utc"]
    return rows.with_columns(*text).with_columns(start)


def _newest(known: pl.DataFrame) -> pl.DataFrame:
    """``meter_id``, ``column_name`` and the newest hour of each that holds something."""
    there = [name for name in MEASURED if name in known.columns]
    long = known.unpivot(
        there, index=["meter_id", "site_type", "start_utc"], variable_name="column_name", value_name="value"
    )
    held = long.filter(pl.col("value").str.strip_chars() != "")
    return (
        held.group_by("meter_id", "column_name")
        .agg(pl.col("site_type").first(), newest=pl.col("start_utc").max())
        .sort("meter_id", "column_name")
    )


def synthetic_meters(first: date, last: date, sites: int) -> pl.DataFrame:
    """Rows in the layout of docs/meters.md, ``first`` to ``last``, both whole; the same for the same arguments."""
    rng = np.random.default_rng(SEED)
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    loads = {day: load_forecast(day).sort("start_utc") for day in days}
    tables = []
    for k in range(sites):
        kind = "business" if k % BUSINESS_EVERY == BUSINESS_EVERY - 1 else "home"
        solar_kw = round(float(rng.uniform(4, 12) if kind == "home" else rng.uniform(50, 200)), 1)
        mean_kw = round(float(rng.uniform(0.7, 1.8) if kind == "home" else rng.uniform(20, 80)), 2)
        for day in days:
            load = loads[day].filter(site_type=kind)["load_per_mean"].to_numpy()
            tables.append(_day(day, f"meter_{k + 1:03d}", kind, solar_kw, mean_kw, load, k % EV_EVERY == 0, rng))
    return pl.concat(tables)


def _day(
    day: date,
    meter_id: str,
    kind: str,
    solar_kw: float,
    mean_kw: float,
    load: Array,
    has_ev: bool,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """``load`` (T,): of the site, over its mean."""
    hours = market_hours(day)
    count, clock = hours.height, hours["local_hour"].to_numpy()
    charging = CHARGING_CLOCK[clock] / CHARGING_CLOCK.mean() * CHARGED_KWH_PER_DAY / 24.0
    charging = charging * (1.0 if day.weekday() < 5 else REST_DAYS_CHARGE) * rng.lognormal(0.0, 0.4, count)
    sun = clear_sky(day) * clearness(day) * np.clip(rng.normal(1.0, 0.05, count), 0.8, 1.2)
    return hours.select(
        start_utc=pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        meter_id=pl.lit(meter_id),
        site_type=pl.lit(kind),
        solar_size_kw=pl.lit(solar_kw),
        mean_load_kw=pl.lit(mean_kw),
        solar_kwh=pl.Series(np.round(solar_kw * sun, 3)),
        load_kwh=pl.Series(np.round(mean_kw * load * rng.lognormal(0.0, 0.15, count), 3)),
        charging_kwh=pl.Series(np.round(charging, 3)) if has_ev else pl.lit(None, pl.Float64),
    )


def write_meters(file: Path, first: date, last: date, sites: int) -> int:
    """Write them as CSV under the line that labels them; how many rows."""
    rows = synthetic_meters(first, last, sites)
    file.write_text(f"{SYNTHETIC_MARK}\n{rows.write_csv()}", encoding="utf-8")
    return rows.height
