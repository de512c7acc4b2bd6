"""Stored energy as schedules are made: what sums leave below an empty store is clipped, what is more is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import ViolationError
from vpp_pipeline.dispatch.column_generation.best_response import POWERS
from vpp_pipeline.dispatch.column_generation.pricing import stores_of
from vpp_pipeline.dispatch.column_generation.shard import stored_after
from vpp_pipeline.dispatch.exact import exact_energy
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.schedule import DUST, DaySchedule, schedule_arrays, schedule_rows, without_dust_below_zero
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import schedule_table
from vpp_pipeline.evaluation.settle_day import redispatch
from vpp_pipeline.fleet.arrays import TOLERANCE_KWH
from vpp_pipeline.schemas import Dispatched, validate
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline.verification.schedule import TOLERANCE
from vpp_pipeline_tests.dispatch.small_days import RULES, deal, fleet, small_day

TENTHS = [0.1, 0.1, 0.1]  # 0.3 - 0.1 - 0.1 - 0.1 is -5.6e-17 in floating point


def emptied() -> DayProblem:
    """Three stores of 0.3 kWh and three hours."""
    return small_day(
        fleet(3, 3, initial_stored_kwh=0.3, max_discharge_kw=1.0),
        [30.0] * 3,
        [deal("energy", [0], 30.0, 0.1, kw=0.0, agreed=0.0)],
    )


def discharging(kw: list[float]) -> DaySchedule:
    """A schedule in which each of three stores discharges ``kw``; stored energy is not yet known."""
    nothing = np.zeros((3, len(kw)))
    return DaySchedule(nothing, nothing, np.tile(kw, (3, 1)), nothing, nothing, nothing, nothing)


def by_exact_method(day: DayProblem, kw: list[float]) -> Array:
    return exact_energy(day.fleet, discharging(kw)).stored_kwh


def by_columns(day: DayProblem, kw: list[float]) -> Array:
    powers = np.zeros((POWERS, 3, len(kw)))
    powers[2] = kw
    return stored_after(powers, stores_of(day))


@pytest.mark.parametrize("integrate", [by_exact_method, by_columns])
def test_an_emptied_store_holds_nothing_not_less(integrate) -> None:
    day = emptied()
    stored = integrate(day, TENTHS)
    assert (stored[:, -1] == 0.0).all()
    np.testing.assert_allclose(stored[0], [0.2, 0.1, 0.0], atol=1e-12)


@pytest.mark.parametrize("integrate", [by_exact_method, by_columns])
def test_a_real_deficit_is_not_hidden(integrate) -> None:
    """0.2 Wh too much: two tenths of a watt for an hour, beyond the tolerance of verification."""
    stored = integrate(emptied(), [0.1, 0.1, 0.1002])
    np.testing.assert_allclose(stored[:, -1], -0.0002, atol=1e-12)


def test_the_schedule_of_an_emptied_store_is_valid_and_that_of_an_overdrawn_one_is_not() -> None:
    day = emptied()
    answer = solve_day(day, RULES, OptimiserSettings())

    def table(kw: list[float]) -> None:
        schedule_table(day, replace(answer, schedule=exact_energy(day.fleet, discharging(kw))))

    table(TENTHS)
    with pytest.raises(ViolationError, match="stored_kwh"):
        table([0.1, 0.1, 0.1002])


def test_dust_is_less_than_verification_forgives() -> None:
    assert min(TOLERANCE, TOLERANCE_KWH) > DUST
    values = np.array([-1e-3, -DUST, -2e-13, 0.0, 1e-12, 5.0])
    assert without_dust_below_zero(values).tolist() == [-1e-3, 0.0, 0.0, 0.0, 1e-12, 5.0]


def test_what_was_done_is_clipped_by_the_same_rule() -> None:
    day = emptied()
    answer = solve_day(day, RULES, OptimiserSettings())
    like = schedule_table(day, answer)
    planned = exact_energy(day.fleet, discharging(TENTHS))
    done = redispatch(day.fleet, planned, np.ones((3, 3, 3)), 1.0)
    assert (schedule_arrays(schedule_rows(done, like)).stored_kwh >= 0.0).all()
    overdrawn = DaySchedule(**{**vars(done), "stored_kwh": done.stored_kwh - 0.001})
    with pytest.raises(ViolationError, match="stored_kwh"):
        validate(Dispatched, schedule_rows(overdrawn, like))
