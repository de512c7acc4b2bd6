"""Owners' notes applied to the fleet: what was read from their words can only tighten what the columns say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import cache

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import WEEKDAYS, hour_flags
from vpp_pipeline.fleet.notes.parser import Reading, read_note
from vpp_pipeline.schemas import Notes, validate

_READINGS = {
    "note": pl.String,
    "part": pl.Int32,
    "quote": pl.String,
    "preference": pl.String,
    "wanted": pl.String,
    "amount": pl.Float64,  # `wanted` as a number, where it is one
    "device": pl.String,
    "read_by": pl.String,
}
#: what notes say, note by note in their order; the rules are one such reader
Reader = Callable[[Sequence[str]], Iterable[list[Reading]]]


def by_rules(notes: Sequence[str]) -> Iterator[list[Reading]]:
    """What the rules understand of each note."""
    return map(read_note, notes)


def tighten(prosumers: pl.DataFrame, read: Reader = by_rules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`fleet.prosumers` with its notes applied, and the rows of :class:`~vpp_pipeline.schemas.Notes`.

    Whoever reads the notes, what they read can only tighten.

    A limit that names a device is for every prosumer of the site with that device, any other for the prosumer that
    carries the note. Limits on one column combine: the tightest number, all the hours, all the days.
    """
    if prosumers["note"].null_count() == prosumers.height:
        return prosumers, validate(Notes, Notes.create_empty())
    limits = _limits(prosumers, read)
    has_place = pl.col("preference").is_not_null() & pl.col("target").is_not_null()
    by_column = limits.filter(has_place).partition_by("preference", as_dict=True)
    judged = {str(column): _judged(prosumers, str(column), asked) for (column,), asked in by_column.items()}
    tightened = prosumers.with_columns(_replaced(prosumers[column], asked) for column, asked in judged.items())
    unplaced = limits.filter(~has_place).with_columns(before=None, after=None, is_tighter=False)
    values_as_text = pl.col("before", "after").cast(pl.String)
    notes = pl.concat([asked.with_columns(values_as_text) for asked in (unplaced, *judged.values())], how="diagonal")
    return tightened, validate(
        Notes,
        notes.with_columns(
            applies_to=prosumers["prosumer_id"].gather(notes["target"].fill_null(notes["row"])),
            status=pl.when(pl.col("preference").is_null())
            .then(pl.lit("not understood"))
            .when(pl.col("target").is_null())
            .then(pl.lit("no such device"))
            .when(pl.col("is_tighter"))
            .then(pl.lit("applied"))
            .otherwise(pl.lit("already met")),
        ),
    )


def _limits(prosumers: pl.DataFrame, read: Reader) -> pl.DataFrame:
    """Each reading of each note, once for every prosumer that it is for; each distinct note is read once.

    ``row`` is the row of the fleet that carries the note, ``target`` that of whom it is for; empty if no device fits,
    or if hours of load are asked for where no load is behind the meter.
    """
    notes = prosumers["note"].drop_nulls().unique(maintain_order=True).to_list()
    readings = [
        (note, part, reading.quote, reading.preference, reading.value, (reading.device, reading.read_by))
        for note, said in zip(notes, read(notes), strict=True)
        for part, reading in enumerate(said, start=1)
    ]
    texts = pl.DataFrame(
        [
            (*said, None if value is None else str(value), value if isinstance(value, float | int) else None, *of_whom)
            for *said, value, of_whom in readings
        ],
        schema=_READINGS,
        orient="row",
    )
    columns = ["market_date", "prosumer_id", "site_id", "note", "mean_load_kw"]
    fleet = prosumers.select(*columns, device="store").with_row_index("row")
    spoken = fleet.drop("device").join(texts, on="note")
    of_site = ["market_date", "site_id", "device"]
    stores = fleet.select(*of_site, target="row")
    carrier = pl.when(pl.col("device").is_null()).then("row").otherwise("target")
    placed = spoken.join(stores, on=of_site, how="left").with_columns(target=carrier)
    has_load = pl.col("target").is_in(fleet.filter(pl.col("mean_load_kw") > 0)["row"].implode())
    hours_of_nothing = (pl.col("preference") == "backup_reserve_hours") & ~has_load
    return placed.with_columns(target=pl.when(~hours_of_nothing.fill_null(value=False)).then("target"))


def _judged(prosumers: pl.DataFrame, column: str, asked: pl.DataFrame) -> pl.DataFrame:
    """``asked`` with the column's value ``before`` and ``after`` all limits on it, and whether each one tightens it."""
    asked = asked.with_columns(before=prosumers[column].gather(asked["target"]))
    if column in _COMBINED:
        return _all_together(asked, _COMBINED[column])
    if column == "ev_ready_hour":
        hours = prosumers.select(leaves="ev_departure_hour", returns="ev_arrival_hour")[asked["target"]]
        return _tightest(_at_home(asked.hstack(hours)), _hours_early)
    return _tightest(asked, _lower if column == "maximum_cycles_per_day" else _higher)


def _tightest(asked: pl.DataFrame, tightness: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
    wanted, was = tightness(pl.col("amount")), tightness(pl.col("before"))
    most = pl.col("amount").sort_by(wanted).last().over("target")
    return asked.with_columns(
        is_tighter=(wanted > was).fill_null(value=False),
        after=pl.when(wanted.max().over("target") > was).then(most).otherwise("before").cast(asked.schema["before"]),
    )


def _higher(value: pl.Expr) -> pl.Expr:
    return value.fill_null(-1.0)


def _lower(value: pl.Expr) -> pl.Expr:
    return -value


def _hours_early(hour: pl.Expr) -> pl.Expr:
    """Hours from the one by which an EV must be ready to the one when it leaves; none where no hour is stated."""
    return (pl.col("leaves") - hour.fill_null(pl.col("leaves")) + 24) % 24


def _at_home(asked: pl.DataFrame) -> pl.DataFrame:
    """Without the amounts that are hours of an EV's absence: it left ready before."""
    stay = (pl.col("leaves") - pl.col("returns") + 24) % 24
    return asked.with_columns(amount=pl.when((_hours_early(pl.col("amount")) < stay) | (stay == 0)).then("amount"))


def _all_together(asked: pl.DataFrame, combine: Callable[[str | None, str], str]) -> pl.DataFrame:
    """``combine`` works on texts, once for each pair of texts that occurs."""
    asked = asked.sort("row", "part").with_columns(together=pl.col("wanted").str.join(", ").over("target"))
    for wanted, result in (("wanted", "alone"), ("together", "after")):
        pairs = asked.select("before", wanted).unique()
        combined = pl.Series(result, [combine(*pair) for pair in pairs.iter_rows()], dtype=pl.String)
        asked = asked.join(pairs.with_columns(combined), on=["before", wanted], how="left", nulls_equal=True)
    return asked.with_columns(is_tighter=pl.col("alone").ne_missing(pl.col("before")))


def _with_hours(before: str | None, wanted: str) -> str:
    """The owner's windows, and after them those that add an hour."""
    kept = before.split(", ") if before else []
    for window in wanted.split(", "):
        if not _hours(window) <= frozenset().union(*map(_hours, kept)):
            kept.append(window)
    return ", ".join(kept)


@cache
def _hours(window: str) -> frozenset[int]:
    flags = hour_flags(pl.Series([window]), np.arange(24.0))
    return frozenset(np.flatnonzero(flags).tolist())


def _with_days(before: str | None, wanted: str) -> str:
    """The owner's days, and after them those that add a day: a Sunday's date adds nothing to `sun`."""
    kept = before.split(", ") if before else []
    for day in wanted.split(", "):
        weekday = day if day in WEEKDAYS else WEEKDAYS[date.fromisoformat(day).weekday()]
        if day not in kept and weekday not in kept:
            kept.append(day)
    return ", ".join(kept)


_COMBINED = dict.fromkeys(("quiet_hours", "no_charge_hours", "no_export_hours"), _with_hours) | {
    "opt_out_days": _with_days
}


def _replaced(values: pl.Series, asked: pl.DataFrame) -> pl.Series:
    """The fleet's column with what changed ``after`` the notes."""
    changed = asked.filter(pl.col("after").ne_missing(pl.col("before"))).unique("target")
    place = np.arange(len(values))
    place[changed["target"]] = len(values) + np.arange(changed.height)
    return pl.concat([values, changed["after"].alias(values.name)]).gather(place)
