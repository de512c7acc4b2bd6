"""A user's own fleet: one row per prosumer, columns as in `fleet.prosumers`, from a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.schemas import Quarantine, door
from vpp_pipeline.sources.fleet_check import DEFAULTS, check_fleet
from vpp_pipeline.sources.fleet_quarantine import LoadedFleet, check_share, first_problem, set_aside

__all__ = ["DEFAULTS", "LoadedFleet", "check_fleet", "check_share", "first_problem", "read_fleet", "set_aside"]

_COMMENT = r'^"?#'  # a spreadsheet puts quotes around a comment that holds a comma
_BLANK = r'^[\s,"]*$'
_QUOTED = r'(^|,)"(?:[^"]|"")*"'  # a cell between quotes
_MARK = "\x01"  # stands for one


def read_fleet(path: Path, market_date: date) -> LoadedFleet:
    """`fleet.prosumers` of ``market_date`` from a CSV or Parquet file, and the rows that cannot take part.

    CSV: UTF-8, commas, a header, one line per prosumer. Lines that begin with ``#`` and blank ones are passed over;
    ``file_row`` is the line's number in a text editor. A cell may hold commas between quotes, but no line break: the
    lines of such a row are set aside, each under its own number. Parquet: the first row is 2, as after a header.

    Raises InputError where the file as a whole cannot be used: it does not exist, is of another format, its columns
    are unknown or missing, or none of its rows can take part.
    """
    if not path.is_file():
        raise InputError("the fleet file does not exist", file=path, remedy="Name an existing CSV or Parquet file")
    try:
        if path.suffix.lower() == ".parquet":
            return check_fleet(pl.read_parquet(path), market_date, path)
        return _read_csv(path.read_text(encoding="utf-8-sig"), market_date, path)  # with or without a byte-order mark
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"the fleet file cannot be read: {error}",
            file=path,
            remedy="Save it again as CSV (in a spreadsheet: CSV UTF-8) or Parquet",
        ) from None


def _read_csv(text: str, market_date: date, path: Path) -> LoadedFleet:
    lines = pl.DataFrame({"line": text.split("\n")}).with_row_index("file_row", offset=1)
    is_row = ~pl.col("line").str.contains(_COMMENT) & ~pl.col("line").str.contains(_BLANK)
    lines = lines.cast({"file_row": pl.Int32}).filter(is_row)
    names = _header(lines.head(1), path)
    bare = pl.col("line").str.replace_all(_QUOTED, f"${{1}}{_MARK}")
    cells = bare.str.count_matches(",", literal=True) + 1
    lines = lines.slice(1).with_columns(
        cells=cells, misquoted=bare.str.contains('"', literal=True) | bare.str.contains(f"{_MARK}[^,]")
    )
    is_whole = (pl.col("cells") == len(names)) & ~pl.col("misquoted")
    whole, broken = lines.filter(is_whole), lines.filter(~is_whole)
    rows = pl.read_csv(
        io.BytesIO("\n".join(whole["line"]).encode()), has_header=False, schema=dict.fromkeys(names, pl.String())
    )
    return check_fleet(rows, market_date, path, whole["file_row"], _unread(broken, names, market_date, path))


def _header(first: pl.DataFrame, path: Path) -> list[str]:
    """Names of the columns. Raises InputError where they are not separated by commas, or are repeated."""
    if first.is_empty():
        raise InputError("the fleet file is empty", file=path, remedy="Write a header and one row per prosumer")
    number, line = first.row(0)
    names = [name.strip() for name in next(csv.reader([line]))]
    if len(names) == 1:
        separator = next((sign for sign in (";", "\t", "|") if sign in line), None)
        raise InputError(
            "the columns of the fleet file are not separated by commas",
            file=path,
            row=number,
            value=line if separator is None else separator,
            remedy="Save it with commas between cells and points in numbers, or as Parquet",
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(
            "columns come twice in the fleet file",
            file=path,
            row=number,
            column=", ".join(name or "(without a name)" for name in twice),
            remedy="Keep one of each",
        )
    return names


def _unread(broken: pl.DataFrame, names: list[str], market_date: date, path: Path) -> pl.DataFrame:
    """Rows of `fleet.quarantine` for lines that do not split into the columns; ``row_json`` holds the whole line."""
    place = names.index("prosumer_id") if "prosumer_id" in names else len(names)
    misquoted = pl.col("misquoted")
    return door(
        Quarantine,
        broken.select(
            "file_row",
            market_date=pl.lit(market_date),
            column_name=pl.lit("the whole row"),
            prosumer_id=pl.col("line").str.extract(rf'^(?:[^",]*,){{{place}}}([^",]+)').str.strip_chars(),
            value=pl.when(misquoted).then("line").otherwise(pl.format("{} cells", "cells")),
            problem=pl.when(misquoted)
            .then(pl.lit("quotes that do not enclose a cell"))
            .when(pl.col("cells") > len(names))
            .then(pl.lit(f"more cells than the {len(names)} columns"))
            .otherwise(pl.lit(f"fewer cells than the {len(names)} columns")),
            remedy=pl.when(misquoted)
            .then(pl.lit('Put " right before and after the cell, "" for a quote inside, and the row on one line'))
            .when(pl.col("cells") > len(names))
            .then(pl.lit('Put " right before and after a cell that holds a comma'))
            .otherwise(pl.lit("Write a comma for each cell, also for an empty one")),
            file=pl.lit(file_name(path)),
            row_json=pl.struct("line").struct.json_encode(),
        ),
    )
