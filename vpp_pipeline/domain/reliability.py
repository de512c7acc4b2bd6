"""How likely a coalition is to deliver."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.domain.arrays import Array

GRID_POINTS = 4_000


def delivery_probability(member_kw: Array, availability_fraction: Array, threshold_kw: float) -> float:
    """P(Σ x_i B_i ≥ threshold), B_i independent Bernoulli(availability): exact convolution on a grid.

    ``member_kw`` (n,) > 0, ``availability_fraction`` (n,). Each power is rounded to 1/4000 of the total, so the sum is
    off by at most n/8000 of it.
    """
    total_kw = float(member_kw.sum())
    if total_kw <= 0.0:
        return 0.0
    step_kw = total_kw / GRID_POINTS
    sizes = np.maximum(np.rint(member_kw / step_kw).astype(int), 0)
    chance = np.zeros(int(sizes.sum()) + 1)
    chance[0] = 1.0
    for size, available in zip(sizes, availability_fraction, strict=True):
        delivered = np.zeros_like(chance)
        delivered[size:] = chance[: len(chance) - size]
        chance = available * delivered + (1.0 - available) * chance
    needed = int(np.ceil(threshold_kw / step_kw - 1e-9))
    return float(min(chance[needed:].sum(), 1.0))
