"""The best end of an hour with reserve, and the slope that goes with it."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.column_generation.hour_kernel import HOUR, SEGMENTS, describe_hour, segments_of
from vpp_pipeline.dispatch.column_generation.storage_kernel import best_end

ETA_C, ETA_D, FLOOR_KWH = 0.9627655340310042, 0.9293716054120376, 65.74103374459989
CHARGE_KW, SUN_KW, ROOM_KW = 303.2586555929796, 55.498406125433895, 325.5820501747136
SPIN_KW, SPIN_USD, NONSPIN_KW, NONSPIN_USD = (
    190.03397814347164,
    0.034232498695953,
    276.19659881558255,
    0.004322959641662736,
)
BUY_USD = 7.640265488349594e-19  # per kWh: what a solver leaves of a price of nothing
LATER_KWH, LATER_USD = (
    np.array([FLOOR_KWH, 1213.0346223719184]),
    np.array([5.087838147019862e-16, 1.3476076594672724e-15]),
)


@pytest.mark.parametrize("stored_kwh", [275.0, 285.6, 300.0, 350.0])
def test_the_slope_is_that_of_the_value_where_what_follows_is_worth_nothing_but_rounding(stored_kwh: float):
    """An hour of a day on which the bound came out too low: its kWh back nonspin, once all spin is backed."""
    hours = np.zeros((1, HOUR))
    describe_hour(
        hours, 0, CHARGE_KW, CHARGE_KW, SUN_KW, ROOM_KW, 0.0, 0.0, 0.0, SPIN_KW, 0.0, NONSPIN_KW, 0.0, 0.0, BUY_USD,
        SPIN_USD, NONSPIN_USD, 0.0,
    )  # fmt: skip
    slope, length = np.empty((1, SEGMENTS + 1)), np.empty((1, SEGMENTS + 1))
    n, earned, charged = segments_of(hours, 0, ETA_C, ETA_D, slope, length)
    hour_and_uses = hours[0], slope[0], length[0], n, earned, charged
    _, value, per_kwh = best_end(
        LATER_KWH, LATER_USD, 2, *hour_and_uses, stored_kwh, FLOOR_KWH, FLOOR_KWH, ETA_D, ETA_C, ETA_D
    )
    backed_kw = ETA_D * (stored_kwh - FLOOR_KWH)
    assert value == pytest.approx(SPIN_KW * SPIN_USD + (backed_kw - SPIN_KW) * NONSPIN_USD, abs=1e-12)
    assert per_kwh == pytest.approx(ETA_D * NONSPIN_USD, abs=1e-12)
