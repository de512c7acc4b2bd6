"""The day solved with bids that the market takes: one that it would not take is left out, and the day solved again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from vpp_pipeline.domain.bids import refusals
from vpp_pipeline.domain.calendar import PRODUCTS
from vpp_pipeline.domain.payments import DUST_KW, with_costs
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution
from vpp_pipeline.optimisation.solve import solve_day
from vpp_pipeline.optimisation.tables import charging_table
from vpp_pipeline.settings import MarketRules, OptimiserSettings


def solve_valid_day(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """What :func:`~vpp_pipeline.optimisation.solve.solve_day` finds, with no bid that the market would not take.

    What a bid costs is known only when the whole day is: payments to the members it calls, and the charging that its
    sales cause. So the day is solved, bids that cannot be priced are ruled out with their reason, and the rest is
    solved again; each pass rules out at least one, so it ends. Objective and bound are those of the last pass.
    """
    refused: dict[str, str] = {}
    seconds = 0.0
    while True:
        solution = solve_day(without_bids(day, refused), rules, settings)
        seconds += solution.seconds
        found = refusals_of(day, solution, rules)
        if not found:
            break
        refused |= found
    if not refused:
        return solution
    many = "1 bid" if len(refused) == 1 else f"{len(refused)} bids"
    method = f"{solution.method}; without {many} that the market would not take"
    return replace(solution, refusals=refused, method=method, seconds=seconds)


def without_bids(day: DayProblem, refused: dict[str, str]) -> DayProblem:
    """The day in which the opportunities named in ``refused`` may not bid; the others as before."""
    return replace(day, may_bid=day.may_bid & ~np.isin(day.opportunity_id.astype(str), list(refused)))


def refusals_of(day: DayProblem, solution: DaySolution, rules: MarketRules) -> dict[str, str]:
    """Why the market would not take a bid of ``solution``, by opportunity; empty where it takes them all."""
    bids = pl.DataFrame(
        {
            "opportunity_id": day.opportunity_id.astype(str),
            "product": np.array(PRODUCTS)[day.product],
            "quantity_mw": solution.quantity_mw,
            "duration_hours": day.hours,
        }
    ).filter(pl.Series(solution.is_bid))
    if bids.is_empty():
        return {}
    return refusals(bids, with_costs(_delivered(day, solution), charging_table(day, solution)), rules)


def _delivered(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """What each deal of a bid delivers over its block, as ``with_costs`` takes it."""
    sold_kwh = np.zeros(len(day.agreement_opportunity))
    for product in range(len(PRODUCTS)):
        sold_kw = solution.schedule.sold_kw(product)
        for o in np.flatnonzero(solution.is_bid & (day.product == product)):
            deals = np.flatnonzero(day.agreement_opportunity == o)
            sold_kwh[deals] = sold_kw[np.ix_(day.agreement_prosumer[deals], day.covers[o])].sum(axis=1)
    k = np.flatnonzero(sold_kwh > DUST_KW * day.hours[day.agreement_opportunity])
    opportunity, prosumer = day.agreement_opportunity[k], day.agreement_prosumer[k]
    return pl.DataFrame(
        {
            "opportunity_id": day.opportunity_id[opportunity].astype(str),
            "prosumer_id": day.fleet.prosumer_id[prosumer].astype(str),
            "forecast_price": day.price[opportunity],
            "agreed_price_usd_per_mwh": day.agreed_price[k],
            "dispatched_kwh": sold_kwh[k],
        }
    )
