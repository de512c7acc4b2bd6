"""The fleet of one market day: read or generated, its owners' notes applied, and who cannot take part set aside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from vpp_pipeline.domain.availability import hourly_envelope, out_of_reach
from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.domain.carry_over import owes_less_than_it_starts_with
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.domain.notes.tighten import tighten
from vpp_pipeline.schemas import Notes
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline.sources.fleet_file import LoadedFleet, check_share, read_fleet, set_aside
from vpp_pipeline.sources.profiles import load_forecast, solar_forecast

GENERATED = "generated"
SLICE = 50_000  # prosumers whose hourly limits are held in memory at once


@dataclass(frozen=True)
class DayFleet:
    """Rows of `fleet.prosumers`, `fleet.notes` and `fleet.quarantine`."""

    prosumers: pl.DataFrame
    notes: pl.DataFrame
    quarantine: pl.DataFrame


def fleet_of_day(settings: FleetSettings, market_date: date) -> DayFleet:
    """Everyone who takes part on ``market_date``, within limits that each of them can keep.

    Raises InputError where the file cannot be used, or more of it is quarantined than ``quarantine_limit_fraction``.
    """
    path = settings.path or GENERATED
    loaded = (
        read_fleet(settings.path, market_date) if settings.path else LoadedFleet(generate_fleet(settings, market_date))
    )
    notes: pl.DataFrame = Notes.create_empty()
    if settings.reads_notes:
        prosumers, notes = tighten(loaded.prosumers)
        loaded = replace(loaded, prosumers=prosumers)
    if settings.carry_over:
        loaded = set_aside(loaded, owes_less_than_it_starts_with(loaded.prosumers, market_date), path)
    loaded = set_aside(loaded, _out_of_reach(loaded.prosumers, market_date), path)
    check_share(loaded, settings.quarantine_limit_fraction, path)
    return DayFleet(loaded.prosumers, notes, loaded.quarantine)


def _out_of_reach(prosumers: pl.DataFrame, market_date: date) -> pl.DataFrame:
    hours = market_hours(market_date)
    forecasts = solar_forecast(market_date), load_forecast(market_date)
    return pl.concat(
        [out_of_reach(part, hourly_envelope(part, hours, *forecasts)) for part in prosumers.iter_slices(SLICE)]
    )
