"""A seeded fleet of Californian homes and small businesses: the same settings give the same fleet, always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices, Texts
from vpp_pipeline.fleet.archetypes import (
    BUSINESS,
    DRIVE_GAMMA,
    ERRAND_KWH,
    HOUSEHOLDS,
    MEAN_LOAD_LOG,
    NOTE_ROWS,
    WEAR_USD_PER_MWH,
    choose_notes,
    choose_text,
    choose_trips,
    of_kind,
)
from vpp_pipeline.schemas import DESK, Prosumers, validate
from vpp_pipeline.settings import FleetSettings

# Sizes: DESIGN ranges for California (battery 5-20 kWh / 3-10 kW, EV 40-100 kWh / 7-11.5 kW, solar 4-12 kW).
HOME_BATTERY_KWH_KW = np.array([[5.0, 3.0], [10.0, 5.0], [13.5, 5.0], [13.5, 7.0], [16.0, 8.0], [20.0, 10.0]])
HOME_BATTERY_SHARES = np.array([0.10, 0.20, 0.35, 0.15, 0.10, 0.10])
EV_KWH = np.array([40.0, 58.0, 64.0, 75.0, 82.0, 100.0])
EV_SHARES = np.array([0.15, 0.15, 0.20, 0.25, 0.15, 0.10])
EV_CHARGER_KW = np.array([7.2, 9.6, 11.5])

EV_FLOOR_FRACTION = 0.2
HOURS_FLOOR_FRACTION = 0.05  # kept by those whose reserve is hours of load
LARGEST_DRIVE_FRACTION = 0.7  # of the store: who drives further charges on the way
# A reserve in hours leaves a half-full store room even on a summer day, whose load is 1.25 times the year's mean.
LARGEST_HOURS_RESERVE_FRACTION, SUMMER_FACTOR, HOURS_STEP = 0.45, 1.3, 0.25
KINDS = tuple(archetype.name for archetype in (*HOUSEHOLDS, BUSINESS))
STORES = ("battery", "ev", "none")


def generate_fleet(
    settings: FleetSettings, market_date: date, resources: Sequence[str] = (DESK,), part: int | None = None
) -> pl.DataFrame:
    """``settings.prosumers`` rows of :class:`~vpp_pipeline.schemas.Prosumers` for ``market_date``.

    Sites come in the order business, then homes; a home with battery and EV gives two rows with one ``site_id``, each
    with its own share of the site's export limit. The fleet depends on the seed only; the date is stamped on it, and
    EVs drive as on a working day. Every prosumer can keep its own limits, on the days of the clock changes too.
    ``resources``: names among which sites are dealt out one by one, so that each has businesses and homes. ``part``: of
    a fleet in parts only the prosumers of that one of ``resources``, which no other part need be made for; those of
    the first are a fleet of their number.
    """
    n, before, every, seed = settings.prosumers, 0, settings.prosumers, np.random.SeedSequence(settings.seed)
    if part is not None:
        sizes = [n // len(resources) + (place < n % len(resources)) for place in range(len(resources))]
        n, before, resources = sizes[part], sum(sizes[:part]), [resources[part]]
        settings = settings.model_copy(update={"prosumers": n})
        seed = np.random.SeedSequence([settings.seed, part] if part else settings.seed)
    for_sites, for_devices, for_trips, for_preferences, for_notes = np.random.default_rng(seed).spawn(5)
    rows = _draw_rows(for_sites, settings)
    devices = _draw_devices(for_devices, rows, settings)
    preferences, reserve_fraction = _draw_preferences(for_preferences, rows, devices)
    note_row = np.where(rows.business, NOTE_ROWS.index("business"), rows.store)
    note, note_fraction = choose_notes(for_notes, note_row, rows.has_note)
    keep_fraction = np.maximum(reserve_fraction, note_fraction)
    stored = _draw_trips(for_trips, rows, devices, keep_fraction, settings.initial_stored_fraction)
    names = {
        "market_date": pl.repeat(market_date, n, eager=True),
        "prosumer_id": _ids("prosumer", before + np.arange(n), every),
        "site_id": _ids("site", before + rows.site, every),
        "resource_id": pl.Series(list(resources), dtype=pl.String).gather(rows.site % len(resources)),
        "site_type": pl.Series(["home", "business"]).gather(rows.business.astype(int)),
        "archetype": pl.Series(KINDS).gather(rows.kind),
        "store": pl.Series(STORES).gather(rows.store),
        "note": note,
    }
    fleet = pl.DataFrame(names | devices | preferences | stored).with_columns(
        pl.when(pl.col("store") == "ev").then(pl.col("ev_arrival_hour", "ev_departure_hour")),
        pl.when(pl.col("ev_ready_hour") >= 0).then(pl.col("ev_ready_hour")),
        pl.col("ev_ready_fraction").fill_nan(None),
    )
    return validate(Prosumers, fleet)


@dataclass(frozen=True)
class _Rows:
    """Which rows there are: (N,) each."""

    site: Indices
    first_of_site: Flags
    kind: Indices  # place in KINDS
    store: Indices  # place in STORES
    business: Flags
    home_solar: Flags  # the draw of the row's home; businesses: any
    has_note: Flags

    @property
    def ev(self) -> Flags:
        return np.equal(self.store, STORES.index("ev"))

    @property
    def battery(self) -> Flags:
        return np.equal(self.store, STORES.index("battery"))


def _draw_rows(rng: np.random.Generator, settings: FleetSettings) -> _Rows:
    n, sites = settings.prosumers, settings.business_sites
    business_rows = min(n, round(sites * n / 200) if n >= 200 else sites)
    homes = n - business_rows  # at least one row a home, so this many homes always suffice
    has_battery = rng.random(homes) < settings.battery_share
    has_ev = rng.random(homes) < settings.ev_share
    home_solar = rng.random(n) < settings.solar_share
    shares = (settings.commuter_share, settings.home_office_share, settings.retired_share, settings.night_shift_share)
    kind = np.append(np.full(business_rows, len(HOUSEHOLDS)), rng.choice(len(HOUSEHOLDS), homes, p=shares))
    has_note, on_second_row = rng.random(n) < settings.note_share, rng.random(n) < 0.5

    home = np.repeat(np.arange(homes), np.where(has_ev & has_battery, 2, 1))[:homes]
    second = np.append(False, home[1:] == home[:-1])[:homes]  # an EV comes after the battery of its home
    is_ev = second | (has_ev & ~has_battery)[home]
    home_store = np.where(is_ev, STORES.index("ev"), np.where(has_battery[home], 0, STORES.index("none")))
    site = np.append(np.arange(business_rows), business_rows + home)
    first = np.append(np.ones(business_rows, dtype=bool), ~second)
    is_alone = np.bincount(site, minlength=n)[site] == 1
    return _Rows(
        site=site,
        first_of_site=first,
        kind=kind[site],
        store=np.append(np.zeros(business_rows, dtype=np.int64), home_store),
        business=np.arange(n) < business_rows,
        home_solar=home_solar[site],
        has_note=has_note[site] & (is_alone | (on_second_row[site] != first)),
    )


def _draw_devices(rng: np.random.Generator, rows: _Rows, settings: FleetSettings) -> dict[str, Texts]:
    """What stands there: sizes, efficiencies, wear, load. Businesses' load is an assumption, 30-120 kW."""
    n, business, ev, battery = len(rows.site), rows.business, rows.ev, rows.battery
    home_kwh_kw = HOME_BATTERY_KWH_KW[rng.choice(len(HOME_BATTERY_KWH_KW), n, p=HOME_BATTERY_SHARES)]
    business_kw = np.round(rng.uniform(100.0, 500.0, n) / 10.0) * 10.0
    business_hours = rng.choice([2.0, 4.0], n, p=[0.6, 0.4])
    ev_kwh = EV_KWH[rng.choice(len(EV_KWH), n, p=EV_SHARES)]
    ev_kw = EV_CHARGER_KW[rng.choice(len(EV_CHARGER_KW), n)]
    v2g = ev & (rng.random(n) < settings.v2g_share)
    power_kw = np.select([business, ev, battery], [business_kw, ev_kw, home_kwh_kw[:, 1]], 0.0)
    capacity_kwh = np.select([business, ev, battery], [business_kw * business_hours, ev_kwh, home_kwh_kw[:, 0]], 0.0)

    # solar stands behind the first row of its site; a home without a store takes part with solar alone
    has_store = ev | battery
    solar = rows.first_of_site & np.where(business, rng.random(n) < 0.5, rows.home_solar | ~has_store)
    home_solar_kw = np.round(rng.uniform(4.0, 12.0, n), 1)
    solar_kw = np.where(solar, np.where(business, 0.8 * business_kw, home_solar_kw), 0.0)
    home_load_kw = np.round(np.exp(rng.normal(*MEAN_LOAD_LOG, n)) * of_kind("load_factor", rows.kind), 3)
    load_kw = np.where(rows.first_of_site, np.where(business, rng.uniform(30.0, 120.0, n), home_load_kw), 0.0)
    margin = np.where(business, 0.01, 0.02)  # one-way efficiency 0.94-0.96 or 0.93-0.97
    return {
        "has_solar": solar,
        "has_v2g": v2g,
        "capacity_kwh": capacity_kwh,
        "max_charge_kw": power_kw,
        "max_discharge_kw": np.where(ev & ~v2g, 0.0, power_kw),
        "charge_efficiency": np.round(0.95 + margin * rng.uniform(-1.0, 1.0, n), 3),
        "discharge_efficiency": np.round(0.95 + margin * rng.uniform(-1.0, 1.0, n), 3),
        "solar_size_kw": solar_kw,
        "mean_load_kw": load_kw,
        "export_limit_kw": np.where(business, 1.5 * business_kw, np.maximum(power_kw, 0.8 * solar_kw)),
        "wear_usd_per_mwh": np.where(has_store, np.round(rng.uniform(*WEAR_USD_PER_MWH, n), 2), 0.0),
        "maximum_cycles_per_day": np.where(ev, 1.0, rng.choice([1.0, 1.5, 2.0], n, p=[0.3, 0.3, 0.4])),
        "availability_fraction": np.round(np.where(ev, rng.uniform(0.85, 0.95, n), rng.uniform(0.95, 0.995, n)), 3),
    }


def _draw_preferences(rng: np.random.Generator, rows: _Rows, devices: dict[str, Texts]) -> tuple[dict[str, Any], Array]:
    """What the owners ask for, and the share of the store that is their reserve (N,)."""
    n, kind, battery = len(rows.site), rows.kind, rows.battery

    def between(name: str) -> Array:
        low, high = of_kind(name, kind)
        values: Array = low + (high - low) * rng.random(n)
        return values

    per_hour_kwh = np.maximum(devices["mean_load_kw"], 1e-9) * SUMMER_FACTOR / devices["discharge_efficiency"]
    most_hours = LARGEST_HOURS_RESERVE_FRACTION * devices["capacity_kwh"] / per_hour_kwh
    in_hours = battery & (rng.random(n) < of_kind("reserve_hours_share", kind))
    hours = np.floor(np.minimum(between("reserve_hours"), most_hours) / HOURS_STEP) * HOURS_STEP
    reserve_hours = np.where(in_hours, hours, 0.0)
    fraction = np.where(in_hours, HOURS_FLOOR_FRACTION, np.round(between("reserve_fraction"), 2))
    fraction = np.where(rows.ev, EV_FLOOR_FRACTION, fraction)

    alpha, beta = of_kind("willingness", kind)
    hours_fraction = reserve_hours * per_hour_kwh / np.maximum(devices["capacity_kwh"], 1e-9)
    return {
        "backup_reserve_fraction": fraction,
        "backup_reserve_hours": reserve_hours,
        "quiet_hours": choose_text(rng, kind, "quiet_share", "quiet_hours", battery),
        "no_charge_hours": choose_text(rng, kind, "no_charge_share", "no_charge_hours", battery),
        "no_export_hours": pl.Series([None] * n, dtype=pl.String),
        "opt_out_days": choose_text(rng, kind, "opt_out_share", "opt_out_days", np.ones(n, dtype=bool)),
        "participation_willingness_fraction": np.round(rng.beta(alpha, beta), 2),
        "minimum_compensation_usd_per_kwh": np.round(between("compensation_usd_per_kwh"), 4),
        "patience": np.round(np.exp(rng.normal(0.0, 0.4, n)), 3),
    }, np.maximum(fraction, hours_fraction)


def _draw_trips(
    rng: np.random.Generator, rows: _Rows, row: dict[str, Texts], keep_fraction: Array, initial_fraction: float
) -> dict[str, Texts]:
    """When the EVs are away, what they use, and what every store holds at the day's start and end.

    An EV drives no further and must be ready with no more than it can have charged by then, and owes at midnight no
    more than it can hold again: the hours before it leaves are counted one short, for the spring day. One that is away
    at midnight (it leaves after it returns) must have its whole drive in store when the day begins.
    """
    n, ev, kind = len(rows.site), rows.ev, rows.kind
    is_trip = ev & (rng.random(n) < of_kind("trip_share", kind))
    is_early = is_trip & (rng.random(n) < of_kind("early_ready_share", kind))
    leaves, returns = choose_trips(rng, kind, is_trip)

    capacity_kwh = row["capacity_kwh"]
    hourly_kwh = row["charge_efficiency"] * row["max_charge_kw"]
    initial_kwh = np.maximum(initial_fraction, keep_fraction) * capacity_kwh
    over_midnight = leaves > returns
    plugged_in_h = np.where(over_midnight, leaves - returns, np.maximum(leaves - 1, 0))
    afterwards_kwh = hourly_kwh * np.where(over_midnight, 0, 24 - returns)
    highest_kwh = np.minimum(capacity_kwh, initial_kwh + hourly_kwh * plugged_in_h)

    trip_kwh = rng.gamma(*DRIVE_GAMMA, n) * of_kind("drive_factor", kind)
    driven_kwh = np.where(is_trip, trip_kwh, rng.uniform(*ERRAND_KWH, n))
    in_store_kwh = np.where(over_midnight, initial_kwh, highest_kwh) - keep_fraction * capacity_kwh
    driven_kwh = np.minimum(driven_kwh, np.minimum(LARGEST_DRIVE_FRACTION * capacity_kwh, in_store_kwh))
    driven_kwh = np.where(ev, np.floor(10.0 * driven_kwh) / 10.0, 0.0)

    before_ready_kwh = initial_kwh - np.where(over_midnight, driven_kwh, 0.0) + hourly_kwh * (plugged_in_h - is_early)
    kwh = np.maximum(capacity_kwh, 1e-9)
    wanted = np.maximum(rng.uniform(0.6, 0.85, n), keep_fraction + driven_kwh / kwh)
    ready_fraction = np.floor(100.0 * np.minimum(wanted, np.minimum(before_ready_kwh / kwh, 1.0))) / 100.0
    back_kwh = np.minimum(capacity_kwh, highest_kwh - driven_kwh + afterwards_kwh)
    return {
        "initial_stored_kwh": initial_kwh,
        "terminal_stored_kwh": np.where(ev, np.minimum(initial_kwh, back_kwh), initial_kwh),
        "ev_arrival_hour": returns,
        "ev_departure_hour": leaves,
        "ev_ready_fraction": np.where(is_trip, ready_fraction, np.nan),
        "ev_drive_kwh": driven_kwh,
        "ev_ready_hour": np.where(is_early, leaves - 1, -1),
    }


def _ids(kind: str, number: Indices, rows: int) -> pl.Series:
    """``prosumer_001`` …: as many digits as the number of rows needs, three at least, so that names sort as numbers."""
    digits = pl.Series(number + 1).cast(pl.String).str.zfill(max(3, len(str(rows))))
    return pl.select(pl.lit(f"{kind}_") + digits).to_series()
