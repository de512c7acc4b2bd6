"""How good a price forecast is: its errors, its band, and what a battery that trusts it earns."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float64]

POWER_MW, CAPACITY_MWH, EFFICIENCY = 1.0, 2.0, 0.85**0.5  # one way; 85 % for the round trip
LOW, HIGH = 0.1, 0.9  # the 80 % band


def pinball(actual: Floats, expected: Floats, quantile: float) -> float:
    """Mean pinball loss of a quantile, $/MWh: half the absolute error for the median."""
    missed = actual - expected
    return float(np.nanmean(np.maximum(quantile * missed, (quantile - 1.0) * missed)))


def coverage(actual: Floats, low: Floats, high: Floats) -> float:
    """Share of hours within the band."""
    known = np.isfinite(actual)
    return float(((actual >= low) & (actual <= high))[known].mean())


def plan(prices: Floats) -> Floats:
    """The battery's best day (T, 3) at ``prices`` (T, 3): MW of energy sold (bought: below 0), spin and nonspin.

    maximise    Σ_t π_t (d_t − c_t) + ρ_t s_t + ν_t n_t                (step 1 h)
    subject to  e_t = e_{t-1} + η c_t − d_t / η,   0 ≤ e ≤ E,   e_0 = e_T = 0,   0 ≤ c ≤ P,   d + s + n ≤ P
                (s_t + n_t) / η ≤ e_t and ≤ e_{t-1}: what is held ready for an hour is stored

    With reserve prices of 0 it is the battery that sells energy alone.
    """
    hours = len(prices)
    matrix, limit, level = _limits(hours)
    gain = np.concatenate([-prices[:, 0], prices.T.ravel()])
    found: Any = linprog(-gain, A_ub=matrix, b_ub=limit, A_eq=level, b_eq=[0.0], bounds=(0.0, POWER_MW), method="highs")
    if found.status != 0:
        raise ValueError(f"no plan: {found.message}")
    charge, discharge, spin, nonspin = found.x.reshape(4, hours)
    return np.column_stack([discharge - charge, spin, nonspin])


def earned(expected: Floats, actual: Floats, reserves: bool) -> float:
    """What the plan for ``expected`` prices (T, 3) earns at ``actual`` ones, $."""
    traded = [1.0, 1.0, 1.0] if reserves else [1.0, 0.0, 0.0]
    return float((plan(expected * traded) * actual * traded).sum())


@cache
def _limits(hours: int) -> tuple[Any, Floats, Any]:
    """Matrix and right side of the inequalities, and the row of the day's last level; columns c, d, s, n."""
    summed, one, nothing = np.tril(np.ones((hours, hours))), np.eye(hours), np.zeros((hours, hours))
    level = np.hstack([EFFICIENCY * summed, -summed / EFFICIENCY, nothing, nothing])
    before = np.eye(hours, k=-1) @ level
    held = np.hstack([nothing, nothing, one, one]) / EFFICIENCY
    shared = np.hstack([nothing, one, one, one])
    matrix = np.vstack([level, -level, shared, held - level, held - before])
    limit = np.concatenate(
        [np.full(hours, CAPACITY_MWH), np.zeros(hours), np.full(hours, POWER_MW), np.zeros(2 * hours)]
    )
    return csr_matrix(matrix), limit, csr_matrix(level[-1:])
