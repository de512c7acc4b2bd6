"""Checks of how prices, sun, load and charging were forecast, and of the meters behind them. They warn."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.calendar import bid_deadline_utc
from vpp_pipeline.core.tables import Day, kept
from vpp_pipeline.domain.verdict import Verdict
from vpp_pipeline.forecasting.price_baseline import IN_PLACE_OF
from vpp_pipeline.settings import Settings


def prices_are_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast was made as the settings ask; warns where another method took its place, and says why."""
    table = day["market.price_forecast"]
    method, days = table["method"][0], float(table["history_days"].to_numpy().max())
    if IN_PLACE_OF in method:
        return Verdict(1, f"prices are forecast as {method}", days, is_warning=True)
    return Verdict(0, f"prices are forecast by {method}, from {days:.0f} days", days)


def the_sun_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of the sun was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.solar_forecast"), "the sun")


def the_load_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of the load was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.load_forecast"), "the load")


def charging_is_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast of charging was made for this day; warns where the last good one stands in: which, why, how old."""
    return _as_asked(kept(day, "market.charging_forecast"), "charging")


def _as_asked(table: pl.DataFrame | None, what: str) -> Verdict:
    """Measured: days since the forecast was first made for."""
    if table is None or "method" not in table.columns:
        return Verdict(0, f"0 words are kept on how {what} was forecast", 0.0)
    rows = table.unique(["method", "made_for_date"], maintain_order=True).with_columns(
        days=(pl.col("market_date") - pl.col("made_for_date")).dt.total_days()
    )
    oldest = float(rows["days"].to_numpy().max())
    old = rows.filter((pl.col("days") > 0) | pl.col("method").str.contains(IN_PLACE_OF, literal=True))
    if old.height:
        told = "; ".join(f"{method} ({days} days old)" for method, days in old.select("method", "days").iter_rows())
        return Verdict(old.height, f"{what} is forecast by the {told}", oldest, is_warning=True)
    methods, hours = ", ".join(rows["method"].unique().sort()), table["start_utc"].n_unique()
    return Verdict(0, f"{what} is forecast for {hours} hours by: {methods}", oldest)


def meters_are_whole_and_up_to_date(day: Day, settings: Settings) -> Verdict:
    """No meter is set aside, and the newest hours are young enough; warns with the first reason. Measured: hours from
    the end of the newest one (of the quantity that is latest) to the deadline."""
    hours, aside = kept(day, "market.metered_hours"), kept(day, "market.meter_quarantine")
    if hours is None or aside is None:
        return Verdict(0, "0 meters are kept with this day", 0.0)
    late = settings.forecast.meters_late_hours
    newest = hours.group_by("quantity").agg(end=pl.col("start_utc").max().dt.offset_by("1h")).sort("end", "quantity")
    if newest.is_empty() and aside.is_empty():
        return Verdict(0, "0 meters: forecasts rest on none", 0.0)
    told = [
        f"{meter}, {column}: {problem} ({days} days; row {row} of {file})"
        if meter != "every meter"
        else f"every meter: {problem}"
        for meter, column, problem, days, row, file in aside.select(
            "meter_id", "column_name", "problem", "days", "file_row", "file"
        ).iter_rows()
    ]
    age = 0.0
    if newest.height:
        deadline = bid_deadline_utc(hours["market_date"][0])
        age = (deadline - newest["end"][0]).total_seconds() / 3600.0
        if age > late:
            told.insert(0, f"{newest['quantity'][0]} is late: its newest hour ends {age:.0f} hours before bids close")
    if told:
        more = f"; and {len(told) - 1} more in market.meter_quarantine" if len(told) > 1 else ""
        return Verdict(len(told), f"{told[0]}{more}", age, is_warning=True)
    return Verdict(0, f"{hours.height} metered hours, the newest ends {age:.0f} hours before bids close", age)
