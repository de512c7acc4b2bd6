"""Types of the arrays that the mathematics works on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Codes = NDArray[np.int8]  # places in a short list of words
Texts = NDArray[Any]
