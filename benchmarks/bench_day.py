"""How long a day takes, and how well it is proved: negotiation, solve, verification on real SP15 prices.

    python benchmarks/bench_day.py [random days, default 20] [time limit of the search in seconds, default 8]

Reads CAISO day-ahead prices (January 2023 to December 2024) from ``../shared/data`` beside the checkout. Runs the pure
functions alone: no Dagster, no DuckDB, no files written. The default fleet of 200 prosumers; no requests.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.bids import Stamp, form_bids, reconcile
from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.domain.fleet import fleet_arrays
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.domain.forecast import forecast_prices, history_dates
from vpp_pipeline.domain.negotiation import agreements_of, negotiate, summarise
from vpp_pipeline.domain.opportunities import find_opportunities
from vpp_pipeline.domain.payments import payments_of
from vpp_pipeline.domain.terms import prepare_terms
from vpp_pipeline.domain.verification import verify
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution, day_problem
from vpp_pipeline.optimisation.solve import solve_day
from vpp_pipeline.optimisation.tables import charging_table, positions_table, proof_table, schedule_table
from vpp_pipeline.settings import OptimiserSettings, Settings
from vpp_pipeline.sources.base import PriceSource
from vpp_pipeline.sources.opening import open_source
from vpp_pipeline.sources.profiles import load_forecast, solar_forecast

PRICES = Path(__file__).resolve().parents[1] / "../shared/data/caiso_prices"
NODE = "TH_SP15_GEN-APND"
ALWAYS = (date(2023, 8, 15), date(2024, 7, 11), date(2024, 3, 10), date(2024, 11, 3))
FIRST, LAST, SEED = date(2023, 1, 20), date(2024, 12, 30), 20230815
LONG_SECONDS, WIDE_GAP = 10.0, 0.01
NO_REQUESTS = pl.DataFrame(
    schema={
        "product": pl.String,
        "start_utc": pl.Datetime("us", "UTC"),
        "duration_hours": pl.Int32,
        "required_capacity_mw": pl.Float64,
        "offered_price_usd_per_mwh": pl.Float64,
    }
)


@dataclass(frozen=True)
class Prepared:
    """A day up to its optimisation: the problem and the tables that led to it."""

    problem: DayProblem
    tables: dict[str, pl.DataFrame]
    negotiation_seconds: float


def real_prices() -> PriceSource:
    """The real prices, or an end with a message where they are absent."""
    if not PRICES.exists():
        sys.exit(f"skipped: no real prices in {PRICES.resolve()}")
    return open_source(PRICES, NODE)


def prepare(market_date: date, source: PriceSource, settings: Settings) -> Prepared:
    """The day's problem by the pipeline's own functions, in its order."""
    history = pl.concat([source.day(day) for day in history_dates(market_date)])
    rules, policy = settings.rules, settings.negotiation
    begun = time.perf_counter()
    forecast = forecast_prices(market_date, history)
    prosumers = generate_fleet(settings.fleet, market_date)
    envelope = hourly_envelope(
        prosumers, market_hours(market_date), solar_forecast(market_date), load_forecast(market_date)
    )
    fleet = fleet_arrays(prosumers, envelope)
    opportunities = find_opportunities(market_date, forecast, fleet, settings.opportunities, rules, NO_REQUESTS)
    terms = prepare_terms(opportunities, forecast, fleet, policy, rules)
    messages = negotiate(terms, opportunities, policy)
    agreements = agreements_of(messages, terms, policy)
    provenance = opportunities.select(
        "opportunity_id", engine=pl.lit("concession"), fingerprint=pl.lit("benchmark"), seconds=pl.lit(0.0)
    )
    summary = summarise(messages, agreements, opportunities, terms, rules, provenance)
    return Prepared(
        problem=day_problem(fleet, forecast, opportunities, summary, agreements, rules, settings.optimiser),
        tables={
            "market.price_forecast": forecast,
            "market.opportunities": opportunities,
            "fleet.prosumers": prosumers,
            "fleet.availability": envelope,
            "negotiation.messages": messages,
            "negotiation.summary": summary,
            "negotiation.agreements": agreements,
        },
        negotiation_seconds=time.perf_counter() - begun,
    )


def broken_claims(prepared: Prepared, solution: DaySolution, settings: Settings) -> list[str]:
    """Form the bids and verify the whole day; the names of claims that do not hold (warnings aside)."""
    day, tables = prepared.problem, dict(prepared.tables)
    schedule, positions = schedule_table(day, solution), positions_table(day, solution)
    charging, proof = charging_table(day, solution), proof_table(day, solution)
    opportunities, agreements = tables["market.opportunities"], tables["negotiation.agreements"]
    payments = payments_of(opportunities, agreements, schedule, positions, charging)
    stamp = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
    bids, segments = form_bids(
        opportunities,
        tables["negotiation.summary"],
        agreements,
        positions,
        payments,
        schedule,
        tables["fleet.prosumers"],
        settings.rules,
        stamp,
    )
    weight = settings.optimiser.satisfaction_weight_usd_per_mwh
    tables |= {
        "dispatch.schedule": schedule,
        "dispatch.positions": positions,
        "dispatch.charging": charging,
        "dispatch.proof": proof,
        "dispatch.payments": payments,
        "dispatch.reconciliation": reconcile(bids, payments, agreements, charging, proof, weight),
        "bids.final_bids": bids,
        "bids.bid_segments": segments,
    }
    verdicts = verify(tables, settings)
    return [name for name, verdict in verdicts.items() if not (verdict.passed or verdict.is_warning)]


def days_to_run(random_days: int) -> list[date]:
    """The four days that are always run, then seeded random ones."""
    rng = np.random.default_rng(SEED)
    drawn = rng.choice((LAST - FIRST).days + 1, size=random_days, replace=False)
    return [*ALWAYS, *(FIRST + timedelta(days=int(k)) for k in np.sort(drawn))]


def main() -> None:
    random_days = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    limit_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
    source = real_prices()
    settings = Settings(optimiser=OptimiserSettings(time_limit_seconds=limit_seconds))
    measured = []
    print("day          negotiate   solve  verify   total     objective     gap    bids  method")
    for market_date in days_to_run(random_days):
        try:
            prepared = prepare(market_date, source, settings)
        except ValueError as error:
            print(f"{market_date}   left out: {error}")
            continue
        solution = solve_day(prepared.problem, settings.rules, settings.optimiser)
        begun = time.perf_counter()
        broken = broken_claims(prepared, solution, settings)
        seconds = [prepared.negotiation_seconds, solution.seconds, time.perf_counter() - begun]
        measured.append((*seconds, sum(seconds), solution.gap_fraction))
        print(
            f"{market_date}   {seconds[0]:9.2f} {seconds[1]:7.2f} {seconds[2]:7.2f} {sum(seconds):7.2f} "
            f"{solution.objective_usd:11.2f} $ {100 * solution.gap_fraction:6.3f}% {solution.is_bid.sum():5d}  "
            f"{solution.method}{'  BROKEN: ' + ', '.join(broken) if broken else ''}",
            flush=True,
        )
    table = np.array(measured)
    for name, row in (
        ("median", np.median(table, axis=0)),
        ("p95", np.quantile(table, 0.95, axis=0)),
        ("max", table.max(axis=0)),
    ):
        print(f"{name:10s}   {row[0]:9.2f} {row[1]:7.2f} {row[2]:7.2f} {row[3]:7.2f} {'':13s} {100 * row[4]:6.3f}%")
    long_days, wide_days = int((table[:, 3] > LONG_SECONDS).sum()), int((table[:, 4] > WIDE_GAP).sum())
    print(
        f"{len(table)} days; above {LONG_SECONDS:g} s: {long_days}; gap above {WIDE_GAP:.0%}: {wide_days}; "
        f"gap above the target of {settings.optimiser.gap_target_fraction:.1%}: "
        f"{int((table[:, 4] > settings.optimiser.gap_target_fraction).sum())}"
    )


if __name__ == "__main__":
    main()
