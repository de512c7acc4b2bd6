"""From weights of columns back to a schedule of every prosumer, settled on the market's step.

Bids are on the market's step, to the last watt: what rounding and netting leave is given up, or sold in other hours.

Giving up needs no solver and works at any size. Where it costs more than the day's gap target, or a bid lacks a little
of its minimum, a small part of the fleet is solved again by the exact method beside the others.

All of it is a plan, whose steps the shards carry out; what is decided here rests on their sums alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags, Indices, round_down
from vpp_pipeline.dispatch.column_generation.branch_and_price import Generation
from vpp_pipeline.dispatch.column_generation.master import MasterAnswer
from vpp_pipeline.dispatch.column_generation.pricing import NONSPIN, SPIN, Pricer
from vpp_pipeline.dispatch.column_generation.shard import (
    DISCHARGE,
    GRID,
    NONSPIN_KW,
    SOLD,
    SPIN_KW,
    GiveUp,
    Mix,
    Plan,
    Put,
    Scale,
    Trim,
)
from vpp_pipeline.dispatch.exact import Log, exact_energy, settle, solve_lp
from vpp_pipeline.dispatch.formulation import ENERGY, Beside, formulate
from vpp_pipeline.dispatch.problem import DayProblem, part_of, prosumers_with_deals
from vpp_pipeline.settings import MarketRules, OptimiserSettings

WEIGHT = 1e-9  # columns with less are left out, and the rest of their group takes their place
PARTS = (100, 400)  # prosumers that are solved again, at most
SEED = 7
LEFT_KW = 1e-4  # a position that is this near to its bid meets it: below the tolerance of verification


def recover(pricer: Pricer, generation: Generation, answer: MasterAnswer) -> Plan:
    """The plan that the weights of columns stand for: a mixture of each prosumer's own best responses."""
    share: dict[int, Array] = defaultdict(lambda: np.zeros(pricer.groups))
    for (group, answered), weight in zip(generation.master.columns, answer.weights, strict=True):
        if weight > WEIGHT:
            share[answered][group] += weight
    total = np.sum(list(share.values()), axis=0)
    answers = sorted(share)
    duals = tuple(generation.dual_bounds[answered].duals for answered in answers)
    plan = Plan.of(Mix(duals, np.array([share[answered] / total for answered in answers])))
    return plan.then(Trim(trim(pricer.powers_of(plan), generation.coordinator.day, answer.q)))


def trim(powers: Array, day: DayProblem, quantity_mw: Array) -> Array:
    """Factors (POWERS, T) to hold no more reserve ready than is bid, and sell no more sun; ``quantity_mw`` (O,).

    The master may leave reserve unused, and netting leaves energy to sell: everyone gives up the same share of
    ``powers`` (POWERS, T).
    """
    factor = np.ones_like(powers)
    most_kw = _bid_kw(day, quantity_mw)
    for row, product in ((SPIN_KW, SPIN), (NONSPIN_KW, NONSPIN)):
        factor[row] = _at_most(powers[row], most_kw[product])
    over = powers[SOLD] + powers[DISCHARGE] - powers[GRID] - most_kw[ENERGY]
    over = np.where(most_kw[ENERGY] > 0.0, over, 0.0)
    factor[SOLD] = 1.0 - np.clip(over, 0.0, powers[SOLD]) / np.where(powers[SOLD] > 0.0, powers[SOLD], 1.0)
    return factor


def _bid_kw(day: DayProblem, quantity_mw: Array) -> Array:
    """What bids (O,) come to, of each product by hour (3, T), kW."""
    return np.array([1000.0 * day.covers[day.product == p].T @ quantity_mw[day.product == p] for p in range(3)])


def _at_most(held_kw: Array, most_kw: Array) -> Array:
    """Factors (T,) that lower ``held_kw`` to ``most_kw`` where it is more."""
    return np.where(held_kw > most_kw, most_kw / np.where(held_kw > 0.0, held_kw, 1.0), 1.0)


@dataclass(frozen=True)
class OnStep:
    """A plan that meets its bids on the market's step."""

    plan: Plan
    quantity_mw: Array  # (O,)


def give_up_excess(
    day: DayProblem, pricer: Pricer, plan: Plan, decisions: Array, rules: MarketRules
) -> tuple[OnStep, Flags]:
    """The plan without what exceeds its bids on the step, and which bids (O,) it cannot meet all the same.

    Each bid is what all of its hours deliver, at most R, rounded down. Reserve is scaled to it. Of energy, sun stays at
    home, then stores discharge less, then idle ones charge more, as far as their capacity allows in all later hours:
    no limit can be broken by it.
    """
    bid, product, powers = decisions > 0.5, day.product, pricer.powers_of(plan)
    net_kw = powers[DISCHARGE] + powers[SOLD] - powers[GRID]
    held_kw = np.array([net_kw, powers[SPIN_KW], powers[NONSPIN_KW]])
    least_mw = np.where(day.covers, held_kw[product] / 1000.0, np.inf).min(axis=1)
    quantity_mw = bid * round_down(np.clip(least_mw, 0.0, day.required_mw), rules.quantity_step_mw)
    fails = bid & (quantity_mw < day.minimum_mw - 1e-9)

    sold_kw, factor = _bid_kw(day, quantity_mw), np.ones_like(powers)
    for row, of in ((SPIN_KW, SPIN), (NONSPIN_KW, NONSPIN)):
        factor[row] = _at_most(held_kw[of], sold_kw[of])
    plan = plan.then(Scale(factor))
    has_bid = day.covers[bid & (product == ENERGY)].any(axis=0)
    for t in np.flatnonzero(has_bid & (net_kw - sold_kw[ENERGY] > LEFT_KW)):
        plan, left_kw = _give_up_energy(pricer, plan, int(t), float(net_kw[t] - sold_kw[ENERGY, t]))
        if left_kw > LEFT_KW:
            fails |= bid & (product == ENERGY) & day.covers[:, t]
    return OnStep(plan, quantity_mw), fails


def _give_up_energy(pricer: Pricer, plan: Plan, hour: int, excess_kw: float) -> tuple[Plan, float]:
    """The plan that sells ``excess_kw`` less in ``hour``, everyone by the same share of what it could; and the rest
    that no prosumer can give up."""
    for power in ("sun", "discharge", "charge"):
        if excess_kw <= 0.0:
            break
        most_kw = pricer.could_give_up(plan, hour, power)
        if most_kw > 0.0:
            fraction = min(excess_kw / most_kw, 1.0)
            plan = plan.then(GiveUp(hour, power, fraction))
            excess_kw -= fraction * most_kw
    return plan, excess_kw


def settle_part(
    day: DayProblem,
    pricer: Pricer,
    plan: Plan,
    decisions: Array,
    rules: MarketRules,
    settings: OptimiserSettings,
    size: int,
) -> OnStep:
    """The plan with up to ``size`` prosumers solved exactly beside the others, who keep theirs.

    Raises SolveError if these prosumers cannot make up for what the others leave.
    """
    chosen, log = _part(day, size), Log()
    grid, _, discharge, sold, *held = pricer.powers_of(plan, without=chosen) / 1000.0
    beside = Beside(sold=discharge + sold, charged=grid, held=np.stack(held))
    # a part of the day keeps the size of its bids: the others are beside it
    part = part_of(day, chosen, 1.0)
    linear = formulate(part, binary=False, beside=beside)

    def solve_linear(z_low: Array, z_high: Array, q_low: Array, q_high: Array) -> float:
        linear.set_bids(z_low, z_high)
        linear.set_quantities(q_low, q_high)
        return solve_lp(linear, settings, log)

    quantity_mw, _, _, _ = settle(part, linear, solve_linear, decisions, rules, log)
    mine = exact_energy(part.fleet, linear.schedule())
    return OnStep(plan.then(Put(chosen, mine)), quantity_mw)


def _part(day: DayProblem, size: int) -> Indices:
    """Up to ``size`` prosumers drawn from those with a store and an agreement, in order."""
    able = np.intersect1d(np.flatnonzero(day.fleet.has_store), prosumers_with_deals(day))
    able = able if len(able) >= min(size, len(day.fleet)) else np.arange(len(day.fleet))
    return np.sort(np.random.default_rng(SEED).permutation(able)[:size])
