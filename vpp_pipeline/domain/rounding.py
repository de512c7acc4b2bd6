"""Quantities and prices at the steps that a market takes."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.domain.arrays import Array


def round_down(values: Array | float, step: float) -> Array:
    """To a multiple of ``step``, down; a value within 1e-6 of a step above counts as that step."""
    return np.asarray(np.round(np.floor(values / step + 1e-6) * step, 9))


def round_up(values: Array | float, step: float) -> Array:
    """To a multiple of ``step``, up; a value within 1e-6 of a step below counts as that step."""
    return np.asarray(np.round(np.ceil(values / step - 1e-6) * step, 9))
