"""How good each price forecast is on real prices, and what it is worth. Writes docs/forecasts.md.

    python benchmarks/bench_forecast.py [FOLDER]

Reads CAISO day-ahead prices (from January 2023) from ``../shared/data`` beside the checkout, or from FOLDER in the same
layout. Features and parameters of the models were chosen on the first half of 2024 (and the second of 2023); the second
half of 2024 is what counts, and what there is of 2025. They learn anew every two weeks, from the days before and
nothing later; in the pipeline they do so every day. A band is the forecast plus the 10 % and 90 % quantiles of the
errors of the 35 days before, hour by hour; for the trees also by trees of its own. rMAE is the MAE over that of the
same hour a week before (Lago et al. 2021). Some five minutes of CPU time. It ends with
the CPU seconds of a day's forecast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from days import NODE, real_prices
from forecast_measures import HIGH, LOW, Floats, coverage, earned, pinball

from vpp_pipeline.core.calendar import HISTORY_DAYS, PRODUCTS, history_dates
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_boosted import (
    HOURS,
    LAG_DAYS,
    day_table,
    decayed_mean,
    learn_prices,
)
from vpp_pipeline.forecasting.price_models import (
    LEARNERS,
    SEVEN_DAY_MEAN,
    YESTERDAY,
    Days,
    PriceForecaster,
)
from vpp_pipeline.market.open_source import open_source

OUTPUT = Path(__file__).resolve().parents[1] / "docs/forecasts.md"
FIRST_DATA, LAST_DAY = date(2023, 1, 12), date(2025, 12, 31)
TUNING, REPORTED = (date(2024, 1, 1), date(2024, 6, 30)), (date(2024, 7, 1), date(2024, 12, 31))
LATER = (date(2025, 1, 1), LAST_DAY)
ERROR_DAYS, LEARN_EVERY, DRAWS = 35, 14, 2000
WEEK_BEFORE = "the week before"
VALUES = ("value", "value with reserves")  # share of what perfect foresight earns
CENT = 0.005


@dataclass(frozen=True)
class Forecasts:
    """Prices (N, 24, 3) by OASIS label of every day; NaN where there is none."""

    name: str
    expected: Floats
    low: Floats
    high: Floats


def dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days=k) for k in range((last - first).days + 1)]


def read_days() -> Days:
    source = open_source(Path(sys.argv[1]), NODE) if len(sys.argv) > 1 else real_prices()
    found: dict[date, pl.DataFrame] = {}
    for day in dates(FIRST_DATA, LAST_DAY):
        try:  # the last day of a file in UTC lacks its last hours
            found |= source.days([day])
        except InputError:
            continue
    return found


def window(days: Days, market_date: date, count: int) -> pl.DataFrame:
    return pl.concat(days[day] for day in history_dates(market_date, count) if day in days)


def tabled(days: list[date], rows: pl.DataFrame) -> Floats:
    """Rows of forecasts as (N, 24, 3) for all of ``days``."""
    found, prices = day_table(rows, days[-1])
    table = np.full((len(days), *prices.shape[1:]), np.nan)
    table[len(days) - len(found) :] = prices
    return table


def with_band(name: str, expected: Floats, actual: Floats) -> Forecasts:
    """A forecast with the band of its own errors of the days before."""
    errors = actual - expected
    band = np.full((2, *actual.shape), np.nan)
    for d in range(ERROR_DAYS, len(actual)):
        past = errors[d - ERROR_DAYS : d]
        if np.isfinite(past[:, 0, 0]).sum() >= ERROR_DAYS // 2:
            band[:, d] = np.nanquantile(past, [LOW, HIGH], axis=0)
    return Forecasts(name, expected, expected + band[0], expected + band[1])


def by_model(
    days: Days, first: date, name: str, quantile: float | None = None, every: int = LEARN_EVERY
) -> pl.DataFrame:
    """Forecasts from ``first`` on by a model that learns anew after ``every`` days."""
    made, model, learnt, learner = [], None, first, LEARNERS[name]
    for market_date in (day for day in dates(first, max(days)) if day in days):
        if model is None or market_date >= learnt + timedelta(days=every):
            known, learnt = window(days, market_date, learner.learns_days), market_date
            model = learn_prices(market_date, known, quantile) if quantile else learner.learn(market_date, known, None)
        made.append(model.forecast(market_date, window(days, market_date, LAG_DAYS)))
    return pl.concat(made)


def week_before(actual: Floats) -> Floats:
    """The prices (N, 24, 3) of the same weekday a week before; of two weeks before where that day is missing."""
    nothing = np.full_like(actual[:7], np.nan)
    week = np.concatenate([nothing, actual[:-7]])
    return np.where(np.isnan(week), np.concatenate([nothing, nothing, actual[:-14]]), week)


def all_forecasts(days: Days) -> tuple[list[date], Floats, list[Forecasts]]:
    """The days, what cleared, and every forecaster's word; what each took is printed."""
    calendar, actual = day_table(pl.concat(days.values()), max(days))
    since = [day for day in days if day >= FIRST_DATA + timedelta(days=HISTORY_DAYS)]

    def timed(name: str, make: Callable[[], Floats]) -> Forecasts:
        begun = time.process_time()
        expected = make()
        print(f"{name}: {time.process_time() - begun:.1f} CPU s", flush=True)
        return with_band(name, expected, actual)

    def baseline(forecaster: PriceForecaster) -> Callable[[], Floats]:
        rule = forecaster.forecast
        return lambda: tabled(calendar, pl.concat(rule(day, window(days, day, HISTORY_DAYS)) for day in since))

    first = TUNING[0] - timedelta(days=ERROR_DAYS)
    found = [
        timed(WEEK_BEFORE, lambda: week_before(actual)),
        timed("yesterday", baseline(YESTERDAY)),
        timed("seven_day_mean", baseline(SEVEN_DAY_MEAN)),
        timed("decayed mean alone", lambda: decayed_mean(actual)),
        timed("model, learnt from 2023 once", lambda: tabled(calendar, by_model(days, TUNING[0], "model", every=9999))),
        *(timed(name, lambda name=name: tabled(calendar, by_model(days, first, name))) for name in LEARNERS),
    ]
    model = next(forecast for forecast in found if forecast.name == "model")
    low, high = (tabled(calendar, by_model(days, REPORTED[0], "model", quantile, 28)) for quantile in (LOW, HIGH))
    found.append(Forecasts("model, band by its own trees", model.expected, low, high))
    return calendar, actual, found


def seconds(days: Days) -> str:
    """CPU seconds of learning and forecasting one day, the median of three, by forecaster; imports are done before."""
    took = {}
    for name, learner in LEARNERS.items():
        spent = []
        for day in (date(2024, 12, 1), date(2024, 12, 2), date(2024, 12, 3)):
            begun = time.process_time()
            learner.learn(day, window(days, day, learner.learns_days), None).forecast(day, window(days, day, LAG_DAYS))
            spent.append(time.process_time() - begun)
        took[name] = f"`{name}` {np.median(spent):.2f}"
    return f"CPU seconds to learn and to forecast a day, from prices that are read: {', '.join(took.values())}."


def earnings(days: list[date], forecast: Floats, actual: Floats, reserves: bool) -> Floats:
    """$ of each day; the 24 hours by label stand for days of 23 and 25."""
    return np.array([earned(forecast[d], actual[d], reserves) for d in range(len(days))])


def interval(ours: Floats, other: Floats, best: Floats) -> tuple[float, float]:
    """95 % of the difference in captured value, by drawing days with replacement."""
    draw = np.random.default_rng(0).integers(0, len(best), (DRAWS, len(best)))
    shares = 100.0 * (ours - other)[draw].sum(axis=1) / best[draw].sum(axis=1)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


def period_table(calendar: list[date], actual: Floats, found: list[Forecasts], period: tuple[date, date]) -> list[str]:
    known = np.isfinite(actual).all(axis=(1, 2))
    chosen = [d for d, day in enumerate(calendar) if period[0] <= day <= period[1] and known[d]]
    days, real = [calendar[d] for d in chosen], actual[chosen]
    best = {kind: earnings(days, real, real, kind) for kind in (False, True)}
    measures = (f"{kind} {name}" for kind in ("MAE", "rMAE") for name in PRODUCTS)
    columns = ("forecast", *measures, "pinball energy", "80% band holds", *VALUES)
    missed = {forecast.name: np.nanmean(np.abs(forecast.expected[chosen] - real), axis=(0, 1)) for forecast in found}
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    mine: dict[str, dict[bool, Floats]] = {}
    for forecast in found:
        expected, low, high = (table[chosen] for table in (forecast.expected, forecast.low, forecast.high))
        has_band = bool(np.isfinite(low[:, :, 0]).all())
        if not has_band and "trees" in forecast.name:
            continue
        error = missed[forecast.name]
        errors = [f"{value:.2f}" for value in (*error, *(error / missed[WEEK_BEFORE]))]
        energy, bands = real[:, :, 0], ((low, LOW), (expected, 0.5), (high, HIGH))
        loss = np.mean([pinball(energy, band[:, :, 0], quantile) for band, quantile in bands])
        held = 100.0 * coverage(energy, low[:, :, 0], high[:, :, 0])
        mine[forecast.name] = {kind: earnings(days, expected, real, kind) for kind in (False, True)}
        values = [f"{100.0 * mine[forecast.name][kind].sum() / best[kind].sum():.2f}%" for kind in (False, True)]
        band_words = [f"{loss:.2f}", f"{held:.0f}%"] if has_band else ["–", "–"]
        lines.append(f"| {' | '.join([forecast.name, *errors, *band_words, *values])} |")
    lines += ["", f"{len(days)} days."]
    for ours_name, other_name in (("average", "model"), ("average", "seven_day_mean"), ("model", "seven_day_mean")):
        lines += ["", f"`{ours_name}` against `{other_name}`:", ""]
        for kind, name in zip((False, True), VALUES, strict=True):
            ours, other = mine[ours_name][kind], mine[other_name][kind]
            low_share, high_share = interval(ours, other, best[kind])
            gain = (ours - other).sum()
            lines.append(
                f"- {name}: {'-' if gain < 0 else '+'}${abs(gain):,.0f} of ${best[kind].sum():,.0f} with perfect "
                f"foresight; better on {100 * (ours > other + CENT).mean():.0f}% of days, worse on "
                f"{100 * (ours < other - CENT).mean():.0f}%; 95% interval of the difference, by drawing days: "
                f"{low_share:+.2f} to {high_share:+.2f} points."
            )
    return [*lines, ""]


def main() -> None:
    begun = time.perf_counter()
    days = read_days()
    calendar, actual, found = all_forecasts(days)
    assert actual.shape[1] == HOURS
    periods = {"Second half of 2024": REPORTED, "2025": LATER, "First half of 2024, where they were tuned": TUNING}
    tables = {
        name: period_table(calendar, actual, found, period)
        for name, period in periods.items()
        if period[0] <= max(days)
    }
    text = "\n".join(line for name, lines in tables.items() for line in (f"### {name}", "", *lines))
    text += f"\n{seconds(days)}\n"
    print(text)
    head, _, rest = OUTPUT.read_text(encoding="utf-8").partition("<!-- prices -->\n")
    _, _, tail = rest.partition("<!-- end of prices -->")
    OUTPUT.write_text(f"{head}<!-- prices -->\n{text}\n<!-- end of prices -->{tail}", encoding="utf-8")
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
