"""The best end of an hour with reserve, and the slope that goes with it."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.column_generation.hour_kernel import (
    HEAVY_BURNS,
    HOUR,
    KIND,
    LIGHT,
    SEGMENTS,
    apart,
    describe_hour,
    heavy_piece,
    segments_of,
)
from vpp_pipeline.dispatch.column_generation.storage_kernel import (
    MOST_POINTS,
    best_end,
    reach,
    value_at,
    walk_backward,
    walk_forward,
)
from vpp_pipeline_tests.cases import seeds

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
    slope, length, fall = np.empty((3, 1, SEGMENTS + 1))
    n, earned, charged = segments_of(hours, 0, ETA_C, ETA_D, slope, length, fall)
    hour_and_uses = hours[0], slope[0], length[0], n, earned, charged
    _, value, per_kwh = best_end(
        LATER_KWH, LATER_USD, 2, *hour_and_uses, stored_kwh, FLOOR_KWH, FLOOR_KWH, ETA_D, ETA_C, ETA_D
    )
    backed_kw = ETA_D * (stored_kwh - FLOOR_KWH)
    assert value == pytest.approx(SPIN_KW * SPIN_USD + (backed_kw - SPIN_KW) * NONSPIN_USD, abs=1e-12)
    assert per_kwh == pytest.approx(ETA_D * NONSPIN_USD, abs=1e-12)


def draw_hour(rng: np.random.Generator, hours: np.ndarray, *, whole: bool) -> None:
    """An hour in which reserve may pay; export room, sun and commitments bind now and then, prices fall below zero."""

    def draw(low: float, high: float) -> float:
        return float(rng.integers(int(low), int(high) + 1)) if whole else rng.uniform(low, high)

    sun = draw(0, 8) * float(rng.random() < 0.4)
    buy = draw(-20, 60) / 1000.0
    powers = draw(0, 10), draw(0, 10), sun, draw(2, rng.choice([8, 30])), draw(0, 2) * float(rng.random() < 0.2)
    commitments = draw(0, 12), draw(0, 6) / 1000.0, draw(0, 8), draw(0, 6) / 1000.0, draw(0, 8), draw(0, 6) / 1000.0
    prices = buy - draw(0, 10) / 1000.0, buy, draw(0, 40) / 1000.0, draw(0, 40) / 1000.0
    describe_hour(hours, 0, *powers, *commitments, *prices, draw(0, 3) / 1000.0)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", seeds(range(8)))
def test_a_walked_hour_is_worth_what_its_best_end_is_from_any_stored_energy(seed: int, whole: bool):
    rng, walked, burning, rising = np.random.default_rng([seed, whole]), 0, 0, 0
    narrow, given_up = 0, 0
    hours, (slope, length, fall) = np.zeros((1, HOUR)), np.empty((3, 1, SEGMENTS + 1))
    xs, ys, ends = np.empty((2, MOST_POINTS)), np.empty((2, MOST_POINTS)), np.empty((2, MOST_POINTS))
    for _ in range(300):
        draw_hour(rng, hours, whole=whole)
        eta_c, eta_d = (1.0, rng.choice([1.0, 0.5])) if whole else rng.uniform(0.7, 1.0, 2)
        kappa = eta_d / rng.choice([0.25, 0.5, 1.0])
        n, earned, charged = segments_of(hours, 0, eta_c, eta_d, slope, length, fall)
        floor_s = float(rng.integers(0, 4))
        floor_x = floor_s + float(rng.choice([0, 0, 1, 3]))
        m = int(rng.integers(2, 7))
        kwh = rng.integers(1, 5, m - 1).astype(float) if whole else rng.uniform(0.1, 5.0, m - 1)
        xs[1, :m] = floor_x + rng.integers(0, 2) + np.append(0.0, kwh.cumsum())
        per_kwh = np.sort(rng.integers(-20, 60, m - 1) if whole else rng.uniform(-20.0, 60.0, m - 1))[::-1] / 1000.0
        ys[1, :m] = np.append(0.0, (per_kwh * kwh).cumsum())
        low, high = reach(xs, 0, m, hours, floor_s, floor_s + 25.0, eta_c, eta_d)
        if hours[0, KIND] == LIGHT or low > high or not apart(hours, 0, floor_s, floor_x, kappa, eta_d):
            continue
        burns = bool(hours[0, KIND] == HEAVY_BURNS)
        hour_and_uses = slope[0], length[0], n, earned, charged
        limits = floor_s, floor_x, kappa, eta_c, eta_d
        found = walk_backward(xs, ys, ends, 0, m, hours, slope, length, fall, n, earned, charged, low, high, *limits)
        if found == 0:
            given_up += 1
            continue
        walked, burning, rising = walked + 1, burning + burns, rising + (floor_x > floor_s)
        narrow += bool(fall[0, :n].max(initial=0.0) > eta_d and not burns)  # sun that is sold takes of reserve's room
        assert (np.diff(xs[0, :found]) > 0.0).all()
        for s in np.linspace(low, high, 9):
            _, value, _ = best_end(xs[1], ys[1], m, hours[0], *hour_and_uses, s, *limits)
            assert value_at(xs[0], ys[0], found, s) == pytest.approx(value, abs=1e-12)
            x = walk_forward(xs, ends, 0, found, s)
            earns, _, _ = heavy_piece(hours[0], *hour_and_uses, s, x, 1.0, *limits)
            assert earns + value_at(xs[1], ys[1], m, x) == pytest.approx(value, abs=1e-12)
    assert walked > 100
    assert min(burning, rising, narrow) > 0
    assert given_up < 0.05 * walked
