"""Infeasible days: which limits of which prosumers no schedule can keep, by how much, and the remedy.

With no bids a store can only charge, so what it can hold is an interval, hour by hour; where the interval is empty, an
elastic problem finds the smallest breaches. Only stored energy can be out of reach: doing nothing keeps every power
limit, the cycle limit and the backing of reserve.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import SolveError
from vpp_pipeline.dispatch.problem import DayProblem
from vpp_pipeline.dispatch.schedule import DUST
from vpp_pipeline.schemas import Infeasibilities, validate

MOST_PROSUMERS = 1_000  # whose breaches are told one by one
MOST_NAMED = 5  # in the message
#: limit -> what a kWh of its breach costs in the elastic problem, and what the user can do. A wish gives way to the
#: size of a store, and both to energy that is driven away.
LIMITS = {
    "min_stored_kwh": (1.0, "Lower its backup reserve or ready charge by that much, or let it charge more before"),
    "terminal_stored_kwh": (1.0, "Lower terminal_stored_kwh by that much, or let it charge more"),
    "max_stored_kwh": (
        2.0,
        "Raise max_stored_kwh, or lower initial_stored_kwh, by that much: it empties by sales alone",
    ),
    "drive_kwh": (
        100.0,
        "Lower its driving energy (ev_drive_kwh) by that much, or let it charge more before it leaves",
    ),
}


class InfeasibleDay(SolveError):
    """The day has no schedule even if nothing is bid; ``rows`` (of `Infeasibilities`) tell whose limits are why."""

    def __init__(self, rows: pl.DataFrame) -> None:
        super().__init__(rows)
        self.rows = rows

    def __str__(self) -> str:
        worst = self.rows.sort("shortfall_kwh", descending=True).unique(
            "prosumer_id", keep="first", maintain_order=True
        )
        start = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC)).dt.strftime("%Y-%m-%d %H:%M")
        words = pl.format(
            "{} {} at {} Pacific {} by {} kWh ({})",
            "prosumer_id",
            "limit_name",
            start,
            pl.when(limit_name="max_stored_kwh").then(pl.lit("exceeded")).otherwise(pl.lit("short")),
            pl.col("shortfall_kwh").round(4),
            "remedy",
        )
        named = worst.sort("prosumer_id").head(MOST_NAMED).select(words).to_series().to_list()
        many = "1 prosumer cannot keep its" if worst.height == 1 else f"{worst.height} prosumers cannot keep their"
        rest = f"; and {worst.height - MOST_NAMED} more" if worst.height > MOST_NAMED else ""
        return f"{many} limits even if nothing is bid: {'; '.join(named)}{rest}. All hours: dispatch.infeasibilities"


def infeasibilities(day: DayProblem) -> pl.DataFrame:
    """Rows of `dispatch.infeasibilities`: none for a day that has a schedule. At most MOST_PROSUMERS are explained."""
    guilty = _cannot_keep_limits(day)[:MOST_PROSUMERS]
    found = _smallest_breaches(day, guilty) if len(guilty) else {}
    parts = []
    for name, breach_kwh in found.items():
        i, t = np.nonzero(breach_kwh > DUST)
        rows = {"prosumer_id": day.fleet.prosumer_id[guilty[i]].astype(str), "shortfall_kwh": breach_kwh[i, t]}
        hours = day.start_utc.gather(t)
        parts.append(pl.DataFrame(rows).with_columns(hours, limit_name=pl.lit(name), remedy=pl.lit(LIMITS[name][1])))
    if not parts:
        return Infeasibilities.create_empty()
    return validate(Infeasibilities, pl.concat(parts).with_columns(market_date=pl.lit(day.market_date)))


def without_dust(day: DayProblem) -> DayProblem:
    """The day with lower limits that are out of reach by dust lowered into reach; the same object if none is.

    A store that begins with the last digits of yesterday's schedule and may not charge would stop the day otherwise.
    """
    fleet, reach_kwh = day.fleet, day.fleet.reachable_kwh[:, 1:] - 1e-9
    floor_kwh = _within_dust(fleet.min_stored_kwh, reach_kwh)
    terminal_kwh = _within_dust(fleet.terminal_stored_kwh, reach_kwh[:, -1])
    if floor_kwh is fleet.min_stored_kwh and terminal_kwh is fleet.terminal_stored_kwh:
        return day
    return replace(day, fleet=replace(fleet, min_stored_kwh=floor_kwh, terminal_stored_kwh=terminal_kwh))


def _within_dust(limit_kwh: Array, reach_kwh: Array) -> Array:
    is_dust = (limit_kwh > reach_kwh + 1e-9) & (limit_kwh <= reach_kwh + DUST)
    return np.where(is_dust, reach_kwh, limit_kwh) if is_dust.any() else limit_kwh


def _lower_limits_kwh(day: DayProblem) -> Array:
    """Floors of the state of charge (N, T) at the end of each hour, with the terminal one."""
    lower_kwh = day.fleet.min_stored_kwh.copy()
    lower_kwh[:, -1] = np.maximum(lower_kwh[:, -1], day.fleet.terminal_stored_kwh)
    return lower_kwh


def _cannot_keep_limits(day: DayProblem) -> Indices:
    """Prosumers for whom what they can hold, from charging nothing to charging all, misses the limits in some hour."""
    fleet, lower_kwh = day.fleet, _lower_limits_kwh(day)
    least, most = fleet.initial_stored_kwh, fleet.initial_stored_kwh
    is_guilty = np.zeros(len(fleet), dtype=bool)
    for t in range(lower_kwh.shape[1]):
        most_charged_kwh = fleet.charge_efficiency * fleet.max_charge_kw[:, t]
        least = np.maximum(least - fleet.drive_kwh[:, t], lower_kwh[:, t])
        most = np.minimum(most - fleet.drive_kwh[:, t] + most_charged_kwh, fleet.max_stored_kwh[:, t])
        is_guilty |= least > most + DUST
    return np.flatnonzero(is_guilty)


def _smallest_breaches(day: DayProblem, who: Indices) -> dict[str, Array]:
    """The cheapest breaches (G, T) in kWh, by limit, with which prosumers ``who`` (G,) have a schedule without bids.

    minimise    Σ cost · breach
    subject to  E_t = E_{t−1} + ηc c_t − (drive_t − breach),   0 ≤ c ≤ Pc,   E ≥ 0
                floor − breach ≤ E ≤ cap + breach,   E_T ≥ target − breach
    """
    import cvxpy as cp  # two seconds that a day with a schedule does not need to spend here

    fleet, shape = day.fleet, (len(who), len(day.market_price))
    breach = {name: cp.Variable(shape, nonneg=True) for name in LIMITS}
    charge_kw, stored_kwh = cp.Variable(shape, nonneg=True), cp.Variable(shape, nonneg=True)
    before_kwh = cp.hstack([fleet.initial_stored_kwh[who, None], stored_kwh[:, :-1]])
    driven_kwh = fleet.drive_kwh[who] - breach["drive_kwh"]
    limits = [
        stored_kwh == before_kwh + cp.multiply(fleet.charge_efficiency[who, None], charge_kw) - driven_kwh,
        charge_kw <= fleet.max_charge_kw[who],
        driven_kwh >= 0.0,
        stored_kwh >= fleet.min_stored_kwh[who] - breach["min_stored_kwh"],
        stored_kwh <= fleet.max_stored_kwh[who] + breach["max_stored_kwh"],
        stored_kwh[:, -1] >= fleet.terminal_stored_kwh[who] - breach["terminal_stored_kwh"][:, -1],
    ]
    cost = sum(weight * cp.sum(breach[name]) for name, (weight, _) in LIMITS.items())
    problem = cp.Problem(cp.Minimize(cost), limits)
    problem.solve(solver="HIGHS")
    if problem.status != cp.OPTIMAL:
        raise SolveError(f"no schedule, and no smallest breach of limits either: HIGHS says {problem.status}")
    return {name: np.asarray(variable.value) for name, variable in breach.items()}
