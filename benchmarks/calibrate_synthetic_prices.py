"""Compute the constants of the embedded generators from real data, and compare generator and reality.

    python benchmarks/calibrate_synthetic_prices.py prices       constants of vpp_pipeline/market/synthetic_prices.py
    python benchmarks/calibrate_synthetic_prices.py profiles     constants of vpp_pipeline/forecasting/profiles.py
    python benchmarks/calibrate_synthetic_prices.py seed         which seed's August 2023 is nearest to the real one
    python benchmarks/calibrate_synthetic_prices.py compare      synthetic against real, August 2023

Reads CAISO day-ahead prices (January 2023 to December 2024) and 17 homes of Fontana, California, from
``../shared/data`` beside the checkout. Only statistics leave this script: no row of the data belongs in the project.
"""

from __future__ import annotations

import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vpp_pipeline.core.calendar import PACIFIC

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
NODE = "TH_SP15_GEN-APND"
SUMMER = (7, 8, 9, 10)  # months in which evening reserve is scarce in the data
BROKEN_PV = (14, 15)  # homes whose solar meter is wrong (noted in the data's provenance)
AUGUST = [date(2023, 8, k) for k in range(1, 32)]


def hourly_prices() -> pl.DataFrame:
    """One row per hour of SP15, with Pacific year, month, day and hour."""
    frame = pl.concat(
        [pl.read_csv(path, try_parse_dates=True) for path in sorted((DATA / "caiso_prices").glob("*.csv.gz"))]
    )
    local = pl.col("datetime").dt.replace_time_zone("UTC").dt.convert_time_zone(str(PACIFIC))
    return (
        frame.filter(pl.col("node") == NODE)
        .select(local.alias("local"), energy="SP15", spin="Spin", nonspin="NonSpin")
        .with_columns(day=pl.col("local").dt.date(), hour=pl.col("local").dt.hour().cast(pl.Int32))
        .with_columns(year=pl.col("day").dt.year(), month=pl.col("day").dt.month().cast(pl.Int32))
        .with_columns(peak=pl.col("spin").max().over("day"), is_summer=pl.col("day").dt.month().is_in(SUMMER))
    )


def show(name: str, values: npt.ArrayLike, digits: int = 2) -> None:
    """One constant as Python, rows of a table on lines of their own."""
    table = np.round(np.asarray(values, dtype=float), digits)
    if table.ndim == 1:
        print(f"{name} = [{', '.join(f'{x:g}' for x in table)}]")
    else:
        print(f"{name} = [")
        print("".join(f"    [{', '.join(f'{x:g}' for x in row)}],\n" for row in table) + "]")


def slope(frame: pl.DataFrame, column: str) -> Floats:
    """Least-squares slope of ``column`` on the day's peak reserve price within a month, one number per hour of day."""
    within = frame.with_columns(pl.col(column, "peak") - pl.col(column, "peak").mean().over("year", "month", "hour"))
    by_hour = within.group_by("hour").agg(slope=pl.cov(column, "peak") / pl.col("peak").var()).sort("hour")
    rises: Floats = np.maximum(by_hour["slope"].to_numpy(), 0)
    return rises


def price_constants() -> None:
    """Print what synthetic_prices.py needs; the model is stated there."""
    hours = hourly_prices()
    reserve, energy = {}, {}
    for is_summer in (False, True):
        season = hours.filter(pl.col("is_summer") == is_summer)
        reserve[is_summer] = slope(season, "spin")
        # Outside summer, high reserve prices are the gas winter's and the spring runs', not evening scarcity.
        energy[is_summer] = slope(season, "energy") if is_summer else reserve[is_summer]
    show("PEAK_TO_RESERVE", [reserve[False], reserve[True]], 3)
    show("PEAK_TO_ENERGY", [energy[False], energy[True]], 3)

    shape = pl.DataFrame(
        {
            "is_summer": [False] * 24 + [True] * 24,
            "hour": pl.Series([*range(24)] * 2, dtype=pl.Int32),
            "lift": np.concatenate([energy[False], energy[True]]),
        }
    )
    base = hours.join(shape, on=["is_summer", "hour"]).with_columns(
        base=pl.col("energy") - pl.col("lift") * pl.col("peak")
    )
    by_month = base.group_by("year", "month").agg(pl.col("base").median()).sort("year", "month")
    medians = by_month["base"].to_numpy().reshape(2, 12)
    show("YEAR_LEVEL (2023, 2024) minus mean of both", medians - medians.mean(axis=0), 1)
    level = by_month.with_columns(offset=(medians - medians.mean(axis=0)).ravel()).drop("base")
    base = base.join(level, on=["year", "month"]).with_columns(pl.col("base") - pl.col("offset"))
    # Medians and quartiles, because the few days of extreme scarcity are not linear in their peak.
    within = pl.col("base") - pl.col("base").median().over("year")
    quartiles = (within.quantile(0.75) - within.quantile(0.25)) / 1.349  # of a normal: one standard deviation
    cells = base.group_by("month", "hour").agg(centre=pl.col("base").median(), spread=quartiles)
    cells = cells.sort("month", "hour")
    show("BASE_ENERGY", cells["centre"].to_numpy().reshape(12, 24), 0)
    show("DEVIATION", cells["spread"].to_numpy().reshape(12, 24), 0)

    scaled = base.with_columns(
        x=(pl.col("base") - pl.col("base").mean().over("year", "month", "hour"))
        / pl.col("base").std().over("year", "month", "hour")
    )
    daily = scaled.group_by("day").agg(pl.col("x").mean()).sort("day")["x"].to_numpy()
    wide = scaled.group_by("day", "hour").agg(pl.col("x").first()).pivot("hour", index="day", values="x").drop_nulls()
    values = wide.drop("day").select([str(h) for h in range(24)]).to_numpy()
    share = np.sort(np.linalg.eigvalsh(np.cov(values.T)))[::-1][:4] / 24
    print(
        "variance of the day's mean, its correlation from day to day:",
        daily.var(),
        np.corrcoef(daily[1:], daily[:-1])[0, 1],
    )
    print("share of variance of the first four hour-of-day patterns:", np.round(share, 2))

    peaks = hours.group_by("year", "month", "day").agg(peak=pl.col("peak").first().log()).sort("day")
    monthly = (
        peaks.group_by("year", "month").agg(mean=pl.col("peak").mean(), std=pl.col("peak").std()).sort("year", "month")
    )
    centres = monthly["mean"].to_numpy().reshape(2, 12)
    show("LOG_PEAK", centres.mean(axis=0))
    show("LOG_PEAK_YEAR (2023, 2024) minus mean of both", centres - centres.mean(axis=0))
    show("LOG_PEAK_DEVIATION", np.sqrt((monthly["std"].to_numpy().reshape(2, 12) ** 2).mean(axis=0)))
    standard = peaks.select(
        (pl.col("peak") - pl.col("peak").mean().over("year", "month")) / pl.col("peak").std().over("year", "month")
    )["peak"].to_numpy()
    print(
        "peak: correlation from day to day at lags 1-4:",
        [round(np.corrcoef(standard[k:], standard[:-k])[0, 1], 2) for k in (1, 2, 3, 4)],
    )
    print("peak against the day's mean energy:", np.corrcoef(standard, daily)[0, 1])

    quiet = hours.filter(pl.col("spin") < 0.25 * pl.col("peak"))
    months = quiet.group_by("month").agg(spin=pl.col("spin").median(), nonspin=pl.col("nonspin").median())
    show("QUIET_SPIN", months.sort("month")["spin"].to_numpy())
    show("QUIET_NONSPIN", months.sort("month")["nonspin"].to_numpy())
    noise = quiet.group_by("year", "month").agg(pl.col("spin").log().std())["spin"]
    print("log deviation of quiet spin within a month of one year, mean and median:", noise.mean(), noise.median())
    ratio = (pl.col("nonspin") / pl.col("spin")).mean()
    scarce = dict(hours.filter(pl.col("spin") > 10).group_by("month").agg(ratio).iter_rows())
    rest = float(np.mean([share for month, share in scarce.items() if month not in SUMMER]))
    show("NONSPIN_SHARE", [scarce.get(month, rest) for month in range(1, 13)])


def homes() -> pl.DataFrame:
    """Hourly load and solar of the homes. The files' clock is PST: hour 1 starts at 08:00 UTC all year."""
    first_utc = datetime(2016, 8, 1, 7)  # the first row is hour ending 24 PST of 2016-07-31
    frames = []
    for number in range(1, 18):
        frame = pl.read_csv(DATA / f"homes_fontana_ca/Building_{number}.csv.gz", infer_schema_length=10_000)
        starts = pl.Series([first_utc + timedelta(hours=k) for k in range(frame.height)]).dt.replace_time_zone("UTC")
        load = frame["non_shiftable_load"]
        frames.append(
            pl.DataFrame(
                {
                    "home": [number] * frame.height,
                    "start_utc": starts.cast(pl.Datetime("us", "UTC")),
                    "load": load / load.mean(),
                    "solar": frame["solar_generation"] / 1000,
                }
            )
        )
    local = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC))
    return pl.concat(frames).with_columns(day=local.dt.date(), hour=local.dt.hour(), month=local.dt.month())


def profile_constants() -> None:
    """Print what profiles.py needs: load by season and Pacific hour, clearness of the sky by month."""
    from vpp_pipeline.forecasting.profiles import clear_sky

    frame = homes()
    seasons = (
        frame.with_columns(season=(pl.col("month") % 12) // 3).group_by("season", "hour").agg(pl.col("load").mean())
    )
    show("HOME_LOAD (winter, spring, summer, autumn)", seasons.sort("season", "hour")["load"].to_numpy().reshape(4, 24))
    sun = (
        frame.filter(~pl.col("home").is_in(BROKEN_PV))
        .group_by("day")
        .agg(pl.col("solar").sum() / 15, month=pl.col("month").first())
    )
    sun = sun.sort("day")[1:-1]
    possible = np.array([clear_sky(day).sum() for day in sun["day"]])
    sun = sun.with_columns(ratio=pl.col("solar") / possible)
    months = (
        sun.group_by("month")
        .agg(pl.col("ratio").mean().alias("mean"), pl.col("ratio").std().alias("std"))
        .sort("month")
    )
    show("CLEARNESS", months["mean"].to_numpy())
    show("CLEARNESS_DEVIATION", months["std"].to_numpy())
    ratio = sun["ratio"].to_numpy()
    print(
        "clearness: day to day correlation",
        np.corrcoef(ratio[1:], ratio[:-1])[0, 1],
        "95 % quantile",
        np.quantile(ratio, 0.95),
    )
    print(
        "kWh per kW and year:",
        sun["solar"].sum(),
        "mean daily by month:",
        sun.group_by("month").agg(pl.col("solar").mean()).sort("month")["solar"].round(2).to_list(),
    )


def august(seed: int | None = None) -> Floats:
    """Energy $/MWh of August 2023, (31, 24); real without a seed."""
    if seed is None:
        return hourly_prices().filter(pl.col("day").is_in(AUGUST))["energy"].to_numpy().reshape(31, 24)
    from vpp_pipeline.market.synthetic_prices import energy_and_reserve

    return np.array([energy_and_reserve(day, seed)[0] for day in AUGUST])


def distance(made: Floats, real: Floats) -> float:
    """How unlike two months are: mean |log ratio| of hour-of-day mean, std, and of quantiles of the daily spread."""
    quantiles = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    pairs = [
        (made.mean(axis=0), real.mean(axis=0)),
        (made.std(axis=0), real.std(axis=0)),
        (np.quantile(np.ptp(made, axis=1), quantiles), np.quantile(np.ptp(real, axis=1), quantiles)),
    ]
    return float(sum(np.abs(np.log(np.maximum(a, 1) / np.maximum(b, 1))).mean() for a, b in pairs))


def best_seed(candidates: int = 400) -> None:
    """Print the seeds among the first ``candidates`` whose August 2023 is nearest to the real one."""
    real = august()
    scores = np.array([distance(august(seed), real) for seed in range(candidates)])
    print(
        "median distance",
        np.median(scores),
        "best",
        [(int(s), round(float(scores[s]), 3)) for s in np.argsort(scores)[:5]],
    )


def compare() -> None:
    """Print August 2023, real beside synthetic."""
    from vpp_pipeline.market.synthetic_prices import SEED

    real, made = august(), august(SEED)
    print("hour   real mean  std    synthetic mean  std")
    for hour, (was, is_now) in enumerate(zip(real.T, made.T, strict=True)):
        print(f"{hour:4d} {was.mean():10.1f} {was.std():6.1f} {is_now.mean():12.1f} {is_now.std():8.1f}")
    for name, month in (("real", real), ("synthetic", made)):
        spread = np.ptp(month, axis=1)
        print(
            name,
            "mean",
            month.mean().round(1),
            "daily spread mean",
            spread.mean().round(1),
            "quartiles",
            np.quantile(spread, (0.25, 0.5, 0.75, 1)).round(1),
        )


if __name__ == "__main__":
    {"prices": price_constants, "profiles": profile_constants, "seed": best_seed, "compare": compare}[sys.argv[1]]()
