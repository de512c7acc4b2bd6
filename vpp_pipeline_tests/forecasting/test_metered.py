"""What meters had shown when bids close, and what stands in for a forecast that cannot be made."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.forecasting.similar_days import as_metered, check_known, known_at_deadline, or_last_good

DAY = date(2024, 7, 17)


def meter(first: datetime, hours: int) -> pl.DataFrame:
    starts = [first + timedelta(hours=k) for k in range(hours)]
    return as_metered(pl.Series(starts, dtype=pl.Datetime("us", "UTC")), pl.Series(np.arange(float(hours))))


def test_hours_are_those_of_the_market_day():
    rows = meter(datetime(2024, 11, 2, 7, tzinfo=UTC), 24 + 25)
    assert rows.group_by("market_date", maintain_order=True).len()["len"].to_list() == [24, 25]
    assert rows["hour_ending"].to_list()[24:28] == [1, 2, 25, 3]
    evening = meter(datetime(2024, 7, 17, 2, tzinfo=UTC), 1)  # 19:00 Pacific of the day before
    assert evening.row(0, named=True)["market_date"] == date(2024, 7, 16)


def test_the_last_hour_known_is_the_one_that_ends_at_the_deadline():
    rows = meter(datetime(2024, 7, 14, 7, tzinfo=UTC), 72)
    known = known_at_deadline(rows, DAY)
    assert known["start_utc"].max() == bid_deadline_utc(DAY) - timedelta(hours=1)  # 9:00 to 10:00 of D-1
    check_known(known, DAY)
    with pytest.raises(InputError, match="not over when the bids"):
        check_known(rows.head(known.height + 1), DAY)
    with pytest.raises(NoDataError, match="no metered hour"):
        check_known(rows.clear(), DAY)


def fails() -> pl.DataFrame:
    raise NoDataError("the weather service does not answer", remedy="Try again later")


def test_a_forecast_that_can_be_made_needs_no_other():
    made = solar_forecast(DAY)
    found, words = or_last_good(lambda: made, lambda day: None, DAY)
    assert (found.equals(made), words) == (True, "")


def test_the_last_good_forecast_stands_in_and_says_so():
    kept = {DAY - timedelta(days=back): solar_forecast(DAY - timedelta(days=back)) for back in (2, 3)}
    found, words = or_last_good(fails, kept.get, DAY)
    assert found["solar_kw_per_kw"].equals(kept[DAY - timedelta(days=2)]["solar_kw_per_kw"])
    assert found["start_utc"].to_list() == market_hours(DAY)["start_utc"].to_list()
    assert words.startswith("the forecast of 2024-07-15 stands in for 2024-07-17: the weather service")


@pytest.mark.parametrize("day", [date(2024, 3, 10), date(2024, 3, 11), date(2024, 11, 3), date(2024, 11, 4)])
def test_it_is_moved_to_days_of_23_and_25_hours(day: date):
    yesterday = day - timedelta(days=1)
    for forecast, rows_per_hour in ((solar_forecast, 1), (load_forecast, 2)):
        found, _ = or_last_good(fails, lambda other, made=forecast: made(other) if other == yesterday else None, day)
        assert found.columns == forecast(day).columns
        assert found.height == rows_per_hour * market_hours(day).height
        assert (
            found["hour_ending"].head(market_hours(day).height).to_list() == market_hours(day)["hour_ending"].to_list()
        )


def test_nothing_is_ever_made_zero():
    with pytest.raises(NoDataError, match="nor for the 7 days before: the weather service"):
        or_last_good(fails, lambda day: None, DAY)
