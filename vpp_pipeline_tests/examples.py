"""Small fleets and markets with round numbers, for cases that a reader can work by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.fleet.arrays import BOUNDS, Fleet, fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.schemas import PriceForecast, Prosumers, validate

DAY = date(2023, 8, 15)  # a Tuesday, 24 hours
SPRING, AUTUMN = date(2024, 3, 10), date(2024, 11, 3)  # 23 and 25 hours

#: 10 kWh, 5 kW, keeps 2 kWh, starts and ends at 5 kWh; in x 0.9, out x 0.8; asks at least 10 + 20 + 5 = 35 $/MWh
BATTERY: dict[str, Any] = {
    "site_id": "site_1",
    "resource_id": "vpp",
    "site_type": "home",
    "archetype": None,
    "store": "battery",
    "has_solar": False,
    "has_v2g": False,
    "capacity_kwh": 10.0,
    "max_charge_kw": 5.0,
    "max_discharge_kw": 5.0,
    "charge_efficiency": 0.9,
    "discharge_efficiency": 0.8,
    "initial_stored_kwh": 5.0,
    "terminal_stored_kwh": 5.0,
    "solar_size_kw": 0.0,
    "mean_load_kw": 0.0,
    "export_limit_kw": 6.0,
    "ev_arrival_hour": None,
    "ev_departure_hour": None,
    "ev_ready_fraction": None,
    "ev_drive_kwh": 0.0,
    "ev_ready_hour": None,
    "backup_reserve_hours": 0.0,
    "backup_reserve_fraction": 0.2,
    "quiet_hours": None,
    "no_charge_hours": None,
    "no_export_hours": None,
    "opt_out_days": None,
    "participation_willingness_fraction": 0.75,
    "minimum_compensation_usd_per_kwh": 0.02,
    "wear_usd_per_mwh": 10.0,
    "maximum_cycles_per_day": 1.0,
    "patience": 1.0,
    "availability_fraction": 0.95,
    "note": None,
}

#: 50 kWh, 10 kW, away 8:00 to 17:00, leaves with 40 kWh, drives 9 kWh (1 kWh an hour)
EV: dict[str, Any] = {
    **BATTERY,
    "store": "ev",
    "has_v2g": True,
    "capacity_kwh": 50.0,
    "max_charge_kw": 10.0,
    "max_discharge_kw": 10.0,
    "initial_stored_kwh": 25.0,
    "terminal_stored_kwh": 25.0,
    "export_limit_kw": 10.0,
    "ev_departure_hour": 8,
    "ev_arrival_hour": 17,
    "ev_ready_fraction": 0.8,
    "ev_drive_kwh": 9.0,
}


TEXTS = dict.fromkeys(
    ("note", "archetype", "quiet_hours", "no_charge_hours", "no_export_hours", "opt_out_days"), pl.String
)


def fleet_table(*rows: dict[str, Any], day: date = DAY) -> pl.DataFrame:
    """`fleet.prosumers` with ids prosumer_1, prosumer_2, …"""
    named = [{"market_date": day, "prosumer_id": f"prosumer_{k}"} | row for k, row in enumerate(rows, start=1)]
    return validate(Prosumers, pl.DataFrame(named, schema_overrides=TEXTS, infer_schema_length=None))


def flat_profiles(day: date, solar: float, load: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Solar (kW per kW) and load (per mean; twice that for business), the same in every hour."""
    keys = market_hours(day).select("market_date", "start_utc", "hour_ending")
    kinds = [("home", load), ("business", 2.0 * load)]
    loads = pl.concat([keys.with_columns(site_type=pl.lit(kind), load_per_mean=pl.lit(level)) for kind, level in kinds])
    return keys.with_columns(solar_kw_per_kw=pl.lit(solar)), loads


def envelope(*rows: dict[str, Any], day: date = DAY, solar: float = 0.0, load: float = 0.0) -> pl.DataFrame:
    """`fleet.availability` under flat profiles, and the Pacific clock as ``local_hour``."""
    hours = market_hours(day)
    table = hourly_envelope(fleet_table(*rows, day=day), hours, *flat_profiles(day, solar, load))
    return table.join(hours.select("start_utc", "local_hour"), on="start_utc").sort("prosumer_id", "start_utc")


def fleet_of(*rows: dict[str, Any], day: date = DAY, solar: float = 0.0, load: float = 0.0) -> Fleet:
    """The same as arrays."""
    return fleet_arrays(fleet_table(*rows, day=day), envelope(*rows, day=day, solar=solar, load=load))


def forecast_of(
    energy: float | list[float] = 50.0, spin: float = 2.0, nonspin: float = 1.0, day: date = DAY
) -> pl.DataFrame:
    """`market.price_forecast` with the given prices, one number for all hours or one each."""
    hours = market_hours(day)
    levels = [energy] * hours.height if isinstance(energy, int | float) else energy
    return validate(
        PriceForecast,
        hours.with_columns(
            pl.Series("energy_usd_per_mwh", [float(level) for level in levels]),
            spin_usd_per_mw_h=pl.lit(spin),
            nonspin_usd_per_mw_h=pl.lit(nonspin),
            node=pl.lit("A"),
            source=pl.lit("s"),
            method=pl.lit("by hand"),
            history_days=7,
            latest_input_utc=hours["start_utc"][0],
        ),
    )


def terms_of(
    capacity_kw: list[list[float]],
    reservation: list[list[float]],
    opening_ask: list[list[float]],
    ceiling: list[list[float]],
    required_kw: list[float] | None = None,
    patience: list[float] | None = None,
    availability: list[float] | None = None,
    segment: list[str] | None = None,
    expected_price: list[float] | None = None,
    recharge_factor: list[float] | None = None,
    cheapest: float = 0.0,
) -> Terms:
    """Terms of opportunities of energy o0, o1, … and prosumers a, b, …; who has no capacity is away."""
    count, members = np.shape(capacity_kw)
    kw = np.array(capacity_kw, float)
    is_away, is_bound = BOUNDS.index("its EV being away"), BOUNDS.index("the power of its devices")
    return Terms(
        market_date=DAY,
        opportunity_id=np.array([f"o{k}" for k in range(count)]),
        is_energy=np.ones(count, dtype=bool),
        expected_price=np.array(expected_price or [50.0] * count),
        prosumer_id=np.array(list("abcdefghij")[:members]),
        segment=np.array(segment or ["home battery"] * members),
        required_kw=np.array(required_kw or [100.0] * count),
        capacity_kw=kw,
        bound_by=np.where(kw > 0.0, is_bound, is_away).astype(np.int8),
        reservation=np.array(reservation, float),
        opening_ask=np.array(opening_ask, float),
        ceiling=np.array(ceiling, float),
        patience=np.array(patience or [1.0] * members),
        availability_fraction=np.array(availability or [1.0] * members),
        recharge_factor=np.array(recharge_factor or [0.0] * members),
        cheapest_usd_per_mwh=cheapest,
    )


def calls_of(terms: Terms, required_mw: list[float] | None = None) -> pl.DataFrame:
    """The opportunities that the terms are about."""
    return pl.DataFrame(
        {
            "opportunity_id": terms.opportunity_id.astype(str),
            "market_date": [DAY] * len(terms.opportunity_id),
            "required_capacity_mw": required_mw or (terms.required_kw / 1000.0).tolist(),
            "forecast_price": terms.expected_price.tolist(),
        }
    )
