"""A user's own fleet: one row per prosumer, columns as in `fleet.prosumers`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from vpp_pipeline.domain.verify_inputs import device_faults
from vpp_pipeline.errors import InputError
from vpp_pipeline.schemas import Prosumers, door

# What a row may leave out, and what is then assumed; every other column must be there.
DEFAULTS: dict[str, object] = {
    "site_type": "home",
    "has_v2g": False,
    "has_solar": False,
    "solar_size_kw": 0.0,
    "mean_load_kw": 0.0,
    "ev_arrival_hour": None,
    "ev_departure_hour": None,
    "ev_ready_fraction": None,
    "ev_drive_kwh": 0.0,
    "quiet_start_hour": None,
    "quiet_end_hour": None,
    "opt_out_weekday": None,
    "patience": 1.0,
    "note": None,
}


def read_fleet(path: Path, market_date: date) -> pl.DataFrame:
    """`fleet.prosumers` of ``market_date`` from a CSV or Parquet file.

    Raises InputError naming file, row (of the file, header = 1), column and value of the first entry that cannot be
    used: a missing column, text in a number, a value outside its bounds, stored energy outside the store's limits.
    """
    if not path.is_file():
        raise InputError("the fleet file does not exist", file=path, remedy="Name an existing CSV or Parquet file")
    try:
        rows = (
            pl.read_parquet(path)
            if path.suffix == ".parquet"
            else pl.read_csv(path, infer_schema=False, comment_prefix="#")
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"the fleet file cannot be read: {error}", file=path, remedy="Save it again as CSV or Parquet"
        ) from None
    return check_fleet(rows, market_date, path)


def check_fleet(rows: pl.DataFrame, market_date: date, path: object) -> pl.DataFrame:
    """``rows`` as `fleet.prosumers` of ``market_date``, with the errors of :func:`read_fleet`; ``path`` names them."""
    rows = rows.with_columns(market_date=pl.lit(market_date))
    rows = rows.with_columns(pl.lit(value).alias(name) for name, value in DEFAULTS.items() if name not in rows.columns)
    wanted = Prosumers.columns()
    missing = [name for name in wanted if name not in rows.columns]
    if missing:
        raise InputError(
            "columns are missing in the fleet file",
            file=path,
            column=", ".join(missing),
            remedy="Add them; docs/fleet.md lists all columns",
        )
    cast = rows.select(_cast(pl.col(name), kind.dtype, rows.schema[name]).alias(name) for name, kind in wanted.items())
    for name in wanted:
        _first(
            path,
            rows,
            cast,
            name,
            rows[name].is_not_null() & cast[name].is_null(),
            "not of the column's kind",
            f"Write a {wanted[name].dtype}",
        )
    repeated = ~cast["prosumer_id"].is_first_distinct()
    _first(path, rows, cast, "prosumer_id", repeated, "a second row", "Give each prosumer one row")
    for rule, broken in _broken_rules(cast).items():
        name = rule.partition("|")[0]
        _first(path, rows, cast, name, broken, f"the rule {rule!r} is broken", f"{wanted[name].description}")
    for fault, claim in device_faults().items():
        found = cast.select(claim.fill_null(False).alias("broken"))["broken"]
        _first(
            path,
            rows,
            cast,
            ", ".join(dict.fromkeys(claim.meta.root_names())),
            found,
            f"the row {fault}",
            "Correct the row",
        )
    return door(Prosumers, cast)


def _cast(column: pl.Expr, kind: pl.DataType, found: pl.DataType) -> pl.Expr:
    if kind == pl.Boolean and found == pl.String:
        return column.str.to_lowercase().replace_strict(
            {"true": True, "false": False, "1": True, "0": False}, default=None
        )
    return column.cast(kind, strict=False)


def _first(
    path: object, rows: pl.DataFrame, cast: pl.DataFrame, name: str, broken: pl.Series, problem: str, remedy: str
) -> None:
    """Raise InputError for the first row where ``broken`` holds."""
    places = broken.fill_null(False).arg_true()
    if len(places):
        place = int(places[0])
        who = cast["prosumer_id"][place]
        raise InputError(
            f"{problem} for {who}",
            file=path,
            row=place + 2,
            column=name,
            value=_values(rows, name, place),
            remedy=remedy,
        )


def _broken_rules(cast: pl.DataFrame) -> dict[str, pl.Series]:
    """Rule of the declared table -> whether each row breaks it; only rules that some row breaks."""
    _, failures = Prosumers.filter(cast)
    details = failures.details()
    return {
        rule: cast["prosumer_id"].is_in(details.filter(pl.col(rule) == "invalid")["prosumer_id"].implode())
        for rule in failures.counts()
    }


def _values(rows: pl.DataFrame, names: str, place: int) -> str:
    """The row's own words in the named columns."""
    return ", ".join(str(rows[name][place]) for name in names.split(", ") if name in rows.columns)
