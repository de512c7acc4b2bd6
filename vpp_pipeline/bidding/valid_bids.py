"""The day solved with bids that the market takes: one that it would not take is left out, and the day solved again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from vpp_pipeline.bidding.bids import refusals
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.payments import DUST_KW, recovered_usd
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, by_resource, joined, part_of_resource
from vpp_pipeline.dispatch.solvers import solve_day
from vpp_pipeline.dispatch.tables import charging_usd
from vpp_pipeline.settings import MarketRules, OptimiserSettings


def solve_valid_day(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The day solved with valid bids; of several resources each by itself, since nothing couples them."""

    def of_resource(part: DayProblem) -> DaySolution:
        storage = day.solved_by.get(part.fleet.resource_id[0])
        return _solve_valid(part, rules, settings) if storage is None else storage(part)

    places = by_resource(day)
    if not places:
        return of_resource(day)
    return joined(day, {name: of_resource(part_of_resource(day, *own)) for name, own in places.items()})


def _solve_valid(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """What :func:`~vpp_pipeline.dispatch.solvers.solve_day` finds, with no bid that the market would not take.

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
    to_recover_usd = charging_usd(day, solution) - solution.no_sale_charging_usd
    if not _could_be_refused(day, solution, to_recover_usd, rules):
        return {}
    count, sold_kwh = len(day.opportunity_id), _sold_kwh(day, solution)
    k = np.flatnonzero(sold_kwh > DUST_KW * day.hours[day.agreement_opportunity])
    opportunity, mwh = day.agreement_opportunity[k], sold_kwh[k] / 1000.0
    charging_cost_usd = recovered_usd(
        day.agreement_prosumer[k], mwh, day.call_price[k], day.price[opportunity], to_recover_usd
    )
    bids = pl.DataFrame(
        {
            "opportunity_id": day.opportunity_id.astype(str),
            "product": np.array(PRODUCTS)[day.product],
            "quantity_mw": solution.quantity_mw,
            "duration_hours": day.hours,
            "called_usd": np.bincount(opportunity, weights=day.call_price[k] * mwh, minlength=count),
            "charging_cost_usd": np.bincount(opportunity, weights=charging_cost_usd, minlength=count),
            "delivered_mwh": np.bincount(opportunity, weights=mwh, minlength=count),
        }
    )
    return refusals(bids.filter(pl.Series(solution.is_bid)), rules)


def _could_be_refused(day: DayProblem, solution: DaySolution, to_recover_usd: Array, rules: MarketRules) -> bool:
    """Whether the dearest deal of a bid and all the day's charging together would come above the cap.

    What each member really delivers takes long to add up for a million of them, and hardly ever decides.
    """
    dearest = np.full(len(day.opportunity_id), -np.inf)
    np.maximum.at(dearest, day.agreement_opportunity, day.call_price)
    bid = np.flatnonzero(solution.is_bid)
    most_usd = np.maximum(dearest[bid], 0.0) + np.maximum(to_recover_usd, 0.0).sum() / (
        solution.quantity_mw[bid] * day.hours[bid]
    )
    cap_usd = np.array([rules.price_limits(product)[1] for product in PRODUCTS])[day.product[bid]]
    return bool((most_usd > cap_usd).any())


def _sold_kwh(day: DayProblem, solution: DaySolution) -> Array:
    """What each deal (K,) delivers over its block (reserve: holds, in kW times hours); nothing where nothing is bid."""
    sold_kwh = np.zeros(len(day.agreement_opportunity))
    order = np.argsort(day.agreement_opportunity, kind="stable")
    ends = np.cumsum(np.bincount(day.agreement_opportunity, minlength=len(day.opportunity_id)))
    deals_of = np.split(order, ends[:-1])
    for product in range(len(PRODUCTS)):
        sold_kw = solution.schedule.sold_kw(product)
        for o in np.flatnonzero(solution.is_bid & (day.product == product)):
            deals = deals_of[o]
            sold_kwh[deals] = sold_kw[:, day.covers[o]].sum(axis=1)[day.agreement_prosumer[deals]]
    return sold_kwh
