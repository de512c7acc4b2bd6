"""The price forecast: from prices published before the bids close, and from nothing else."""

from __future__ import annotations

from datetime import date

import polars as pl

from vpp_pipeline.core.calendar import (
    HISTORY_DAYS,
    HOURS_ENDING,
    LEAST_DAYS,
    PRICE_COLUMN,
    bid_deadline_utc,
    check_one_regime,
    history_dates,
    market_hours,
)
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.schemas import PriceForecast, Prices, validate

METHOD = "7-day hourly mean"
IN_PLACE_OF = ", in place of "  # in a method: what was asked for follows, and why it could not be used
REPEATED_HOUR, ITS_ORIGINAL = HOURS_ENDING[-1], 2  # OASIS labels: the repeated autumn hour and the hour it repeats


def forecast_prices(market_date: date, history: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``market.price_forecast``: for each hour of the day, the mean of that hour over the days D-7 to D-1.

    ``history`` holds rows of ``market.prices`` for those days. An hour that some days lack (hour ending 3 in spring)
    uses the days that have it; hour ending 25 uses the hour it repeats, 2. Prices of D or later are refused, not
    ignored: they are published three hours after the bids of D close.

    Raises ``InputError`` if a row is of D or later, of a day before D-7, or published after the bids of D close; with
    fewer than 3 days; with several nodes or sources; for a day of another market regime (``CAISO.regimes``); and if
    rows are not valid prices.
    """
    check_history(market_date, history)
    means = history.group_by("hour_ending").agg(
        *(pl.col(column).mean() for column in PRICE_COLUMN.values()),
        history_days=pl.col("market_date").n_unique(),
    )
    return forecast_of(market_date, history, means, METHOD)


def last_known_prices(market_date: date, history: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``market.price_forecast``: the prices of D-1 again, which came out at 13:00 on D-2.

    An hour that D-1 lacks (hour ending 3 in spring) is that of the last day which has it. ``history`` and errors: as
    for :func:`forecast_prices`.
    """
    check_history(market_date, history)
    latest = history.sort("market_date").group_by("hour_ending").agg(pl.col(PRICE_COLUMN.values()).last())
    return forecast_of(market_date, history, latest.with_columns(history_days=pl.lit(1)), "yesterday again")


def forecast_of(market_date: date, history: pl.DataFrame, expected: pl.DataFrame, method: str) -> pl.DataFrame:
    """Rows of ``market.price_forecast`` from ``expected``: hour_ending 1-24, the three prices and history_days.

    Raises ``InputError`` for an hour of the day that ``expected`` lacks.
    """
    like = pl.col("hour_ending").replace(REPEATED_HOUR, ITS_ORIGINAL)
    hours = market_hours(market_date).with_columns(like=like)
    forecast = hours.join(expected, left_on="like", right_on="hour_ending", how="left", maintain_order="left")
    unknown = forecast.filter(pl.col("history_days").is_null())
    if unknown.height:
        raise InputError(
            f"no day of the history of {market_date} has this hour",
            column="hour_ending",
            value=unknown["hour_ending"][0],
            remedy="Ingest complete days of prices.",
        )
    return validate(
        PriceForecast,
        forecast.with_columns(
            node=pl.lit(history["node"][0]),
            source=pl.lit(history["source"][0]),
            method=pl.lit(method),
            latest_input_utc=pl.lit(history["published_utc"].max()),
        ),
    )


def check_history(market_date: date, history: pl.DataFrame, days: int = HISTORY_DAYS) -> None:
    """The rows are prices, each once; the information rule; enough days, of one regime, node and source.

    ``days``: how many days before the market day may be read. Raises ``InputError`` for the first rule that is broken.
    """
    missing = [column for column in Prices.column_names() if column not in history.columns]
    if missing:
        raise InputError("not a table of prices", column=", ".join(missing), remedy="Give rows of market.prices.")

    rows = history.select(Prices.column_names())
    if not Prices.is_valid(rows, cast=True):
        broken_rules = Prices.filter(rows, cast=True).failure.counts()
        raise InputError(
            f"the history of {market_date} does not hold valid prices: {broken_rules}",
            remedy="Ingest these days again.",
        )

    deadline = bid_deadline_utc(market_date)
    window = history_dates(market_date, days)
    rules = [
        (
            pl.col("market_date") >= market_date,
            "market_date",
            f"a price of {market_date} or later, which its bids may not know",
        ),
        (
            pl.col("published_utc") > deadline,
            "published_utc",
            f"a price published after the bids of {market_date} close at {deadline:%Y-%m-%d %H:%MZ}",
        ),
        (
            pl.col("market_date") < window[0],
            "market_date",
            f"a price from before {window[0]}, outside the {'seven' if days == HISTORY_DAYS else days} days",
        ),
    ]
    for broken, column, problem in rules:
        rows = history.filter(broken)
        if rows.height:
            raise InputError(
                problem, column=column, value=rows[column][0], remedy=f"Use prices of {window[0]} to {window[-1]} only."
            )
    check_one_regime(history, market_date)
    found_days = history["market_date"].n_unique()
    if found_days < LEAST_DAYS:
        raise InputError(
            f"{found_days} days of prices before {market_date}, where a forecast needs {LEAST_DAYS}",
            remedy=f"Ingest prices of {window[0]} to {window[-1]} first.",
        )
    for column in ("node", "source"):
        found = history[column].unique().sort().to_list()
        if len(found) > 1:
            raise InputError(
                f"prices of several {column}s in the history of {market_date}",
                column=column,
                value=", ".join(map(str, found)),
                remedy="Ingest these days again from one source and node.",
            )
