"""The optimiser's answer as tables of the warehouse, and what the fleet would sell if other prices came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.formulation import STEP_H, formulate
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, by_resource, part_of
from vpp_pipeline.dispatch.scenarios import outcome_of
from vpp_pipeline.dispatch.warm_lp import WarmLinearProgram
from vpp_pipeline.schemas import Charging, InternalPrices, Positions, Proof, ScenarioQuantities, Schedule, validate

SAMPLE = 300  # prosumers; a larger fleet is represented by so many, evenly spaced


def schedule_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.schedule`: one row per prosumer and hour."""
    n, t = solution.schedule.stored_kwh.shape
    columns = {name: np.asarray(values).ravel() for name, values in vars(solution.schedule).items()}
    return validate(
        Schedule,
        pl.DataFrame(
            {
                "prosumer_id": _names(day).gather(np.repeat(np.arange(n), t)),
                "start_utc": day.start_utc.gather(np.tile(np.arange(t), n)),
                "charge_kw": solution.schedule.charge_kw.ravel(),
                "stored_value_usd_per_mwh": solution.stored_value_usd_per_mwh.ravel(),
                **columns,
            }
        ).with_columns(market_date=pl.lit(day.market_date)),
    )


def _names(day: DayProblem) -> pl.Series:
    """Who takes part (N,)."""
    return pl.Series(day.fleet.prosumer_id, dtype=pl.String)


def positions_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.positions`: one row per opportunity."""
    return validate(
        Positions,
        pl.DataFrame(
            {
                "market_date": [day.market_date] * len(day.opportunity_id),
                "opportunity_id": day.opportunity_id.astype(str),
                "is_bid": solution.is_bid,
                "quantity_mw": solution.quantity_mw,
                "expected_mw": solution.clears_mw,
                "shadow_price_usd_per_mwh": solution.shadow_price_usd_per_mwh,
                "refusal": pl.Series(
                    [solution.refusals.get(name) for name in day.opportunity_id.tolist()], dtype=pl.String
                ),
            }
        ),
    )


def charging_usd(day: DayProblem, solution: DaySolution) -> Array:
    """What each prosumer's charging (N,) costs; in hours with an energy bid its resource delivers it itself.

    Of a member of a storage resource, the charging that it needs in any case: the rest is in its bids.
    """
    everyone, everything = np.arange(len(day.fleet)), np.arange(len(day.opportunity_id))
    cost_usd = np.zeros(len(day.fleet))
    for prosumers, opportunities in by_resource(day).values() or [(everyone, everything)]:
        is_energy_bid = (solution.is_bid & (day.product == PRODUCTS.index("energy")))[opportunities]
        sells_energy = day.covers[opportunities][is_energy_bid].any(axis=0)
        bought_at = np.where(sells_energy, 0.0, day.market_price + day.charging_adder)
        cost_usd[prosumers] = solution.schedule.grid_charge_kw[prosumers] @ bought_at / 1000.0
    of_storage = solution.own_charging_usd
    return cost_usd if of_storage is None else np.where(np.isnan(of_storage), cost_usd, of_storage)


def charging_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.charging`: what charging costs, and what it would have cost with no sales."""
    cost_usd = charging_usd(day, solution)
    return validate(
        Charging,
        pl.DataFrame(
            {
                "prosumer_id": _names(day),
                "charging_usd": cost_usd,
                "no_sale_charging_usd": solution.no_sale_charging_usd,
                "to_recover_usd": cost_usd - solution.no_sale_charging_usd,
            }
        ).with_columns(market_date=pl.lit(day.market_date)),
    )


def internal_prices_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.internal_prices`: one row per resource and hour."""
    rows = [
        pl.DataFrame(
            {
                "start_utc": day.start_utc,
                "sell_usd_per_mwh": pl.Series(np.where(np.isfinite(duals.sell), duals.sell, np.nan)).fill_nan(None),
                "buy_usd_per_mwh": duals.buy,
                **{
                    reserve.price_column: usd_per_mw_h + 0.0  # no "-0"
                    for reserve, usd_per_mw_h in zip(CAISO.reserves, duals.held, strict=True)
                },
            }
        ).with_columns(market_date=pl.lit(day.market_date), resource_id=pl.lit(name, pl.String))
        for name, duals in (solution.duals_of or {day.fleet.resource_id[0]: solution.duals}).items()
    ]
    return validate(InternalPrices, pl.concat(rows))


def scenario_quantities_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.scenario_quantities`: one row per energy bid and scenario; none where there are no scenarios."""
    if day.scenarios is None:
        return ScenarioQuantities.create_empty()

    wanted = wanted_quantities(day, solution)
    price = np.vstack([day.price, day.scenarios.price])
    energy = np.flatnonzero(solution.is_bid & (day.product == PRODUCTS.index("energy")))
    shape = (len(energy), len(wanted))
    return validate(
        ScenarioQuantities,
        pl.DataFrame(
            {
                "market_date": pl.repeat(day.market_date, shape[0] * shape[1], eager=True),
                "opportunity_id": np.repeat(day.opportunity_id[energy].astype(str), shape[1]),
                "scenario": np.tile(np.arange(shape[1]), shape[0]),
                "price_usd_per_mwh": price[:, energy].T.ravel(),
                "quantity_mw": wanted[:, energy].T.ravel(),
            }
        ),
    )


#: columns of `dispatch.proof` that are empty unless a language model was asked for a formulation
FORMULATION: dict[str, type[pl.DataType]] = {
    "formulation": pl.String,
    "formulation_verdict": pl.String,
} | dict.fromkeys(
    ("plain_profit_usd", "formulated_profit_usd", "plain_objective_usd", "formulated_objective_usd"), pl.Float64
)


def proof_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.proof`: one row for the day."""
    outcome = outcome_of(day, solution) if day.scenarios else None
    return validate(
        Proof,
        pl.DataFrame(
            {
                "market_date": [day.market_date],
                "method": [solution.method],
                "solver": [solution.solver],
                "status": [solution.status],
                "objective_usd": [outcome.expected_usd if outcome else solution.objective_usd],
                "risk_adjusted_usd": [solution.objective_usd],
                "bound_usd": [solution.bound_usd],
                "no_bid_usd": [solution.no_bid_usd],
                "gap_fraction": [solution.gap_fraction],
                "scenarios": [len(outcome.scenario_usd) if outcome else 1],
                "aversion": [day.scenarios.aversion if day.scenarios else 0.0],
                "cvar_usd": pl.Series([outcome.cvar_usd if outcome else None], dtype=pl.Float64),
                "worst_usd": pl.Series([float(outcome.scenario_usd.min()) if outcome else None], dtype=pl.Float64),
                "mean_usd": pl.Series([float(outcome.scenario_usd.mean()) if outcome else None], dtype=pl.Float64),
                "seconds": [solution.seconds],
                "prosumers": [len(day.fleet)],
                "hours": [len(day.market_price)],
                "bids": [int(solution.is_bid.sum())],
                **{name: pl.Series([None], dtype=kind) for name, kind in FORMULATION.items()},
            }
        ),
    )


def wanted_quantities(day: DayProblem, solution: DaySolution) -> Array:
    """MW (W + 1, O) that earn most at each scenario's prices with all prosumers available; row 0 at the forecast's.

    What is bid stays bid, for 0 to the settled quantity of each bid: all of them are wanted together, so what a later
    hour pays is the opportunity cost of an earlier one. Only prices differ, so each LP has a warm start
    from the scenario before.
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
        program.set_cost(linear.variables.buy, (market_price + day.charging_adder) * STEP_H)
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
