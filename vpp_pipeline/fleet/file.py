"""A user's own fleet: one row per prosumer, from a CSV or Parquet file, checked cell by cell, then as a device."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import dataframely as dy
import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.fleet.device_rules import device_faults, device_remedies
from vpp_pipeline.fleet.quarantine import LoadedFleet, check_share, first_problem, originals_of, quarantined, set_aside
from vpp_pipeline.schemas import DESK, Prosumers, Quarantine, validate

__all__ = ["DEFAULTS", "LoadedFleet", "check_fleet", "check_share", "first_problem", "read_fleet", "set_aside"]

_COMMENT = r'^"?#'  # a spreadsheet puts quotes around a comment that holds a comma
_BLANK = r'^[\s,"]*$'
_QUOTED = r'(^|,)"(?:[^"]|"")*"'  # a cell between quotes
_MARK = "\x01"  # stands for one
COLUMNS = {name: column for name, column in Prosumers.columns().items() if name != "market_date"}
OWN = ("_", "x_")  # columns that begin so are the user's own

# What an empty cell, or a column left out, means; all others must be there and be filled.
DEFAULTS: dict[str, object] = {
    "resource_id": DESK,  # or the single one of a file of resources
    "site_type": "home",
    "archetype": None,
    "has_solar": (pl.col("solar_size_kw") > 0).fill_null(False),
    "has_v2g": False,
    "solar_size_kw": 0.0,
    "mean_load_kw": 0.0,
    "ev_arrival_hour": None,
    "ev_departure_hour": None,
    "ev_ready_fraction": None,
    "ev_drive_kwh": 0.0,
    "ev_ready_hour": None,
    "backup_reserve_hours": 0.0,
    "quiet_hours": None,
    "no_charge_hours": None,
    "no_export_hours": None,
    "opt_out_days": None,
    "patience": 1.0,
    "note": None,
}
TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}

_SAME_HOUR = "|".join([f"0?{hour}-0?{hour}" for hour in range(10)] + [f"{hour}-{hour}" for hour in range(10, 25)])
_EMPTY_WINDOW = rf"(^|, )({_SAME_HOUR}|24-0?0)(,|$)"
_UNSEEN = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"  # control characters, marks of direction, letters without width
_BEYOND_ASCII = r"[^ -~]"  # `\d` takes the digits of every script
_NO_CELLS = (pl.Binary, pl.Duration, pl.Object, pl.List, pl.Array, pl.Struct)


def read_fleet(path: Path, market_date: date, resources: Sequence[str] = (DESK,)) -> LoadedFleet:
    """`fleet.prosumers` of ``market_date`` from a CSV or Parquet file, and the rows that cannot take part.

    CSV: UTF-8, commas, a header, one line per prosumer. Lines that begin with ``#`` and blank ones are passed over;
    ``file_row`` is the line's number in a text editor. A cell may hold commas between quotes, but no line break: the
    lines of such a row are set aside, each under its own number. Parquet: the first row is 2, as after a header.
    ``resources``: the single resource, to which rows belong that name none; where there are several, each row must.

    Raises InputError where the file as a whole cannot be used: it does not exist, is of another format, its columns
    are unknown or missing, or none of its rows can take part.
    """
    if not path.is_file():
        raise InputError("the fleet file does not exist", file=path, remedy="Name an existing CSV or Parquet file")
    try:
        if path.suffix.lower() == ".parquet":
            return check_fleet(pl.read_parquet(path), market_date, path, resources=resources)
        return _read_csv(
            path.read_text(encoding="utf-8-sig"), market_date, path, resources
        )  # with or without a byte-order mark
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"the fleet file cannot be read: {error}",
            file=path,
            remedy="Save it again as CSV (in a spreadsheet: CSV UTF-8) or Parquet",
        ) from None


def _read_csv(text: str, market_date: date, path: Path, resources: Sequence[str]) -> LoadedFleet:
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
    unread = _unread(broken, names, market_date, path)
    return check_fleet(rows, market_date, path, whole["file_row"], unread, resources)


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
    return validate(
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


class Fault(NamedTuple):
    """What may be wrong with a row, and whether it is (null: it is not)."""

    column_name: str  # or several, with commas
    problem: str
    remedy: str
    broken: pl.Expr


def check_fleet(
    rows: pl.DataFrame,
    market_date: date,
    path: object,
    file_row: pl.Series | None = None,
    unread: pl.DataFrame | None = None,
    resources: Sequence[str] = (DESK,),
) -> LoadedFleet:
    """``rows`` as `fleet.prosumers` of ``market_date``, and those that cannot take part; ``path`` names their file.

    ``file_row``: line of each row in the file (None: its position, the first being 2); ``unread``: rows of
    `fleet.quarantine` for lines of the file that are no rows at all. ``resources``: as for :func:`read_fleet`.

    Raises InputError for columns that are unknown, missing or hold no cells, and where no row can be used.
    """
    _check_columns(rows, path, resources)
    defaults = DEFAULTS | {"resource_id": resources[0] if len(resources) == 1 else None}
    found = rows.select(_found(name, rows.schema.get(name)).alias(name) for name in COLUMNS)
    read = found.select(_read(name, column.dtype, found.schema[name]) for name, column in COLUMNS.items())
    cells = read.with_columns(pl.col(name).fill_null(value) for name, value in defaults.items() if value is not None)
    unreadable = [(found[name].is_not_null() & read[name].is_null()).alias(f"unreadable {name}") for name in COLUMNS]
    faults = _faults(cells.with_columns(unreadable))
    originals = originals_of(rows, cells["prosumer_id"], file_row)
    aside = [Quarantine.create_empty() if unread is None else unread]
    if faults:
        told = pl.concat(
            originals.filter(has_it).select(
                "file_row",
                column_name=pl.lit(fault.column_name),
                problem=pl.lit(fault.problem),
                remedy=pl.lit(fault.remedy),
            )
            for fault, has_it in faults
        )
        aside.append(quarantined(told, originals, market_date, path))
        cells = cells.filter(~originals["file_row"].is_in(told["file_row"].implode()))
    prosumers = validate(Prosumers, cells.with_columns(market_date=pl.lit(market_date)))
    loaded = LoadedFleet(prosumers, validate(Quarantine, pl.concat(aside)), originals)
    if prosumers.is_empty():
        check_share(loaded, 1.0, path)
    return loaded


def _check_columns(rows: pl.DataFrame, path: object, resources: Sequence[str]) -> None:
    """Raise InputError where the columns are not those of a fleet."""
    alien = [name for name in rows.columns if name not in Prosumers.columns() and not name.startswith(OWN)]
    if alien:
        raise InputError(
            "unknown columns in the fleet file",
            file=path,
            column=", ".join(name or "(without a name)" for name in alien),
            remedy=f"{_did_you_mean(alien)}A column of your own begins with x_ or _; docs/fleet.md lists all others",
        )
    missing = [name for name in COLUMNS if name not in rows.columns and name not in DEFAULTS]
    if missing:
        raise InputError(
            "columns are missing in the fleet file",
            file=path,
            column=", ".join(missing),
            remedy="Add them; docs/fleet.md lists all columns",
        )
    if len(resources) > 1 and "resource_id" not in rows.columns:
        raise InputError(
            "the fleet file does not say which resource each prosumer belongs to",
            file=path,
            column="resource_id",
            remedy=f"Add the column, with one of {', '.join(resources)} in each row",
        )
    no_cells = [name for name in COLUMNS if isinstance(rows.schema.get(name), _NO_CELLS)]
    if no_cells:
        raise InputError(
            "columns of the fleet file hold neither text nor numbers",
            file=path,
            column=", ".join(no_cells),
            value=", ".join(str(rows.schema[name]) for name in no_cells),
            remedy="Write text, numbers, true or false",
        )


def _did_you_mean(alien: list[str]) -> str:
    """A question for each column whose name is near a known one."""
    near = {name: difflib.get_close_matches(name.lower().replace(" ", "_"), COLUMNS, n=1) for name in alien}
    return "".join(f"Instead of {name}, did you mean {match[0]}? " for name, match in near.items() if match)


def _found(name: str, kind: pl.DataType | None) -> pl.Expr:
    """What the file says: numbers and truth values as they are, all else as text; empty where there are only blanks."""
    if kind is None:
        return pl.lit(None, pl.String)
    if kind.is_numeric() or kind == pl.Boolean:
        return pl.col(name)
    text = pl.col(name).cast(pl.String)
    bare = text.str.strip_chars()
    return pl.when(bare != "").then(text if name == "note" else bare)  # an owner's words stay as they are


def _read(name: str, kind: pl.DataType, found: pl.DataType) -> pl.Expr:
    """The cell as its column's kind, whole numbers as any number; empty where it cannot be."""
    text = pl.col(name).cast(pl.String)
    if kind == pl.String:
        return text
    if kind != pl.Boolean:
        return (pl.col(name) if found.is_numeric() else text).cast(pl.Float64, strict=False)
    if found == pl.Boolean:
        return pl.col(name)
    return text.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Boolean)


def _faults(cells: pl.DataFrame) -> list[tuple[Fault, pl.Series]]:
    """The faults that there are, each with whether a row has it; what a bad cell implies of others is not told."""
    remedies = device_remedies()
    possible = [fault for name, column in COLUMNS.items() for fault in _cell_faults(name, column)] + [
        Fault(", ".join(dict.fromkeys(broken.meta.root_names())), problem, remedies[problem], broken)
        for problem, broken in device_faults().items()
    ]
    flags = cells.select(fault.broken.fill_null(False).alias(str(place)) for place, fault in enumerate(possible))
    is_bad: dict[str, pl.Series] = {}
    faults = []
    for fault, flag in zip(possible, flags.iter_columns(), strict=True):
        has_it = flag
        for name in fault.column_name.split(", "):
            has_it = has_it & ~is_bad[name] if name in is_bad else has_it
        if has_it.any():
            faults.append((fault, has_it))
            is_bad[fault.column_name] = is_bad.get(fault.column_name, has_it) | has_it
    return faults


def _cell_faults(name: str, column: dy.Column) -> Iterator[Fault]:
    """What may be wrong with a cell, in the order in which it is told: only the first is."""
    cell, rules, unreadable = pl.col(name), column.validation_rules(pl.col(name)), pl.col(f"unreadable {name}")
    if column.dtype == pl.Boolean:
        yield Fault(name, "neither true nor false", "Write true or false", unreadable)
    elif column.dtype != pl.String:
        yield Fault(name, "not a number", "Write a number alone, with a point for decimals and no unit", unreadable)
        yield Fault(name, "not a finite number", "Write a number", ~cell.is_finite())
    if "nullability" in rules:
        yield Fault(name, "empty", f"Fill it in. {column.description}", cell.is_null())
    if column.dtype == pl.Int32:
        yield Fault(name, "not a whole number", "Write a whole number", cell != cell.floor())
    for rule, word in (("min", "below"), ("min_exclusive", "not above"), ("max", "above")):
        if rule in rules:
            problem = f"{word} {getattr(column, rule):g}"
            yield Fault(name, problem, f"Write a number {_range(column)}. {column.description}", ~rules[rule])
    if "check" in rules:
        yield Fault(name, "not one of the choices", f"Choose. {column.description}", ~rules["check"])
    if name in ("quiet_hours", "no_charge_hours", "no_export_hours"):
        written = "Write Pacific hours from 0 to 24, where each window starts and ends, as 21-23 or 0-7, 21-23"
        yield Fault(name, "not hours", written, ~rules["regex"] | cell.str.contains(_BEYOND_ASCII))
        yield Fault(name, "a window without an hour", f"{written}; all day is 0-24", cell.str.contains(_EMPTY_WINDOW))
    if name == "opt_out_days":
        written = "Write weekdays and dates, as sat, sun, 2023-12-25"
        yield Fault(name, "not days", written, ~rules["regex"] | cell.str.contains(_BEYOND_ASCII))
        yield Fault(name, "a date that does not exist", written, _names_no_date(cell))
    if name in ("prosumer_id", "site_id"):
        yield Fault(name, "letters that cannot be seen", "Write the id in letters that can", cell.str.contains(_UNSEEN))
    if name == "prosumer_id":
        one_row = "Give each prosumer one row, of one day; a home's battery and its EV are two prosumers of one site_id"
        yield Fault(name, "several rows of one prosumer", one_row, cell.is_duplicated())


def _names_no_date(days: pl.Expr) -> pl.Expr:
    """Whether one of the dates that ``days`` names is in no calendar, such as 2023-02-31."""
    dates = days.str.extract_all(r"\d{4}-\d{2}-\d{2}")
    return dates.list.eval(pl.element().str.to_date("%Y-%m-%d", strict=False).is_null()).list.any()


def _range(column: dy.Column) -> str:
    """The numbers that a column takes, in words."""
    least, above, most = (getattr(column, rule, None) for rule in ("min", "min_exclusive", "max"))
    if above is not None:
        return f"above {above:g}" + ("" if most is None else f" and at most {most:g}")
    return f"of {least:g} or more" if most is None else f"from {least:g} to {most:g}"
