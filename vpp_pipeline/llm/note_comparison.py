"""What the rules and a model read in the same notes, limit by limit: whether a model is worth asking, on your notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.fleet.notes.parser import read_note
from vpp_pipeline.inputs.day_fleet import fleet_of_day
from vpp_pipeline.llm.notes import Limit, ModelReader, occurs, value_in_quote
from vpp_pipeline.llm.providers import open_gateway
from vpp_pipeline.settings import Settings

AGREEMENTS = ("same", "other value", "rule only", "model only", "refused")
SCHEMA = dict.fromkeys(("quote", "preference", "by_rule", "by_model", "agreement"), pl.String) | {"note": pl.Int64}


def compare_readings(notes: Sequence[str], reader: ModelReader) -> pl.DataFrame:
    """One row per limit that either reads: note (its place, from 1), quote, preference, both values, `agreement`.

    The model is asked about whole notes, also where the rules understand them. `refused`: a limit that the words do
    not bear out, which would not be taken over.
    """
    rows = []
    for place, (note, limits) in enumerate(zip(notes, reader.limits_of(notes), strict=True), start=1):
        by_rule = {said.preference: (said.quote, said.value) for said in read_note(note) if said.preference is not None}
        held = {limit.preference: limit for limit in limits if occurs(limit.quote, note) and value_in_quote(limit)}
        for name in dict.fromkeys([*by_rule, *held]):
            quote, ours = by_rule.get(name, (held[name].quote if name in held else "", None))
            theirs = _value(held[name]) if name in held else None
            rows.append((quote, name, _text(ours), _text(theirs), _agreement(ours, theirs), place))
        rows += [
            (limit.quote, limit.preference, None, _text(_value(limit)), "refused", place)
            for limit in limits
            if limit is not held.get(limit.preference)
        ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").select("note", pl.exclude("note"))


def agreement_table(readings: pl.DataFrame) -> pl.DataFrame:
    """How many limits of each kind agree: one row per preference, one column per kind of agreement."""
    counts = readings.group_by("preference").agg(**{kind: (pl.col("agreement") == kind).sum() for kind in AGREEMENTS})
    return counts.sort("preference")


def _value(limit: Limit) -> float | str | None:
    return limit.number if limit.number is not None else limit.text


def _text(value: float | str | None) -> str | None:
    return None if value is None else str(value) if isinstance(value, str) else f"{value:g}"


def _agreement(ours: float | str | None, theirs: float | str | None) -> str:
    if ours is None:
        return "model only"
    if theirs is None:
        return "rule only"
    return "same" if _text(ours) == _text(theirs) else "other value"


def compare_notes(settings: Settings, data_folder: Path, market_date: date) -> str:
    """The agreement on the notes of the day's fleet, as text. Raises InputError without `paid_tier_confirmed`."""
    if not settings.model_use.paid_tier_confirmed:
        raise InputError(
            "owners' words would be sent away",
            value="model_use.paid_tier_confirmed is false",
            remedy="Confirm that the provider may not keep them: --set model_use.paid_tier_confirmed=true",
        )
    notes = fleet_of_day(settings.fleet, market_date).prosumers["note"].drop_nulls().unique(maintain_order=True)
    with open_gateway(settings.llm, data_folder, run_id="compare-notes", market_date=market_date) as gateway:
        reader = ModelReader(gateway, settings.llm)
        readings = compare_readings(notes.to_list(), reader)
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(reader.tally.failures.items())) or "none"
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=60, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
        asked = f"{len(notes)} notes, {reader.tally.asked} asked about; without an answer: {failed}"
        return f"{asked}\n{agreement_table(readings)}"
