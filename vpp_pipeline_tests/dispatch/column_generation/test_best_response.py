"""A prosumer's best answer to prices by dynamic programme, against a linear programme, brute force, and its limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.column_generation.best_response import POWERS, Stores, add_schedules
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer
from vpp_pipeline.dispatch.column_generation.shard import net, per_kwh
from vpp_pipeline.dispatch.problem import Duals
from vpp_pipeline_tests.cases import seeds, tries
from vpp_pipeline_tests.dispatch.column_generation.drawn_stores import burning_pays, draw_prices, draw_stores
from vpp_pipeline_tests.dispatch.column_generation.response_oracle import best_value, earned, excess

RELATIVE = 1e-9
KW = 1e-9
UNLIMITED_KWH = 1e4


@dataclass(frozen=True)
class Answered:
    """Prosumers, prices, and how they answer."""

    stores: Stores
    duals: Duals
    call_hours: float
    value: Array  # (N,)
    powers: Array  # (POWERS, N, T)

    def each(self) -> Iterator[tuple[int, float, float, float]]:
        """Place, value, what the powers earn, and the tolerance of both, of each prosumer."""
        for i, value in enumerate(self.value):
            yield i, float(value), earned(self.stores, i, self.duals, self.powers[:, i]), RELATIVE * (1.0 + abs(value))

    def best(self, i: int, *, one_way: bool = False) -> float:
        return best_value(self.stores, i, self.duals, self.call_hours, one_way=one_way)


def ask(stores: Stores, duals: Duals, call_hours: float) -> Answered:
    count, hours = stores.max_charge.shape
    everyone = np.arange(count)
    powers = np.zeros((POWERS, count, hours))
    add_schedules(stores, 0, everyone, np.ones(count), per_kwh(duals), call_hours, powers)
    return Answered(stores, duals, call_hours, pricer_of(stores, call_hours).values(duals), powers)


def pricer_of(stores: Stores, call_hours: float) -> FleetPricer:
    count = len(stores.initial)
    return FleetPricer(stores, np.arange(count), count, call_hours)


@cache
def drawn(
    seed: int, hours: int, call_hours: float = 1.0, *, count: int = 8, whole: bool = False, lowest: float = 0.0
) -> Answered:
    rng = np.random.default_rng([seed, hours, whole])
    stores = draw_stores(rng, count, hours, whole_numbers=whole)
    return ask(stores, draw_prices(rng, hours, lowest=lowest, whole_numbers=whole), call_hours)


def assert_exact(answered: Answered) -> None:
    """Value, the linear programme and what the powers earn are the same, and the powers keep every limit."""
    for i, value, earns, tolerance in answered.each():
        assert value == pytest.approx(answered.best(i), rel=0.0, abs=100.0 * tolerance)  # 100: HiGHS's own
        assert earns == pytest.approx(value, rel=0.0, abs=tolerance)
        assert excess(answered.stores, i, answered.powers[:, i], answered.call_hours) <= KW


def assert_bound(answered: Answered) -> None:
    """No schedule that charges or discharges, never both, is worth more than the value; the powers are such a one."""
    for i, value, earns, tolerance in answered.each():
        best = answered.best(i, one_way=True)
        assert earns - 100.0 * tolerance <= best <= value + 100.0 * tolerance
        assert excess(answered.stores, i, answered.powers[:, i], answered.call_hours) <= KW


@pytest.mark.parametrize(
    ("hours", "call_hours", "whole"),
    [  # every pair of hours and numbers with one call in every run, with the others in `make test-all`
        pytest.param(hours, call, whole, marks=[] if (h + c + whole) % 3 == 0 else pytest.mark.slow)
        for h, hours in enumerate([1, 2, 6, 23, 24, 25])
        for c, call in enumerate([0.5, 1.0, 2.0])
        for whole in (False, True)
    ],
)
def test_the_value_is_that_of_the_linear_programme_and_is_earned_within_every_limit(
    hours: int, call_hours: float, whole: bool
):
    assert_exact(drawn(1, hours, call_hours, whole=whole))


@given(seed=st.integers(0, 2**32 - 1), hours=st.integers(1, 12), call_hours=st.sampled_from([0.5, 1.0, 1.5, 2.0]))
@tries(60)
def test_any_prosumer_answers_any_prices_exactly(seed: int, hours: int, call_hours: float):
    assert_exact(drawn(seed, hours, call_hours, count=2, whole=seed % 2 == 0))


def no_store(stores: Stores) -> Stores:
    """Nothing can be kept: the highest stored energy is the lowest, and none of it moves."""
    nothing, empty = np.zeros_like(stores.highest), np.zeros_like(stores.initial)
    return stores._replace(
        highest=nothing, lowest=nothing, floor=nothing, drive=nothing, initial=empty, floor_before=empty
    )


def still(stores: Stores, *, powers: bool = True) -> Stores:
    """Stored energy stays what it is at the start: the floor is the cap."""
    stored = np.repeat(stores.initial[:, None], stores.highest.shape[1], axis=1)
    stores = stores._replace(highest=stored, lowest=stored, floor=0.5 * stored, drive=np.zeros_like(stored))
    stores = stores._replace(floor_before=stores.floor[:, 0].copy())
    return stores if powers else stores._replace(max_charge=0.0 * stored, max_discharge=0.0 * stored)


def never_home(stores: Stores) -> Stores:
    """An EV that is away all day, and drives what it has."""
    nothing = np.zeros_like(stores.highest)
    drive = np.repeat((stores.initial / nothing.shape[1])[:, None], nothing.shape[1], axis=1)
    stores = stores._replace(max_charge=nothing, max_discharge=nothing, drive=drive, lowest=nothing, floor=nothing)
    return stores._replace(highest=np.repeat(stores.initial[:, None], nothing.shape[1], axis=1))


def lossless(stores: Stores) -> Stores:
    one = np.ones_like(stores.initial)
    return stores._replace(
        charge_efficiency=one,
        discharge_efficiency=one,
        highest=stores.highest + 300.0,  # what was lost on the way stays in store now
    )


def without(*names: str) -> Callable[[Stores], Stores]:
    return lambda stores: stores._replace(**{name: np.zeros_like(getattr(stores, name)) for name in names})


LIMITS: dict[str, Callable[[Stores], Stores]] = {
    "no store": no_store,
    "floor is cap": still,
    "no power": lambda stores: still(stores, powers=False),
    "EV never home": never_home,
    "lossless": lossless,
    "no sun": without("sun"),
    "no commitments": without("energy_kw", "spin_kw", "nonspin_kw"),
    "energy alone": without("spin_kw", "nonspin_kw"),
    "reserve alone": without("energy_kw"),
    "nothing may leave the meter": without("room"),
    "nothing may be drawn": without("most_drawn_kwh"),
    "owners ask nothing": without("energy_cost", "spin_cost", "nonspin_cost"),
}


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("hours", [1, 9])
def test_prosumers_at_their_limits_answer_exactly(limits: str, hours: int):
    for whole in (False, True):
        rng = np.random.default_rng([hours, whole])
        stores = LIMITS[limits](draw_stores(rng, 8, hours, whole_numbers=whole))
        assert_exact(ask(stores, draw_prices(rng, hours, whole_numbers=whole), 1.0))


@pytest.mark.parametrize("price", [0.0, 50.0])
def test_prices_that_are_all_the_same_are_answered_exactly(price: float):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        same = np.full(9, price)
        stores = draw_stores(rng, 8, 9, whole_numbers=seed % 2 == 0)
        assert_exact(ask(stores, Duals(same, same, same, same), 1.0))


@pytest.mark.parametrize("hours", [1, 4, 12])
def test_where_prices_fall_below_zero_no_schedule_that_goes_one_way_beats_the_value(hours: int):
    """A sale after losses may earn more than charging costs: the value lets a store burn energy, the powers do not."""
    some = [drawn(seed, hours, lowest=-150.0, whole=seed % 2 == 0) for seed in range(6)]
    for answered in some:
        assert_bound(answered)
    assert sum(burning_pays(answered.stores, answered.duals).sum() for answered in some) >= 2


def test_below_zero_the_value_is_exact_where_burning_energy_does_not_pay():
    found = 0
    for seed in range(6):
        answered = drawn(seed, 6, lowest=-150.0)
        safe = ~burning_pays(answered.stores, answered.duals)
        for i, value, earns, tolerance in answered.each():
            if safe[i]:
                found += 1
                assert value == pytest.approx(answered.best(i), rel=0.0, abs=100.0 * tolerance)
                assert earns == pytest.approx(value, rel=0.0, abs=tolerance)
    assert found >= 20


def test_prices_that_are_all_below_zero_are_answered_within_every_limit():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert_bound(ask(draw_stores(rng, 8, 9), draw_prices(rng, 9, lowest=-100.0, highest=-1.0), 1.0))


def with_less_to_draw(answered: Answered, seed: int) -> Answered:
    """The same prosumers and prices with cycle limits below what they would draw."""
    drawn_kwh = answered.powers[2].sum(axis=1) / answered.stores.discharge_efficiency
    share = np.random.default_rng(seed).uniform(0.05, 0.95, len(drawn_kwh))
    return ask(answered.stores._replace(most_drawn_kwh=share * drawn_kwh), answered.duals, answered.call_hours)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("hours", [2, 6, 24])
def test_a_cycle_limit_that_binds_costs_what_the_linear_programme_says_and_is_met(hours: int, whole: bool):
    costly = 0
    for seed in range(4):
        free = drawn(seed, hours, whole=whole)
        limited = with_less_to_draw(free, seed)
        assert_exact(limited)
        costs = limited.value < free.value - 1e-9
        costly += int(costs.sum())
        drawn_kwh = limited.powers[2].sum(axis=1) / limited.stores.discharge_efficiency
        assert drawn_kwh[costs] == pytest.approx(limited.stores.most_drawn_kwh[costs], abs=1e-8)
    assert costly >= 3


def test_a_cycle_limit_leaves_the_value_a_bound_where_prices_fall_below_zero():
    for seed in range(3):
        assert_bound(with_less_to_draw(drawn(seed, 8, lowest=-150.0), seed))


def test_a_cycle_limit_holds_where_charging_again_is_paid_more_than_any_sale():
    """A full store of 10 kWh, lossless: 2 kWh may be drawn for nothing at first, and 3 $ are paid for each put back."""
    nothing, ten, one = np.zeros((1, 2)), np.full((1, 2), 10.0), np.ones(1)
    no_reserve = [nothing, nothing] * 2
    stores = Stores(
        ten, ten, nothing, ten, nothing, nothing, ten, nothing, ten, nothing, *no_reserve, one, one, 10.0 * one,
        0.0 * one, 2.0 * one,
    )  # fmt: skip
    price = np.array([0.0, -3000.0])
    answered = ask(stores, Duals(price, price, 0.0 * price, 0.0 * price), 1.0)
    assert answered.value == pytest.approx(6.0)
    assert answered.powers[2, 0] == pytest.approx([2.0, 0.0])
    assert answered.powers[0, 0] == pytest.approx([0.0, 2.0])
    assert_bound(answered)


def test_a_cycle_limit_leaves_the_value_a_bound_where_prices_fall_far_below_zero():
    for seed in range(3):
        assert_bound(with_less_to_draw(drawn(seed, 8, lowest=-5000.0), seed))


def of_size(stores: Stores, size: float) -> Stores:
    """Devices ``size`` times as large, at the same prices."""
    as_they_are = {"energy_cost", "spin_cost", "nonspin_cost", "charge_efficiency", "discharge_efficiency"}
    return stores._replace(**{name: size * getattr(stores, name) for name in set(Stores._fields) - as_they_are})


@pytest.mark.parametrize("size", [1e-3, 3e3, 1e5, 7e6])
def test_a_device_of_any_size_is_worth_as_many_times_as_much(size: float):
    """From watts to GW: what a tolerance of the kernels is, is small beside the device."""
    for seed in range(12):
        rng = np.random.default_rng([seed, 24])
        hours, whole = int(rng.choice([6, 24, 25])), seed % 2 == 0
        stores = draw_stores(rng, 6, hours, whole_numbers=whole)
        duals = draw_prices(rng, hours, whole_numbers=whole)
        expected, answered = ask(stores, duals, 1.0), ask(of_size(stores, size), duals, 1.0)
        for i, value, earns, _ in answered.each():
            tolerance = 1e-8 * (1.0 + abs(expected.value[i]))
            assert value / size == pytest.approx(expected.value[i], rel=0.0, abs=tolerance)
            assert earns / size == pytest.approx(value / size, rel=0.0, abs=tolerance)
            assert excess(answered.stores, i, answered.powers[:, i], 1.0) <= KW * max(size, 1.0)


def test_the_worth_of_stored_energy_is_the_same_at_any_size():
    rng, hours, size = np.random.default_rng(6), 12, 1e5
    stores, duals = draw_stores(rng, 12, hours), draw_prices(rng, hours)
    within = stores.lowest + 0.37 * (stores.highest - stores.lowest)
    worth = pricer_of(stores, 1.0).shards[0].stored_values(duals, within)
    assert pricer_of(of_size(stores, size), 1.0).shards[0].stored_values(duals, size * within) == pytest.approx(
        worth, abs=1e-6
    )


def grid_best(stores: Stores, i: int, duals: Duals) -> float:
    """The best of all whole powers, hour by hour, lossless and with a call of one hour: nothing but counting."""
    hours, levels = len(duals.buy), range(3)
    worth = np.array(
        [-duals.buy, 0.0 * duals.buy, duals.sell, duals.sell, duals.spin, duals.nonspin]
    ) / 1000.0 - np.array(
        [0.0 * duals.buy, 0.0 * duals.buy, *[stores.energy_cost[i]] * 2, stores.spin_cost[i], stores.nonspin_cost[i]]
    )
    best = {int(stores.initial[i]): 0.0}  # stored kWh -> the most earned on the way to it
    for t in range(hours):
        reached: dict[int, float] = {}
        for stored, before in best.items():
            above = stored - (stores.floor_before[i] if t == 0 else stores.floor[i, t - 1])
            for grid, solar, out, sold, spin, nonspin in itertools.product(levels, repeat=POWERS):
                after = stored + grid + solar - out - int(stores.drive[i, t])
                if (
                    stores.lowest[i, t] <= after <= stores.highest[i, t]
                    and grid + solar <= stores.max_charge[i, t]
                    and out + spin + nonspin <= stores.max_discharge[i, t]
                    and out + sold + spin + nonspin <= stores.room[i, t]
                    and solar + sold <= stores.sun[i, t]
                    and out + sold <= stores.energy_kw[i, t]
                    and spin <= stores.spin_kw[i, t]
                    and nonspin <= stores.nonspin_kw[i, t]
                    and spin + nonspin <= min(above, after - stores.floor[i, t])
                ):
                    value = before + float(worth[:, t] @ (grid, solar, out, sold, spin, nonspin))
                    reached[after] = max(value, reached.get(after, -np.inf))
        best = reached
    return max(best.values())


def tiny(rng: np.random.Generator, count: int, hours: int) -> Stores:
    """Lossless stores of whole kWh with powers of at most 2 kW."""

    def whole(most: int) -> Array:
        return rng.integers(0, most + 1, (count, hours)).astype(float)

    nothing, one = np.zeros((count, hours)), np.ones(count)
    cost = [rng.integers(0, 4, (count, hours)) / 100.0 for _ in range(3)]
    initial, floor = rng.integers(1, 5, count).astype(float), np.repeat(rng.integers(0, 2, (count, 1)), hours, axis=1)
    return Stores(
        whole(2),
        whole(2),
        floor.astype(float),
        np.full((count, hours), 5.0),
        floor.astype(float),
        whole(2),
        whole(2) + 1.0,
        nothing,
        whole(2),
        cost[0],
        whole(2),
        cost[1],
        whole(2),
        cost[2],
        one,
        one,
        initial,
        floor[:, 0].astype(float),
        UNLIMITED_KWH * one,
    )


@pytest.mark.parametrize("seed", seeds(range(8)))
def test_the_value_is_the_best_of_all_whole_powers_where_nothing_is_lost(seed: int):
    """Prices are whole cents, limits whole kW: the best lies on the grid, and every schedule on it can be counted."""
    rng = np.random.default_rng(seed)
    stores, duals = tiny(rng, 2, 3), draw_prices(rng, 3, whole_numbers=True)
    duals = replace(duals, sell=np.where(np.isfinite(duals.sell), duals.sell, -1e6))
    value = pricer_of(stores, 1.0).values(duals)
    for i in range(2):
        assert value[i] == pytest.approx(grid_best(stores, i, duals), abs=1e-12)


@pytest.mark.parametrize("call_hours", [0.5, 1.0, 2.0])
def test_a_mixture_of_answers_keeps_every_limit_and_goes_one_way(call_hours: float):
    """With weights that add up to one; netting may only earn more."""
    rng, count, hours = np.random.default_rng(3), 12, 24
    stores = draw_stores(rng, count, hours)
    all_prices = [draw_prices(rng, hours, lowest=-20.0) for _ in range(3)]
    powers = np.zeros((POWERS, count, hours))
    for weight, duals in zip((0.5, 0.3, 0.2), all_prices, strict=True):
        add_schedules(stores, 0, np.arange(count), np.full(count, weight), per_kwh(duals), call_hours, powers)
    mixed = powers.copy()
    net(powers, stores)
    eta_c, eta_d = stores.charge_efficiency[:, None], stores.discharge_efficiency[:, None]
    stored = eta_c * (powers[0] + powers[1]) - powers[2] / eta_d
    assert stored == pytest.approx(eta_c * (mixed[0] + mixed[1]) - mixed[2] / eta_d, abs=1e-9)
    assert max(excess(stores, i, powers[:, i], call_hours) for i in range(count)) <= KW
    assert (np.minimum(mixed[0] + mixed[1], mixed[2]) > 1e-3).any()  # or there would be nothing to net


def test_sums_of_groups_are_those_of_their_members_bit_for_bit_in_every_sweep():
    rng, count, hours = np.random.default_rng(4), 40, 24
    stores, duals = draw_stores(rng, count, hours), draw_prices(rng, hours)
    group = rng.integers(0, 3, count)
    pricer = FleetPricer(stores, group, 3, 1.0)
    first, again = pricer.price(duals), pricer.price(duals)
    answered = ask(stores, duals, 1.0)
    sold, bought = answered.powers[2] + answered.powers[3], answered.powers[0]
    for g in range(3):
        mine = group == g
        assert first.sold_kw[g] == pytest.approx(sold[mine].sum(axis=0), abs=1e-9)
        assert first.bought_kw[g] == pytest.approx(bought[mine].sum(axis=0), abs=1e-9)
        assert first.spin_kw[g] == pytest.approx(answered.powers[4][mine].sum(axis=0), abs=1e-9)
        assert first.nonspin_kw[g] == pytest.approx(answered.powers[5][mine].sum(axis=0), abs=1e-9)
        assert first.value_usd[g] == pytest.approx(answered.value[mine].sum(), abs=1e-9)
    prices = np.where(np.isfinite(duals.sell), duals.sell, 0.0)
    market = [prices, -duals.buy, duals.spin, duals.nonspin]
    earns = sum(
        kw @ price / 1000.0
        for kw, price in zip((first.sold_kw, first.bought_kw, first.spin_kw, first.nonspin_kw), market, strict=True)
    )
    assert earns - first.paid_usd == pytest.approx(first.value_usd, abs=1e-9)
    for name, values in vars(first).items():
        assert values.tobytes() == getattr(again, name).tobytes(), name


def test_the_worth_of_stored_energy_is_what_more_of_it_would_earn_from_there_on():
    """Between what a little more adds and what a little less costs, for the rest of the day as a day of its own."""
    rng, count, hours, little = np.random.default_rng(5), 12, 12, 1e-4
    stores, duals = draw_stores(rng, count, hours), draw_prices(rng, hours)
    stores = stores._replace(most_drawn_kwh=np.full(count, UNLIMITED_KWH))
    answered = ask(stores, duals, 1.0)
    change = (
        stores.charge_efficiency[:, None] * answered.powers[:2].sum(axis=0)
        - answered.powers[2] / stores.discharge_efficiency[:, None]
        - stores.drive
    )
    stored = stores.initial[:, None] + change.cumsum(axis=1)
    worth = pricer_of(stores, 1.0).shards[0].stored_values(duals, stored)
    judged = 0
    for t in (2, 5, 8):
        rest = Stores(*(values[:, t + 1 :].copy() if values.ndim == 2 else values for values in stores))
        rest = rest._replace(floor_before=stores.floor[:, t].copy())
        later = Duals(*(prices[t + 1 :] for prices in vars(duals).values()))
        less, here, more = (
            pricer_of(rest._replace(initial=stored[:, t] + step), 1.0).values(later) for step in (-little, 0.0, little)
        )
        free = np.isfinite(less) & np.isfinite(more)
        free &= (stored[:, t] - little > stores.lowest[:, t]) & (stored[:, t] + little < stores.highest[:, t])
        judged += int(free.sum())
        assert (worth[free, t] <= ((here - less) / little)[free] + 1e-6).all()
        assert (worth[free, t] >= ((more - here) / little)[free] - 1e-6).all()
    assert judged >= 8
