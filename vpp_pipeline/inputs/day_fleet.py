"""The fleet of one market day: read or generated, its owners' notes applied, and who cannot take part set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.fleet.arrays import carries_less_than_stated, owes_less_than_it_starts_with
from vpp_pipeline.fleet.device_rules import unlikely_sizes
from vpp_pipeline.fleet.envelope import hourly_envelope, out_of_reach
from vpp_pipeline.fleet.file import read_fleet
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.fleet.notes.apply import Reader, by_rules, tighten
from vpp_pipeline.fleet.quarantine import LoadedFleet, check_share, set_aside
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.schemas import DESK, Notes
from vpp_pipeline.settings import FleetSettings

GENERATED = "generated"
SLICE = 50_000  # prosumers whose hourly limits are held in memory at once


@dataclass(frozen=True)
class DayFleet:
    """Rows of `fleet.prosumers`, `fleet.notes` and `fleet.quarantine`."""

    prosumers: pl.DataFrame
    notes: pl.DataFrame
    quarantine: pl.DataFrame


def fleet_of_day(
    settings: FleetSettings,
    market_date: date,
    schedule_before: pl.DataFrame | None = None,
    read: Reader = by_rules,
    expected: tuple[pl.DataFrame, ...] | None = None,
    resources: Sequence[str] = (DESK,),
    part: int | None = None,
) -> DayFleet:
    """Everyone who takes part on ``market_date``, within limits that each of them can keep.

    ``schedule_before``: `dispatch.schedule` of the day before, where stored energy carries over from it. ``read``: who
    reads owners' notes. ``expected``: sun, load and charging of the day; where left out, the embedded profiles. Who
    cannot take part is set aside with the reason: a wrong row; a size
    that points to another unit; a resource that is not of ``resources``, or not that of
    its site; a row whose site has a wrong one with a note, which might be meant for it; limits out of reach; stored
    energy that carries over below what deals would be struck from. ``part``: of a generated fleet in parts that one.

    Raises InputError where the file cannot be used, or more of it is quarantined than ``quarantine_limit_fraction``.
    """
    path = settings.path or GENERATED
    if settings.path:
        loaded = read_fleet(settings.path, market_date, resources)
        loaded = set_aside(loaded, unlikely_sizes(loaded.prosumers, settings), path)
        loaded = set_aside(loaded, _outside_resources(loaded.prosumers, resources), path)
    else:
        loaded = LoadedFleet(generate_fleet(settings, market_date, resources, part))
    notes: pl.DataFrame = Notes.create_empty()
    if settings.reads_notes:
        loaded = set_aside(loaded, _beside_lost_notes(loaded), path)
        prosumers, notes = tighten(loaded.prosumers, read)
        loaded = replace(loaded, prosumers=prosumers)
    if settings.carry_over:
        loaded = set_aside(loaded, owes_less_than_it_starts_with(loaded.prosumers, market_date), path)
        loaded = set_aside(loaded, carries_less_than_stated(loaded.prosumers, schedule_before), path)
    if loaded.prosumers.height:
        forecasts = expected or (solar_forecast(market_date), load_forecast(market_date))
        short = _out_of_reach(loaded.prosumers, market_date, forecasts)
        loaded = set_aside(loaded, _with_notes(short, notes), path)
    check_share(loaded, settings.quarantine_limit_fraction, path)
    return DayFleet(loaded.prosumers, notes, loaded.quarantine)


def _outside_resources(prosumers: pl.DataFrame, resources: Sequence[str]) -> pl.DataFrame:
    """Who belongs to no resource of the day, or to another than the rest of its site."""
    known = pl.col("resource_id").is_in(list(resources))
    is_split = pl.col("resource_id").filter(known).n_unique().over("site_id") > 1
    named = ", ".join(resources)
    return prosumers.filter(~known | is_split).select(
        "prosumer_id",
        column_name=pl.when(known).then(pl.lit("site_id, resource_id")).otherwise(pl.lit("resource_id")),
        problem=pl.when(known)
        .then(pl.lit("a site in several resources"))
        .otherwise(pl.lit("no resource of that name takes part on this day")),
        remedy=pl.when(known)
        .then(pl.lit("Let all prosumers of a site belong to one resource"))
        .otherwise(pl.lit(f"Write one of {named}, or add it to the file of resources")),
    )


def _out_of_reach(prosumers: pl.DataFrame, market_date: date, forecasts: tuple[pl.DataFrame, ...]) -> pl.DataFrame:
    hours = market_hours(market_date)
    return pl.concat(
        [out_of_reach(part, hourly_envelope(part, hours, *forecasts)) for part in prosumers.iter_slices(SLICE)]
    )


def _with_notes(reasons: pl.DataFrame, notes: pl.DataFrame) -> pl.DataFrame:
    """``reasons`` that quote the note behind a limit, where an owner's note has tightened it."""
    quotes = notes.filter(pl.col("status") == "applied").group_by(prosumer_id="applies_to", maintain_order=True)
    said = quotes.agg(said=pl.col("quote").unique(maintain_order=True).str.join(", "))
    quoted = pl.format('{}; its owner\'s note says "{}"', "problem", "said")
    rows = reasons.join(said, on="prosumer_id", how="left", maintain_order="left")
    return rows.with_columns(problem=pl.coalesce(quoted, "problem")).drop("said")


def _beside_lost_notes(loaded: LoadedFleet) -> pl.DataFrame:
    """Who shares a site with a quarantined row that carries a note: what it asks for may be meant for them."""
    none = pl.DataFrame(schema=dict.fromkeys(("prosumer_id", "column_name", "problem", "remedy"), pl.String))
    if loaded.originals is None or loaded.quarantine.is_empty():
        return none
    rows = loaded.originals.join(loaded.quarantine, on="file_row", how="semi")
    cells = rows.select("file_row", pl.col("row").struct.unnest())
    if not {"note", "site_id"} <= set(cells.columns):
        return none
    noted = cells.filter(pl.col("note").cast(pl.String).str.strip_chars() != "")
    sites = noted.select("file_row", site_id=pl.col("site_id").cast(pl.String).str.strip_chars()).unique("site_id")
    return loaded.prosumers.join(sites, on="site_id").select(
        "prosumer_id",
        column_name=pl.lit("site_id"),
        problem=pl.format("the note in row {} of its site could not be applied", "file_row"),
        remedy=pl.lit("Correct that row, or remove its note"),
    )
