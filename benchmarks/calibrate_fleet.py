"""Compute the constants of the fleet generator from real homes and real EV sessions, and compare it with them.

    python benchmarks/calibrate_fleet.py homes      mean load per home, sizes of batteries and solar
    python benchmarks/calibrate_fleet.py commute    hours of leaving and return, driving energy
    python benchmarks/calibrate_fleet.py compare    generated beside real
    python benchmarks/calibrate_fleet.py fleet      the default fleet, and 200,000 of its kind (reads no data)

Reads 17 homes of Fontana, California (CityLearn, August 2016 to July 2017), and 27,407 charging sessions at two
workplaces near Los Angeles (ACN-Data: Caltech and JPL, 2019-2021) from ``../shared/data`` beside the checkout. Only
statistics leave this script: no row of the data belongs in the project.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vpp_pipeline.core.calendar import PACIFIC

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
HOMES = range(1, 18)
BROKEN_PV = (14, 15)  # solar meters known to be wrong (noted in the data's provenance); their load is sound

# One way, hours. Census surveys (ACS, 2005-2009) put the mean of Los Angeles County at 29 minutes.
COMMUTE_H = 0.5
# A working day: a car that comes to work before noon on a weekday and stays so long. Shorter stays are visits and cars
# moved to free the charger, whose departure is not the way home; longer ones are cars left overnight.
ARRIVALS, STAYS_H = (4.0, 12.0), (6.0, 14.0)
LEAVES, RETURNS = np.arange(4, 11), np.arange(13, 22)  # rows and columns of COMMUTE; the rare rest moves to the edge
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def mean_loads() -> Floats:
    """Mean load of each home over its year, kW (17,)."""
    files = [DATA / f"homes_fontana_ca/Building_{k}.csv.gz" for k in HOMES]
    return np.array([pl.read_csv(f, infer_schema_length=10_000)["non_shiftable_load"].mean() for f in files])


def lognormal(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm."""
    return float(np.log(values).mean()), float(np.log(values).std(ddof=1))


def sessions() -> pl.DataFrame:
    """One row per charging session: Pacific hours of arrival and departure, stay in hours, delivered kWh."""
    frames = [pl.read_csv(path, infer_schema=False) for path in sorted((DATA / "ev_acn").glob("*.csv.gz"))]
    moment = pl.col("arrival", "departure").str.to_datetime("%Y-%m-%d %H:%M:%S%z", time_zone="UTC")
    frame = pl.concat(frames).with_columns(moment)
    local = {name: pl.col(name).dt.convert_time_zone(str(PACIFIC)) for name in ("arrival", "departure")}
    hour = {name: at.dt.hour() + at.dt.minute() / 60 for name, at in local.items()}
    return frame.select(
        weekday=local["arrival"].dt.weekday(),
        stay_h=(pl.col("departure") - pl.col("arrival")).dt.total_seconds() / 3600,
        kwh=pl.col("delivered_energy (kWh)").cast(pl.Float64),
        **hour,
    )


def working_days() -> pl.DataFrame:
    """Sessions of a working day, with the whole Pacific hours in which the car leaves home and is back.

    The market's hour is all or nothing, so leaving is rounded down and returning up.
    """
    is_work = (
        (pl.col("weekday") <= 5)
        & pl.col("arrival").is_between(*ARRIVALS, closed="left")
        & pl.col("stay_h").is_between(*STAYS_H)
        & (pl.col("departure") > pl.col("arrival"))
    )
    leaves, returns = (pl.col("arrival") - COMMUTE_H).floor(), (pl.col("departure") + COMMUTE_H).ceil()
    return (
        sessions()
        .filter(is_work)
        .with_columns(
            leaves=leaves.cast(pl.Int64).clip(int(LEAVES[0]), int(LEAVES[-1])),
            returns=returns.cast(pl.Int64).clip(int(RETURNS[0]), int(RETURNS[-1])),
        )
    )


def commute_table(days: pl.DataFrame) -> Floats:
    """Share of working days (7, 9), in percent, by hour of leaving home (rows) and of return (columns)."""
    edges = [np.append(hours, hours[-1] + 1) for hours in (LEAVES, RETURNS)]
    counts, *_ = np.histogram2d(days["leaves"].to_numpy(), days["returns"].to_numpy(), bins=edges)
    table: Floats = 100 * counts / counts.sum()
    return table


def gamma_of(mean: float, deviation: float) -> tuple[float, float]:
    """Shape and scale of the gamma distribution with this mean and standard deviation."""
    return (mean / deviation) ** 2, deviation**2 / mean


def print_homes() -> None:
    loads = mean_loads()
    centre, spread = lognormal(loads)
    print(f"mean load of {len(loads)} homes, kW: mean {loads.mean():.3f}, min {loads.min():.3f}, max {loads.max():.3f}")
    print("quantiles", dict(zip(QUANTILES, np.quantile(loads, QUANTILES).round(3).tolist(), strict=True)))
    print(
        f"MEAN_LOAD_LOG = ({centre:.3f}, {spread:.3f})   standard error of the first {spread / len(loads) ** 0.5:.3f}"
    )
    buildings = json.loads((DATA / "homes_fontana_ca/schema.json").read_text())["buildings"]
    battery = [b["electrical_storage"]["attributes"] for b in buildings.values()]
    solar = [b["pv"]["attributes"]["nominal_power"] for name, b in buildings.items() if _number(name) not in BROKEN_PV]
    for name, values in (
        ("battery kWh", [a["capacity"] for a in battery]),
        ("battery kW", [a["nominal_power"] for a in battery]),
        ("battery efficiency, round trip", [a["efficiency"] for a in battery]),
        ("solar kW", solar),
    ):
        sizes, counts = np.unique(values, return_counts=True)
        print(f"{name}: " + ", ".join(f"{size:g} in {count} homes" for size, count in zip(sizes, counts, strict=True)))


def _number(name: str) -> int:
    return int(name.partition("_")[2])


def print_commute() -> None:
    frame, days = sessions(), working_days()
    on_weekdays = frame.filter(pl.col("weekday") <= 5)
    print(
        f"{frame.height} sessions, {on_weekdays.height / frame.height:.1%} on weekdays; "
        f"of those {days.height} ({days.height / on_weekdays.height:.1%}) are working days as defined above"
    )
    for name in ("arrival", "departure"):
        counts = np.bincount(on_weekdays[name].to_numpy().astype(int), minlength=24)
        print(
            f"{name} at the charger by Pacific hour, all weekday sessions, %:", (100 * counts / counts.sum()).round(1)
        )
    leaves, returns = days["leaves"].to_numpy(), days["returns"].to_numpy()
    print(
        f"leaves home: mean {leaves.mean():.2f}, sd {leaves.std():.2f}; returns: mean {returns.mean():.2f}, "
        f"sd {returns.std():.2f}; correlation {np.corrcoef(leaves, returns)[0, 1]:.2f}"
    )
    print(f"COMMUTE (leaves {LEAVES[0]}-{LEAVES[-1]}, returns {RETURNS[0]}-{RETURNS[-1]}), % = [")
    print("".join(f"    [{', '.join(f'{x:.1f}' for x in row)}],\n" for row in commute_table(days)) + "]")
    for name, rows in (("working days", days), ("all weekday sessions", on_weekdays)):
        kwh = rows["kwh"].to_numpy()
        shape, scale = gamma_of(kwh.mean(), kwh.std(ddof=1))
        print(
            f"delivered kWh, {name}: mean {kwh.mean():.2f}, sd {kwh.std(ddof=1):.2f}, gamma shape {shape:.2f} "
            f"scale {scale:.2f}, quantiles {np.quantile(kwh, QUANTILES).round(1).tolist()}"
        )


def print_fleet(sizes: tuple[int, ...] = (200, 200_000)) -> None:
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.settings import FleetSettings

    asked = (
        pl.col("wear_usd_per_mwh")
        + 1000 * pl.col("minimum_compensation_usd_per_kwh")
        + 20 * (1 - pl.col("participation_willingness_fraction"))
    )
    for prosumers in sizes:
        fleet = generate_fleet(FleetSettings(prosumers=prosumers), date(2023, 8, 15)).with_columns(asked=asked)
        print(f"\n{prosumers} prosumers of {fleet['site_id'].n_unique()} sites")
        kinds = fleet.group_by("archetype").agg(
            *((pl.col("store") == store).sum().alias(store) for store in ("battery", "ev", "none")),
            v2g=pl.col("has_v2g").sum(),
            solar=pl.col("has_solar").sum(),
            mean_load_kw=pl.col("mean_load_kw").replace(0.0, None).mean(),
            drive_kwh=pl.col("ev_drive_kwh").filter(pl.col("store") == "ev").mean(),
            backup_hours=pl.col("backup_reserve_hours").replace(0.0, None).mean(),
            willingness=pl.col("participation_willingness_fraction").mean(),
        )
        with pl.Config(tbl_cols=20, tbl_width_chars=140, float_precision=2, tbl_hide_column_data_types=True):
            print(kinds.sort("archetype"))
        stores = fleet.filter(pl.col("store") != "none")
        print(
            f"{stores['capacity_kwh'].sum() / 1000:.1f} MWh, {stores['max_discharge_kw'].sum() / 1000:.2f} MW; "
            f"energy reservation $/MWh, {QUANTILES}: {np.quantile(stores['asked'], QUANTILES).round(1).tolist()}; "
            f"mean willingness {fleet['participation_willingness_fraction'].to_numpy().mean():.3f}"
        )
        for column in (
            "backup_reserve_hours",
            "quiet_hours",
            "no_charge_hours",
            "opt_out_days",
            "ev_ready_hour",
            "note",
        ):
            has = pl.col(column) > 0 if column == "backup_reserve_hours" else pl.col(column).is_not_null()
            print(f"  {column}: {fleet.filter(has).height} rows, {fleet.filter(has)[column].n_unique()} different")


def print_comparison(prosumers: int = 200_000) -> None:
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.settings import FleetSettings

    fleet = generate_fleet(FleetSettings(prosumers=prosumers), date(2023, 8, 15))
    loads = fleet.filter((pl.col("site_type") == "home") & (pl.col("mean_load_kw") > 0))["mean_load_kw"].to_numpy()
    is_trip = pl.col("ev_arrival_hour") - pl.col("ev_departure_hour") > 1  # an errand takes an hour
    driven = fleet.filter(pl.col("archetype") == "commuter", is_trip)
    days = working_days()
    pairs = {
        "mean load of a home, kW": (mean_loads(), loads),
        "commuters: leaves home": (days["leaves"].to_numpy(), driven["ev_departure_hour"].to_numpy()),
        "commuters: returns": (days["returns"].to_numpy(), driven["ev_arrival_hour"].to_numpy()),
        "commuters: driving kWh": (days["kwh"].to_numpy(), driven["ev_drive_kwh"].to_numpy()),
    }
    print(f"{prosumers} generated prosumers        mean      sd   quantiles {QUANTILES}")
    for name, both in pairs.items():
        for source, values in zip(("real", "generated"), both, strict=True):
            quantiles = " ".join(f"{x:6.2f}" for x in np.quantile(values, QUANTILES))
            print(f"{name:25s} {source:10s} {values.mean():7.2f} {values.std(ddof=1):7.2f}   {quantiles}")
    real = np.corrcoef(days["leaves"], days["returns"])[0, 1]
    made = np.corrcoef(driven["ev_departure_hour"], driven["ev_arrival_hour"])[0, 1]
    print(f"correlation of leaving and return: real {real:.2f}, generated {made:.2f}")


if __name__ == "__main__":
    commands = {"homes": print_homes, "commute": print_commute, "compare": print_comparison, "fleet": print_fleet}
    commands[sys.argv[1]]()
