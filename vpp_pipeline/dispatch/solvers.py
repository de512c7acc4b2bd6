"""The one entry point to the day's optimization, and the solvers that its methods use.

Solvers go by CVXPY's names: whether one can be used here, what it calls its time limit, and what it has proven.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import cache
from typing import Any

from vpp_pipeline.core.display import percent
from vpp_pipeline.core.errors import InputError, SolveError
from vpp_pipeline.dispatch.infeasibility import InfeasibleDay, infeasibilities, without_dust
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.settings import MarketRules, OptimiserSettings

ALWAYS_THERE = ("HIGHS", "CLARABEL")  # dependencies of this package
WITHOUT_DUALS = ("CBC", "ECOS_BB", "GLPK_MI", "SCIP")  # CVXPY returns none for their LPs, or (SCIP) unreliable ones
#: their answers miss limits by about 1e-4 kWh: with OSQP the last door refused the bids, with SCS none could be settled
FIRST_ORDER = ("COSMO", "CUOPT", "DIFFCP", "MPAX", "OSQP", "PDCS", "PDLP", "SCS")
MOST_OF_BOTH = 2_000  # prosumers of a day that both methods solve where one leaves a wide gap
LEAST_OPEN_USD = 0.005  # less than half a cent is no gap
PACKAGE_OF = {
    "CBC": "cylp",
    "COPT": "coptpy",
    "CPLEX": "cplex",
    "CVXOPT": "cvxopt",
    "DAQP": "daqp",
    "ECOS": "ecos",
    "ECOS_BB": "ecos",
    "GLOP": "ortools",
    "GLPK": "cvxopt",
    "GLPK_MI": "cvxopt",
    "GUROBI": "gurobipy",
    "KNITRO": "knitro",
    "MOSEK": "mosek",
    "PIQP": "piqp",
    "PROXQP": "proxsuite",
    "QOCO": "qoco",
    "SCIP": "pyscipopt",
    "XPRESS": "xpress",
}


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
    day, method = without_dust(day), _method(day, settings)
    solution = _solve_by(method, day, rules, settings)
    if len(day.fleet) > MOST_OF_BOTH or not _is_wide(solution, settings) or "in place of" in solution.method:
        return solution
    return _with_the_other(solution, method, day, rules, settings)


def _solve_by(method: str, day: DayProblem, rules: MarketRules, settings: OptimiserSettings) -> DaySolution:
    if method == "exact":
        from vpp_pipeline.dispatch.exact import solve_exactly

        return solve_exactly(day, rules, settings)
    from vpp_pipeline.dispatch.column_generation.method import solve_by_columns

    return solve_by_columns(day, rules, settings)


def _is_wide(solution: DaySolution, settings: OptimiserSettings) -> bool:
    """Whether a better schedule, or a better bound, is looked for: by more than the warning's gap and half a cent."""
    is_open = solution.bound_usd - solution.objective_usd > LEAST_OPEN_USD
    return is_open and solution.gap_fraction > settings.gap_warning_fraction


def _with_the_other(
    first: DaySolution, method: str, day: DayProblem, rules: MarketRules, settings: OptimiserSettings
) -> DaySolution:
    """The better schedule of both methods, with the lower of both bounds.

    Of a few prosumers the relaxation by columns is loose, since a bid's least quantity binds and there are no cuts;
    that of the exact method is loose where prices are below zero, since it may charge and discharge at once.
    """
    other = "column_generation" if method == "exact" else "exact"
    left, seconds = f"left a gap of {percent(first.gap_fraction)}", first.seconds
    try:
        second = _solve_by(other, day, rules, settings)
    except SolveError as error:
        return replace(first, method=f"{first.method}; it {left}, and {other.replace('_', ' ')} failed: {error}")
    best = max(first, second, key=lambda solution: solution.objective_usd)
    return replace(
        best,
        bound_usd=max(min(first.bound_usd, second.bound_usd), best.objective_usd),
        method=f"{best.method}; the better of two methods: {method.replace('_', ' ')} {left}",
        seconds=seconds + second.seconds,
    )


def _method(day: DayProblem, settings: OptimiserSettings) -> str:
    if settings.method != "auto":
        return settings.method
    return "exact" if len(day.fleet) <= settings.exact_up_to_prosumers else "column_generation"


def require_solvers(settings: OptimiserSettings) -> None:
    """Both solvers of the settings are installed and solve a problem of one variable; HIGHS and CLARABEL always do.

    Raises InputError that names the setting, the value, what is wrong, what is installed and how to install it.
    """
    for setting in ("solver", "fallback_solver"):
        name = getattr(settings, setting)
        if name not in ALWAYS_THERE and (trouble := _trouble_with(name)) is not None:
            problem, remedy = trouble
            raise InputError(
                f"the setting optimiser.{setting} cannot be used: {problem}", value=repr(name), remedy=remedy
            )


def require_backend(settings: OptimiserSettings) -> None:
    """Raises InputError where the settings name a cluster that cannot be reached, or Ray is not installed."""
    if settings.backend == "ray":
        from vpp_pipeline.dispatch.ray_cluster import require_cluster

        require_cluster(settings.ray_address)


@cache
def _trouble_with(name: str) -> tuple[str, str] | None:
    """Why CVXPY cannot use the solver, and what to do about it; None if it can."""
    import cvxpy as cp
    from cvxpy.reductions.solvers.defines import SOLVER_MAP_CONIC, SOLVER_MAP_QP

    installed = ", ".join(sorted({*cp.installed_solvers()} - {*FIRST_ORDER}))
    known = sorted({*SOLVER_MAP_CONIC, *SOLVER_MAP_QP} - {*FIRST_ORDER})
    if name in FIRST_ORDER:
        return (
            f"{name} is a first-order solver: its answers break limits by more than a bid may",
            f"Choose one of: {installed}",
        )
    if name not in known:
        return "CVXPY knows no solver of that name", f"Write one of: {', '.join(known)}. Installed are: {installed}"
    if name not in cp.installed_solvers():
        how = f"pip install {PACKAGE_OF[name]}" if name in PACKAGE_OF else "https://www.cvxpy.org/install"
        return f"{name} is not installed", f"Install it ({how}), or choose one of: {installed}"
    x = cp.Variable(boolean=decides_bids(name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cp.Problem(cp.Maximize(x), [x <= 1]).solve(solver=name)
    except Exception as error:  # each solver has exceptions of its own, for a missing licence above all
        word = " ".join(str(error).split())
        return f"{name} does not run: {word}", f"See to its licence, or choose another of: {installed}"
    return None


def decides_bids(solver: str) -> bool:
    """Whether the solver is given the mixed-integer problem as it is; HIGHS and LP solvers work for our own search."""
    from cvxpy.reductions.solvers.defines import MI_SOLVERS

    return solver in MI_SOLVERS and solver != "HIGHS"


def solver_of_lps(solver: str) -> str:
    """The solver itself, unless it gives no duals, which prices are made of."""
    return "HIGHS" if solver in WITHOUT_DUALS else solver


def time_limit(solver: str, seconds: float) -> dict[str, Any]:
    """The limit as an option of CVXPY's ``solve``; empty where we do not know the solver's word for it."""
    options: dict[str, dict[str, Any]] = {
        "CBC": {"maximumSeconds": seconds},
        "COPT": {"TimeLimit": seconds},
        "CPLEX": {"cplex_params": {"timelimit": seconds}},
        "GLPK_MI": {"tm_lim": max(1, round(1000.0 * seconds))},
        "GUROBI": {"TimeLimit": seconds},
        "HIGHS": {"time_limit": seconds},
        "MOSEK": {"mosek_params": {"MSK_DPAR_MIO_MAX_TIME": seconds}},
        "SCIP": {"scip_params": {"limits/time": seconds}},
        "SCIPY": {"scipy_options": {"time_limit": seconds}},
    }
    return options.get(solver, {})


def proven_bound_usd(solver: str, statistics: Any) -> float:
    """What no answer can exceed, in $, from CVXPY's ``solver_stats.extra_stats``; infinite where it is not told.

    Solvers minimise the negative of our objective, which has no constant term.
    """
    if statistics is None:
        return math.inf
    if solver == "HIGHS":
        return -float(statistics.mip_dual_bound)
    if solver == "SCIPY":
        return -float(statistics["mip_dual_bound"])
    if solver == "GUROBI":
        return -float(statistics.ObjBound)
    if solver == "SCIP":
        return -float(statistics["model"].getDualbound())
    return math.inf
