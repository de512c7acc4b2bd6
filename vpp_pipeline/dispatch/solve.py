"""The one entry point to the day's optimisation: which method solves it."""

from __future__ import annotations

from vpp_pipeline.dispatch.infeasibility import InfeasibleDay, infeasibilities, without_dust
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.solvers import require_solvers
from vpp_pipeline.settings import MarketRules, OptimiserSettings


def solve_day(day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    """The schedule and bids that earn most, with a proven bound; never worse than bidding nothing.

    Both methods solve the same problem; ``DaySolution.method`` begins with the name of the one that did. Raises
    InputError for a solver that cannot be used here, InfeasibleDay where limits cannot be kept, SolveError where no
    solver has an answer.
    """
    require_solvers(settings)
    breaches = infeasibilities(day)
    if not breaches.is_empty():
        raise InfeasibleDay(breaches)
    day = without_dust(day)
    if _method(day, settings) == "exact":
        from vpp_pipeline.dispatch.exact import solve_exactly

        return solve_exactly(day, rules, settings)
    from vpp_pipeline.dispatch.column_generation.method import solve_by_columns

    return solve_by_columns(day, rules, settings)


def _method(day: DayProblem, settings: OptimiserSettings) -> str:
    if settings.method != "auto":
        return settings.method
    return "exact" if len(day.fleet) <= settings.exact_up_to_prosumers else "column_generation"
