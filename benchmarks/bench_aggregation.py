"""What aggregation to storage resources loses against the exact fleet, and what it takes, on real SP15 prices.

    python benchmarks/bench_aggregation.py [part, default all: loss, size, day, baseline] [largest, default 100000]
    python benchmarks/bench_aggregation.py absent FILE

Reads CAISO day-ahead prices (2023 and 2024) from ``../shared/data`` beside the checkout. Everyone is there, prices are
known, and owners are paid their reservation prices: what is left is the aggregation. Classes are made once, at the
prices of four days of June 2024, and fitted to each day at its forecast. `exact` is what the fleet earns above its
needs if each owner is dispatched by itself; `shares` what it loses where awards are shared out by the recipe;
`dispatched` where the same awards are delivered by the linear program of a settled day. July and January were looked
at while the classes were designed, October was not.

`day` is what a day of the default fleet takes by stage, with classes kept from another. `baseline` is what homes lose
by what their baselines decide at the forecast, on every ninth day from February to June 2024: each store a resource by
itself, settled as a day is. `absent` splits the days of a back-test by whether a business site stayed away; FILE is
what `backtest --arms storage,indexed,foresight_within_preferences --json` printed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from days import prepare_day, real_prices

from vpp_pipeline.aggregation.boxes import baseline_of, boxes_of
from vpp_pipeline.aggregation.classes import Classes, for_the_day
from vpp_pipeline.aggregation.clearing import bids_at_floors, clear
from vpp_pipeline.aggregation.offer import LEAST_SIZE_MW, classes_of, offer_of, outlook_of
from vpp_pipeline.aggregation.resources import disaggregated, resources_of
from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.tables import CLASSES_BEFORE, MEMBERS_BEFORE, Day
from vpp_pipeline.dispatch.after_awards import Cleared, Deals, best_dispatch, dispatch_after_awards
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.backtest.plans import as_storage, prices_by_hour
from vpp_pipeline.evaluation.settle_day import settle_day
from vpp_pipeline.evaluation.settlement import draw_available, net_export_mw
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.negotiation.contract import cheapest_usd_per_mwh
from vpp_pipeline.pipeline import CLASSES, MEMBERS, bid_solution, fleet_of, prepare_problem, solve
from vpp_pipeline.settings import Settings

CALL_HOURS = 1.0
TRAINED_ON = [date(2024, 6, day) for day in (4, 12, 20, 27)]
MONTHS = {
    "July 2024": [date(2024, 7, day) for day in (2, 5, 9, 11, 12, 18, 23, 28)],
    "January 2024": [date(2024, 1, day) for day in (4, 11, 16, 25)],
    "October 2024": [date(2024, 10, day) for day in (2, 8, 14, 20, 26)],
}
COUNTS = (6, 10, 17)
NO_DEVIATION = 30.0  # times the price: a plan that leaves its awards loses
KINDS = {"default fleet": "", "businesses": "business", "home batteries": "home battery", "home EVs": "home ev"}
DAY = date(2024, 7, 11)
SPRING = [date(2024, 2, 1) + timedelta(days=9 * k) for k in range(17)]
HOMES = {  # kind: how its segment begins, and whether it can discharge
    "home batteries": ("home battery", True),
    "homes with sun alone": ("home none", False),
    "two-way EVs": ("home ev", True),
    "one-way EVs": ("home ev", False),
}


def day_of(market_date: date, source: PriceSource, settings: Settings) -> tuple[Fleet, Array, Array, Array]:
    """The fleet, its floors (3, N, T), the forecast and the prices (3, T)."""
    tables = prepare_day(market_date, source, settings)
    fleet = fleet_of(tables)
    of_product = [reservation_price(fleet, product, settings.negotiation)[:, None] for product in PRODUCTS]
    floor = np.stack([np.broadcast_to(one, fleet.max_charge_kw.shape) for one in of_product])
    return fleet, floor, prices_by_hour(tables["market.price_forecast"]), prices_by_hour(source.day(market_date))


def worth(price: Array, floor: Array, done: DaySchedule) -> float:
    """Revenue less floors, $."""
    sold = np.stack([done.exported_kw, done.spin_kw, done.nonspin_kw])
    earned = (price * sold.sum(axis=1)).sum() - price[0] @ done.grid_charge_kw.sum(axis=0)
    return float(earned - (floor * sold).sum()) / 1000.0


def losses(
    fleet: Fleet, floor: Array, forecast: Array, price: Array, made: dict[int, Classes]
) -> tuple[float, dict[int, tuple[float, float]]]:
    """What the exact fleet adds, $, and what each number of classes loses of it: by shares, and dispatched."""
    most_kw = np.stack([fleet.capacity_kw(product, CALL_HOURS) for product in PRODUCTS])
    deals = Deals(most_kw, floor)
    nothing = worth(price, floor, best_dispatch(fleet, Deals(0.0 * most_kw, floor), price, 0.0, CALL_HOURS))
    exact = worth(price, floor, best_dispatch(fleet, deals, price, 0.0, CALL_HOURS)) - nothing
    baseline = baseline_of(fleet, forecast[0], floor[0])
    boxes, found = boxes_of(fleet, baseline), {}
    for count, classes in made.items():
        today = for_the_day(classes, boxes, outlook_of(fleet, floor, forecast[None], CALL_HOURS))
        resources = resources_of(fleet, today, boxes, CALL_HOURS)
        awards = clear(resources, bids_at_floors(resources, floor), price, CALL_HOURS)
        shared = disaggregated(fleet, baseline, resources, awards)
        held_mw = np.stack([shared.spin_kw.sum(axis=0), shared.nonspin_kw.sum(axis=0)]) / 1000.0
        cleared = Cleared(net_export_mw(shared), held_mw, np.zeros(price.shape[1]), price, NO_DEVIATION, 0.0)
        again = dispatch_after_awards(fleet, deals, cleared, CALL_HOURS)
        found[count] = tuple(exact - (worth(price, floor, done) - nothing) for done in (shared, again))
    return exact, found


def loss() -> Iterator[str]:
    """Lines of the table of losses."""
    source, settings = real_prices(), Settings()
    trained = [day_of(day, source, settings) for day in TRAINED_ON]
    first, floor, prices = trained[0][0], trained[0][1], np.stack([price for *_, price in trained])
    days = {month: [day_of(day, source, settings) for day in chosen] for month, chosen in MONTHS.items()}
    yield "fleet            month          exact $/day   classes: lost by shares, dispatched"
    for kind, begins in KINDS.items():
        mine = np.flatnonzero(np.strings.startswith(first.segment.astype(str), begins))
        least_mw = LEAST_SIZE_MW if not begins or begins == "business" else 0.0
        whole = (first.part(mine), floor[:, mine], prices, CALL_HOURS)
        made = {count: classes_of(*whole, count, least_mw) for count in COUNTS}
        for month, chosen in days.items():
            rows = [losses(f.part(mine), fl[:, mine], forecast, price, made) for f, fl, forecast, price in chosen]
            exact = sum(row[0] for row in rows)
            told = "   ".join(
                f"{len(made[n].shape):>3}: {_percent(rows, n, 0, exact)}, {_percent(rows, n, 1, exact)}" for n in COUNTS
            )
            yield f"{kind:<16} {month:<14} {exact / len(rows):>11,.1f}   {told}"


def _percent(rows: list[tuple[float, dict[int, tuple[float, float]]]], count: int, way: int, exact: float) -> str:
    return f"{100.0 * sum(row[1][count][way] for row in rows) / exact:6.2f}%"


def settled(fleet: Fleet, floor: Array, price: Array, planned: DaySchedule, done: DaySchedule, factor: float) -> float:
    """Revenue of a ``planned`` position and of what is ``done`` beside it at the imbalance price, less floors, $."""
    off_mw = net_export_mw(done) - net_export_mw(planned)
    left_kwh = (done.stored_kwh[:, -1] - fleet.terminal_stored_kwh) / fleet.charge_efficiency
    left_usd = cheapest_usd_per_mwh(price[0]) * float(left_kwh[fleet.has_store].sum()) / 1000.0
    return worth(price, floor, done) + left_usd - float((factor - 1.0) * np.abs(price[0] * off_mw).sum())


def of_baselines(fleet: Fleet, floor: Array, forecast: Array, price: Array, settings: Settings) -> Array:
    """What a fleet earns, $: each store a resource by itself around the baseline of the ``forecast``, the same around
    that of the ``price``, and with all known.
    """
    most_kw = np.stack([fleet.capacity_kw(product, CALL_HOURS) for product in PRODUCTS])
    deals, factor = Deals(most_kw, floor), settings.settlement.imbalance_factor
    leftover, found = cheapest_usd_per_mwh(price[0]), []
    for at in (forecast, price):
        baseline = baseline_of(fleet, at[0], floor[0])
        boxes = boxes_of(fleet, baseline)
        resources = resources_of(fleet, Classes(boxes.rows, np.arange(len(fleet))), boxes, CALL_HOURS)
        awards = clear(resources, bids_at_floors(resources, floor), price, CALL_HOURS)
        planned = disaggregated(fleet, baseline, resources, awards)
        held_mw = np.stack([planned.spin_kw.sum(axis=0), planned.nonspin_kw.sum(axis=0)]) / 1000.0
        none = np.zeros(price.shape[1])
        cleared = Cleared(net_export_mw(planned), held_mw, none, price, factor, leftover)
        done = dispatch_after_awards(fleet, deals, cleared, CALL_HOURS)
        found.append(settled(fleet, floor, price, planned, done, factor))
    known = best_dispatch(fleet, deals, price, leftover, CALL_HOURS)
    return np.array([*found, settled(fleet, floor, price, known, known, factor)])


def baselines() -> Iterator[str]:
    """Lines of what is lost where baselines decide at the forecast."""
    source, settings = real_prices(), Settings()
    earned, of_all = {kind: np.zeros(3) for kind in HOMES}, 0.0
    for day in SPRING:
        tables = DayInputs(day, settings, None, None, None, opened=source).tables()
        fleet = fleet_of(tables)
        of_product = [reservation_price(fleet, product, settings.negotiation)[:, None] for product in PRODUCTS]
        floor = np.stack([np.broadcast_to(one, fleet.max_charge_kw.shape) for one in of_product])
        forecast, price = prices_by_hour(tables["market.price_forecast"]), prices_by_hour(source.day(day))
        most_kw = np.stack([fleet.capacity_kw(product, CALL_HOURS) for product in PRODUCTS])
        leftover = cheapest_usd_per_mwh(price[0])
        best, least = (
            best_dispatch(fleet, Deals(part * most_kw, floor), price, leftover, CALL_HOURS) for part in (1.0, 0.0)
        )
        of_all += settled(fleet, floor, price, best, best, 1.0) - settled(fleet, floor, price, least, least, 1.0)
        segment, can_discharge = fleet.segment.astype(str), (fleet.max_discharge_kw > 0.0).any(axis=1)
        for kind, (begins, discharges) in HOMES.items():
            mine = np.flatnonzero(np.strings.startswith(segment, begins) & (can_discharge == discharges))
            earned[kind] += of_baselines(fleet.part(mine), floor[:, mine], forecast, price, settings)
    yield f"what the fleet can add, all known: ${of_all:,.0f}; of that, lost by"
    for kind, (forecast_usd, price_usd, known_usd) in earned.items():
        by_forecast, by_all = (100.0 * (usd - forecast_usd) / of_all for usd in (price_usd, known_usd))
        yield f"{kind:<22} {by_forecast:5.2f}% the forecast of baselines   {by_all:5.2f}% anything"


def absent(file: Path) -> Iterator[str]:
    """Lines of a back-test's days, with all business sites there and with one or more away."""
    source, settings = real_prices(), Settings()
    rows = pl.DataFrame(json.loads(file.read_text())["benchmark"], infer_schema_length=None)
    days = rows.pivot(on="arm", index="market_date", values="value_usd").with_columns(
        pl.col("market_date").str.to_date()
    )
    away = []
    for day in days["market_date"]:
        fleet = fleet_of(prepare_day(day, source, settings))
        stays_away = ~draw_available(fleet.availability_fraction, day, settings.settlement)
        away.append(bool((stays_away & np.strings.startswith(fleet.segment.astype(str), "business")).any()))
    for (is_away,), part in days.with_columns(away=pl.Series(away)).group_by("away", maintain_order=True):
        above = int((part["storage"] > part["indexed"]).sum())
        storage, indexed = (
            part[arm].sum() / part["foresight_within_preferences"].sum() for arm in ("storage", "indexed")
        )
        kind = "a business site away" if is_away else "all business sites there"
        told = f"{part.height:>3} days, storage above hours on {above}"
        yield f"{kind:<25} {told}; of the bound: storage {storage:.1%}, hours {indexed:.1%}"


def size(largest: int) -> Iterator[str]:
    """Lines of what fleets of several sizes take."""
    source, settings = real_prices(), Settings()
    prices = np.stack([prices_by_hour(source.day(DAY - timedelta(days=7 * k))) for k in (1, 2, 3, 4)])
    yield "prosumers   classes   made, CPU-s   offer   clearing   shares   together beside the making   peak GB"
    for count in (200, 2_000, 20_000, 100_000, 1_000_000):
        if count > largest:
            break
        fleet_settings = settings.fleet.model_copy(update={"prosumers": count})
        fleet, floor, forecast, price = day_of(DAY, source, settings.model_copy(update={"fleet": fleet_settings}))
        laps = [time.process_time()]
        classes = classes_of(fleet, floor, prices, CALL_HOURS, 10)
        laps.append(time.process_time())
        offer = offer_of(fleet, floor, forecast, classes, CALL_HOURS)
        laps.append(time.process_time())
        awards = offer.awards(price)
        laps.append(time.process_time())
        offer.schedule(awards)
        laps.append(time.process_time())
        made, offered, cleared, shared = np.diff(laps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        yield (
            f"{count:>9,} {len(classes.shape):>9} {made:>13.2f} {offered:>7.2f} {cleared:>10.2f} {shared:>8.2f} "
            f"{offered + cleared + shared:>28.2f} {peak:>9.2f}"
        )


def day() -> Iterator[str]:
    """Lines of the CPU seconds of a day as storage: from its forecast to what it is paid."""
    source, settings = real_prices(), Settings()
    stamp = Stamp("benchmark", "", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
    kept: Day = {}
    yield "day          inputs   resources   negotiation   solve   bids   clearing and dispatch   beyond the solve"
    for market_date in (DAY + timedelta(days=7 * k) for k in range(6)):
        laps = [time.process_time()]
        tables = prepare_day(market_date, source, settings)
        laps.append(time.process_time())
        tables = as_storage(tables, settings, kept)
        laps.append(time.process_time())
        tables, problem = prepare_problem(tables, settings)
        laps.append(time.process_time())
        solution = solve(problem, settings)
        laps.append(time.process_time())
        tables = bid_solution(tables, problem, solution, settings, stamp)
        laps.append(time.process_time())
        cleared = {**tables, "market.prices": source.day(market_date)}
        settle_day(cleared, settings.rules, settings.settlement)
        laps.append(time.process_time())
        inputs, resources, negotiation, solving, bids, settling = np.diff(laps)
        if kept:  # the first day makes them
            yield (
                f"{market_date} {inputs:>8.2f} {resources:>11.2f} {negotiation:>13.2f} {solving:>7.2f} {bids:>6.2f} "
                f"{settling:>23.2f} {laps[-1] - laps[0] - solving:>18.2f}"
            )
        kept = {CLASSES_BEFORE: tables[CLASSES], MEMBERS_BEFORE: tables[MEMBERS]}


def main() -> None:
    """The command."""
    part = sys.argv[1] if len(sys.argv) > 1 else "all"
    if part == "absent":
        print("\n".join(absent(Path(sys.argv[2]))))
        return
    largest = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    for name, lines in (("loss", loss()), ("size", size(largest)), ("day", day()), ("baseline", baselines())):
        if part in ("all", name):
            for line in lines:
                print(line, flush=True)


if __name__ == "__main__":
    main()
