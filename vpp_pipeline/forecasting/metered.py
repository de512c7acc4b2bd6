"""Forecasts of sun, load and charging from `market.metered_hours`, the hours that meters had shown when bids close."""

from __future__ import annotations

from datetime import date

import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.forecasting.similar_days import COLUMNS, check_known, like_hours
from vpp_pipeline.forecasting.solar import Panel, solar_output
from vpp_pipeline.schemas import ChargingForecast, LoadForecast, validate

METERED = "metered"
WINDOW_DAYS = 28  # whole weeks before D-1, over which charging is measured against its mean
CHARGING_DAYS = 28  # of like days: rest days are few, and their mean scales a whole day


def series_of(hours: pl.DataFrame, quantity: str, site_type: str = "all") -> pl.DataFrame:
    """The rows of one quantity as :func:`~vpp_pipeline.forecasting.similar_days.as_metered` gives them."""
    rows = hours.filter((pl.col("quantity") == quantity) & (pl.col("site_type") == site_type)).sort("start_utc")
    return rows.select(
        market_date="metered_date", start_utc="start_utc", hour_ending="hour_ending", value="metered_per_unit"
    ).select(COLUMNS)


def solar_from_meters(market_date: date, hours: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """Rows of `market.solar_forecast`: the clear sky times how clear each hour has been of late."""
    return solar_output(panel, market_date, series_of(hours, "solar"), method=_method(hours, "solar"))


def load_from_meters(market_date: date, hours: pl.DataFrame, site_type: str) -> pl.DataFrame:
    """Rows of `market.load_forecast` of one kind of site: like hours of like days."""
    past = series_of(hours, "load", site_type)
    check_known(past, market_date)
    expected = market_hours(market_date).with_columns(
        site_type=pl.lit(site_type), load_per_mean=pl.Series(like_hours(past, market_date)).round(5)
    )
    return validate(LoadForecast, _named(expected, market_date, _method(hours, "load")))


def charging_from_meters(market_date: date, hours: pl.DataFrame) -> pl.DataFrame:
    """Rows of `market.charging_forecast`: like hours of like days, over the mean hour of four weeks.

    Raises ``NoDataError`` for less than a whole week: its days differ, and a mean of some of them is not the mean.
    """
    past = series_of(hours, "charging")
    check_known(past, market_date)
    if past["market_date"].n_unique() < 7:
        raise NoDataError(
            f"{past['market_date'].n_unique()} days of metered charging, and a mean day needs a week of them",
            remedy="Give more days",
        )
    expected = pl.Series(like_hours(past, market_date, CHARGING_DAYS)).round(5)
    rows = market_hours(market_date).with_columns(charging_per_mean=expected)
    return validate(ChargingForecast, _named(rows, market_date, _method(hours, "charging")))


def _method(hours: pl.DataFrame, quantity: str) -> str:
    """``metered``, and whether these meters are synthetic."""
    sources = hours.filter(pl.col("quantity") == quantity)["source"]
    return f"{METERED}, synthetic" if sources.str.starts_with("synthetic").any() else METERED


def _named(frame: pl.DataFrame, market_date: date, method: str) -> pl.DataFrame:
    return frame.with_columns(method=pl.lit(method), made_for_date=pl.lit(market_date))
