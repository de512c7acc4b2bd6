"""Quarantine: rows of a fleet that cannot take part, each with its reason; the other rows do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.schemas import Quarantine, validate

_PLAIN = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null, pl.Date, pl.Datetime, pl.Time)


@dataclass(frozen=True)
class LoadedFleet:
    """A fleet, and those rows of its file that cannot take part.

    ``prosumers``: rows of `fleet.prosumers`; ``quarantine``: rows of `fleet.quarantine`; ``originals``: every row as it
    was read, from :func:`originals_of`. A generated fleet is ``LoadedFleet(prosumers)``: it was never in a file, so
    that its ``file_row`` is the prosumer's position in it, counted from 2 as in a file with a header.
    """

    prosumers: pl.DataFrame
    quarantine: pl.DataFrame = field(default_factory=Quarantine.create_empty)
    originals: pl.DataFrame | None = None


def originals_of(rows: pl.DataFrame, prosumer_id: pl.Series, file_row: pl.Series | None = None) -> pl.DataFrame:
    """``file_row``, ``prosumer_id`` and ``row``, the columns as they were read: kept, not copied or turned to text."""
    counted = pl.int_range(2, rows.height + 2, dtype=pl.Int32, eager=True)
    return pl.DataFrame(
        {
            "file_row": counted if file_row is None else file_row,
            "prosumer_id": prosumer_id,
            "row": rows.to_struct(),
        }
    )


def quarantined(faults: pl.DataFrame, originals: pl.DataFrame, market_date: date, path: object) -> pl.DataFrame:
    """Rows of `fleet.quarantine`: ``faults`` (at least one) with what was found, the file and the whole row.

    ``faults``: file_row, column_name (or several, with commas), problem, remedy.
    """
    rows = originals.join(faults, on="file_row", how="semi")
    words = _in_words(rows["row"].struct.unnest())
    row_json = words.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    told = rows.select("file_row", "prosumer_id", place=pl.int_range(pl.len()), row_json=row_json)
    found = faults.unique(["file_row", "column_name", "problem"], maintain_order=True).join(told, on="file_row")
    pieces = [
        piece.with_columns(value=_value(words[piece["place"]], str(piece["column_name"][0]).split(", ")))
        for piece in found.partition_by("column_name")
    ]
    stamped = pl.concat(pieces).with_columns(market_date=pl.lit(market_date), file=pl.lit(file_name(path)))
    return validate(Quarantine, stamped)


def set_aside(loaded: LoadedFleet, reasons: pl.DataFrame, path: object) -> LoadedFleet:
    """``loaded`` with the prosumers that ``reasons`` names moved from the fleet to the quarantine.

    ``reasons``: prosumer_id, column_name, problem, remedy; ``path``: the fleet's file, or `generated`.

    Raises ValueError for a reason whose prosumer is not in the fleet.
    """
    if reasons.is_empty():
        return loaded
    strangers = reasons.join(loaded.prosumers, on="prosumer_id", how="anti")
    if strangers.height:
        raise ValueError(f"{strangers['prosumer_id'][0]} is to be set aside but is not in the fleet")
    fleet = loaded.prosumers
    originals = originals_of(fleet, fleet["prosumer_id"]) if loaded.originals is None else loaded.originals
    places = originals.select("prosumer_id", "file_row").join(fleet, on="prosumer_id", how="semi")
    faults = reasons.select("prosumer_id", "column_name", "problem", "remedy").join(places, on="prosumer_id")
    rows = quarantined(faults.drop("prosumer_id"), originals, fleet["market_date"][0], path)
    return LoadedFleet(
        fleet.join(reasons, on="prosumer_id", how="anti", maintain_order="left"),
        validate(Quarantine, pl.concat([loaded.quarantine, rows])),
        originals,
    )


def check_share(loaded: LoadedFleet, limit_fraction: float, path: object) -> None:
    """Raise InputError where more than ``limit_fraction`` of all rows, or every row, is quarantined."""
    aside = loaded.quarantine["file_row"].n_unique()
    everyone = aside + loaded.prosumers.height
    if loaded.prosumers.height and aside <= limit_fraction * everyone + 1e-9:
        return
    if not aside:
        raise InputError("the fleet holds no prosumer", file=path, remedy="Give each prosumer one row")
    kind = pl.col("problem").str.replace_all(r"\d[\d.:]*", "…")  # faults that differ in their numbers only are one
    kinds = loaded.quarantine.group_by("column_name", kind.alias("kind")).agg(pl.len(), pl.col("problem").first())
    common = kinds.sort("len", "column_name", "kind", descending=[True, False, False]).row(0, named=True)
    if loaded.prosumers.height:
        opening = f"{aside} of {everyone} rows of the fleet cannot take part, at most {100 * limit_fraction:g}% may"
        ending = "; to bid with the others anyway, raise fleet.quarantine_limit_fraction"
    else:
        opening, ending = f"none of the {everyone} rows of the fleet can take part", ""
    often = f"most often ({common['len']} rows) {common['column_name']}: {common['problem']}"
    of_kind = (pl.col("column_name") == common["column_name"]) & (kind == common["kind"])
    first = replace(loaded, quarantine=loaded.quarantine.filter(of_kind))
    raise _error(first, path, f"{opening}; {often}; the first of these, ", ending)


def first_problem(loaded: LoadedFleet, path: object) -> InputError:
    """The first row of the quarantine, which must not be empty, as an error that names the place and the remedy."""
    return _error(loaded, path)


def _error(loaded: LoadedFleet, path: object, opening: str = "", ending: str = "") -> InputError:
    first = loaded.quarantine.row(0, named=True)
    who = "a row" if first["prosumer_id"] is None else first["prosumer_id"]
    return InputError(
        f"{opening}{who}: {first['problem']}",
        file=path,
        row=first["file_row"],
        column=first["column_name"],
        value="nothing" if first["value"] is None else first["value"],
        remedy=first["remedy"] + ending,
    )


def _in_words(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` as text: JSON has no word for NaN or infinity, and text keeps every digit."""
    plain = [name for name, kind in rows.schema.items() if kind.is_numeric() or kind in _PLAIN]
    others = [name for name in rows.columns if name not in plain]  # lists, bytes and the like of the user's own
    return rows.with_columns(
        pl.col(plain).cast(pl.String),
        *(
            pl.Series(name, [None if cell is None else str(cell) for cell in rows[name].to_list()], pl.String)
            for name in others
        ),
    )


def _value(words: pl.DataFrame, names: list[str]) -> pl.Series:
    """What was found in the named columns: empty cells and columns that the file leaves out read `empty`."""
    cells = [
        pl.when(pl.col(name).str.strip_chars() != "").then(name) if name in words.columns else pl.lit(None, pl.String)
        for name in names
    ]
    told = cells[0] if len(cells) == 1 else pl.concat_str([cell.fill_null("empty") for cell in cells], separator=", ")
    return words.select(pl.lit(None, pl.String).alias("none"), value=told)["value"]
