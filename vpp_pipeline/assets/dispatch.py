"""The day's optimisation and what prosumers earn by it."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from vpp_pipeline.assets.partitions import DAY_BEFORE, DAYS, market_date_of
from vpp_pipeline.assets.resources import Storage, _Desk
from vpp_pipeline.assets.tables import key_of, table_asset, table_outs
from vpp_pipeline.domain.carry_over import begin_with, starts_of
from vpp_pipeline.domain.fleet import fleet_arrays
from vpp_pipeline.domain.payments import payments_of
from vpp_pipeline.domain.verdict import SCHEDULE_BEFORE
from vpp_pipeline.provenance import frame_hash

SOLVED = {name: f"dispatch.{name}" for name in ("starts", "schedule", "positions", "charging", "proof")}
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
    deps=[*map(key_of, SOLVE_INPUTS), dg.AssetDep(key_of(SOLVED["schedule"]), partition_mapping=DAY_BEFORE)],
    partitions_def=DAYS,
    name="day_solution",
)
def day_solution(context: dg.AssetExecutionContext, desk: _Desk, storage: Storage) -> Iterator[dg.Output[pl.DataFrame]]:
    """The whole day solved at once, so that no kWh is sold twice.

    With `fleet.carry_over` every store begins with what the schedule of the day before leaves in it, if there is one.
    """
    from vpp_pipeline.optimisation.problem import day_problem
    from vpp_pipeline.optimisation.solve import solve_day
    from vpp_pipeline.optimisation.tables import charging_table, positions_table, proof_table, schedule_table

    settings, day = desk.settings(), storage.day(market_date_of(context))
    starts = starts_of(day["fleet.prosumers"], day.get(SCHEDULE_BEFORE) if settings.fleet.carry_over else None)
    problem = day_problem(
        begin_with(fleet_arrays(day["fleet.prosumers"], day["fleet.availability"]), starts),
        day["market.price_forecast"],
        day["market.opportunities"],
        day["negotiation.summary"],
        day["negotiation.agreements"],
        settings.rules,
        settings.optimiser,
    )
    solution = solve_day(problem, settings.rules, settings.optimiser)
    schedule = schedule_table(problem, solution)
    yield dg.Output(schedule, "schedule", data_version=dg.DataVersion(frame_hash(schedule)))
    yield dg.Output(starts, "starts", metadata={"carried_over": int(starts["carried_from"].is_not_null().sum())})
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
        "availability": dg.AssetIn(key_of("fleet.availability")),
    },
)
def payments(
    opportunities: pl.DataFrame,
    agreements: pl.DataFrame,
    schedule: pl.DataFrame,
    positions: pl.DataFrame,
    charging: pl.DataFrame,
    availability: pl.DataFrame,
) -> dg.Output[pl.DataFrame]:
    """What each prosumer delivers and earns in each bid, how content it is, and the charging its sales recover."""
    table = payments_of(opportunities, agreements, schedule, positions, charging, availability)
    metadata = {"paid_usd": float(table["payment_usd"].sum()), "deliveries": table.height}
    return dg.Output(table, metadata=metadata)
