"""The day's optimisation and what prosumers earn by it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl

from vpp_pipeline.core.provenance import frame_hash
from vpp_pipeline.core.tables import SCHEDULE_BEFORE
from vpp_pipeline.defs.asset_factory import DAY_BEFORE, DAYS, key_of, market_date_of, table_asset, table_outs
from vpp_pipeline.defs.resources import Desk, Storage
from vpp_pipeline.dispatch.payments import payments_of
from vpp_pipeline.fleet.arrays import begin_with, fleet_arrays, starts_of
from vpp_pipeline.llm.session import solve_formulated
from vpp_pipeline.warehouse.publish import publish

SOLVED = {
    name: f"dispatch.{name}"
    for name in (
        "infeasibilities",
        "starts",
        "schedule",
        "positions",
        "charging",
        "internal_prices",
        "owen_shares",
        "proof",
        "scenario_quantities",
    )
}
INFEASIBLE = SOLVED["infeasibilities"]  # the only one of a day that cannot be solved
SOLVE_INPUTS = [
    "market.price_forecast",
    "market.price_scenarios",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "negotiation.summary",
    "negotiation.agreements",
]

_INPUTS = set(map(key_of, SOLVE_INPUTS))
# `infeasibilities` is told before there is a schedule; of the others, Dagster wants those that rest on yesterday's told
# after today's
PARENTS = {name: _INPUTS if name == "infeasibilities" else _INPUTS | {key_of(SOLVED["schedule"])} for name in SOLVED}


@dg.multi_asset(
    outs=table_outs(SOLVED, {"cvxpy", "python"}),
    deps=[*map(key_of, SOLVE_INPUTS), dg.AssetDep(key_of(SOLVED["schedule"]), partition_mapping=DAY_BEFORE)],
    internal_asset_deps=PARENTS,
    partitions_def=DAYS,
    name="day_solution",
)
def day_solution(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> Iterator[dg.Output[pl.DataFrame]]:
    """The whole day solved at once, so that no kWh is sold twice.

    With `fleet.carry_over` every store begins with what the schedule of the day before leaves in it, if there is one.
    With `model_use.formulation` a language model may weigh the problem otherwise; `dispatch.proof` tells what became
    of it.
    Where limits cannot be kept at all, the day stops here; which ones is published first, so that it can be queried.
    """
    from vpp_pipeline.dispatch.infeasibility import InfeasibleDay, infeasibilities
    from vpp_pipeline.dispatch.payments import owen_shares_table
    from vpp_pipeline.dispatch.problem import day_problem
    from vpp_pipeline.dispatch.scenarios import with_scenarios
    from vpp_pipeline.dispatch.tables import (
        charging_table,
        internal_prices_table,
        positions_table,
        proof_table,
        scenario_quantities_table,
        schedule_table,
    )

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
    problem = with_scenarios(problem, day["market.opportunities"], day["market.price_scenarios"], settings.risk)
    breaches = infeasibilities(problem)
    yield dg.Output(breaches, "infeasibilities")
    if not breaches.is_empty():
        publish(storage.lake, storage.warehouse, problem.market_date, [INFEASIBLE])
        raise InfeasibleDay(breaches)
    folder, agreements = Path(storage.data_folder), day["negotiation.agreements"]
    solved = solve_formulated(problem, agreements, settings, folder, run_id=context.run.run_id)
    solution = solved.solution
    schedule = schedule_table(problem, solution)
    yield dg.Output(schedule, "schedule", data_version=dg.DataVersion(frame_hash(schedule)))
    yield dg.Output(starts, "starts")
    yield dg.Output(positions_table(problem, solution), "positions")
    yield dg.Output(charging_table(problem, solution), "charging")
    yield dg.Output(internal_prices_table(problem, solution), "internal_prices")
    yield dg.Output(owen_shares_table(problem, solution, settings), "owen_shares")
    yield dg.Output(scenario_quantities_table(problem, solution), "scenario_quantities")
    yield dg.Output(solved.told_in(proof_table(problem, solution)), "proof")


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
) -> pl.DataFrame:
    """What each prosumer delivers and earns in each bid, how content it is, and the charging its sales recover."""
    return payments_of(opportunities, agreements, schedule, positions, charging, availability)
