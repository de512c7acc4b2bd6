"""Types of the arrays that the mathematics works on, and rounding to the steps that a market takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Codes = NDArray[np.int8]  # indices into a short list of texts
Texts = NDArray[Any]


def round_down(values: Array | float, step: float) -> Array:
    """To a multiple of ``step``, down; a value within 1e-6 of a step above counts as that step.

    >>> round_down(np.array([0.129, 0.13, 0.3 - 1e-9]), 0.01).tolist()
    [0.12, 0.13, 0.3]
    """
    return np.asarray(np.round(np.floor(values / step + 1e-6) * step, 9))


def round_up(values: Array | float, step: float) -> Array:
    """To a multiple of ``step``, up; a value within 1e-6 of a step below counts as that step.

    >>> round_up(np.array([0.121, 0.12, 0.3 + 1e-9]), 0.01).tolist()
    [0.13, 0.12, 0.3]
    """
    return np.asarray(np.round(np.ceil(values / step - 1e-6) * step, 9))
