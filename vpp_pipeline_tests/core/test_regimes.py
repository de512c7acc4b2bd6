"""Days before and after a change of the market's rules are not compared in silence."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import check_one_regime, comparable, history_dates, note_on, regime_of
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.market.synthetic_prices import Synthetic

CHANGE = date(2026, 5, 1)


def prices(days: list[date], source: str = "oasis") -> pl.DataFrame:
    return pl.concat([Synthetic().day(day) for day in days]).with_columns(source=pl.lit(source))


def test_regimes_follow_each_other():
    assert [regime.first_day for regime in CAISO.regimes] == sorted(regime.first_day for regime in CAISO.regimes)
    assert regime_of(CHANGE - timedelta(days=1)) == CAISO.regimes[0]
    assert regime_of(CHANGE) == CAISO.regimes[1]


def test_days_of_the_other_regime_do_not_count_and_a_note_says_so():
    day = date(2026, 5, 5)
    week = history_dates(day)  # 28 April to 4 May
    assert comparable(week, day, "oasis") == week[3:]
    assert note_on(week, day, "oasis") == (
        "3 days of another market regime than 2026-05-05 do not count (2026-04-28 to 2026-04-30): since 2026-05-01, "
        "the day-ahead market also buys imbalance reserves"
    )
    assert note_on(week, CHANGE - timedelta(days=1), "oasis").startswith("4 days")  # nor the other way round
    assert note_on(week[3:], day, "oasis") == ""


def test_generated_prices_know_no_regimes():
    day = date(2026, 5, 2)
    assert comparable(history_dates(day), day, "synthetic (file)") == history_dates(day)
    check_one_regime(prices(history_dates(day), "synthetic"), day)


def test_a_forecast_refuses_what_crosses_and_takes_what_does_not():
    day = date(2026, 5, 5)
    with pytest.raises(InputError, match=r"3 days of another market regime .*imbalance reserves"):
        forecast_prices(day, prices(history_dates(day)))
    forecast = forecast_prices(day, prices(comparable(history_dates(day), day, "oasis")))
    assert forecast["history_days"].unique().to_list() == [4]
