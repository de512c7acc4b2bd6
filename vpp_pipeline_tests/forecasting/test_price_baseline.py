"""The price forecast: right by hand, on clock-change days, and blind to what is not yet published."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import bid_deadline_utc, history_dates, market_hours, prices_published_utc
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.schemas import PriceForecast
from vpp_pipeline_tests.cases import tries

DAY = date(2023, 8, 15)
DAYS = st.dates(date(2023, 1, 10), date(2026, 12, 31))


def prices(day: date, energy: float, node: str = "A", source: str = "s") -> pl.DataFrame:
    """A day on which every hour costs ``energy`` + its label / 100, spin 2 and nonspin 1."""
    return market_hours(day).select(
        "market_date",
        "start_utc",
        "hour_ending",
        node=pl.lit(node),
        energy_usd_per_mwh=energy + pl.col("hour_ending") / 100,
        spin_usd_per_mw_h=pl.lit(2.0),
        nonspin_usd_per_mw_h=pl.lit(1.0),
        source=pl.lit(source),
        published_utc=pl.lit(prices_published_utc(day)),
    )


def history(day: date, levels: list[float] | None = None) -> pl.DataFrame:
    levels = levels or [10, 20, 30, 40, 50, 60, 70]
    return pl.concat([prices(past, level) for past, level in zip(history_dates(day), levels, strict=True)])


def test_history_is_the_seven_days_before() -> None:
    assert history_dates(DAY) == [date(2023, 8, k) for k in range(8, 15)]


def test_each_hour_is_the_mean_of_that_hour() -> None:
    forecast = forecast_prices(DAY, history(DAY))
    assert forecast["energy_usd_per_mwh"].to_list() == pytest.approx([40 + k / 100 for k in range(1, 25)])
    assert forecast["spin_usd_per_mw_h"].to_list() == [2.0] * 24
    assert forecast["history_days"].to_list() == [7] * 24
    assert forecast["method"].unique().to_list() == ["7-day hourly mean"]
    assert forecast["node"][0] == "A"
    assert forecast["source"][0] == "s"
    assert forecast["latest_input_utc"][0] == prices_published_utc(date(2023, 8, 14))
    assert PriceForecast.is_valid(forecast)


@pytest.mark.parametrize("spring", [date(2023, 3, 12), date(2024, 3, 10), date(2025, 3, 9), date(2026, 3, 8)])
def test_the_hour_that_the_spring_day_lacks_uses_the_other_six(spring: date) -> None:
    day = spring + timedelta(days=1)
    forecast = forecast_prices(day, history(day))  # the spring day is the last, at 70
    third = forecast.filter(pl.col("hour_ending") == 3)
    assert third["energy_usd_per_mwh"][0] == pytest.approx((10 + 20 + 30 + 40 + 50 + 60) / 6 + 0.03)
    assert third["history_days"][0] == 6
    assert forecast.filter(pl.col("hour_ending") == 4)["history_days"][0] == 7
    assert forecast_prices(spring, history(spring)).height == 23


@pytest.mark.parametrize("autumn", [date(2023, 11, 5), date(2024, 11, 3), date(2025, 11, 2), date(2026, 11, 1)])
def test_the_repeated_autumn_hour_uses_the_hour_it_repeats(autumn: date) -> None:
    forecast = forecast_prices(autumn, history(autumn))
    assert forecast["hour_ending"].to_list()[:4] == [1, 2, 25, 3]
    assert forecast["energy_usd_per_mwh"].to_list()[:4] == pytest.approx([40.01, 40.02, 40.02, 40.03])
    after = autumn + timedelta(days=1)  # its history holds an hour 25, which no hour of the day uses
    assert forecast_prices(after, history(after))["energy_usd_per_mwh"][1] == pytest.approx(40.02)


@given(DAYS)
@tries(40)
def test_every_input_is_published_before_the_bids_close(day: date) -> None:
    forecast = forecast_prices(day, history(day))
    assert forecast["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    assert (forecast["latest_input_utc"] <= bid_deadline_utc(day)).all()


@given(DAYS, st.integers(0, 3), st.floats(-100, 1000))
@tries(40)
def test_prices_of_the_day_or_later_can_never_change_its_forecast(day: date, ahead: int, level: float) -> None:
    known = history(day)
    peek = pl.concat([known, prices(day + timedelta(days=ahead), level)])
    with pytest.raises(InputError, match="may not know"):
        forecast_prices(day, peek)
    with pytest.raises(InputError, match="may not know"):  # a single hour is refused as well
        forecast_prices(day, peek.head(known.height + 1))
    allowed = peek.filter(pl.col("market_date").is_in(history_dates(day)))
    assert forecast_prices(day, allowed).equals(forecast_prices(day, known))


@given(st.permutations(range(7)), st.lists(st.floats(-150, 1000), min_size=7, max_size=7))
@tries(30)
def test_a_forecast_lies_within_its_history_and_ignores_the_order_of_rows(
    order: list[int], levels: list[float]
) -> None:
    known = history(DAY, levels)
    forecast = forecast_prices(DAY, known)
    energy = forecast["energy_usd_per_mwh"].to_numpy()
    assert min(levels) - 1e-6 <= energy.min() <= energy.max() <= max(levels) + 0.24 + 1e-6
    days = history_dates(DAY)
    shuffled = pl.concat([known.filter(pl.col("market_date") == days[k]) for k in order])
    assert forecast_prices(DAY, shuffled)["energy_usd_per_mwh"].to_list() == pytest.approx(energy.tolist())


def test_a_price_published_after_the_deadline_is_refused() -> None:
    late = history(DAY).with_columns(
        published_utc=pl.when(pl.col("market_date") == date(2023, 8, 14))
        .then(pl.lit(bid_deadline_utc(DAY) + timedelta(seconds=1)))
        .otherwise("published_utc")
    )
    with pytest.raises(InputError, match="published after the bids of 2023-08-15 close"):
        forecast_prices(DAY, late)
    on_time = late.with_columns(pl.col("published_utc").clip(upper_bound=bid_deadline_utc(DAY)))
    assert forecast_prices(DAY, on_time)["latest_input_utc"][0] == bid_deadline_utc(DAY)


def test_a_day_before_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="outside the seven days"):
        forecast_prices(DAY, pl.concat([history(DAY), prices(date(2023, 8, 7), 1)]))


def test_three_days_are_enough_and_two_are_not() -> None:
    known = history(DAY)
    three = known.filter(pl.col("market_date") >= date(2023, 8, 12))
    assert forecast_prices(DAY, three)["energy_usd_per_mwh"][0] == pytest.approx(60.01)
    for few in (known.filter(pl.col("market_date") >= date(2023, 8, 13)), known.clear()):
        with pytest.raises(InputError, match="needs 3"):
            forecast_prices(DAY, few)


@pytest.mark.parametrize("column", ["node", "source"])
def test_a_history_that_mixes_nodes_or_sources_is_refused(column: str) -> None:
    mixed = history(DAY).with_columns(
        pl.when(pl.col("market_date") == date(2023, 8, 9)).then(pl.lit("other")).otherwise(column).alias(column)
    )
    with pytest.raises(InputError, match=f"several {column}s"):
        forecast_prices(DAY, mixed)


def test_a_history_that_is_not_valid_is_refused() -> None:
    known = history(DAY)
    with pytest.raises(InputError, match="valid prices"):
        forecast_prices(DAY, pl.concat([known, known.head(1)]))
    with pytest.raises(InputError, match="valid prices"):
        forecast_prices(DAY, known.with_columns(energy_usd_per_mwh=pl.lit(float("nan"))))
    with pytest.raises(InputError, match="column node"):
        forecast_prices(DAY, known.drop("node"))


def test_an_hour_that_no_day_has_is_named() -> None:
    with pytest.raises(InputError, match="value 7"):
        forecast_prices(DAY, history(DAY).filter(pl.col("hour_ending") != 7))
