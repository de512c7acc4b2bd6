"""Cells of text as numbers and as moments: read or refused, never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from zoneinfo import available_timezones

import polars as pl

from vpp_pipeline.core.errors import InputError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOMENT = (
    r"^\s*(?<day>\d{4}-\d{2}-\d{2})[T ](?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:\.\d+)?)?"
    r"\s*(?:(?<zulu>[Zz])|(?<sign>[+-])(?<offset_h>\d{2}):?(?<offset_min>\d{2}))?\s*$"
)
_DAY_ALONE = r"^\s*\d{4}-\d{2}-\d{2}\s*$"
WRITE_OFFSET = "Write UTC as 2023-08-15T07:00:00Z, or local time with its offset"


def number(text: str) -> float | None:
    """The finite number that a cell holds, with a point for decimals; None where it holds none.

    >>> [number(text) for text in ("2.5", "-1e3", "2_0", "2,0", "nan", "1e999")]
    [2.5, -1000.0, None, None, None, None]
    """
    found = float(text) if _NUMBER.fullmatch(text) else float("inf")
    return found if abs(found) < float("inf") else None


def zone_of(name: str) -> str:
    """The name of a time zone. Raises InputError where there is none of that name."""
    known = available_timezones()
    if name in known:
        return name
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    raise InputError(
        f"no time zone{f'; did you mean {near[0]}?' if near else ''}",
        key="timezone",
        value=name,
        remedy="Write a name of the IANA database, such as America/Los_Angeles or UTC.",
    )


def moments(rows: pl.DataFrame, column: str, zone: str | None = None, series: Sequence[str] = ()) -> pl.Series:
    """``start_utc`` as moments: with the offset that is written, else in ``zone``.

    ``rows``: `file`, `row`, `start_utc` and the columns ``series``, which tell one series of hours from another.
    ``column``: what the file calls the moments. The hour that clocks repeat in autumn is decided by the order of its
    series: the first time it comes is daylight time.

    Raises InputError for the first that is no moment, needs a zone, or lies in an hour that the zone does not have or
    has twice without telling which.
    """
    naive, offset_min = _parsed(rows["start_utc"])
    unread = rows.filter(naive.is_null())
    if unread.height:
        told = unread["start_utc"][0]
        is_day = isinstance(told, str) and re.match(_DAY_ALONE, told)
        raise _error("a day without an hour" if is_day else "not a moment", unread, column, f"{WRITE_OFFSET}.")
    lacks = offset_min.is_null()
    if zone is None and lacks.any():
        raise _error(
            "a timestamp without its offset could be any of 24 hours",
            rows.filter(lacks),
            column,
            f"{WRITE_OFFSET}, or name the zone of local time with --timezone.",
        )
    ahead = (offset_min.fill_null(0) * 60_000_000).cast(pl.Duration("us"))
    aware = (naive - ahead).dt.replace_time_zone("UTC")
    if not lacks.any():
        return aware.alias("start_utc")
    local = _in_zone(rows.with_columns(start_utc=naive).filter(lacks), rows.filter(lacks), column, str(zone), series)
    places = lacks.arg_true()
    return aware.scatter(places, local).alias("start_utc")


def _parsed(given: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Each moment as its clock shows it, and the minutes by which that is ahead of UTC; null where it is not told."""
    if isinstance(given.dtype, pl.Datetime):
        naive = given.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if given.dtype.time_zone else given
        offset = pl.Series([0 if given.dtype.time_zone else None], dtype=pl.Int64)
        return naive.dt.cast_time_unit("us"), offset.new_from_index(0, len(given))
    parts = given.cast(pl.String).str.extract_groups(_MOMENT).struct.unnest()
    two = [pl.col(name).str.zfill(2) for name in ("hour", "minute")]
    clock = pl.format("{} {}:{}:{}", "day", *two, pl.col("second").fill_null("00"))
    minutes = pl.col("offset_h").cast(pl.Int64) * 60 + pl.col("offset_min").cast(pl.Int64)
    signed = pl.when(pl.col("sign") == "-").then(-minutes).otherwise(minutes)
    is_offset = (pl.col("offset_h").cast(pl.Int64) <= 14) & (pl.col("offset_min").cast(pl.Int64) < 60)
    read = parts.select(
        naive=pl.when(is_offset.fill_null(True)).then(
            clock.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
        ),
        offset=pl.when(pl.col("zulu").is_not_null()).then(0).otherwise(signed),
    )
    return read["naive"], read["offset"]


def _in_zone(rows: pl.DataFrame, written: pl.DataFrame, column: str, zone: str, series: Sequence[str]) -> pl.Series:
    """Moments of the clock ``start_utc`` in ``zone``."""
    clock = pl.col("start_utc")
    first, second = (
        clock.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.convert_time_zone("UTC")
        for which in ("earliest", "latest")
    )
    keys = ["file", *series]
    both = rows.select(*keys, clock=clock, first=first, second=second).with_row_index("place")
    missing = written.filter(both["first"].is_null())
    if missing.height:
        raise _error(
            f"an hour that {zone} does not have, since clocks are set forward",
            missing,
            column,
            "Correct it, or name the zone that the file is really in: one without daylight saving has all hours.",
        )
    twice = both.filter(pl.col("first") != pl.col("second")).with_columns(
        day=pl.col("clock").dt.date(),
        time=pl.int_range(pl.len()).over(*keys, "clock"),
        times=pl.len().over(*keys, "clock"),
    )
    if twice.is_empty():
        return both["first"]
    # all of the first time must come before all of the second: a file sorted by its clock does not tell them apart
    spans = both.group_by(keys).agg(falls=pl.col("clock").last() < pl.col("clock").first())
    days = twice.join(spans, on=keys).with_columns(
        is_parted=(
            pl.col("place").filter(pl.col("time") == 0).max() < pl.col("place").filter(pl.col("time") == 1).min()
        ).over(*keys, "day"),
        is_first=(pl.col("time") == 0) != pl.col("falls"),
    )
    unclear = days.filter((pl.col("times") != 2) | ~pl.col("is_parted").fill_null(False)).sort("place")
    if unclear.height:
        raise _error(
            f"an hour that {zone} has twice, since clocks are set back, and the order of rows does not tell which",
            written[unclear["place"].head(1).to_list()],
            column,
            "Write the offset, -07:00 for the first and -08:00 for the second in California, or both hours in order of "
            "time.",
        )
    later = days.filter(~pl.col("is_first"))
    return both["first"].scatter(later["place"], later["second"])


def _error(problem: str, rows: pl.DataFrame, column: str, remedy: str) -> InputError:
    """An error at the first of ``rows``."""
    value = rows["start_utc"][0]
    return InputError(
        problem,
        file=rows["file"][0],
        row=rows["row"][0],
        column=column,
        value=value if not isinstance(value, datetime) else value.isoformat(sep=" "),
        remedy=remedy,
    )
