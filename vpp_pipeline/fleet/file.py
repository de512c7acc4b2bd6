"""A user's own fleet: one row per prosumer, from a file of theirs, checked cell by cell, then as a device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import dataframely as dy
import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.core.table_file import TableFile, check_columns, read_table
from vpp_pipeline.fleet.device_rules import device_faults, device_remedies
from vpp_pipeline.fleet.quarantine import LoadedFleet, check_share, first_problem, originals_of, quarantined, set_aside
from vpp_pipeline.schemas import DESK, Prosumers, Quarantine, validate

__all__ = ["DEFAULTS", "LoadedFleet", "check_fleet", "check_share", "first_problem", "read_fleet", "set_aside"]

COLUMNS = {name: column for name, column in Prosumers.columns().items() if name != "market_date"}

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
    """`fleet.prosumers` of ``market_date`` from a CSV, XLSX or Parquet file, and the rows that cannot take part.

    A row of text is one line: those of a cell with a line break in it are set aside, each under its own number.
    ``resources``: the single resource, to which rows belong that name none; where there are several, each row must.

    Raises InputError where the file as a whole cannot be used: it does not exist, is of another format, its columns
    are unknown or missing, or none of its rows can take part.
    """
    numbers = [name for name, column in COLUMNS.items() if column.dtype.is_numeric()]
    table = read_table(path, "the fleet").with_decimal_points(numbers)
    check_layout(table.rows, path, resources, table.header_row)
    return check_fleet(table.rows, market_date, path, table.numbers, _unread(table, market_date), resources)


def _unread(table: TableFile, market_date: date) -> pl.DataFrame:
    """Rows of `fleet.quarantine` for lines that do not split into the columns; ``row_json`` holds the whole line."""
    names, sign = table.rows.columns, re.escape(table.separator or ",")
    place = names.index("prosumer_id") if "prosumer_id" in names else len(names)
    misquoted = pl.col("misquoted")
    return validate(
        Quarantine,
        table.broken.select(
            pl.col("row").alias("file_row"),
            market_date=pl.lit(market_date),
            column_name=pl.lit("the whole row"),
            prosumer_id=pl.col("line")
            .str.extract(rf'^(?:[^"{sign}]*{sign}){{{place}}}([^"{sign}]+)')
            .str.strip_chars(),
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
            file=pl.lit(file_name(table.name)),
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
    check_layout(rows, path, resources)
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


def check_layout(rows: pl.DataFrame, path: object, resources: Sequence[str], header_row: int | None = None) -> None:
    """Raise InputError where the columns are not those of a fleet; ``header_row``: where the file names them."""
    needed = [name for name in COLUMNS if name not in DEFAULTS]
    check_columns(rows.columns, Prosumers.columns(), needed, "the fleet (docs/fleet.md)", path, header_row)
    if len(resources) > 1 and "resource_id" not in rows.columns:
        raise InputError(
            "the fleet file does not say which resource each prosumer belongs to",
            file=path,
            row=header_row,
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
