"""The optimiser's answer as tables of the warehouse."""

from __future__ import annotations

import numpy as np
import polars as pl

from vpp_pipeline.domain.arrays import Array
from vpp_pipeline.domain.calendar import PRODUCTS
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution
from vpp_pipeline.schemas import Charging, Positions, Proof, Schedule, door


def schedule_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.schedule`: one row per prosumer and hour."""
    shape = solution.schedule.stored_kwh.shape
    columns = {name: np.asarray(values).ravel() for name, values in vars(solution.schedule).items()}
    return door(
        Schedule,
        pl.DataFrame(
            {
                "market_date": [day.market_date] * (shape[0] * shape[1]),
                "prosumer_id": np.repeat(day.fleet.prosumer_id.astype(str), shape[1]),
                "start_utc": pl.concat([day.start_utc] * shape[0]),
                "charge_kw": solution.schedule.charge_kw.ravel(),
                "stored_value_usd_per_mwh": solution.stored_value_usd_per_mwh.ravel(),
                **columns,
            }
        ),
    )


def positions_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.positions`: one row per opportunity."""
    return door(
        Positions,
        pl.DataFrame(
            {
                "market_date": [day.market_date] * len(day.opportunity_id),
                "opportunity_id": day.opportunity_id.astype(str),
                "is_bid": solution.is_bid,
                "quantity_mw": solution.quantity_mw,
                "shadow_price_usd_per_mwh": solution.shadow_price_usd_per_mwh,
            }
        ),
    )


def charging_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.charging`: what charging costs, and what it would have cost with no sales."""
    sells_energy = day.covers[solution.is_bid & (day.product == PRODUCTS.index("energy"))].any(axis=0)
    bought_at = np.where(sells_energy, 0.0, day.market_price + day.charging_adder)
    charging_usd: Array = solution.schedule.grid_charge_kw @ bought_at / 1000.0
    return door(
        Charging,
        pl.DataFrame(
            {
                "market_date": [day.market_date] * len(day.fleet),
                "prosumer_id": day.fleet.prosumer_id.astype(str),
                "charging_usd": charging_usd,
                "no_sale_charging_usd": solution.no_sale_charging_usd,
                "to_recover_usd": charging_usd - solution.no_sale_charging_usd,
            }
        ),
    )


def proof_table(day: DayProblem, solution: DaySolution) -> pl.DataFrame:
    """`dispatch.proof`: one row for the day."""
    return door(
        Proof,
        pl.DataFrame(
            {
                "market_date": [day.market_date],
                "method": [solution.method],
                "solver": [solution.solver],
                "status": [solution.status],
                "objective_usd": [solution.objective_usd],
                "bound_usd": [solution.bound_usd],
                "gap_fraction": [solution.gap_fraction],
                "seconds": [solution.seconds],
                "prosumers": [len(day.fleet)],
                "hours": [len(day.market_price)],
                "bids": [int(solution.is_bid.sum())],
            }
        ),
    )
