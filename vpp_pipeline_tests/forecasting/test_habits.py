"""Load and charging: the mean of like hours of like days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.forecasting.similar_days import COLUMNS, known_at_deadline, like_hours

WEDNESDAY = date(2024, 7, 17)


def metered(first: date, days: int, level: dict[int, float] | None = None) -> pl.DataFrame:
    """Each hour's label, plus 100 on the weekdays (0 Monday) of ``level``'s keys."""
    frames = []
    for k in range(days):
        day = first + timedelta(days=k)
        value = pl.col("hour_ending") + (level or {}).get(day.weekday(), 0.0)
        frames.append(market_hours(day).with_columns(value=value.cast(pl.Float64)).select(COLUMNS))
    return pl.concat(frames)


def test_working_days_follow_working_days_and_rest_days_rest_days():
    rows = metered(date(2024, 6, 24), 22, {5: 100.0, 6: 100.0})  # to Monday 15 July, which is D-2
    np.testing.assert_allclose(like_hours(rows, WEDNESDAY, 14), np.arange(1.0, 25.0))
    saturday = metered(date(2024, 6, 24), 25, {5: 100.0, 6: 100.0})
    np.testing.assert_allclose(like_hours(saturday, date(2024, 7, 20), 14), np.arange(101.0, 125.0))


def test_independence_day_is_a_day_of_rest():
    rows = metered(date(2024, 6, 18), 15, {5: 100.0, 6: 100.0})
    np.testing.assert_allclose(like_hours(rows, date(2024, 7, 4)), np.arange(101.0, 125.0))


def test_it_is_the_mean_of_the_days_that_there_are():
    rows = metered(WEDNESDAY - timedelta(days=3), 2)  # Sunday and Monday
    monday = rows.with_columns(pl.col("value") + 10.0 * (pl.col("market_date").dt.weekday() == 1))
    np.testing.assert_allclose(like_hours(monday, WEDNESDAY), np.arange(11.0, 35.0))


@pytest.mark.parametrize(("day", "labels"), [(date(2024, 3, 10), 23), (date(2024, 11, 3), 25), (date(2024, 3, 11), 24)])
def test_days_of_23_and_25_hours(day: date, labels: int):
    expected = like_hours(known_at_deadline(metered(day - timedelta(days=15), 14), day), day)
    hours = market_hours(day)["hour_ending"].to_list()
    assert len(expected) == labels
    assert expected.tolist() == [2.0 if hour == 25 else float(hour) for hour in hours]


def test_later_hours_are_refused_and_change_nothing():
    rows = metered(date(2024, 6, 24), 30)
    with pytest.raises(InputError, match="not over when the bids"):
        like_hours(rows, WEDNESDAY)
    known = known_at_deadline(rows, WEDNESDAY)
    tampered = rows.with_columns(value=pl.when(pl.col("market_date") >= WEDNESDAY).then(1e6).otherwise("value"))
    np.testing.assert_array_equal(
        like_hours(known_at_deadline(tampered, WEDNESDAY), WEDNESDAY), like_hours(known, WEDNESDAY)
    )


def test_an_hour_that_no_day_has_is_named_and_never_zero():
    with pytest.raises(NoDataError, match="value 7"):
        like_hours(metered(date(2024, 7, 8), 7).filter(pl.col("hour_ending") != 7), WEDNESDAY)
