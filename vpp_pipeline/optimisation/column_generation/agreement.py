"""On every large day, a random part of the fleet is solved by both methods: they must agree."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.optimisation.column_generation.prepare import prepare
from vpp_pipeline.optimisation.exact import formulate
from vpp_pipeline.optimisation.problem import DayProblem, part_of, prosumers_with_deals, unlimited_mw

SAMPLE = 40
AGREED = 1e-6


class Disagreement(SolveError):
    """The two methods differ on a small part of a day."""


def agreement(day: DayProblem, seed: int) -> str:
    """In words, how well both methods agree on the relaxed day of a few prosumers, drawn by ``seed``.

    Raises Disagreement where they differ by more than a millionth. Where prices are below zero the relaxations are not
    the same (the exact one may burn energy): then its answer must not be the smaller one.
    """
    able = prosumers_with_deals(day)
    if not len(able):
        return "no deals to check both methods on"
    chosen = np.sort(np.random.default_rng(seed).permutation(able)[:SAMPLE])
    part = part_of(day, chosen, len(chosen) / len(able))
    nothing, anything = np.zeros(len(day.price)), day.may_bid.astype(float)
    linear = formulate(part, binary=False)
    linear.set_bids(nothing, anything)
    linear.set_quantities(nothing, unlimited_mw(part))
    exact_usd = linear.solve("HIGHS")
    gap = AGREED / 10.0
    generation = prepare(part, gap, decides=False).generation
    answer, bound_usd = generation.converge(nothing, anything, gap)
    difference = abs(exact_usd - answer.objective_usd) / max(abs(exact_usd), 1.0)
    feared = [] if part.scenarios is None else [part.scenarios.market_price, part.scenarios.worth]
    may_burn = any(bool((prices < 0.0).any()) for prices in (part.market_price, part.price, *feared))
    if difference > AGREED and not (may_burn and exact_usd >= answer.objective_usd):
        raise Disagreement(
            f"on {len(chosen)} prosumers the exact method finds {exact_usd:.9g} $ and column generation "
            f"{answer.objective_usd:.9g} $ (at most {bound_usd:.9g} $): please report this day"
        )
    return f"both methods agree to {difference:.0e} on {len(chosen)} prosumers"
