"""One day's LP relaxation as plain arrays, for programs that cannot import the project: see `peers.py`."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.formulation import ENERGY, Formulation, formulate
from vpp_pipeline.dispatch.problem import DayProblem, unlimited_mw


def relaxed(day: DayProblem) -> Formulation:
    """The day in CVXPY with every z between 0 and 1."""
    linear, nothing = formulate(day, binary=False), np.zeros(len(day.price))
    linear.set_bids(nothing, day.may_bid.astype(float))
    linear.set_quantities(nothing, unlimited_mw(day))
    return linear


def numbers_of(day: DayProblem) -> dict[str, Array]:
    """Everything that states the LP: homes (N, T) in kW and kWh, prices and bids (3, T) by product and hour.

    Raises ValueError for a day with two opportunities of one product in an hour, longer opportunities, or scenarios.
    """
    fleet, hours = day.fleet, len(day.market_price)
    hour = day.covers.argmax(axis=1)
    if (day.hours != 1.0).any() or len(set(zip(day.product, hour, strict=True))) < len(hour) or day.scenarios:
        raise ValueError("only single hours, each product once, at one forecast can be exported")

    def by_hour(values: Array) -> Array:
        spread = np.zeros((3, hours))
        spread[day.product, hour] = values
        return spread

    def by_home(values: Array) -> Array:
        return np.stack([day.by_prosumer_and_hour(product, values) for product in range(3)])

    committed_kw = by_home(day.committed_kw)
    least_kwh = np.array(fleet.min_stored_kwh, dtype=float)
    least_kwh[:, -1] = np.maximum(least_kwh[:, -1], fleet.terminal_stored_kwh)
    first_floor_kwh = np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0])
    return {
        "home_max_charge_kw": fleet.max_charge_kw,
        "home_max_discharge_kw": fleet.max_discharge_kw,
        "home_surplus_kw": fleet.surplus_kw,
        "home_export_room_kw": fleet.export_room_kw,
        "home_drive_kwh": fleet.drive_kwh,
        "home_initial_kwh": fleet.initial_stored_kwh,
        "home_least_kwh": least_kwh,
        "home_max_stored_kwh": fleet.max_stored_kwh,
        "home_floor_after_kwh": fleet.min_stored_kwh,
        "home_floor_before_kwh": np.column_stack([first_floor_kwh, fleet.min_stored_kwh[:, :-1]]),
        "home_cycles_kwh": fleet.maximum_cycles_per_day * fleet.capacity_kwh,
        "home_charge_efficiency": fleet.charge_efficiency,
        "home_discharge_efficiency": fleet.discharge_efficiency,
        "committed_kw": committed_kw,
        "paid_usd_per_kwh": by_home((day.call_price - day.satisfaction_worth) / 1000.0),
        "market_price": day.market_price + day.charging_adder,
        "bid_price": by_hour(day.price),
        "required_mw": by_hour(day.required_mw),
        "minimum_mw": by_hour(day.minimum_mw),
        "may_bid": by_hour(day.may_bid.astype(float)),
        "most_sold_mw": np.minimum(committed_kw[ENERGY], fleet.export_room_kw).sum(axis=0) / 1000.0,
        "most_bought_mw": fleet.max_charge_kw.sum(axis=0) / 1000.0,
        "call_hours": np.array(day.call_hours),
    }


def compiled(linear: Formulation) -> dict[str, Array]:
    """What CVXPY makes of it for HiGHS: minimise cost · x with rows and columns between bounds, by columns."""
    data, _, _ = linear.problem.get_problem_data("HIGHS")
    matrix, right = sparse.csc_matrix(data["A"]), np.asarray(data["b"], dtype=float)
    columns = matrix.shape[1]
    lower, upper = (data[side] for side in ("lower_bounds", "upper_bounds"))
    return {
        "lp_cost": np.asarray(data["c"], dtype=float),
        "lp_lower": np.full(columns, -np.inf) if lower is None else np.asarray(lower, dtype=float),
        "lp_upper": np.full(columns, np.inf) if upper is None else np.asarray(upper, dtype=float),
        "lp_row_lower": np.where(np.arange(len(right)) < data["dims"].zero, right, -np.inf),
        "lp_row_upper": right,
        "lp_start": matrix.indptr,
        "lp_index": matrix.indices,
        "lp_value": matrix.data,
    }
