"""A day without any schedule is stopped with the limit, the prosumer, the hour and the amount."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.infeasibility import MOST_PROSUMERS, InfeasibleDay, infeasibilities, without_dust
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.cases import seeds
from vpp_pipeline_tests.dispatch.small_days import RULES, STARTS, deal, fleet, random_day, small_day, with_fleet

UNANSWERED = deal("energy", [1], 20.0, 0.1, kw=0.0, agreed=0.0)


def quiet_day(prosumers: int = 3, hours: int = 4, **given: object) -> DayProblem:
    """Four hours from midnight, nothing to bid."""
    return small_day(fleet(prosumers, hours, **given), [10.0] * hours, [UNANSWERED])


def hourly(prosumer: int, values: list[float], prosumers: int = 3) -> np.ndarray:
    """Values of one prosumer by hour, zero for the others."""
    found = np.zeros((prosumers, len(values)))
    found[prosumer] = values
    return found


def breaches(day: DayProblem) -> list[tuple[str, int, str, float]]:
    """Prosumer, hour from the day's start, limit, kWh."""
    return [
        (row["prosumer_id"], int((row["start_utc"] - STARTS).total_seconds() / 3600), row["limit_name"], kwh)
        for row in infeasibilities(day).iter_rows(named=True)
        if (kwh := round(row["shortfall_kwh"], 6))
    ]


def test_a_ready_by_out_of_reach():
    """5 kWh and 2 kW for three hours make 11 kWh; 12 are owed at the end of the third hour."""
    day = quiet_day(initial_stored_kwh=5, max_charge_kw=2, min_stored_kwh=hourly(1, [0, 0, 12, 0]))
    assert breaches(day) == [("p1", 2, "min_stored_kwh", 1.0)]


def test_a_backup_reserve_that_is_reached_too_late():
    """It holds 5 and gains 1.6 an hour (2 kW at 80 %): 6.6, 8.2, 9.8 where 9 are owed in each hour."""
    day = quiet_day(
        initial_stored_kwh=[5, 9, 9], charge_efficiency=0.8, max_charge_kw=2, min_stored_kwh=9, max_stored_kwh=20
    )
    assert breaches(day) == [("p0", 0, "min_stored_kwh", 2.4), ("p0", 1, "min_stored_kwh", 0.8)]


def test_energy_owed_at_the_end():
    day = quiet_day(initial_stored_kwh=[50, 50, 10], terminal_stored_kwh=50, max_stored_kwh=60, max_charge_kw=1)
    assert breaches(day) == [("p2", 3, "terminal_stored_kwh", 36.0)]


def test_more_driving_than_is_stored_is_not_blamed_on_the_reserve_alone():
    """10 and 2 charged before it leaves, 30 driven: 18 are missing even with an empty store, and the reserve of 3."""
    driving = hourly(0, [0, 30, 0, 0])
    charging = hourly(0, [2, 0, 3, 3]) + hourly(1, [2, 2, 2, 2])
    day = quiet_day(initial_stored_kwh=10, min_stored_kwh=3, drive_kwh=driving, max_charge_kw=charging)
    assert breaches(day) == [("p0", 1, "drive_kwh", 18.0), ("p0", 1, "min_stored_kwh", 3.0)]


def test_a_store_that_begins_above_its_cap_and_can_only_be_emptied_by_sales():
    day = quiet_day(
        initial_stored_kwh=[0, 10, 0], max_stored_kwh=8, max_discharge_kw=5, drive_kwh=hourly(1, [0, 2, 0, 0])
    )
    assert breaches(day) == [("p1", 0, "max_stored_kwh", 2.0)]


def test_a_floor_above_the_cap_blames_the_wish():
    day = quiet_day(
        initial_stored_kwh=[0, 0, 8], max_stored_kwh=8, min_stored_kwh=hourly(2, [0, 9, 0, 0]), max_charge_kw=5
    )
    assert breaches(day) == [("p2", 1, "min_stored_kwh", 1.0)]


def test_of_two_ways_out_the_smaller_is_told():
    """Its reserve of 9 is owed all day, its cap is 8 in one hour: one breach of the cap, none of the reserve."""
    cap = np.full((3, 24), 20.0)
    cap[0, 12] = 8.0
    floor = np.zeros((3, 24))
    floor[0] = 9.0
    day = quiet_day(hours=24, initial_stored_kwh=10, max_stored_kwh=cap, min_stored_kwh=floor, max_charge_kw=0)
    assert breaches(day) == [("p0", 12, "max_stored_kwh", 2.0)]


@pytest.mark.parametrize("seed", seeds(range(24)))
def test_a_day_is_infeasible_where_the_solver_says_so_and_solvable_once_the_breaches_are_granted(seed: int):
    """Random days with limits made harder, against HiGHS on the whole formulation."""
    day, rng = random_day(seed), np.random.default_rng(seed)
    n, t = day.fleet.min_stored_kwh.shape
    harder = rng.uniform(0.0, 1.0, (n, t)) * (rng.random((n, t)) < 0.1) * day.fleet.capacity_kwh[:, None]
    day = with_fleet(
        day,
        min_stored_kwh=np.maximum(day.fleet.min_stored_kwh, harder),
        drive_kwh=day.fleet.drive_kwh * rng.uniform(0.0, 4.0),
        initial_stored_kwh=day.fleet.initial_stored_kwh * rng.uniform(0.0, 1.2, n),
    )
    found = infeasibilities(day)
    assert has_a_schedule(day) is found.is_empty()
    assert has_a_schedule(granted(day, found))


def has_a_schedule(day: DayProblem) -> bool:
    linear, nothing = formulate(day, binary=False), np.zeros(len(day.price))
    linear.set_bids(nothing, nothing)
    linear.set_quantities(nothing, unlimited_mw(day))
    try:
        linear.solve("HIGHS")
    except SolveError as error:
        assert "infeasible" in str(error)  # noqa: PT017 - anything else is a defect
        return False
    return True


def granted(day: DayProblem, rows: pl.DataFrame) -> DayProblem:
    """The day with each limit moved by what the rows say, and a hair more."""
    hours = {start: t for t, start in enumerate(day.start_utc)}
    limits = {
        name: getattr(day.fleet, name).copy()
        for name in ("min_stored_kwh", "max_stored_kwh", "drive_kwh", "terminal_stored_kwh")
    }
    for row in rows.iter_rows(named=True):
        i = day.fleet.prosumer_id.tolist().index(row["prosumer_id"])
        place = i if row["limit_name"] == "terminal_stored_kwh" else (i, hours[row["start_utc"]])
        more = row["shortfall_kwh"] + 1e-3
        limits[row["limit_name"]][place] += more if row["limit_name"] == "max_stored_kwh" else -more
    return with_fleet(day, **limits)


@pytest.mark.parametrize("method", ["exact", "column_generation"])
def test_whatever_the_method_the_day_is_refused_by_name(method: str):
    day = quiet_day(
        initial_stored_kwh=[5, 30, 0], max_charge_kw=2, max_stored_kwh=20, min_stored_kwh=hourly(0, [0, 0, 12.25, 0])
    )
    with pytest.raises(InfeasibleDay) as refused:
        solve_day(day, RULES, OptimiserSettings(method=method))
    assert isinstance(refused.value, SolveError)
    assert str(refused.value) == (
        "2 prosumers cannot keep their limits even if nothing is bid: "
        "p0 min_stored_kwh at 2023-08-15 02:00 Pacific short by 1.25 kWh "
        "(Lower its backup reserve or ready charge by that much, or let it charge more before); "
        "p1 max_stored_kwh at 2023-08-15 00:00 Pacific exceeded by 10.0 kWh "
        "(Raise max_stored_kwh, or lower initial_stored_kwh, by that much: it empties by sales alone). "
        "All hours: dispatch.infeasibilities"
    )
    assert refused.value.rows.height == 5


def test_a_long_list_is_cut_in_the_message_and_in_the_table():
    day = quiet_day(prosumers=MOST_PROSUMERS + 5, hours=2, terminal_stored_kwh=1.0)
    rows = infeasibilities(day)
    assert rows.height == MOST_PROSUMERS
    assert "and 995 more" in str(InfeasibleDay(rows))
    assert len(str(InfeasibleDay(rows))) < 1_000


def test_the_error_survives_a_process_boundary():
    error = InfeasibleDay(infeasibilities(quiet_day(terminal_stored_kwh=[1, 0, 0])))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("limit", ["min_stored_kwh", "terminal_stored_kwh"])
def test_the_last_digits_of_a_carried_store_do_not_stop_the_day(limit: str):
    """A store at its floor that may not charge begins 0.05 mWh short of it."""
    day = quiet_day(initial_stored_kwh=5.0 - 5e-5, **{limit: 5.0})
    assert not has_a_schedule(day)
    assert infeasibilities(day).is_empty()
    answer = solve_day(day, RULES, OptimiserSettings())
    assert answer.schedule.stored_kwh.min() == pytest.approx(5.0, abs=1e-4)


def test_a_day_without_dust_stays_as_it_is():
    day = random_day(3)
    assert without_dust(day) is day
    short = quiet_day(initial_stored_kwh=4.0, min_stored_kwh=5.0)
    assert without_dust(short) is short
    assert not infeasibilities(replace(short)).is_empty()
