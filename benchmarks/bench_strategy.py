"""What an owner gains by lying about its price, and what the auction's depth does: Markdown tables for docs/method.md.

    python benchmarks/bench_strategy.py [days, default 12]          one owner lies, everyone else is truthful
    python benchmarks/bench_strategy.py depth [days, default 12]    who earns how much, by engine and auction depth

Real SP15 prices (``../shared/data`` beside the checkout), days of 2023 and 2024, the default 200 prosumers, all hourly
opportunities, no requests. An option is worth (agreed price − true reservation price) × committed power × hours where
the deal closes, whether or not it is dispatched. In the auction each prosumer lies alone. In `concession` nobody's ask
touches another's deal, so all lie at once; a sample lies alone as well, and must get the same. Ends with 1 where that
does not hold, or where a lie gains anything in `uniform_clearing`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
from days import SEED, prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.tables import Day
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.negotiation.negotiate import ENGINES
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
from vpp_pipeline.pipeline import bid_solution, fleet_of, prepare_problem, solve
from vpp_pipeline.settings import NegotiationPolicy, Settings

Floats = npt.NDArray[np.float64]

DAYS, SAMPLE = 12, 8  # days; prosumers of each day that lie alone in `concession`
NO_GAIN_USD = 1e-9
DEPTHS = (1.0, 2.0, 3.0, 5.0, 10.0, 100.0)
STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
SETTINGS = Settings()
ROUNDS, ONE_ROUND = SETTINGS.negotiation, NegotiationPolicy(rounds=1)
AUCTION = NegotiationPolicy(engine="uniform_clearing")


@dataclass(frozen=True)
class KnownDay:
    """A day before its negotiations; ``terms`` are the true ones."""

    inputs: Day
    fleet: Fleet
    terms: Terms

    def deals(self, told: Terms, policy: NegotiationPolicy) -> Floats:
        """What each option (O, N) is worth, $, by the true reservation prices; not a number where no deal closed."""
        outcome = ENGINES[policy.engine](told, policy)
        hours = self.inputs["market.opportunities"]["duration_hours"].to_numpy()
        energy_mwh = self.terms.capacity_kw * hours[:, None] / 1000.0
        return np.where(outcome.is_closed, (outcome.end_price - self.terms.reservation) * energy_mwh, np.nan)

    def with_one_liar(self, lied: Terms, i: int) -> Terms:
        """The true terms, but for what prosumer ``i`` says."""
        reservation, opening_ask = self.terms.reservation.copy(), self.terms.opening_ask.copy()
        reservation[:, i], opening_ask[:, i] = lied.reservation[:, i], lied.opening_ask[:, i]
        return replace(self.terms, reservation=reservation, opening_ask=opening_ask)


def terms_of(inputs: Day, fleet: Fleet) -> Terms:
    opportunities, forecast = inputs["market.opportunities"], inputs["market.price_forecast"]
    return prepare_terms(opportunities, forecast, fleet, SETTINGS.negotiation, SETTINGS.rules)


def day_of(inputs: Day) -> KnownDay:
    fleet = fleet_of(inputs)
    return KnownDay(inputs, fleet, terms_of(inputs, fleet))


def opening_doubled(day: KnownDay) -> Terms:
    """An opening ask twice as high; the least price accepted stays the true one."""
    return replace(day.terms, opening_ask=2.0 * day.terms.opening_ask)


def states(factor: float) -> Callable[[KnownDay], Terms]:
    """Another reservation price, stated throughout: no ask goes below it, and the opening ask moves with it."""
    return lambda day: replace(
        day.terms, reservation=factor * day.terms.reservation, opening_ask=factor * day.terms.opening_ask
    )


def wants_more(day: KnownDay) -> Terms:
    """A minimum compensation that makes the reservation price of energy a fifth higher; reserve follows from it."""
    more_usd_per_kwh = 0.2 * reservation_price(day.fleet, "energy", SETTINGS.negotiation) / 1000.0
    stated = day.fleet.minimum_compensation_usd_per_kwh + more_usd_per_kwh
    return terms_of(day.inputs, replace(day.fleet, minimum_compensation_usd_per_kwh=stated))


@dataclass(frozen=True)
class Lie:
    """What a prosumer says instead of the truth, to which engine."""

    engine: str
    policy: NegotiationPolicy
    words: str
    tell: Callable[[KnownDay], Terms]


LIES = (
    Lie("`concession`, 3 rounds", ROUNDS, "opening ask × 2", opening_doubled),
    Lie("`concession`, 1 round", ONE_ROUND, "its only ask × 2", states(2.0)),
    Lie("`uniform_clearing`", AUCTION, "its only ask × 2", states(2.0)),
    Lie("`uniform_clearing`", AUCTION, "its only ask × 0.5", states(0.5)),
    Lie("`concession`, 3 rounds", ROUNDS, "reservation and opening ask × 1.2", states(1.2)),
    Lie("`concession`, 1 round", ONE_ROUND, "its only ask × 1.2", states(1.2)),
    Lie("`uniform_clearing`", AUCTION, "its only ask × 1.2", states(1.2)),
    Lie("`concession`, 3 rounds", ROUNDS, "minimum compensation: energy × 1.2", wants_more),
    Lie("`uniform_clearing`", AUCTION, "minimum compensation: energy × 1.2", wants_more),
)


def alone(day: KnownDay, lie: Lie) -> Floats:
    """What the options (O, N) of each prosumer are worth to it if it is the only one that lies."""
    lied, everyone = lie.tell(day), range(len(day.terms.prosumer_id))
    if lie.policy.engine != "concession":
        return np.column_stack([day.deals(day.with_one_liar(lied, i), lie.policy)[:, i] for i in everyone])
    truthful, at_once = day.deals(day.terms, lie.policy), day.deals(lied, lie.policy)
    for i in np.random.default_rng(SEED).choice(everyone, SAMPLE, replace=False):
        expected = truthful.copy()
        expected[:, i] = at_once[:, i]
        if not np.array_equal(day.deals(day.with_one_liar(lied, i), lie.policy), expected, equal_nan=True):
            sys.exit(f"failed: a lie of {day.terms.prosumer_id[i]} alone is not that lie among others")
    return at_once


def compare_lies(inputs: list[Day]) -> None:
    """One line per lie. Prosumers count once per day; the mean gain is relative to what truth is worth."""
    known = [day_of(one) for one in inputs]
    print("| Engine | One owner's lie | Mean gain | Gain | Lose | Same | Largest gain, $/day | Deals lost |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for lie in LIES:
        truthful = [day.deals(day.terms, lie.policy) for day in known]
        lied = [alone(day, lie) for day in known]
        worth = np.concatenate([np.nansum(worths, axis=0) for worths in truthful])
        gain = np.concatenate([np.nansum(worths, axis=0) for worths in lied]) - worth
        both = list(zip(truthful, lied, strict=True))
        deals = sum(int(np.isfinite(true).sum()) for true, _ in both)
        lost = sum(int((np.isfinite(true) & np.isnan(told)).sum()) for true, told in both)
        shares = [(gain > NO_GAIN_USD).mean(), (gain < -NO_GAIN_USD).mean(), (np.abs(gain) <= NO_GAIN_USD).mean()]
        print(
            f"| {lie.engine} | {lie.words} | {100 * gain.sum() / worth.sum():+.1f} % | "
            f"{' | '.join(f'{100 * share:.0f} %' for share in shares)} | "
            f"{gain.max():.2f} | {100 * lost / deals:.1f} % |",
            flush=True,
        )
        largest = max(float((np.nan_to_num(told) - np.nan_to_num(true)).max()) for true, told in both)
        if lie.policy.engine == "uniform_clearing" and largest > NO_GAIN_USD:
            sys.exit(f"failed: a lie gains {largest:.3g} $ in one opportunity of uniform_clearing")


def money(inputs: Day, settings: Settings) -> list[float]:
    """The figures of one day under one engine, in the order of `compare_depths`."""
    day, problem = prepare_problem(inputs, settings)
    solution = solve(problem, settings)
    tables = bid_solution(day, problem, solution, settings, STAMP)
    sums = tables["dispatch.reconciliation"].row(0, named=True)
    paid = tables["dispatch.payments"].join(tables["negotiation.agreements"], on=["opportunity_id", "prosumer_id"])
    least_usd = (paid["reservation_price_usd_per_mwh"] * paid["dispatched_kwh"]).to_numpy() / 1000.0
    return [
        sums["objective_usd"],
        sums["objective_usd"] - sums["no_sale_value_usd"],
        paid["payment_usd"].to_numpy().sum(),
        (paid["payment_usd"].to_numpy() - least_usd).sum(),
        int(solution.is_bid.sum()),
        tables["negotiation.summary"].filter(pl.col("status") == "no_bid").height,
        100.0 * solution.gap_fraction,
    ]


def compare_depths(inputs: list[Day]) -> None:
    """One line per engine and depth: means over the days, and the widest gap."""
    engines = {"`concession`": ROUNDS} | {
        f"`uniform_clearing`, depth {depth:g}": NegotiationPolicy(engine="uniform_clearing", auction_depth=depth)
        for depth in DEPTHS
    }
    print("| Engine | Objective, $ | From bidding, $ | Payments, $ | Owners' surplus, $ | Bids | No-bid | Gap (max) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for words, policy in engines.items():
        rows = np.array([money(day, Settings(negotiation=policy)) for day in inputs])
        usd = " | ".join(f"{mean:.2f}" for mean in rows[:, :4].mean(axis=0))
        counts = " | ".join(f"{mean:.1f}" for mean in rows[:, 4:6].mean(axis=0))
        print(f"| {words} | {usd} | {counts} | {rows[:, 6].mean():.2f} % ({rows[:, 6].max():.2f} %) |", flush=True)


def main() -> None:
    is_depth = sys.argv[1:2] == ["depth"]
    rest = sys.argv[2:] if is_depth else sys.argv[1:]
    days = random_days(int(rest[0]) if rest else DAYS)
    source = real_prices()
    inputs = [prepare_day(market_date, source, SETTINGS) for market_date in days]
    print(f"{len(days)} days from {days[0]} to {days[-1]}: {', '.join(map(str, days))}\n")
    (compare_depths if is_depth else compare_lies)(inputs)


if __name__ == "__main__":
    main()
