"""The day solved with bids that the market takes: one that it would not take is left out, and the day solved again."""

from __future__ import annotations

from collections import Counter
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
    """The day solved with valid bids; of several resources each by itself, since nothing couples them but this: of a
    pool that is cut into storage resources, at least the market's minimum of members must stand behind a product.
    """

    def of_resource(part: DayProblem) -> DaySolution:
        storage = day.solved_by.get(part.fleet.resource_id[0])
        return _solve_valid(part, rules, settings) if storage is None else storage(part)

    places, refused, solved = by_resource(day), dict[str, str](), dict[str, DaySolution]()
    while True:
        open_day = without_bids(day, refused)
        parts = {name: part_of_resource(open_day, *own) for name, own in places.items()} or {"": open_day}
        solved = {name: solved.get(name) or of_resource(part) for name, part in parts.items()}
        found = _of_too_few(parts, solved, rules.minimum_members)
        if not found:
            break
        refused |= found
        solved = {name: solution for name, solution in solved.items() if not solution.storage}
    solution = joined(day, solved) if places else solved[""]
    return replace(solution, refusals=solution.refusals | refused) if refused else solution


def _of_too_few(parts: dict[str, DayProblem], solved: dict[str, DaySolution], least: int) -> dict[str, str]:
    """Why storage bids are refused, by opportunity: fewer than ``least`` owners of their pool may be called then."""
    behind, selling = Counter[tuple[str, int, int]](), []
    for name, part in parts.items():
        counts = solved[name].callable_members
        if counts is None:
            continue
        pool, hour = str(solved[name].storage["dispatch.storage_resources"]["pool_id"][0]), part.covers.argmax(axis=1)
        for o in np.flatnonzero(solved[name].quantity_mw > 0.0).tolist():
            place = (pool, int(part.product[o]), int(hour[o]))
            behind[place] += int(counts[o])
            selling.append((str(part.opportunity_id[o]), place))
    return {
        name: f"fewer than {least} owners of resource {place[0]} may be called in this hour"
        for name, place in selling
        if behind[place] < least
    }


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
