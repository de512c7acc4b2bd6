"""Market days: 23, 24 or 25 hours, their names, and the moments that bind them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import (
    PACIFIC,
    SLOTS,
    bid_deadline_utc,
    local_midnight_utc,
    market_hours,
    opportunity_id,
    pacific_moment_utc,
    prices_published_utc,
    slot_of,
)
from vpp_pipeline_tests.cases import tries
from vpp_pipeline_tests.examples import AUTUMN, DAY, SPRING

DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))


def test_an_ordinary_day_has_hours_ending_1_to_24() -> None:
    hours = market_hours(DAY)
    assert hours["hour_ending"].to_list() == list(range(1, 25))
    assert hours["local_hour"].to_list() == list(range(24))
    assert hours["start_utc"][0] == datetime(2023, 8, 15, 7, tzinfo=UTC)


def test_the_spring_day_has_23_hours_and_no_hour_ending_3() -> None:
    hours = market_hours(SPRING)
    assert hours["hour_ending"].to_list() == [1, 2, *range(4, 25)]
    assert hours["start_utc"][0] == datetime(2024, 3, 10, 8, tzinfo=UTC)
    assert hours["start_utc"][-1] == datetime(2024, 3, 11, 6, tzinfo=UTC)


def test_the_autumn_day_repeats_hour_ending_2_as_25() -> None:
    hours = market_hours(AUTUMN)
    assert hours["hour_ending"].to_list() == [1, 2, 25, *range(3, 25)]
    assert hours["local_hour"].to_list() == [0, 1, 1, *range(2, 24)]


@given(DAYS)
@tries(100)
def test_every_day_continues_where_the_last_ended(day: date) -> None:
    today, tomorrow = market_hours(day)["start_utc"], market_hours(day + timedelta(days=1))["start_utc"]
    assert len(today) in (23, 24, 25)
    assert today.diff().drop_nulls().unique().to_list() == [timedelta(hours=1)]
    assert tomorrow[0] - today[-1] == timedelta(hours=1)
    assert {start.astimezone(PACIFIC).date() for start in today} == {day}


@given(DAYS)
@tries(100)
def test_ids_and_slots_are_unique_within_a_day(day: date) -> None:
    hours = market_hours(day)
    ids = {opportunity_id("energy", start) for start in hours["start_utc"]}
    slots = {slot_of("energy", label) for label in hours["hour_ending"]}
    assert len(ids) == len(slots) == hours.height
    assert slots <= set(SLOTS)


def test_the_repeated_autumn_hour_ends_in_r() -> None:
    first, repeated = market_hours(AUTUMN)["start_utc"][1:3]
    assert opportunity_id("spin", first) == "spin_20241103_0100"
    assert opportunity_id("spin", repeated) == "spin_20241103_0100r"
    assert opportunity_id("energy", datetime(2023, 8, 15, 19, tzinfo=UTC)) == "energy_20230815_1200"


def test_there_are_75_slots() -> None:
    assert len(SLOTS) == len(set(SLOTS)) == 75
    assert SLOTS[0] == slot_of("energy", 1) == "energy_he01"
    assert SLOTS[-1] == slot_of("nonspin", 25) == "nonspin_he25"


@pytest.mark.parametrize(
    ("day", "deadline"),
    [
        (date(2024, 1, 15), datetime(2024, 1, 14, 18, tzinfo=UTC)),  # PST: 10:00 is 18:00 UTC
        (date(2023, 8, 15), datetime(2023, 8, 14, 17, tzinfo=UTC)),  # PDT: 10:00 is 17:00 UTC
        (date(2024, 3, 10), datetime(2024, 3, 9, 18, tzinfo=UTC)),  # the eve of the spring day is still PST
        (date(2024, 3, 11), datetime(2024, 3, 10, 17, tzinfo=UTC)),  # on it, 10:00 is already PDT
        (date(2024, 11, 4), datetime(2024, 11, 3, 18, tzinfo=UTC)),
    ],
)
def test_bids_close_at_ten_pacific_on_the_day_before(day: date, deadline: datetime) -> None:
    assert bid_deadline_utc(day) == deadline


@given(DAYS)
@tries(50)
def test_a_days_prices_are_published_three_hours_after_its_bids_close(day: date) -> None:
    assert prices_published_utc(day) - bid_deadline_utc(day) == timedelta(hours=3)
    assert prices_published_utc(day - timedelta(days=1)) < bid_deadline_utc(day)


def test_pacific_moments_know_the_season() -> None:
    assert pacific_moment_utc(DAY, 12) == datetime(2023, 8, 15, 19, tzinfo=UTC)
    assert pacific_moment_utc(date(2024, 1, 15), 12) == datetime(2024, 1, 15, 20, tzinfo=UTC)
    assert local_midnight_utc(DAY) == pacific_moment_utc(DAY, 0)
