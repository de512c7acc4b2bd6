"""The day's optimisation and what prosumers earn by it."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from vpp_pipeline.assets.partitions import DAYS, market_date_of
from vpp_pipeline.assets.resources import Storage, _Desk
from vpp_pipeline.assets.tables import key_of, table_asset, table_outs
from vpp_pipeline.domain.fleet import fleet_arrays
from vpp_pipeline.domain.payments import payments_of

SOLVED = {name: f"dispatch.{name}" for name in ("schedule", "positions", "charging", "proof")}
SOLVE_INPUTS = [
    "market.price_forecast",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "negotiation.summary",
    "negotiation.agreements",
]


@dg.multi_asset(
    outs=table_outs(SOLVED, {"cvxpy", "python"}),
    deps=[key_of(t) for t in SOLVE_INPUTS],
    partitions_def=DAYS,
    name="day_solution",
)
def day_solution(context: dg.AssetExecutionContext, desk: _Desk, storage: Storage) -> Iterator[dg.Output[pl.DataFrame]]:
    """The whole day solved at once, so that no kWh is sold twice."""
    from vpp_pipeline.optimisation.problem import day_problem
    from vpp_pipeline.optimisation.solve import solve_day
    from vpp_pipeline.optimisation.tables import charging_table, positions_table, proof_table, schedule_table

    settings, day = desk.settings(), storage.day(market_date_of(context))
    problem = day_problem(
        fleet_arrays(day["fleet.prosumers"], day["fleet.availability"]),
        day["market.price_forecast"],
        day["market.opportunities"],
        day["negotiation.summary"],
        day["negotiation.agreements"],
        settings.rules,
        settings.optimiser,
    )
    solution = solve_day(problem, settings.rules, settings.optimiser)
    yield dg.Output(schedule_table(problem, solution), "schedule")
    yield dg.Output(positions_table(problem, solution), "positions")
    yield dg.Output(charging_table(problem, solution), "charging")
    yield dg.Output(
        proof_table(problem, solution),
        "proof",
        metadata={
            "objective_usd": solution.objective_usd,
            "gap_fraction": solution.gap_fraction,
            "solve_seconds": solution.seconds,
        },
    )


@table_asset(
    "dispatch.payments",
    {"polars"},
    ins={
        "opportunities": dg.AssetIn(key_of("market.opportunities")),
        "agreements": dg.AssetIn(key_of("negotiation.agreements")),
        **{name: dg.AssetIn(key_of(f"dispatch.{name}")) for name in ("schedule", "positions", "charging")},
    },
)
def payments(
    opportunities: pl.DataFrame,
    agreements: pl.DataFrame,
    schedule: pl.DataFrame,
    positions: pl.DataFrame,
    charging: pl.DataFrame,
) -> dg.Output[pl.DataFrame]:
    """What each prosumer delivers and earns in each bid, how content it is, and the charging its sales recover."""
    table = payments_of(opportunities, agreements, schedule, positions, charging)
    metadata = {"paid_usd": float(table["payment_usd"].sum()), "deliveries": table.height}
    return dg.Output(table, metadata=metadata)
