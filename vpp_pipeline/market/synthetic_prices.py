"""Made-up CAISO-like prices for any date: reproducible, labelled ``synthetic``, each day computed alone.

The model, for hour h of day d in month m (y = its year; years without statistics use the mean of both):

    peak_d     = exp(LOG_PEAK[m] + LOG_PEAK_YEAR[y, m] + LOG_PEAK_DEVIATION[m] u_d)    the highest reserve price
    spin_dh    = QUIET_SPIN[m] exp(QUIET_NOISE η_dh) + PEAK_TO_RESERVE[season, h] peak_d
    nonspin_dh = QUIET_NONSPIN[m] exp(QUIET_NOISE η_dh) + NONSPIN_SHARE[m] PEAK_TO_RESERVE[season, h] peak_d ≤ spin_dh
    energy_dh  = BASE_ENERGY[m, h] + YEAR_LEVEL[y, m] + DEVIATION[m, h] x_dh + PEAK_TO_ENERGY[season, h] peak_d

x is a persistent daily level, two smooth patterns over the day and hourly noise; u is persistent too, so that scarce
evenings come in runs. A peak levels off below a limit: limit · tanh(peak / limit). Persistence is a weighted sum of the
draws of this day and the ten before it, so a day needs no other day's prices. The statistics are those of real prices
at SP15 (``synthetic_statistics``).

Statistics of real day-ahead prices that the synthetic ones imitate; statistics only, no price of any hour.

CAISO SP15 (TH_SP15_GEN-APND), January 2023 to December 2024, printed by
`python benchmarks/calibrate_synthetic_prices.py prices`; what is chosen says so. Outside summer the energy price is
taken to rise with reserve one to one, as few such hours are there to fit. Rows of 12: January to December; of 24:
Pacific hour 0-23.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vpp_pipeline.core.calendar import market_hours, prices_published_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.schemas import Prices, validate

Floats = npt.NDArray[np.float64]

NODE = "TH_SP15_GEN-APND"
EXAMPLE_DAYS = (date(2023, 7, 25), date(2023, 8, 31))
EXAMPLE_NAME = "example_prices_2023-08.csv"

# The seed, among 0-399, whose August 2023 is nearest to the real one in hour-of-day mean and deviation and in daily
# spread: `python benchmarks/calibrate_synthetic_prices.py seed`. Other seeds are alike on average, not in that month.
SEED = 37

MEMORY_DAYS = 10
SUMMER = (7, 8, 9, 10)  # months with scarce evenings

# fmt: off
# Median energy price without its scarce part, $/MWh: month by hour.
BASE_ENERGY = np.array([
    [93, 89, 88, 88, 93, 101, 109, 104, 86, 73, 65, 63, 60, 59, 61, 79, 109, 113, 113, 104, 104, 105, 102, 98],
    [53, 49, 49, 48, 50, 56, 65, 53, 35, 20, 14, 10, 7, 6, 9, 20, 50, 65, 66, 59, 58, 60, 56, 52],
    [55, 53, 51, 51, 54, 62, 69, 62, 37, 15, 4, -2, -3, -4, -4, 2, 17, 41, 64, 63, 64, 64, 61, 58],
    [46, 44, 44, 44, 47, 54, 57, 37, 4, -7, -10, -13, -15, -16, -15, -13, -7, 15, 54, 62, 62, 58, 53, 50],
    [26, 23, 22, 21, 24, 30, 27, 5, -5, -9, -10, -10, -10, -10, -10, -8, -6, 6, 27, 36, 41, 37, 31, 28],
    [30, 30, 29, 29, 30, 34, 29, 14, 9, 8, 7, 7, 7, 7, 8, 11, 15, 24, 34, 48, 50, 44, 36, 33],
    [44, 42, 42, 41, 42, 44, 42, 35, 31, 30, 30, 30, 31, 31, 35, 36, 36, 34, 30, 57, 61, 58, 54, 48],
    [44, 41, 41, 40, 41, 44, 45, 37, 28, 25, 25, 27, 29, 31, 35, 37, 39, 44, 50, 59, 52, 55, 50, 46],
    [39, 38, 36, 36, 36, 40, 43, 35, 17, 13, 10, 10, 11, 13, 16, 22, 27, 42, 54, 49, 45, 45, 43, 40],
    [50, 48, 47, 46, 47, 50, 55, 51, 29, 16, 15, 14, 16, 16, 17, 21, 34, 55, 60, 51, 54, 57, 54, 51],
    [51, 50, 49, 48, 50, 55, 56, 44, 18, 14, 12, 12, 11, 11, 15, 42, 59, 63, 60, 58, 59, 60, 57, 53],
    [46, 45, 44, 44, 45, 50, 53, 48, 34, 26, 25, 25, 23, 22, 25, 43, 55, 57, 54, 53, 54, 55, 53, 50],
])

# Its deviation within a month (from quartiles), $/MWh: month by hour.
DEVIATION = np.array([
    [19, 19, 19, 20, 21, 25, 32, 28, 15, 18, 19, 22, 25, 24, 21, 20, 20, 23, 24, 23, 22, 25, 20, 19],
    [8, 7, 8, 8, 8, 11, 11, 13, 18, 23, 24, 25, 27, 27, 25, 24, 9, 8, 9, 10, 8, 10, 10, 8],
    [9, 8, 7, 9, 9, 10, 12, 17, 18, 19, 18, 19, 18, 18, 19, 18, 29, 29, 13, 9, 7, 9, 9, 7],
    [6, 6, 6, 6, 6, 9, 13, 17, 15, 10, 10, 11, 11, 10, 12, 13, 13, 15, 8, 8, 6, 6, 5, 5],
    [8, 7, 7, 6, 8, 10, 9, 11, 9, 10, 11, 10, 10, 10, 10, 11, 11, 11, 12, 13, 10, 6, 6, 6],
    [5, 5, 4, 5, 4, 5, 7, 9, 13, 12, 12, 14, 15, 15, 17, 17, 16, 12, 9, 8, 11, 10, 5, 5],
    [10, 8, 7, 6, 7, 6, 8, 7, 7, 7, 8, 9, 8, 9, 11, 14, 14, 15, 34, 18, 18, 10, 10, 9],
    [5, 5, 4, 4, 5, 4, 5, 5, 8, 9, 9, 8, 9, 9, 10, 8, 8, 10, 12, 13, 9, 8, 7, 5],
    [4, 4, 4, 4, 3, 4, 5, 4, 9, 9, 11, 12, 12, 12, 13, 17, 15, 7, 13, 8, 6, 7, 6, 5],
    [6, 6, 6, 6, 5, 7, 9, 7, 9, 9, 9, 10, 10, 11, 12, 14, 11, 9, 12, 14, 8, 7, 7, 6],
    [6, 7, 7, 6, 7, 8, 9, 14, 17, 10, 11, 10, 8, 9, 10, 12, 10, 10, 8, 10, 9, 8, 6, 6],
    [7, 6, 7, 6, 6, 9, 10, 7, 9, 11, 12, 12, 11, 11, 12, 10, 10, 9, 9, 9, 8, 8, 8, 7],
])

# The year's median less that of both years, $/MWh.
YEAR_LEVEL = {
    2023: np.array([37.5, 9.9, 20.2, 13.8, -0.4, 0.4, 6.1, 8.6, 3.1, 7.2, 8.2, 3.1]),
    2024: np.array([-37.5, -9.9, -20.2, -13.8, 0.4, -0.4, -6.1, -8.6, -3.1, -7.2, -8.2, -3.1]),
}

# $ of reserve price in the hour per $ of the day's highest: rest of the year, summer.
PEAK_TO_RESERVE = np.array([
    [0.016, 0.036, 0.03, 0.021, 0.032, 0.041, 0.194, 0.147, 0.052, 0.021, 0.025, 0.014,
     0.018, 0.023, 0.014, 0.047, 0.112, 0.181, 0.279, 0.869, 0.617, 0.229, 0.056, 0.048],
    [0.002, 0.001, 0.001, 0, 0, 0, 0.003, 0.002, 0.001, 0, 0.001, 0.001,
     0.003, 0.006, 0.012, 0.052, 0.096, 0.315, 0.724, 0.965, 0.405, 0.124, 0.03, 0.005],
])

# $ of energy price in the hour per $ of the day's highest reserve price: rest of the year, summer.
PEAK_TO_ENERGY = np.array([
    [0.016, 0.036, 0.03, 0.021, 0.032, 0.041, 0.194, 0.147, 0.052, 0.021, 0.025, 0.014,
     0.018, 0.023, 0.014, 0.047, 0.112, 0.181, 0.279, 0.869, 0.617, 0.229, 0.056, 0.048],
    [0.049, 0.042, 0.036, 0.036, 0.036, 0.037, 0.056, 0.045, 0.055, 0.059, 0.063, 0.07,
     0.081, 0.1, 0.12, 0.163, 0.222, 0.424, 0.866, 1.086, 0.514, 0.215, 0.083, 0.07],
])

# Mean log of the day's highest reserve price, $/MW for an hour.
LOG_PEAK = np.array([2.08, 2.02, 1.97, 2.29, 2.14, 1.51, 3.88, 3.08, 1.94, 2.34, 1.21, 0.7])

# The year's mean less that of both years.
LOG_PEAK_YEAR = {
    2023: np.array([1.04, 0.87, 1.03, 0.72, 0.54, 0.42, 0.08, 0.59, -0.17, 0.43, 0.15, -0.19]),
    2024: np.array([-1.04, -0.87, -1.03, -0.72, -0.54, -0.42, -0.08, -0.59, 0.17, -0.43, -0.15, 0.19]),
}

# Its deviation within a month.
LOG_PEAK_DEVIATION = np.array([0.6, 0.58, 0.64, 0.66, 0.5, 0.66, 1.33, 1.49, 1.29, 1.49, 0.67, 0.46])

# Median reserve prices in hours below a quarter of the day's highest, $/MW for an hour: spin, nonspin.
QUIET_SPIN = np.array([0.74, 1, 1, 0.97, 0.9, 0.49, 1, 1, 0.73, 0.59, 0.5, 0.5])
QUIET_NONSPIN = np.array([0.35, 0.3, 1, 0.7, 0.45, 0.3, 0.45, 0.45, 0.45, 0.35, 0.35, 0.35])

# Nonspin over spin where spin is above 10; December, which has no such hour, has the mean outside summer.
NONSPIN_SHARE = np.array([0.06, 0.04, 0.35, 0.27, 0.19, 0.22, 0.97, 0.97, 0.97, 0.89, 1, 0.3])
# fmt: on

LEVEL_SHARE, SINE_SHARE, COSINE_SHARE = (
    0.65,
    0.14,
    0.07,
)  # first eigenvalues of the hours' correlation; the rest is noise
LEVEL_CARRY, PEAK_CARRY = 0.61, 0.44  # correlation from one day to the next
HEAT = 0.26  # correlation of the day's peak with its level
QUIET_NOISE = 0.65  # log deviation of quiet spin within a month
RESERVE_FLOOR_USD_PER_MW_H = 0.11  # the lowest in the data
PEAK_LIMIT_USD_PER_MW_H = (
    1_500.0  # chosen: keeps energy below CAISO's hard cap of 2,000 $/MWh; highest in the data 1,012
)


def normals(seed: int, day: date, count: int, stream: int = 0) -> Floats:
    """``count`` standard normal draws that depend on ``seed``, ``day`` and ``stream`` only.

    Sums of twelve uniforms from raw PCG64 words: NumPy guarantees the words in all versions (NEP 19), and sums are the
    same on every machine. A longer draw begins with the shorter one.
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, day.toordinal(), stream])).random_raw(12 * count)
    uniforms = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    draws: Floats = uniforms.reshape(count, 12).sum(axis=1) - 6.0
    return draws


@lru_cache(maxsize=4096)
def _innovations(seed: int, day: date) -> tuple[float, float]:
    """The day's fresh shocks to the energy level and to the reserve peak."""
    level, peak = normals(seed, day, 2).tolist()
    return level, HEAT * level + (1 - HEAT**2) ** 0.5 * peak


def _persistent(seed: int, day: date) -> tuple[float, float]:
    """Unit-variance level and peak of the day, carried over from the days before."""
    shocks = np.array([_innovations(seed, day - timedelta(days=k)) for k in range(MEMORY_DAYS + 1)])
    weights = np.array([LEVEL_CARRY, PEAK_CARRY]) ** np.arange(MEMORY_DAYS + 1)[:, None]
    level, peak = ((weights * shocks).sum(axis=0) / np.sqrt((weights**2).sum(axis=0))).tolist()
    return level, peak


def energy_and_reserve(market_date: date, seed: int = SEED) -> tuple[Floats, Floats, Floats]:
    """Energy [$/MWh], spin and nonspin [$/MW for an hour] for each hour of the day, to 5 decimals."""
    hours = market_hours(market_date)
    clock = hours["local_hour"].to_numpy()
    label = hours["hour_ending"].to_numpy() - 1  # noise follows the label, so that the repeated hour has its own
    month, season = market_date.month - 1, int(market_date.month in SUMMER)
    none = np.zeros(12)

    level, peak_deviation = _persistent(seed, market_date)
    draws = normals(seed, market_date, 54)
    sine, cosine, energy_noise, reserve_noise = draws[2], draws[3], draws[4:29][label], draws[29:54][label]

    year_peak = LOG_PEAK_YEAR.get(market_date.year, none)[month]
    unlimited = float(np.exp(LOG_PEAK[month] + year_peak + LOG_PEAK_DEVIATION[month] * peak_deviation))
    peak = PEAK_LIMIT_USD_PER_MW_H * float(np.tanh(unlimited / PEAK_LIMIT_USD_PER_MW_H))
    scarce = PEAK_TO_RESERVE[season][clock] * peak
    quiet = np.exp(QUIET_NOISE * reserve_noise)
    spin = np.maximum(QUIET_SPIN[month] * quiet + scarce, RESERVE_FLOOR_USD_PER_MW_H)
    nonspin = np.maximum(QUIET_NONSPIN[month] * quiet + NONSPIN_SHARE[month] * scarce, RESERVE_FLOOR_USD_PER_MW_H)

    angle = 2 * np.pi * clock / 24
    waves = np.sqrt(2) * (np.sqrt(SINE_SHARE) * sine * np.sin(angle) + np.sqrt(COSINE_SHARE) * cosine * np.cos(angle))
    noise_share = 1 - LEVEL_SHARE - SINE_SHARE - COSINE_SHARE
    deviation = np.sqrt(LEVEL_SHARE) * level + waves + np.sqrt(noise_share) * energy_noise
    energy = BASE_ENERGY[month][clock] + YEAR_LEVEL.get(market_date.year, none)[month]
    energy = energy + DEVIATION[month][clock] * deviation + PEAK_TO_ENERGY[season][clock] * peak
    return np.round(energy, 5), np.round(spin, 5), np.round(np.minimum(spin, nonspin), 5)


class Synthetic:
    """The embedded price source: any date, no file, no network."""

    name = "synthetic"

    def __init__(self, node: str = NODE, seed: int = SEED) -> None:
        """Raises ``InputError`` for a node other than the one whose statistics it imitates, and for a negative seed."""
        if node != NODE:
            raise InputError(
                "the synthetic source does not make prices of this node",
                value=node,
                remedy=f"There is {NODE}; for another node give a file of prices.",
            )
        if seed < 0:
            raise InputError("a seed is a whole number from 0", value=seed, remedy="Give 0 or more.")
        self.node = node
        self.seed = seed

    def day(self, market_date: date) -> pl.DataFrame:
        """Rows of ``market.prices`` for any day; the same for the same seed, in any order of calls."""
        energy, spin, nonspin = energy_and_reserve(market_date, self.seed)
        return validate(
            Prices,
            market_hours(market_date).with_columns(
                energy_usd_per_mwh=energy,
                spin_usd_per_mw_h=spin,
                nonspin_usd_per_mw_h=nonspin,
                node=pl.lit(self.node),
                source=pl.lit(self.name),
                published_utc=pl.lit(prices_published_utc(market_date)),
            ),
        )

    def days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Rows of ``market.prices`` of each of the days."""
        return {day: self.day(day) for day in wanted}


def write_example(path: Path) -> None:
    """Write 2023-07-25 to 2023-08-31 in the layout of ``price_table``; the same bytes every time."""
    first, last = EXAMPLE_DAYS
    source = Synthetic()
    days = pl.concat([source.day(first + timedelta(days=k)) for k in range((last - first).days + 1)])
    lines = [
        "# source: synthetic",
        "# Made by this project's seeded generator; no market published these prices.",
        "# Made with: python -m vpp_pipeline make-data",
        "start_utc,node,energy_usd_per_mwh,spin_usd_per_mw_h,nonspin_usd_per_mw_h",
    ]
    columns = ("start_utc", "node", "energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h")
    for start, node, energy, spin, nonspin in days.select(columns).iter_rows():
        lines.append(f"{start:%Y-%m-%dT%H:%M:%SZ},{node},{energy:.5f},{spin:.5f},{nonspin:.5f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode())
