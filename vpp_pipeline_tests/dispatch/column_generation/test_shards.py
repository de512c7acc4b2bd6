"""The fleet cut into shards: the same bits for any cut, from sums of groups to every prosumer's schedule."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.arrays import Flags, Indices
from vpp_pipeline.dispatch.column_generation import method
from vpp_pipeline.dispatch.column_generation.best_response import POWERS, Stores
from vpp_pipeline.dispatch.column_generation.method import solve_by_columns
from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, InProcess, Pricer, cut
from vpp_pipeline.dispatch.column_generation.shard import GiveUp, Mix, Plan, Put, Scale, Shard, Trim, as_read_only
from vpp_pipeline.dispatch.schedule import COLUMNS, DaySchedule
from vpp_pipeline.settings import COMPUTED_WHERE, OptimiserSettings, Settings, read_settings
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.dispatch.column_generation.drawn_stores import draw_prices, draw_stores
from vpp_pipeline_tests.dispatch.conftest import make_day
from vpp_pipeline_tests.dispatch.small_days import RULES

HOURS = 6


@dataclass(frozen=True)
class InShards(InProcess):
    """Fleets in this process, cut into shards."""

    shards: int

    def pricer(self, stores: Stores, group: Indices, groups: int, call_hours: float) -> FleetPricer:
        return FleetPricer(stores, group, groups, call_hours, self.shards)


def plan_of(rng: np.random.Generator, groups: int, count: int) -> Plan:
    """A plan with every kind of step."""
    share = rng.uniform(0.0, 1.0, (2, groups))
    plan = Plan.of(Mix((draw_prices(rng, HOURS), draw_prices(rng, HOURS)), share / share.sum(axis=0)))
    plan = plan.then(Trim(rng.uniform(0.5, 1.0, (POWERS, HOURS)))).then(Scale(rng.uniform(0.5, 1.0, (POWERS, HOURS))))
    for hour, power in enumerate(("sun", "discharge", "charge")):
        plan = plan.then(GiveUp(hour, power, float(rng.uniform())))
    place = np.flatnonzero(rng.uniform(size=count) < 0.2)
    done = DaySchedule(**{name: rng.uniform(0.0, 3.0, (len(place), HOURS)) for name in COLUMNS})
    return plan.then(Put(place, done)).then(GiveUp(3, "discharge", 0.5))


def everything(pricer: Pricer, seed: int, asked: Flags) -> list[bytes]:
    """All that a pricer can be asked, to the bit."""
    rng = np.random.default_rng(seed)
    duals, other = draw_prices(rng, HOURS), draw_prices(rng, HOURS)
    plan = plan_of(rng, pricer.groups, len(pricer))
    some = np.flatnonzero(rng.uniform(size=len(pricer)) < 0.1)
    solved = pricer.collect(plan, duals, other)
    found = [
        *vars(pricer.price(duals)).values(),
        *vars(pricer.price(other, asked)).values(),
        pricer.sweeps,
        pricer.values(duals),
        pricer.powers_of(plan),
        pricer.powers_of(plan, without=some),
        pricer.paid_usd(plan),
        *(pricer.could_give_up(plan, 2, power) for power in ("sun", "discharge", "charge")),
        *vars(solved.schedule).values(),
        solved.stored_value,
        solved.no_sale_usd,
    ]
    return [np.asarray(one).tobytes() for one in found]


@tries(25)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(2, 50), st.integers(0, 10**6))
def test_any_cut_into_shards_gives_the_same_bits(count: int, groups: int, shards: int, seed: int):
    same_bits(count, groups, shards, seed, np.float64)


@pytest.mark.slow  # half a minute where the kernels are new
@tries(10)
@given(st.integers(1, 400), st.integers(2, 50), st.integers(0, 10**6))
def test_any_cut_gives_the_same_bits_in_the_precision_of_a_fleet_of_millions(count: int, shards: int, seed: int):
    same_bits(count, 40, shards, seed, np.float32)


def same_bits(count: int, groups: int, shards: int, seed: int, precision: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(seed)
    stores, group = draw_stores(rng, count, HOURS), rng.integers(0, groups, count)
    lowest = stores.lowest
    stores = Stores(*(as_read_only(values, precision if values.ndim == 2 else np.float64) for values in stores))
    stores = stores._replace(lowest=as_read_only(lowest))
    asked = np.arange(groups) % 3 == 0
    whole = everything(FleetPricer(stores, group, groups, 1.0), seed, asked)
    assert everything(FleetPricer(stores, group, groups, 1.0, shards), seed, asked) == whole


@tries(50)
@given(st.integers(1, 300), st.integers(1, 70))
def test_every_group_lies_in_one_shard_and_no_shard_has_two_more_than_another(groups: int, shards: int):
    shard = cut(groups, shards)
    for part in (np.arange(groups), *(np.arange(first, groups, 3) for first in range(3))):
        counts = np.bincount(shard[part], minlength=shards)
        assert counts.sum() == len(part)
        assert counts.max() - counts.min() <= 1


@pytest.mark.slow
def test_a_shard_that_forgot_its_schedule_finds_it_again_from_the_plan():
    """As one that is started again in the middle: each question of the plan so far gives the same bits."""
    rng, count = np.random.default_rng(3), 90
    stores, group = draw_stores(rng, count, HOURS), rng.integers(0, 5, count)
    plan = plan_of(rng, 5, count)
    kept = Shard(stores, np.arange(count), group, 1.0)
    for steps in range(1, len(plan.steps) + 1):
        part = Plan(plan.steps[:steps], plan.numbers[:steps])
        fresh = Shard(stores, np.arange(count), group, 1.0)
        for power in ("discharge", "sun", "charge"):
            ours, again = (shard.could_give_up(part, 4, power) for shard in (kept, fresh))
            assert ours.tobytes() == again.tobytes(), (steps, power)
        assert kept.powers_of(part).tobytes() == fresh.powers_of(part).tobytes(), steps


def test_two_plans_of_one_mixture_do_not_mix():
    """The bids met by giving up, and by a part of the fleet solved again, begin with the same schedule."""
    rng, count = np.random.default_rng(4), 50
    stores, group = draw_stores(rng, count, HOURS), rng.integers(0, 3, count)
    pricer, first = FleetPricer(stores, group, 3, 1.0), plan_of(rng, 3, count)
    begun = Plan(first.steps[:2], first.numbers[:2])
    second = begun.then(GiveUp(1, "discharge", 1.0))
    before, alone = pricer.powers_of(begun), FleetPricer(stores, group, 3, 1.0).powers_of(second)
    ended = pricer.powers_of(first)
    assert pricer.powers_of(second).tobytes() == alone.tobytes()
    assert pricer.powers_of(begun).tobytes() == before.tobytes()
    assert pricer.powers_of(first).tobytes() == ended.tobytes()


@pytest.mark.slow
def test_a_whole_day_is_the_same_to_the_bit_in_one_shard_and_in_seven(monkeypatch: pytest.MonkeyPatch):
    """1,200 prosumers, of which a sample is solved first."""
    settings = OptimiserSettings(method="column_generation", pivot_limit=0, gap_target_fraction=0.3)
    day = make_day(settings, prosumers=1_200)
    monkeypatch.setattr(method, "LOCAL", InShards(7))
    cut_up = solve_by_columns(day, RULES, settings)
    monkeypatch.undo()
    whole = solve_by_columns(day, RULES, settings)
    assert whole.is_bid.any()
    for name, values in vars(replace(cut_up, seconds=whole.seconds)).items():
        expected = getattr(whole, name)
        if name in ("schedule", "duals"):
            for of, array in vars(values).items():
                assert array.tobytes() == getattr(expected, of).tobytes(), (name, of)
        elif isinstance(values, np.ndarray):
            assert values.tobytes() == expected.tobytes(), name
        else:
            assert values == expected, name


def test_without_ray_the_backend_is_refused_with_a_remedy():
    """In a process that has no Ray, as after an installation without the extra."""
    lines = (
        "import sys; sys.modules['ray'] = None",
        "from vpp_pipeline.dispatch.solvers import require_backend",
        "from vpp_pipeline.settings import OptimiserSettings",
        "require_backend(OptimiserSettings())",
        "require_backend(OptimiserSettings(backend='ray'))",
    )
    said = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    last = said.stderr.strip().splitlines()[-1]
    assert "InputError: the setting optimiser.backend cannot be used: Ray is not installed (value ray)." in last
    assert "make cluster" in last


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "backend": "ray",
        "shards": 8,
        "shard_cpus": 0.5,
        "shard_folder": "/shared",
        "shard_patience_s": 5.0,
        "ray_address": "head:6379",
    }.items(),
)
def test_where_a_day_is_computed_is_no_part_of_its_fingerprint(name: str, value: Any):
    assert name in COMPUTED_WHERE
    assert read_settings({"optimiser": {name: value}}).deciding() == Settings().deciding()


def test_every_other_setting_of_the_optimiser_is_a_part_of_it():
    for name, field in OptimiserSettings.model_fields.items():
        other = {"auto": "exact", "HIGHS": "SCIPY", "CLARABEL": "HIGHS"}.get(field.default)
        changed = {name: other or (1.0 if field.annotation is float else 1)}
        if name not in COMPUTED_WHERE:
            assert read_settings({"optimiser": changed}).deciding() != Settings().deciding(), name
