"""How likely a coalition is to deliver."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Indices

GRID_POINTS = 4_000
POINTS_PER_MEMBER = 8  # a coalition of more than GRID_POINTS / 8 members gets a finer grid
BLOCK = 250  # members convolved one by one; larger coalitions join blocks of them by Fourier transform


def delivery_probability(member_kw: Array, availability_fraction: Array, threshold_kw: float) -> float:
    """P(Σ x_i B_i ≥ threshold), B_i independent Bernoulli(availability): exact convolution on a grid.

    ``member_kw`` (n,) > 0, ``availability_fraction`` (n,). Each power is rounded to 1/G of the total, G the larger of
    4000 and 8 n, so the sum is off by at most n/2G of it, and typically (errors of either sign) by √(n/12)/G.
    """
    total_kw, members = float(member_kw.sum()), len(member_kw)
    if total_kw <= 0.0:
        return 0.0
    step_kw = total_kw / max(GRID_POINTS, POINTS_PER_MEMBER * members)
    sizes = np.maximum(np.rint(member_kw / step_kw).astype(int), 0)
    blocks = [slice(first, first + BLOCK) for first in range(0, members, BLOCK)]
    chance = _sum_of([_distribution(sizes[block], availability_fraction[block]) for block in blocks])
    needed = int(np.ceil(threshold_kw / step_kw - 1e-9))
    return float(min(chance[needed:].sum(), 1.0))


def _distribution(sizes: Indices, availability_fraction: Array) -> Array:
    """Chance of each sum, in grid steps from 0, of a few members of ``sizes`` (n,) steps."""
    chance = np.zeros(int(sizes.sum()) + 1)
    chance[0] = 1.0
    for size, available in zip(sizes, availability_fraction, strict=True):
        delivered = np.zeros_like(chance)
        delivered[size:] = chance[: len(chance) - size]
        chance = available * delivered + (1.0 - available) * chance
    return chance


def _sum_of(distributions: list[Array]) -> Array:
    """Distribution of the sum of independent quantities: the product of their Fourier transforms."""
    if len(distributions) == 1:
        return distributions[0]
    points = sum(len(chance) - 1 for chance in distributions) + 1
    length = 1 << (points - 1).bit_length()  # powers of two transform fastest
    transform = np.ones(length // 2 + 1, dtype=complex)
    for chance in distributions:
        transform *= np.fft.rfft(chance, length)
    return np.maximum(np.fft.irfft(transform, length)[:points], 0.0)
