"""The day's optimisation and what prosumers earn by it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from vpp_pipeline.core.tables import AGGREGATED, BOUND, Tables
from vpp_pipeline.day_parts import InParts, made
from vpp_pipeline.defs.asset_factory import (
    DAY_BEFORE,
    DAYS,
    market_date_of,
    table_asset,
    table_outs,
    version_of_rows,
)
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Desk, Storage
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.llm.session import solve_formulated
from vpp_pipeline.pipeline import pay, solve, state_problem, tabulate
from vpp_pipeline.settings import Settings
from vpp_pipeline.warehouse.day import LakeDay, parts_in
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
        *(table.removeprefix("dispatch.") for table in BOUND),
    )
}
SCHEDULE, PROOF = SOLVED["schedule"], SOLVED["proof"]
INFEASIBLE = SOLVED["infeasibilities"]  # the only one of a day that cannot be solved
SOLVE_INPUTS = [
    "market.price_forecast",
    "market.price_scenarios",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    *AGGREGATED,
    "negotiation.summary",
    "negotiation.agreements",
]

PAY_INPUTS = [
    "market.opportunities",
    "negotiation.agreements",
    *(SOLVED[name] for name in ("schedule", "positions", "charging")),
    "fleet.availability",
]

_INPUTS = set(map(key_of, SOLVE_INPUTS))
# `infeasibilities` is yielded before there is a schedule; Dagster requires outputs that rest on yesterday's to follow
# today's
PARENTS = {name: _INPUTS if name == "infeasibilities" else _INPUTS | {key_of(SOLVED["schedule"])} for name in SOLVED}


@dg.multi_asset(
    outs=table_outs(SOLVED, {"cvxpy", "python"}),
    deps=[*map(key_of, SOLVE_INPUTS), dg.AssetDep(key_of(SOLVED["schedule"]), partition_mapping=DAY_BEFORE)],
    internal_asset_deps=PARENTS,
    partitions_def=DAYS,
    name="day_solution",
)
def day_solution(
    context: dg.AssetExecutionContext, desk: Desk, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """The whole day solved at once, so that no kWh is sold twice.

    With `fleet.carry_over` every store begins with what the schedule of the day before leaves in it, if there is one.
    With `model_use.formulation` a language model may weigh the problem otherwise; `dispatch.proof` tells what became
    of it.
    Where limits cannot be kept at all, the day stops here; which ones is published first, so that it can be queried.
    """
    from vpp_pipeline.dispatch.infeasibility import InfeasibleDay

    settings, market_date = desk.settings(), market_date_of(context)
    day, folder, run_id = storage.figures(market_date), Path(storage.data_folder), context.run.run_id

    def solved_whole(problem: DayProblem) -> Tables:
        found = solve_formulated(problem, day.afresh(), settings, folder, run_id=run_id)
        tables = tabulate(problem, found.solution, settings)
        return tables | {PROOF: found.told_in(tables[PROOF])}

    own = settings.of_part(count) if (count := parts_in(day.kept)) else settings

    def solved_part(problem: DayProblem) -> Tables:
        return tabulate(problem, solve(problem, own), own)

    solver = solved_part if count else solved_whole
    tables = made(day, settings, lambda part: _solved(part, own, solver))
    breaches = tables.pop(INFEASIBLE)
    yield dg.Output(breaches, "infeasibilities")
    if not tables:
        left = storage.made(market_date)
        publish(storage.lake, storage.warehouse, market_date, {INFEASIBLE: left[INFEASIBLE]})
        raise InfeasibleDay(storage.day(market_date)[INFEASIBLE])
    for table, rows in tables.items():
        version = dg.DataVersion(version_of_rows(rows)) if table == SCHEDULE else None
        yield dg.Output(rows, table.removeprefix("dispatch."), data_version=version)


def _solved(day: LakeDay, settings: Settings, solver: Callable[[DayProblem], Tables]) -> Tables:
    """What cannot be kept, alone, or the solution. Only the problem is in memory while it is solved."""
    from vpp_pipeline.dispatch.infeasibility import infeasibilities

    problem, starts = state_problem(day.afresh(), settings)
    breaches = {INFEASIBLE: infeasibilities(problem)}
    return breaches | solver(problem) | starts if breaches[INFEASIBLE].is_empty() else breaches


@table_asset(
    "dispatch.payments",
    {"polars"},
    deps=[key_of(table) for table in PAY_INPUTS],
)
def payments(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> dg.Output[Any]:
    """What each prosumer delivers and earns in each bid, how content it is, and the charging its sales recover."""
    return dg.Output(made(storage.figures(market_date_of(context)), desk.settings(), pay)["dispatch.payments"])
