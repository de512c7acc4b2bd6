"""A seeded fleet of Californian homes and small businesses: the same settings give the same fleet, always."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.schemas import Prosumers, door
from vpp_pipeline.settings import FleetSettings

# Shares and sizes: DESIGN ranges for California (battery 5-20 kWh / 3-10 kW, EV 40-100 kWh / 7-11.5 kW, solar 4-12 kW).
HOME_BATTERY_KWH_KW = np.array([[5.0, 3.0], [10.0, 5.0], [13.5, 5.0], [13.5, 7.0], [16.0, 8.0], [20.0, 10.0]])
HOME_BATTERY_SHARES = np.array([0.10, 0.20, 0.35, 0.15, 0.10, 0.10])
EV_KWH = np.array([40.0, 58.0, 64.0, 75.0, 82.0, 100.0])
EV_SHARES = np.array([0.15, 0.15, 0.20, 0.25, 0.15, 0.10])
EV_CHARGER_KW = np.array([7.2, 9.6, 11.5])
WILLINGNESS_ALPHA_BETA = (5.0, 2.0)  # mean 0.71: most owners who signed up are glad to take part
BATTERY_SHARE, EV_SHARE, SOLAR_SHARE, V2G_SHARE = 0.72, 0.35, 0.60, 0.35


def generate_fleet(settings: FleetSettings, market_date: date) -> pl.DataFrame:
    """``settings.prosumers`` rows of :class:`~vpp_pipeline.schemas.Prosumers` for ``market_date``.

    Sites come in the order business, then homes; a home with battery and EV gives two rows with one ``site_id``, each
    with its own share of the site's export limit. The fleet depends on the seed only; the date is stamped on it.
    """
    n = settings.prosumers
    rng = np.random.default_rng(settings.seed)
    business_rows = min(n, round(settings.business_sites * n / 200) if n >= 200 else min(settings.business_sites, n))
    homes = n - business_rows  # at least one row a home, so this many homes always suffice
    has_battery = rng.random(homes) < BATTERY_SHARE
    has_ev = rng.random(homes) < EV_SHARE
    home_solar = rng.random(homes) < SOLAR_SHARE
    stores = [np.repeat("battery", business_rows)]
    site, is_ev = _rows_of_homes(has_battery, has_ev)
    site, is_ev = site[:homes], is_ev[:homes]
    has_store = has_battery[site] | is_ev
    stores.append(np.where(is_ev, "ev", np.where(has_store, "battery", "none")))
    store = np.concatenate(stores)
    business = np.arange(n) < business_rows
    site_number = np.concatenate([np.arange(business_rows), business_rows + site])
    ev, battery = store == "ev", store == "battery"

    home_kwh_kw = HOME_BATTERY_KWH_KW[rng.choice(len(HOME_BATTERY_KWH_KW), n, p=HOME_BATTERY_SHARES)]
    business_kw = np.round(rng.uniform(100.0, 500.0, n) / 10.0) * 10.0
    business_hours = rng.choice([2.0, 4.0], n, p=[0.6, 0.4])
    ev_kwh = EV_KWH[rng.choice(len(EV_KWH), n, p=EV_SHARES)]
    ev_kw = EV_CHARGER_KW[rng.choice(len(EV_CHARGER_KW), n)]
    v2g = ev & (rng.random(n) < V2G_SHARE)
    power_kw = np.select([business, ev, battery], [business_kw, ev_kw, home_kwh_kw[:, 1]], 0.0)
    capacity_kwh = np.select([business, ev, battery], [business_kw * business_hours, ev_kwh, home_kwh_kw[:, 0]], 0.0)

    # solar stands behind the first row of its site; a home without a store takes part with solar alone
    first_row = np.concatenate([[True], site_number[1:] != site_number[:-1]])
    solar = first_row & np.concatenate([rng.random(business_rows) < 0.5, home_solar[site] | ~has_store])
    solar_kw = np.where(solar, np.where(business, 0.8 * business_kw, np.round(rng.uniform(4.0, 12.0, n), 1)), 0.0)
    load_kw = np.where(first_row, np.where(business, rng.uniform(30.0, 120.0, n), rng.uniform(0.5, 1.6, n)), 0.0)

    departure = rng.integers(6, 10, n)
    arrival = rng.integers(15, 20, n)
    floor_fraction = np.where(
        ev, 0.2, np.round(np.where(business, rng.uniform(0.05, 0.2, n), rng.uniform(0.1, 0.4, n)), 2)
    )
    initial = np.maximum(settings.initial_stored_fraction, floor_fraction) * capacity_kwh
    quiet = battery & ~business & (rng.random(n) < 0.15)
    return door(
        Prosumers,
        pl.DataFrame(
            {
                "market_date": np.repeat(np.datetime64(market_date), n),
                "prosumer_id": [f"prosumer_{i + 1:0{max(3, len(str(n)))}d}" for i in range(n)],
                "site_id": [f"site_{i + 1:0{max(3, len(str(n)))}d}" for i in site_number],
                "site_type": np.where(business, "business", "home"),
                "store": store,
                "has_solar": solar,
                "has_v2g": v2g,
                "capacity_kwh": capacity_kwh,
                "max_charge_kw": power_kw,
                "max_discharge_kw": np.where(ev & ~v2g, 0.0, power_kw),
                "charge_efficiency": np.round(
                    np.where(business, rng.uniform(0.94, 0.96, n), rng.uniform(0.93, 0.97, n)), 3
                ),
                "discharge_efficiency": np.round(
                    np.where(business, rng.uniform(0.94, 0.96, n), rng.uniform(0.93, 0.97, n)), 3
                ),
                "initial_stored_kwh": initial,
                "terminal_stored_kwh": initial,
                "solar_size_kw": solar_kw,
                "mean_load_kw": load_kw,
                "export_limit_kw": np.where(business, 1.5 * business_kw, np.maximum(power_kw, 0.8 * solar_kw)),
                "ev_arrival_hour": np.where(ev, arrival, -1),
                "ev_departure_hour": np.where(ev, departure, -1),
                "ev_ready_fraction": np.where(ev, np.round(rng.uniform(0.6, 0.85, n), 2), np.nan),
                "ev_drive_kwh": np.where(ev, np.round(np.minimum(rng.gamma(4.0, 2.5, n), 0.3 * ev_kwh), 1), 0.0),
                "backup_reserve_fraction": floor_fraction,
                "quiet_start_hour": np.where(quiet, 21, -1),
                "quiet_end_hour": np.where(quiet, 23, -1),
                "opt_out_weekday": np.where(rng.random(n) < 0.03, rng.integers(1, 8, n), -1),
                "participation_willingness_fraction": np.round(rng.beta(*WILLINGNESS_ALPHA_BETA, n), 2),
                "minimum_compensation_usd_per_kwh": np.round(rng.uniform(0.0, 0.030, n), 4),
                "wear_usd_per_mwh": np.where(store == "none", 0.0, np.round(rng.uniform(5.0, 20.0, n), 2)),
                "maximum_cycles_per_day": np.where(ev, 1.0, rng.choice([1.0, 1.5, 2.0], n, p=[0.3, 0.3, 0.4])),
                "patience": np.round(np.exp(rng.normal(0.0, 0.4, n)), 3),
                "availability_fraction": np.round(
                    np.where(ev, rng.uniform(0.85, 0.95, n), rng.uniform(0.95, 0.995, n)), 3
                ),
                "note": pl.Series([None] * n, dtype=pl.String),
            }
        ).with_columns(
            pl.col(
                "ev_arrival_hour", "ev_departure_hour", "quiet_start_hour", "quiet_end_hour", "opt_out_weekday"
            ).replace(-1, None),
            pl.col("ev_ready_fraction").fill_nan(None),
        ),
    )


def _rows_of_homes(has_battery: np.ndarray, has_ev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Home index and is-EV flag per row: a home's battery (or its solar alone) first, then its EV."""
    rows_per_home = np.where(has_ev & has_battery, 2, 1)
    home = np.repeat(np.arange(len(has_ev)), rows_per_home)
    second = np.concatenate([[False], home[1:] == home[:-1]])
    return home, second | (has_ev[home] & ~has_battery[home])
