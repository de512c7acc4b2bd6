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
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from vpp_pipeline.core.calendar import market_hours, prices_published_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.schemas import Prices, door
from vpp_pipeline.sources.synthetic_statistics import (
    BASE_ENERGY,
    COSINE_SHARE,
    DEVIATION,
    HEAT,
    LEVEL_CARRY,
    LEVEL_SHARE,
    LOG_PEAK,
    LOG_PEAK_DEVIATION,
    LOG_PEAK_YEAR,
    NONSPIN_SHARE,
    PEAK_CARRY,
    PEAK_LIMIT_USD_PER_MW_H,
    PEAK_TO_ENERGY,
    PEAK_TO_RESERVE,
    QUIET_NOISE,
    QUIET_NONSPIN,
    QUIET_SPIN,
    RESERVE_FLOOR_USD_PER_MW_H,
    SINE_SHARE,
    SUMMER,
    YEAR_LEVEL,
)

Floats = npt.NDArray[np.float64]

NODE = "TH_SP15_GEN-APND"
EXAMPLE_DAYS = (date(2023, 7, 25), date(2023, 8, 31))
EXAMPLE_NAME = "example_prices_2023-08.csv"

# The seed, among 0-399, whose August 2023 is nearest to the real one in hour-of-day mean and deviation and in daily
# spread: `python benchmarks/calibrate_synthetic_prices.py seed`. Other seeds are alike on average, not in that month.
SEED = 37

MEMORY_DAYS = 10


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
        return door(
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
