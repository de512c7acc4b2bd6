"""A day under uncertainty: its scenarios stated on its opportunities, and what a solution earns in each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.forecasting.price_scenarios import Scenarios, cvar, deliveries
from vpp_pipeline.settings import RiskSettings

ENERGY = PRODUCTS.index("energy")


@dataclass(frozen=True)
class Outcome:
    """Money of a solved day, $. Satisfaction's credit counts as it does in the objective."""

    expected_usd: float  # at forecast prices, with everyone there
    scenario_usd: Array  # (W,)
    cvar_usd: float
    risk_adjusted_usd: float


def with_scenarios(
    day: DayProblem, opportunities: pl.DataFrame, price_scenarios: pl.DataFrame | None, risk: RiskSettings
) -> DayProblem:
    """The day held against scenarios; the same day where there are none.

    ``price_scenarios``: rows of `market.price_scenarios`. A request's offered price is certain; the policy's
    opportunities earn the mean of the scenario's prices over their hours.
    """
    if price_scenarios is None or price_scenarios.is_empty():
        return day
    rows, hours = price_scenarios.sort("scenario", "start_utc"), len(day.market_price)
    price = np.stack([rows[PRICE_COLUMN[product]].to_numpy().reshape(-1, hours) for product in PRODUCTS])
    count = price.shape[1]
    mean_price = np.einsum("owt,ot->wo", price[day.product], day.covers / day.hours[:, None])
    is_request = (opportunities["origin"] == "request").to_numpy()
    delivered_fraction, unpaid = deliveries(
        day.agreement_opportunity,
        day.agreement_prosumer,
        day.committed_kw,
        day.call_price,
        day.fleet.availability_fraction,
        (count, len(day.price)),
        risk.seed,
    )
    scenarios = Scenarios(
        probability=np.full(count, 1.0 / count),
        price=np.where(is_request, day.price, mean_price),
        market_price=price[ENERGY],
        delivered_fraction=delivered_fraction,
        unpaid=unpaid,
        shortfall_penalty_fraction=risk.shortfall_penalty_fraction,
        aversion=risk.aversion,
        tail_fraction=risk.tail_fraction,
    )
    return replace(day, scenarios=scenarios)


def tilted_prices(day: DayProblem, weight: Array) -> tuple[Array, Array]:
    """Prices of opportunities (O,) and of charging (T,), each scenario weighed by ``weight`` (W,).

    What ``weight`` leaves of 1 is the weight of the forecast.
    CVaR is the least mean over weights 0 ≤ y ≤ P / tail that add up to 1. So for any such y, no answer to the day is
    worth more than it is at the prices of ``weight`` = λ y without risk; with the duals of the CVaR's constraints as
    ``weight``, these are the prices that the prosumers should see.
    """
    scenarios = _scenarios_of(day)
    rest = 1.0 - float(weight.sum())
    return rest * day.price + weight @ scenarios.worth, rest * day.market_price + weight @ scenarios.market_price


@dataclass(frozen=True)
class Totals:
    """What the money of a schedule rests on."""

    is_bid: Flags  # (O,)
    quantity_mw: Array  # (O,)
    charged_kw: Array  # (T,) from the grid, by the whole fleet
    owners_usd: float  # payments to owners if everyone delivers, less the credit for their satisfaction


def totals_of(day: DayProblem, solution: DaySolution) -> Totals:
    """Those of a solution."""
    charged_kw = solution.schedule.grid_charge_kw.sum(axis=0, dtype=float)
    return Totals(solution.is_bid, solution.quantity_mw, charged_kw, _owners_usd(day, solution))


def expected_of(day: DayProblem, solution: DaySolution) -> float:
    """Profit at the forecast with all prosumers available, $: revenue less purchases and owners' payments."""
    return _expected(day, totals_of(day, solution))


def objective_of(day: DayProblem, solution: DaySolution) -> float:
    """What the solution is worth in the day's objective, $: what it earns, less what its risk is feared."""
    return objective_at(day, totals_of(day, solution))


def objective_at(day: DayProblem, totals: Totals) -> float:
    """The same from ``totals``."""
    is_averse = day.scenarios is not None and day.scenarios.aversion > 0.0
    return _outcome(day, totals).risk_adjusted_usd if is_averse else _expected(day, totals)


def outcome_of(day: DayProblem, solution: DaySolution) -> Outcome:
    """What the solution earns, scenario by scenario. Raises ValueError where the day has no scenarios."""
    return _outcome(day, totals_of(day, solution))


def _expected(day: DayProblem, totals: Totals) -> float:
    revenue_usd = float(day.price @ (day.hours * totals.quantity_mw))
    purchases_usd = float((day.market_price + day.charging_adder) @ _bought_mwh(day, totals))
    return revenue_usd - purchases_usd - totals.owners_usd


def _outcome(day: DayProblem, totals: Totals) -> Outcome:
    scenarios = _scenarios_of(day)
    sold_mwh, bought_mwh = day.hours * totals.quantity_mw, _bought_mwh(day, totals)
    expected_usd = _expected(day, totals)
    purchases_usd = (scenarios.market_price + day.charging_adder) @ bought_mwh
    scenario_usd = scenarios.worth @ sold_mwh - purchases_usd - totals.owners_usd
    cvar_usd = cvar(scenario_usd, scenarios.probability, scenarios.tail_fraction)
    weight = scenarios.aversion
    return Outcome(expected_usd, scenario_usd, cvar_usd, (1.0 - weight) * expected_usd + weight * cvar_usd)


def _scenarios_of(day: DayProblem) -> Scenarios:
    if day.scenarios is None:
        raise ValueError(f"{day.market_date} is held against no scenarios: set risk.scenarios above 1")
    return day.scenarios


def _bought_mwh(day: DayProblem, totals: Totals) -> Array:
    """Charging bought from the market (T,): all of it outside the hours in which energy is bid."""
    sells = day.covers[totals.is_bid & (day.product == ENERGY)].any(axis=0)
    return np.asarray(np.where(sells, 0.0, totals.charged_kw / 1000.0))


def _owners_usd(day: DayProblem, solution: DaySolution) -> float:
    """Payments to owners if everyone delivers, less the credit for their satisfaction, $."""
    price = (day.call_price - day.satisfaction_worth) / 1000.0
    return sum(
        float(np.vdot(day.by_prosumer_and_hour(product, price), solution.schedule.sold_kw(product)))
        for product in range(len(PRODUCTS))
    )
