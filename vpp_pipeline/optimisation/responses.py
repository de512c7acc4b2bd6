"""What the fleet would want to sell if other prices came: the day solved again, scenario by scenario."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.optimisation.exact import STEP_H, formulate
from vpp_pipeline.optimisation.linear_program import WarmLinearProgram
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution, part_of

SAMPLE = 300  # prosumers; a larger fleet is represented by so many, evenly spaced


def wanted_quantities(day: DayProblem, solution: DaySolution) -> Array:
    """MW (W + 1, O) that earn most at each scenario's prices with everyone there; row 0 at the forecast's.

    What is bid stays bid, for 0 to the settled quantity of each bid: all of them are wanted together, so what a later
    hour pays is the opportunity cost of an earlier one. Only prices differ, so the simplex goes on from the basis of
    the scenario before.
    """
    scenarios = day.scenarios
    if scenarios is None:
        return np.empty((0, len(day.price)))
    sample, share = _sample(replace(day, scenarios=None))
    most_mw = solution.quantity_mw * share
    open_day = replace(sample, required_mw=most_mw, minimum_mw=np.zeros(len(most_mw)))
    linear, is_bid = formulate(open_day, binary=False), solution.is_bid.astype(float)
    linear.set_bids(is_bid, is_bid)
    linear.set_quantities(np.zeros(len(most_mw)), most_mw)
    program = WarmLinearProgram(linear.problem)
    wanted = []
    for price, market_price in zip(
        np.vstack([day.price, scenarios.price]), np.vstack([day.market_price, scenarios.market_price]), strict=True
    ):
        program.set_cost(linear.q, -price * day.hours * STEP_H)
        program.set_cost(linear.buy, (market_price + day.charging_adder) * STEP_H)
        answer = program.solve()
        if answer is None:
            raise SolveError("no schedule meets the owners' limits with the day's bids")
        wanted.append(program.value_of(linear.q, answer[1]))
    part = np.divide(wanted, most_mw, out=np.zeros((len(wanted), len(most_mw))), where=most_mw > 0.0)
    return np.asarray(solution.quantity_mw * np.clip(part, 0.0, 1.0))


def _sample(day: DayProblem) -> tuple[DayProblem, Array]:
    """The day of at most SAMPLE prosumers, and their share (O,) of what is committed to each opportunity."""
    rows = np.unique(np.linspace(0, len(day.fleet) - 1, min(SAMPLE, len(day.fleet))).astype(np.int64))
    count = len(day.price)
    kept = np.isin(day.agreement_prosumer, rows)
    committed = np.bincount(day.agreement_opportunity, day.committed_kw, count)
    theirs = np.bincount(day.agreement_opportunity[kept], day.committed_kw[kept], count)
    share = np.divide(theirs, committed, out=np.zeros(count), where=committed > 0.0)
    return part_of(day, rows, share), share
