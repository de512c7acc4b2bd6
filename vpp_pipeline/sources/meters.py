"""Metered hours from one file, or from all of a folder's: the layout, and what it takes to be read at all.

What a wrong hour does to its meter is in `meter_check.py`; this is what refuses a whole file. Columns: docs/meters.md.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc, local_midnight_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.from_meters import WINDOW_DAYS
from vpp_pipeline.market.price_files import PARQUET, SYNTHETIC_MARK, files_of, moments, read_lines, read_parquet
from vpp_pipeline.schemas import MeterQuarantine, door
from vpp_pipeline.sources.meter_check import EVERY_METER, Metered, checked
from vpp_pipeline.sources.meter_faults import MEASURED, Measured

KEYS = ("start_utc", "meter_id", "site_type")
COLUMNS = (*KEYS, "solar_size_kw", "mean_load_kw", *MEASURED)
HOUR = timedelta(hours=1)
FILE, SYNTHETIC = "file", "synthetic (file)"


def meters_of_day(path: Path | None, market_date: date) -> Metered:
    """What meters had shown when the bids of ``market_date`` closed; nothing without a source.

    A file that cannot be read is no exception here: it is set aside whole, with its reason, so that a last good
    forecast can stand in.
    """
    if path is None:
        return Metered()
    try:
        return checked(read_meters(path, market_date), market_date)
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
        return Metered(quarantine=door(MeterQuarantine, pl.DataFrame([row], schema_overrides=_KINDS)))


_KINDS: dict[str, pl.DataType | type[pl.DataType]] = {
    "site_type": pl.String,
    "first_date": pl.Date,
    "file_row": pl.Int32,
    "value": pl.String,
}


def read_meters(path: Path, market_date: date) -> Measured:
    """Rows of the four weeks before, to the last hour that is over when bids close; later rows are not looked at.

    Raises ``InputError`` for a path, a layout, a moment or a row without a meter that cannot be used.
    """
    source, tables = FILE, []
    for file in files_of(path):
        if file.name.endswith(PARQUET):
            frame = read_parquet(file)
        else:
            frame, comments = read_lines(file)
            if SYNTHETIC_MARK in (comment.strip() for comment in comments):
                source = SYNTHETIC
        tables.append(_rows_of(frame, file))
    rows = pl.concat(tables, how="diagonal")
    known = rows.filter(pl.col("start_utc") + HOUR <= bid_deadline_utc(market_date))
    first = local_midnight_utc(market_date - timedelta(days=WINDOW_DAYS + 1))
    return Measured(known.filter(pl.col("start_utc") >= first), _newest(known), source)


def content_of(path: Path | None) -> str:
    """A hash of the files, for those who keep results that rest on them."""
    digest = hashlib.sha256()
    for file in files_of(path) if path is not None else []:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _rows_of(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """``file``, ``row`` and our columns of one file as text, ``start_utc`` as a moment."""
    names = [name for name in frame.columns if name != "row"]
    measured = [name for name in MEASURED if name in names]
    sizes = [size for name in measured if (size := MEASURED[name].per)]
    missing = [name for name in (*KEYS, *sizes) if name not in names]
    if not measured:
        missing.append(" or ".join(MEASURED))
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown:
        raise InputError(
            "columns missing" if missing else "unknown columns, which may be misspelt",
            file=file,
            row=1,
            column=", ".join(missing or unknown),
            remedy=f"The layout has {', '.join(COLUMNS)} (docs/meters.md).",
        )
    if frame.is_empty():
        raise InputError("a header and no rows", file=file, remedy="Give a file with metered hours.")
    rows = frame.select(pl.lit(str(file)).alias("file"), "row", *names)
    nameless = rows.filter(pl.col("meter_id").cast(pl.String).str.strip_chars().fill_null("") == "")
    if nameless.height:
        raise InputError(
            "a row without a meter",
            file=file,
            row=nameless["row"][0],
            column="meter_id",
            value=nameless["meter_id"][0],
            remedy="Name the meter of each row.",
        )
    start = moments(rows, "start_utc", naive_is_utc=False)
    text = [pl.col(name).cast(pl.String) for name in names if name != "start_utc"]
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
