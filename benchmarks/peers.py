"""The LP relaxation of one day by other programs, each in a process of its own.

    python benchmarks/peers.py linopy|pypsa|simplex|ipx|hipo|pdlp <day.npz>     prints JSON

The file needs nothing of the project: it runs in the environment of `comparison.txt` and reads the numbers that
`optimiser_measures.py export` wrote. Arrays are (N, T) by home and hour, bids and prices (3, T) by product and hour;
kW, kWh, and $; the rows are those at the head of `vpp_pipeline/dispatch/formulation.py`. linopy and PyPSA state the day
themselves, from the arrays; the four methods of HiGHS get the matrix that CVXPY compiled.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

ENERGY, SPIN, NONSPIN = range(3)
PRODUCTS = ("energy", "spin", "nonspin")
PDLP_TOLERANCE = 1e-6  # HiGHS' other methods keep their own, 1e-7 and less
WARM_UP_HOMES = 3

Day = dict[str, Any]  # name -> array
Answer = dict[str, Any]


def first_homes(day: Day, count: int) -> Day:
    """The day of the first homes alone, as large as its bids are."""
    homes = {name: values[:count] for name, values in day.items() if name.startswith("home_")}
    return day | homes | {name: day[name][:, :count] for name in ("committed_kw", "paid_usd_per_kwh")}


def linopy(day: Day) -> Answer:
    """Whole arrays of xarray."""
    import linopy as lp
    import xarray as xr

    homes, hours = day["home_surplus_kw"].shape
    of_home, of_hour = ("home", range(homes)), ("hour", range(hours))

    def given(values: Any) -> Any:
        coordinates = {1: [of_home], 2: [of_home, of_hour]}[values.ndim]
        return xr.DataArray(values, dict(coordinates), [name for name, _ in coordinates])

    def by_hour(values: Any) -> Any:
        return xr.DataArray(values, dict([of_hour]), ["hour"])

    home = {name.removeprefix("home_"): given(day[name]) for name in day if name.startswith("home_")}
    committed = [given(values) for values in day["committed_kw"]]
    paid = [given(values) for values in day["paid_usd_per_kwh"]]
    eta_c, eta_d, device_kw = home["charge_efficiency"], home["discharge_efficiency"], home["max_discharge_kw"]
    model, zero = lp.Model(), given(np.zeros((homes, hours)))

    def power(name: str, most_kw: Any) -> Any:
        return model.add_variables(zero, most_kw, name=name)

    grid_charge = power("grid charge", home["max_charge_kw"])
    solar_charge = power("solar charge", np.minimum(home["max_charge_kw"], home["surplus_kw"]))
    discharge = power("discharge", np.minimum(device_kw, committed[ENERGY]))
    solar_sold = power("solar sold", np.minimum(home["surplus_kw"], committed[ENERGY]))
    spin = power("spin", np.minimum(device_kw, committed[SPIN]))
    nonspin = power("nonspin", np.minimum(device_kw, committed[NONSPIN]))
    stored = model.add_variables(home["least_kwh"], home["max_stored_kwh"], name="stored")
    buy = model.add_variables(by_hour(np.zeros(hours)), name="buy")
    z = [
        model.add_variables(0.0, by_hour(most), name=f"z {p}") for p, most in zip(PRODUCTS, day["may_bid"], strict=True)
    ]
    q = [model.add_variables(0.0, by_hour(r), name=f"q {p}") for p, r in zip(PRODUCTS, day["required_mw"], strict=True)]

    initial_kwh = home["initial_kwh"] * by_hour(np.arange(hours) == 0)  # what the first hour begins with
    exported, reserve, charge = discharge + solar_sold, spin + nonspin, grid_charge + solar_charge
    before = stored.shift(hour=1)
    called = (day["call_hours"].item() / eta_d) * reserve
    drawn = (1.0 / eta_d) * discharge
    model.add_constraints(stored - before - eta_c * charge + drawn == initial_kwh - home["drive_kwh"])
    model.add_constraints(charge <= home["max_charge_kw"])
    model.add_constraints(discharge + reserve <= device_kw)
    model.add_constraints(exported + reserve <= home["export_room_kw"])
    model.add_constraints(solar_charge + solar_sold <= home["surplus_kw"])
    model.add_constraints(exported <= committed[ENERGY])
    model.add_constraints(drawn.sum("hour") <= home["cycles_kwh"])
    model.add_constraints(called - stored <= -home["floor_after_kwh"])
    model.add_constraints(called - before <= initial_kwh - home["floor_before_kwh"])
    model.add_constraints((exported - grid_charge).sum("home") / 1000.0 - q[ENERGY] + buy == 0.0)
    model.add_constraints(spin.sum("home") / 1000.0 - q[SPIN] == 0.0)
    model.add_constraints(nonspin.sum("home") / 1000.0 - q[NONSPIN] == 0.0)
    most_sold, most_bought = by_hour(day["most_sold_mw"]), by_hour(day["most_bought_mw"])
    model.add_constraints(exported.sum("home") / 1000.0 - most_sold * z[ENERGY] <= 0.0)
    model.add_constraints(buy + most_bought * z[ENERGY] <= most_bought)
    for product in range(3):
        required, minimum = (by_hour(day[name][product]) for name in ("required_mw", "minimum_mw"))
        model.add_constraints(q[product] - required * z[product] <= 0.0)
        model.add_constraints(q[product] - minimum * z[product] >= 0.0)
    sold = (exported, spin, nonspin)
    revenue = sum((by_hour(price) * quantity).sum() for price, quantity in zip(day["bid_price"], q, strict=True))
    payments = sum((price * kw).sum() for price, kw in zip(paid, sold, strict=True))
    model.add_objective(revenue - (by_hour(day["market_price"]) * buy).sum() - payments, sense="max")

    return _solved(model)


def _solved(model: Any) -> Answer:
    """linopy's model by HiGHS, without a file between."""
    status, _ = model.solve("highs", io_api="direct", output_flag=False, progress=False)
    sign = 1.0 if model.objective.sense == "max" else -1.0
    answer = {"objective_usd": sign * float(model.objective.value), "status": status}
    return answer | {"solver_s": model.solver_model.getRunTime()}


def pypsa(day: Day) -> Answer:
    """Products and homes as buses, all powers as links and generators; by linopy directly, what no component states.

    Components state balances, stores, efficiencies, solar, commitments, prices, and purchases. The rows added: both
    reserves within the inverter, the export limit, and the stored energy; cycles; bids between minimum and R. The model
    is made, solved, and read back without `optimize`, which goes on to look for cycles in the power flow of each bus.
    """
    import pandas as pd
    import pypsa as psa

    logging.disable(logging.WARNING)
    homes, hours = day["home_surplus_kw"].shape
    network = psa.Network()
    network.set_snapshots(range(hours))

    def series(values: Any, names: Any) -> Any:
        return pd.DataFrame(values.T, network.snapshots, names)

    def names(kind: str, which: Any = None) -> Any:
        return pd.Index([f"{kind} {k}" for k in (np.arange(homes) if which is None else which)])

    def links(kind: str, start: Any, end: Any, most_kw: Any, which: Any = None, **further: Any) -> None:
        of_kind = names(kind, which)
        network.add("Link", of_kind, bus0=start, bus1=end, p_nom=1.0, p_max_pu=series(most_kw, of_kind), **further)

    eta_d, device_kw, committed = day["home_discharge_efficiency"], day["home_max_discharge_kw"], day["committed_kw"]
    network.add("Bus", list(PRODUCTS))
    for bus in ("input", "battery", "output"):
        network.add("Bus", names(bus))
    links("buy", "energy", names("input"), day["home_max_charge_kw"])
    links(
        "charge", names("input"), names("battery"), day["home_max_charge_kw"], efficiency=day["home_charge_efficiency"]
    )
    links("discharge", names("battery"), names("output"), device_kw / eta_d[:, None], efficiency=eta_d)
    owners_usd = series(day["paid_usd_per_kwh"][ENERGY], names("sell"))
    links("sell", names("output"), "energy", committed[ENERGY], marginal_cost=owners_usd)
    network.add(
        "Store",
        names("battery"),
        bus=names("battery"),
        e_nom=1.0,
        e_initial=day["home_initial_kwh"],
        e_min_pu=series(day["home_least_kwh"], names("battery")),
        e_max_pu=series(day["home_max_stored_kwh"], names("battery")),
    )
    driving = np.flatnonzero(day["home_drive_kwh"].any(axis=1))
    if len(driving):
        drive_kw = series(day["home_drive_kwh"][driving], names("drive", driving))
        network.add("Load", names("drive", driving), bus=names("battery", driving), p_set=drive_kw)
    sunny = np.flatnonzero(day["home_surplus_kw"].any(axis=1))
    if len(sunny):
        surplus_kw, suns = day["home_surplus_kw"][sunny], names("sun", sunny)
        network.add("Bus", suns)
        network.add("Generator", suns, bus=suns, p_nom=1.0, p_max_pu=series(surplus_kw, suns))
        links("sun in", suns, names("input", sunny), surplus_kw, sunny)
        links("sun out", suns, names("output", sunny), surplus_kw, sunny)
    for product in (SPIN, NONSPIN):
        held, most_kw = names(PRODUCTS[product]), np.minimum(device_kw, committed[product])
        paid_usd = series(day["paid_usd_per_kwh"][product], held)
        limits = {"p_nom": 1.0, "p_max_pu": series(most_kw, held), "marginal_cost": paid_usd}
        network.add("Generator", held, bus=PRODUCTS[product], **limits)
    network.add("Generator", "market", bus="energy", p_nom=np.inf, marginal_cost=day["market_price"] / 1000.0)
    bids = pd.Index([f"bid {product}" for product in PRODUCTS])
    limits = {"p_max_pu": series(1000.0 * day["required_mw"], bids), "p_nom": 1.0, "sign": -1.0}
    network.add("Generator", bids, bus=PRODUCTS, marginal_cost=series(-day["bid_price"] / 1000.0, bids), **limits)

    model = network.optimize.create_model(include_objective_constant=False)
    _add_what_no_component_states(model, day, names)
    answer = _solved(model)
    network.optimize.assign_solution()
    return answer


def _add_what_no_component_states(model: Any, day: Day, names: Callable[[str], Any]) -> None:
    """The rows that no component of PyPSA states."""
    import xarray as xr

    homes, hours = day["home_surplus_kw"].shape
    snapshot = ("snapshot", range(hours))

    def of_homes(values: Any) -> Any:
        if values.ndim == 1:
            return xr.DataArray(values, {"home": range(homes)}, ["home"])
        return xr.DataArray(values.T, dict([snapshot, ("home", range(homes))]), ["snapshot", "home"])

    def by_hour(values: Any) -> Any:
        return xr.DataArray(values, dict([snapshot]), ["snapshot"])

    def power(component: str, kind: str) -> Any:
        found = model[f"{component}-p"].sel(name=names(kind))
        return (1.0 * found).assign_coords(name=range(homes)).rename(name="home")

    def one(kind: str) -> Any:
        return model["Generator-p"].sel(name=kind, drop=True)

    stored = (1.0 * model["Store-e"].sel(name=names("battery"))).assign_coords(name=range(homes)).rename(name="home")
    eta_d = of_homes(day["home_discharge_efficiency"])
    drawn, sold = power("Link", "discharge"), power("Link", "sell")
    reserve = power("Generator", "spin") + power("Generator", "nonspin")
    called, before = (day["call_hours"].item() / eta_d) * reserve, stored.shift(snapshot=1)
    initial_kwh = of_homes(day["home_initial_kwh"]) * by_hour(np.arange(hours) == 0)
    model.add_constraints(eta_d * drawn + reserve <= of_homes(day["home_max_discharge_kw"]))
    model.add_constraints(sold + reserve <= of_homes(day["home_export_room_kw"]))
    model.add_constraints(called - stored <= -of_homes(day["home_floor_after_kwh"]))
    model.add_constraints(called - before <= initial_kwh - of_homes(day["home_floor_before_kwh"]))
    model.add_constraints(drawn.sum("snapshot") <= of_homes(day["home_cycles_kwh"]))
    for product, name in enumerate(PRODUCTS):
        required, minimum = (by_hour(1000.0 * day[limit][product]) for limit in ("required_mw", "minimum_mw"))
        z = model.add_variables(0.0, by_hour(day["may_bid"][product]), name=f"z {name}")
        model.add_constraints(one(f"bid {name}") - required * z <= 0.0)
        model.add_constraints(one(f"bid {name}") - minimum * z >= 0.0)
        if product == ENERGY:
            most_sold, most_bought = by_hour(1000.0 * day["most_sold_mw"]), by_hour(1000.0 * day["most_bought_mw"])
            model.add_constraints(sold.sum("home") - most_sold * z <= 0.0)
            model.add_constraints(one("market") + most_bought * z <= most_bought)


def highs(day: Day, method: str) -> Answer:
    """The compiled LP by a method of HiGHS; interior points are not turned into a vertex, which would take longer."""
    import highspy

    model = highspy.HighsModel()
    lp = model.lp_
    lp.num_row_, lp.num_col_ = len(day["lp_row_lower"]), len(day["lp_cost"])
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = day["lp_cost"], day["lp_lower"], day["lp_upper"]
    lp.row_lower_, lp.row_upper_ = day["lp_row_lower"], day["lp_row_upper"]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = day["lp_start"], day["lp_index"]
    lp.a_matrix_.value_ = day["lp_value"]
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("run_crossover", "off")
    solver.setOptionValue("pdlp_optimality_tolerance", PDLP_TOLERANCE)
    if solver.setOptionValue("solver", method) != highspy.HighsStatus.kOk:
        raise RuntimeError(f"this HiGHS has no {method}")
    solver.passModel(model)
    solver.run()
    np.asarray(solver.getSolution().col_value)  # the answer is read, as the others do
    status, info = solver.modelStatusToString(solver.getModelStatus()), solver.getInfo()
    return {"objective_usd": -info.objective_function_value, "status": status, "solver_s": solver.getRunTime()}


PEERS: dict[str, Callable[[Day], Answer]] = {"linopy": linopy, "pypsa": pypsa}


def main() -> None:
    name, file = sys.argv[1:]
    answer_to = os.dup(1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    with np.load(file) as arrays:
        day = dict(arrays)
    if name in PEERS:
        run = PEERS[name]
        run(first_homes(day, WARM_UP_HOMES))  # imports
    else:
        import highspy

        highspy.Highs().run()
        run = partial(highs, method=name)
    wall, cpu = time.perf_counter(), time.process_time()
    row = run(day)
    row |= {"all_s": time.perf_counter() - wall, "all_cpu_s": time.process_time() - cpu}
    row["versions"] = {package: version(package) for package in ("linopy", "pypsa", "highspy")}
    os.write(answer_to, json.dumps(row).encode())


if __name__ == "__main__":
    main()
