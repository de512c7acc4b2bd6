"""Every award within a resource's limits can be delivered: by hand, by brute force, by attack, and by a control."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from vpp_pipeline.aggregation.boxes import (
    Boxes,
    baseline_of,
    boxes_of,
    cheapest_charging,
    spare_reserve,
    weights_in,
)
from vpp_pipeline.aggregation.classes import NO_CLASS, Classes, make_classes
from vpp_pipeline.aggregation.offer import classes_of, offer_of, outlook_of
from vpp_pipeline.aggregation.resources import StorageAwards, disaggregated, resources_of
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline_tests.aggregation.attacks import TOLERANCE, limits, run
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.dispatch.small_days import fleet

HOURS = 3
NO_FLOOR = np.full((1, HOURS), np.inf)


def batteries(power_kw: list[float], energy_kwh: list[float], **others: object) -> Fleet:
    """Half-full stores of these sizes over three hours, which end as full as they began."""
    power, energy = (np.array(values)[:, None] * np.ones(HOURS) for values in (power_kw, energy_kwh))
    given: dict[str, object] = {
        "max_charge_kw": power,
        "max_discharge_kw": power,
        "max_stored_kwh": energy,
        "capacity_kwh": energy[:, 0],
        "initial_stored_kwh": energy[:, 0] / 2.0,
        "terminal_stored_kwh": energy[:, 0] / 2.0,
    }
    return fleet(len(power_kw), HOURS, **(given | others))


def test_two_like_batteries_are_one_resource_of_their_sum():
    """10 kW and 20 kWh, and the half of it: 15 kW each way, 15 kWh up and down, shares of two thirds and a third."""
    two = batteries([10.0, 5.0], [20.0, 10.0])
    own = boxes_of(two, baseline_of(two, np.zeros(HOURS), np.broadcast_to(NO_FLOOR, (2, HOURS))))
    one = Classes(own.rows[:1], np.zeros(2, dtype=np.int64))
    found = resources_of(two, one, own, 1.0)
    assert found.share == pytest.approx([2.0 / 3.0, 1.0 / 3.0])
    assert found.max_charge_kw == pytest.approx(np.full((1, HOURS), 15.0))
    assert found.max_discharge_kw == pytest.approx(np.full((1, HOURS), 15.0))
    assert found.box.below == pytest.approx(np.full((1, HOURS), 15.0))
    assert found.spare_kw == pytest.approx(np.zeros((1, HOURS)), abs=1e-6)


def test_unlike_efficiencies_cost_nothing():
    """Shares are of stored energy: what the meters of both sum to is what the resource's mean efficiency says."""
    two = batteries([10.0, 10.0], [20.0, 20.0], charge_efficiency=[1.0, 0.8], discharge_efficiency=[1.0, 0.5])
    base = baseline_of(two, np.zeros(HOURS), np.broadcast_to(NO_FLOOR, (2, HOURS)))
    own = boxes_of(two, base)
    found = resources_of(two, Classes(own.rows[1:], np.zeros(2, dtype=np.int64)), own, 1.0)
    nothing = np.zeros((1, HOURS))
    charge, discharge = np.array([[4.0, 0.0, 0.0]]), np.array([[0.0, 2.0, 0.0]])
    stored = np.cumsum(charge * found.charge_efficiency - discharge / found.discharge_efficiency, axis=1)
    given_kw = disaggregated(two, base, found, StorageAwards(charge, discharge, nothing, nothing, stored))
    assert given_kw.charge_kw.sum(axis=0) == pytest.approx(charge[0])
    assert given_kw.discharge_kw.sum(axis=0) == pytest.approx(discharge[0])
    assert all((past <= TOLERANCE).all() for past in limits(two, given_kw).values())


def test_an_owner_who_cannot_follow_the_shape_still_holds_reserve():
    """A store that must end full can lend no energy, but its 5 kW are held beyond the box, backed by itself."""
    two = batteries([10.0, 5.0], [20.0, 30.0], terminal_stored_kwh=[10.0, 15.0], max_charge_kw=[[10.0], [0.0]])
    base = baseline_of(two, np.zeros(HOURS), np.broadcast_to(NO_FLOOR, (2, HOURS)))
    own = boxes_of(two, base)
    found = resources_of(two, Classes(own.rows[:1], np.zeros(2, dtype=np.int64)), own, 1.0)
    assert found.share == pytest.approx([1.0, 0.0])
    assert found.spare_kw == pytest.approx(np.full((1, HOURS), 5.0))
    held = StorageAwards(*np.zeros((2, 1, HOURS)), np.full((1, HOURS), 15.0), *np.zeros((2, 1, HOURS)))
    given_kw = disaggregated(two, base, found, held)
    assert given_kw.spin_kw == pytest.approx(np.array([[10.0] * HOURS, [5.0] * HOURS]))
    assert all((past <= TOLERANCE).all() for past in limits(two, given_kw).values())


def test_only_who_can_never_discharge_charges_where_it_is_paid_to():
    """Prices −5, −30, 20: an EV of 3 kW and half an efficiency charges in both hours, as far as it has room; a battery
    does not, and none where every MWh costs so much more that nothing is paid."""
    price = np.array([-5.0, -30.0, 20.0])
    two = batteries([3.0, 3.0], [8.0, 8.0], max_discharge_kw=[[0.0], [3.0]], charge_efficiency=0.5)
    floor = np.broadcast_to(NO_FLOOR, (2, HOURS))
    found = baseline_of(two, price, floor)
    assert found.grid_charge_kw[0] == pytest.approx([3.0, 3.0, 0.0])
    assert found.stored_kwh[0] == pytest.approx([5.5, 7.0, 7.0])
    assert not found.grid_charge_kw[1].any()
    assert baseline_of(two, price, floor, charging_adder=6.0).grid_charge_kw[0] == pytest.approx([0.0, 3.0, 0.0])
    assert not baseline_of(two, price, floor, charging_adder=30.0).grid_charge_kw.any()
    full = replace(two, max_stored_kwh=np.full((2, HOURS), 5.0))  # with room for 1 kWh, bought at the lowest price
    assert baseline_of(full, price, floor).grid_charge_kw[0] == pytest.approx([0.0, 2.0, 0.0])


@given(st.integers(0, 10_000))
@tries(60)
def test_the_baseline_charges_no_dearer_than_a_linear_program(seed: int):
    """Floors, driving, power, and room drawn at random; where a linear program has no answer there is none here."""
    rng = np.random.default_rng(seed)
    hours, price = 6, rng.normal(40.0, 30.0, 6).clip(1.0)
    drive = np.where(rng.random((1, hours)) < 0.3, rng.uniform(0.0, 4.0, (1, hours)), 0.0)
    one = fleet(
        1,
        hours,
        max_charge_kw=np.where(rng.random((1, hours)) < 0.3, 0.0, 5.0),
        max_stored_kwh=20.0,
        capacity_kwh=20.0,
        initial_stored_kwh=8.0,
        min_stored_kwh=rng.choice([0.0, 2.0, 6.0, 10.0, 16.0], (1, hours)),
        terminal_stored_kwh=rng.choice([0.0, 8.0, 14.0]),
        drive_kwh=drive,
        charge_efficiency=0.9,
    )
    low = one.min_stored_kwh[0].copy()
    low[-1] = max(low[-1], one.terminal_stored_kwh[0])
    without = one.initial_stored_kwh[0] - np.cumsum(drive[0])
    summed = 0.9 * np.tril(np.ones((hours, hours)))
    best = linprog(
        price,
        A_ub=np.vstack([-summed, summed]),
        b_ub=np.concatenate([without - low, one.max_stored_kwh[0] - without]),
        bounds=np.column_stack([np.zeros(hours), one.max_charge_kw[0]]),
    )
    if best.status != 0:
        with pytest.raises(SolveError):
            cheapest_charging(one, price)
        return
    charged = cheapest_charging(one, price)[0]
    stored = without + 0.9 * np.cumsum(charged)
    assert (stored >= low - 1e-6).all()
    assert (stored <= one.max_stored_kwh[0] + 1e-6).all()
    assert price @ charged == pytest.approx(best.fun, abs=1e-6)


@given(st.integers(0, 10_000))
@tries(60)
def test_weights_and_what_is_spare_lie_in_the_box(seed: int):
    rng = np.random.default_rng(seed)
    boxes = Boxes(rng.uniform(0.0, 10.0, (5, 4 * HOURS + 3)) * (rng.random((5, 4 * HOURS + 3)) < 0.9))
    shape = rng.uniform(0.0, 5.0, 4 * HOURS + 3) * (rng.random(4 * HOURS + 3) < 0.8)
    weight = weights_in(boxes, shape)
    spare = spare_reserve(boxes, weight, shape, 0.5)
    assert (weight[:, None] * shape <= boxes.rows + 1e-9).all()
    used = Boxes(boxes.rows - weight[:, None] * shape)
    assert (spare <= np.maximum(used.discharge, 0.0) + 1e-9).all()
    assert (0.5 * spare <= np.maximum(used.below, 0.0) + 1e-9).all()
    assert (0.5 * spare[:, 0] <= np.maximum(used.first, 0.0) + 1e-9).all()


def test_every_award_on_a_grid_can_be_delivered():
    """Brute force: three unlike stores, every award in steps of a third of the limits, with as much reserve as fits."""
    three = batteries(
        [10.0, 6.0, 4.0],
        [20.0, 30.0, 6.0],
        charge_efficiency=[0.9, 0.95, 1.0],
        discharge_efficiency=[0.9, 1.0, 0.8],
        min_stored_kwh=[[2.0, 2.0, 2.0], [10.0, 10.0, 10.0], [0.0, 1.0, 0.0]],
        export_limit_kw=[[8.0], [1e4], [4.0]],
        maximum_cycles_per_day=[1.0, 0.2, 3.0],
    )
    price = np.array([20.0, 50.0, 90.0])
    floor = np.full((3, 3, HOURS), 5.0)
    classes = classes_of(three, floor, np.stack([price, 0.2 * price, 0.1 * price])[None], 1.0, 1, 0.0)
    offer = offer_of(three, floor, np.stack([price, 0.2 * price, 0.1 * price]), classes, 1.0)
    box, found = offer.resources.box, offer.resources
    into, out = found.charge_efficiency[0], found.discharge_efficiency[0]
    tried = 0
    for moves in product(np.linspace(-1.0, 1.0, 7), repeat=HOURS):
        charge = np.array([-min(move, 0.0) for move in moves]) * box.charge[0]
        discharge = np.array([max(move, 0.0) for move in moves]) * box.discharge[0]
        stored = np.cumsum(charge - discharge)
        inside = (stored <= box.above[0]).all() and (stored >= -box.below[0]).all() and stored[-1] >= -box.last[0]
        if not inside or discharge.sum() > box.cycles[0]:
            continue
        before = np.concatenate([box.first, (stored + box.below[0])[:-1]])
        backed = np.minimum(before, stored + box.below[0])
        spare = found.spare_kw[0] / out
        held = np.minimum(box.discharge[0] + spare - discharge, np.maximum(backed, 0.0))
        for part in (0.0, 0.4, 1.0):
            rows = [charge / into, discharge * out, part * held * out, (1.0 - part) * held * out, stored]
            given_kw = offer.schedule(StorageAwards(*(row[None] for row in rows)))
            assert all((past <= TOLERANCE).all() for past in limits(three, given_kw).values()), (moves, part)
            tried += 1
    assert tried > 100


@pytest.mark.parametrize("kind", ["all", pytest.param("EVs", marks=pytest.mark.slow)])
def test_no_attack_breaks_a_limit_and_every_control_does(kind: str):
    """A small share of `make storage-attacks`."""
    figures = run(60, (10,), (kind,), (date(2023, 8, 15), date(2024, 3, 10)))
    assert not figures.broken
    assert figures.controls_caught == figures.controls == 2
    assert figures.met > 10


def test_every_owner_is_in_one_class_that_can_be_bid(default_fleet: tuple[Fleet, Array, Array]):
    """At most ten classes of the default fleet, each of 0.112 MW or more, and nobody in two."""
    whole, floor, forecast = default_fleet
    boxes = boxes_of(whole, baseline_of(whole, forecast[0], floor[0]))
    classes = make_classes(boxes, floor[0][:, 0], outlook_of(whole, floor, forecast[None], 1.0), 10, 112.0)
    assert 3 <= len(classes.shape) <= 10
    assert (classes.member[boxes.discharge.max(axis=1) > 1e-6] != NO_CLASS).all()
    assert (classes.member[boxes.discharge.max(axis=1) == 0.0] == NO_CLASS).all()
    found = resources_of(whole, classes, boxes, 1.0)
    assert (found.box.discharge.max(axis=1) >= 112.0 * (1.0 - 1e-6)).all()


def test_a_fleet_too_small_to_be_bid_has_no_class():
    """Two stores of 5 kW never make 0.112 MW."""
    two = batteries([5.0, 5.0], [10.0, 10.0])
    floor, price = np.full((3, 2, HOURS), 5.0), np.array([10.0, 20.0, 90.0])
    prices = np.stack([price, 0.0 * price, 0.0 * price])
    classes = classes_of(two, floor, prices[None], 1.0, 5)
    offer = offer_of(two, floor, prices, classes, 1.0)
    assert len(classes.shape) == len(offer.resources) == 0
    assert offer.schedule(offer.awards(prices)).exported_kw.sum() == 0.0


def test_classes_of_an_ordinary_day_serve_the_days_on_which_clocks_change():
    shape = np.arange(4 * 24 + 3, dtype=float)[None]
    classes = Classes(shape, np.zeros(1, dtype=np.int64))
    spring, autumn = classes.on_a_day_of(23), classes.on_a_day_of(25)
    assert Boxes(spring.shape).charge[0].tolist() == [float(t) for t in range(24) if t != 2]
    assert Boxes(autumn.shape).charge[0].tolist() == [0.0, 1.0, 1.0, *(float(t) for t in range(2, 24))]
    assert Boxes(autumn.shape).cycles[0] == Boxes(spring.shape).cycles[0] == 98.0


@pytest.fixture(scope="module")
def default_fleet() -> tuple[Fleet, Array, Array]:
    """The default fleet of 2023-08-15, everyone there; its floors and the forecast."""
    from vpp_pipeline.settings import Settings
    from vpp_pipeline_tests.aggregation.attacks import day_of

    whole, floor, forecast = day_of(date(2023, 8, 15), Settings(), "all")
    return replace(whole, availability_fraction=np.ones(len(whole))), floor, forecast
