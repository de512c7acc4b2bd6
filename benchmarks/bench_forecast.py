"""How good each price forecast is on real prices, and what it is worth. Writes docs/forecasts.md.

    python benchmarks/bench_forecast.py

Reads CAISO day-ahead prices (January 2023 to December 2024) from ``../shared/data`` beside the checkout. The model's
features and parameters were chosen on the first half of 2024 (and the second of 2023); the second half of 2024 is what
counts. It learns anew every two weeks, from the year before and nothing later; in the pipeline it does so every day.
A band is the forecast plus the 10 % and 90 % quantiles of the errors of the 35 days before, hour by hour; for the model
also by trees of its own. About two minutes on a machine with two cores.
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
from days import real_prices
from forecast_measures import HIGH, LOW, Floats, coverage, earned, pinball

from vpp_pipeline.core.calendar import HISTORY_DAYS, history_dates
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.forecasting.price_boosted import (
    HOURS,
    LAG_DAYS,
    LEARNS_DAYS,
    BoostedPrices,
    day_table,
    decayed_mean,
    learn_prices,
)
from vpp_pipeline.forecasting.price_models import SEVEN_DAY_MEAN, YESTERDAY, Days, PriceForecaster

OUTPUT = Path(__file__).resolve().parents[1] / "docs/forecasts.md"
FIRST_DATA, LAST_DATA = date(2023, 1, 12), date(2024, 12, 31)
TUNING, REPORTED = (date(2024, 1, 1), date(2024, 6, 30)), (date(2024, 7, 1), date(2024, 12, 31))
ERROR_DAYS, LEARN_EVERY, DRAWS = 35, 14, 2000
PRODUCTS = ("energy", "spin", "nonspin")
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
    source, found = real_prices(), {}
    for day in dates(FIRST_DATA, LAST_DATA):
        try:
            found[day] = source.day(day)
        except NoDataError:
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


def by_model(days: Days, first: date, every: int, quantile: float = 0.5) -> pl.DataFrame:
    """Forecasts from ``first`` on by a model that learns anew after ``every`` days."""
    made, model, learnt = [], None, first
    for market_date in dates(first, LAST_DATA):
        if model is None or market_date >= learnt + timedelta(days=every):
            model, learnt = learn_prices(market_date, window(days, market_date, LEARNS_DAYS), quantile), market_date
        made.append(model.forecast(market_date, window(days, market_date, LAG_DAYS)))
    return pl.concat(made)


def once_only(days: Days) -> pl.DataFrame:
    """Forecasts by a model that has learnt from 2023 and from nothing since."""
    model: BoostedPrices = learn_prices(TUNING[0], window(days, TUNING[0], LEARNS_DAYS))
    later = dates(TUNING[0], LAST_DATA)
    return pl.concat(model.forecast(day, window(days, day, LAG_DAYS)) for day in later)


def all_forecasts(days: Days) -> tuple[list[date], Floats, list[Forecasts]]:
    """The days, what cleared, and every forecaster's word; what each took is printed."""
    calendar, actual = day_table(pl.concat(days.values()), LAST_DATA)
    since = dates(FIRST_DATA + timedelta(days=HISTORY_DAYS), LAST_DATA)

    def timed(name: str, make: Callable[[], Floats]) -> Forecasts:
        begun = time.perf_counter()
        expected = make()
        print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
        return with_band(name, expected, actual)

    def baseline(forecaster: PriceForecaster) -> Callable[[], Floats]:
        rule = forecaster.forecast
        return lambda: tabled(calendar, pl.concat(rule(day, window(days, day, HISTORY_DAYS)) for day in since))

    first = TUNING[0] - timedelta(days=ERROR_DAYS)
    found = [
        timed("yesterday", baseline(YESTERDAY)),
        timed("seven_day_mean", baseline(SEVEN_DAY_MEAN)),
        timed("decayed mean alone", lambda: decayed_mean(actual)),
        timed("model, learnt from 2023 once", lambda: tabled(calendar, once_only(days))),
        timed("model", lambda: tabled(calendar, by_model(days, first, LEARN_EVERY))),
    ]
    model = found[-1]
    low, high = (tabled(calendar, by_model(days, REPORTED[0], 28, quantile)) for quantile in (LOW, HIGH))
    found.append(Forecasts("model, band by its own trees", model.expected, low, high))
    return calendar, actual, found


def earnings(days: list[date], forecast: Floats, actual: Floats, reserves: bool) -> Floats:
    """$ of each day; the 24 hours by label stand for days of 23 and 25."""
    return np.array([earned(forecast[d], actual[d], reserves) for d in range(len(days))])


def interval(ours: Floats, other: Floats, best: Floats) -> tuple[float, float]:
    """95 % of the difference in captured value, by drawing days with replacement."""
    draw = np.random.default_rng(0).integers(0, len(best), (DRAWS, len(best)))
    shares = 100.0 * (ours - other)[draw].sum(axis=1) / best[draw].sum(axis=1)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


def period_table(calendar: list[date], actual: Floats, found: list[Forecasts], period: tuple[date, date]) -> list[str]:
    chosen = [d for d, day in enumerate(calendar) if period[0] <= day <= period[1]]
    days, real = [calendar[d] for d in chosen], actual[chosen]
    best = {kind: earnings(days, real, real, kind) for kind in (False, True)}
    columns = ("forecast", *(f"MAE {name}" for name in PRODUCTS), "pinball energy", "80 % band holds", *VALUES)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    mine: dict[str, dict[bool, Floats]] = {}
    for forecast in found:
        expected, low, high = (table[chosen] for table in (forecast.expected, forecast.low, forecast.high))
        has_band = bool(np.isfinite(low[:, :, 0]).all())
        if not has_band and "trees" in forecast.name:
            continue
        errors = [f"{np.nanmean(np.abs(expected - real)[:, :, k]):.2f}" for k in range(len(PRODUCTS))]
        energy, bands = real[:, :, 0], ((low, LOW), (expected, 0.5), (high, HIGH))
        loss = np.mean([pinball(energy, band[:, :, 0], quantile) for band, quantile in bands])
        held = 100.0 * coverage(energy, low[:, :, 0], high[:, :, 0])
        mine[forecast.name] = {kind: earnings(days, expected, real, kind) for kind in (False, True)}
        values = [f"{100.0 * mine[forecast.name][kind].sum() / best[kind].sum():.2f} %" for kind in (False, True)]
        band_words = [f"{loss:.2f}", f"{held:.0f} %"] if has_band else ["–", "–"]
        lines.append(f"| {' | '.join([forecast.name, *errors, *band_words, *values])} |")
    lines += ["", f"{len(days)} days. Model against seven-day mean:", ""]
    for kind, name in zip((False, True), VALUES, strict=True):
        ours, other = mine["model"][kind], mine["seven_day_mean"][kind]
        low_share, high_share = interval(ours, other, best[kind])
        lines.append(
            f"- {name}: {(ours - other).sum():+,.0f} $ of {best[kind].sum():,.0f} $ with perfect foresight; better on "
            f"{100 * (ours > other + CENT).mean():.0f} % of days, worse on {100 * (ours < other - CENT).mean():.0f} %; "
            f"95 % interval of the difference, by drawing days: {low_share:+.2f} to {high_share:+.2f} points."
        )
    return [*lines, ""]


def main() -> None:
    begun = time.perf_counter()
    calendar, actual, found = all_forecasts(read_days())
    assert actual.shape[1] == HOURS
    tables = {
        name: period_table(calendar, actual, found, period)
        for name, period in (("Second half of 2024", REPORTED), ("First half of 2024, where it was tuned", TUNING))
    }
    text = "\n".join(line for name, lines in tables.items() for line in (f"### {name}", "", *lines))
    print(text)
    head, _, rest = OUTPUT.read_text(encoding="utf-8").partition("<!-- prices -->\n")
    _, _, tail = rest.partition("<!-- end of prices -->")
    OUTPUT.write_text(f"{head}<!-- prices -->\n{text}\n<!-- end of prices -->{tail}", encoding="utf-8")
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
