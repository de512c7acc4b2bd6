"""One battery that buys and sells at known prices: the same problem by three programs, in one process each.

    python benchmarks/one_battery.py ours|energypylinear|pypsa <hours> <times>     prints JSON: the least seconds of all

The file needs nothing of the project but for ``ours``: energy-py-linear asks for numpy 1 and lives in an environment of
its own. Its losses fall on charging alone, so they do here. Prices are above zero, where the three models agree: below,
energy-py-linear and we forbid charging and discharging at once, PyPSA does not; energy-py-linear ends exactly empty.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from typing import Any

import numpy as np

POWER_MW, CAPACITY_MWH, EFFICIENCY = 1.0, 4.0, 0.85
DAY_USD = (38, 35, 33, 32, 34, 42, 55, 48, 25, 8, 2, 4, 6, 2, 6, 18, 40, 72, 105, 98, 78, 62, 50, 43)


def prices(hours: int) -> Any:
    """$ per MWh (hours,): one day's shape, each hour of each day drawn anew."""
    noise = np.random.default_rng(0).normal(1.0, 0.1, hours)
    return np.maximum(np.resize(np.array(DAY_USD, float), hours) * noise, 0.5)


def ours(hours: int) -> dict[str, float]:
    """The dynamic programme of the pricing sweep, and the schedule that it finds."""
    from vpp_pipeline.dispatch.column_generation.best_response import POWERS, Stores, add_schedules
    from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer
    from vpp_pipeline.dispatch.column_generation.shard import per_kwh
    from vpp_pipeline.dispatch.problem import Duals

    usd_per_mwh = prices(hours)
    begun = time.perf_counter()
    power, nothing = np.full((1, hours), POWER_MW * 1000.0), np.zeros((1, hours))
    capacity, one = np.full((1, hours), CAPACITY_MWH * 1000.0), np.ones(1)
    limits = (power, power, nothing, capacity, nothing, nothing, 2.0 * power, nothing)
    deals = (power, nothing, nothing, nothing, nothing, nothing)
    store = Stores(*limits, *deals, EFFICIENCY * one, one, 0.0 * one, 0.0 * one, 1e9 * one)
    pricer = FleetPricer(store, np.zeros(1, dtype=np.int64), 1, 1.0)
    duals = Duals(usd_per_mwh, usd_per_mwh, nothing[0], nothing[0])
    solving = time.perf_counter()
    value_usd = float(pricer.values(duals)[0])
    solved = time.perf_counter()
    powers = np.zeros((POWERS, 1, hours))
    add_schedules(store, 0, np.zeros(1, dtype=np.int64), one, per_kwh(duals), 1.0, powers)
    earned_usd = float((powers[2, 0] - powers[0, 0]) @ usd_per_mwh / 1000.0)
    if abs(earned_usd - value_usd) > 1e-9 * value_usd:
        raise ValueError(f"the schedule earns {earned_usd}, its value is {value_usd}")
    return {"objective_usd": earned_usd, "solve_s": solved - solving, "all_s": time.perf_counter() - begun}


def energypylinear(hours: int) -> dict[str, float]:
    """Mixed-integer by CBC, which runs as a program of its own: its seconds are pulp's, files included."""
    import energypylinear as epl
    import pulp

    usd_per_mwh, seconds = prices(hours), []
    actual = pulp.PULP_CBC_CMD.actualSolve

    def timed_cbc(solver: Any, problem: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        status = actual(solver, problem, **named)
        seconds.append(time.perf_counter() - begun)
        return status

    pulp.PULP_CBC_CMD.actualSolve = timed_cbc
    begun = time.perf_counter()
    battery = epl.Battery(
        power_mw=POWER_MW,
        capacity_mwh=CAPACITY_MWH,
        efficiency_pct=EFFICIENCY,
        initial_charge_mwh=0.0,
        final_charge_mwh=0.0,
        electricity_prices=usd_per_mwh,
        freq_mins=60,
    )
    found = battery.optimize(verbose=0).results
    all_s = time.perf_counter() - begun
    pulp.PULP_CBC_CMD.actualSolve = actual
    earned = (found["site-export_power_mwh"] - found["site-import_power_mwh"]).to_numpy() @ usd_per_mwh
    return {"objective_usd": float(earned), "solve_s": sum(seconds), "all_s": all_s}


def pypsa(hours: int) -> dict[str, float]:
    """A linear problem by HiGHS; its seconds are HiGHS's own."""
    import pypsa as psa

    logging.disable(logging.WARNING)
    usd_per_mwh, begun = prices(hours), time.perf_counter()
    network = psa.Network()
    network.set_snapshots(range(hours))
    network.add("Bus", "home")
    network.add("Generator", "market", bus="home", p_nom=10.0, p_min_pu=-1.0, marginal_cost=usd_per_mwh)
    network.add(
        "StorageUnit",
        "battery",
        bus="home",
        p_nom=POWER_MW,
        max_hours=CAPACITY_MWH / POWER_MW,
        efficiency_store=EFFICIENCY,
        efficiency_dispatch=1.0,
    )
    network.optimize(solver_name="highs", solver_options={"output_flag": False}, progress=False)
    all_s = time.perf_counter() - begun
    solve_s = float(network.model.solver_model.getRunTime())
    return {"objective_usd": -float(network.objective), "solve_s": solve_s, "all_s": all_s}


def version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    name, hours, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    answer_to = os.dup(1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    run = {"ours": ours, "energypylinear": energypylinear, "pypsa": pypsa}[name]
    run(24)  # imports and compiles
    runs = [run(hours) for _ in range(times)]
    row: dict[str, Any] = {key: min(found[key] for found in runs) for key in ("solve_s", "all_s")}
    row |= {"objective_usd": runs[0]["objective_usd"], "version": version(name)}
    os.write(answer_to, json.dumps(row).encode())


if __name__ == "__main__":
    main()
