"""How content a prosumer is with a deal: one formula for every engine and baseline."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags


def weighted_satisfaction(scores: Array, committed_kw: Array) -> float | None:
    """Mean of ``scores`` (n,) weighted by commitment; None of nobody."""
    return float(np.average(scores, weights=committed_kw)) if len(scores) else None


def surplus_fraction(agreed: Array, reservation: Array) -> Array:
    """sigma = (agreed - reservation) / agreed, in 0-1: the part of the price that is the owner's gain."""
    return np.clip((agreed - reservation) / np.where(agreed > 0.0, agreed, 1.0), 0.0, 1.0)


def satisfaction_worth(agreed: Array, reservation: Array, weight_usd_per_mwh: float) -> Array:
    """w sigma, $/MWh: what the optimiser credits for a content owner, never more than the owner is paid.

    The bound keeps delivered energy from being worth more than nothing at all, so that a store never charges and
    discharges at once to collect it.
    """
    return np.minimum(weight_usd_per_mwh * surplus_fraction(agreed, reservation), agreed)


def satisfaction_score(
    agreed: Array, reservation: Array, used_fraction: Array | float, is_broken: Flags | bool = False
) -> Array:
    """S (0-10) = 0 where a stated preference was broken, else 5 + 5 u sigma.

    ``used_fraction`` u = dispatched / committed. 5 is "nothing lost, nothing gained".
    """
    return np.where(is_broken, 0.0, 5.0 + 5.0 * np.asarray(used_fraction) * surplus_fraction(agreed, reservation))
