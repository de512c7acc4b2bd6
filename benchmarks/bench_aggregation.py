"""What aggregation to storage resources loses against the exact fleet, and what it takes, on real SP15 prices.

    python benchmarks/bench_aggregation.py [part, default all: loss, size] [largest fleet, default 100000]

Reads CAISO day-ahead prices (2023 and 2024) from ``../shared/data`` beside the checkout. Everyone is there, prices are
known, and owners are paid their reservation prices: what is left is the aggregation. Classes are made once, at the
prices of four days of June 2024, and fitted to each day at its forecast. `exact` is what the fleet earns above its
needs if each owner is dispatched by itself; `shares` what it loses where awards are shared out by the recipe;
`dispatched` where the same awards are delivered by the linear program of a settled day. July and January were looked
at while the classes were designed, October was not.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from days import prepare_day, real_prices

from vpp_pipeline.aggregation.boxes import baseline_of, boxes_of
from vpp_pipeline.aggregation.classes import Classes, for_the_day
from vpp_pipeline.aggregation.clearing import bids_at_floors, clear
from vpp_pipeline.aggregation.offer import LEAST_SIZE_MW, classes_of, offer_of, outlook_of
from vpp_pipeline.aggregation.resources import disaggregated, resources_of
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.after_awards import Cleared, Deals, best_dispatch, dispatch_after_awards
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.backtest.plans import prices_by_hour
from vpp_pipeline.evaluation.settlement import net_export_mw
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import fleet_of
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


def main() -> None:
    """The command."""
    part = sys.argv[1] if len(sys.argv) > 1 else "all"
    largest = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    for name, lines in (("loss", loss()), ("size", size(largest))):
        if part in ("all", name):
            for line in lines:
                print(line, flush=True)


if __name__ == "__main__":
    main()
