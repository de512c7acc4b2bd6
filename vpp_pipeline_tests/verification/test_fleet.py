"""Checks of who takes part, what is offered, and how days begin: each finds its faults; words and rows warn only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from vpp_pipeline.core.tables import SCHEDULE_BEFORE, Day
from vpp_pipeline.verification.inputs import (
    every_note_is_understood,
    every_prosumer_of_the_file_takes_part,
    every_request_is_offered,
)
from vpp_pipeline.verification.schedule import initial_state_of_charge_is_as_stated_or_carried_over
from vpp_pipeline_tests.conftest import DAY, SolvedDay
from vpp_pipeline_tests.verification.tampering import Fault, assert_caught, edit

STARTS, SCHEDULE, NOTES, ASIDE = "dispatch.starts", "dispatch.schedule", "fleet.notes", "fleet.quarantine"
BEGIN = initial_state_of_charge_is_as_stated_or_carried_over


def one_more(table: str, **row: Any) -> Callable[[Day], pl.DataFrame]:
    """The table with a row more; columns that are not named are empty."""

    def add(day: Day) -> pl.DataFrame:
        schema = day[table].schema
        return pl.concat([day[table], pl.DataFrame([dict.fromkeys(schema) | row], schema=schema)])

    return add


FAULTS = [
    Fault(
        BEGIN,
        "begins with more than is stated",
        STARTS,
        edit(STARTS, initial_stored_kwh=pl.col("initial_stored_kwh") + 1.0),
        "1 wrong initial states of charge; first: prosumer_id prosumer_001, "
        "fault initial state of charge is not the stated one",
    ),
    Fault(
        BEGIN,
        "carried over less than was negotiated from",
        STARTS,
        edit(
            STARTS,
            pl.col("initial_stored_kwh") > 2.0,
            initial_stored_kwh=pl.col("initial_stored_kwh") - 1.0,
            carried_from=DAY - timedelta(days=1),
        ),
        "fault initial state of charge is outside the limits",
    ),
]
WARNINGS = [
    Fault(
        BEGIN,
        "carried from a day that has no schedule",
        STARTS,
        edit(STARTS, carried_from=DAY - timedelta(days=1)),
        "1 stores begin at the state of charge of a replaced schedule of the day before; "
        "first: prosumer_id prosumer_001",
    ),
    Fault(
        every_prosumer_of_the_file_takes_part,
        "a row is set aside for two reasons",
        ASIDE,
        one_more(ASIDE, file_row=7, prosumer_id="oak", column_name="capacity_kwh", problem="less than 0"),
        r"1 row\(s\) of 201 in quarantine; first: file_row 7, prosumer_id oak, column_name capacity_kwh, problem less",
    ),
    Fault(
        every_request_is_offered,
        "a row is set aside",
        "market.request_quarantine",
        one_more(
            "market.request_quarantine",
            file="requests.csv",
            file_row=5,
            column_name="start",
            value="noon",
            problem="not a moment",
            remedy="Write it out",
        ),
        r"1 row\(s\) of requests in quarantine, 1 offered; row 5 of requests.csv, start noon: not a moment. Write",
    ),
    Fault(
        every_request_is_offered,
        "more rows are set aside than a description names",
        "market.request_quarantine",
        lambda day: pl.DataFrame(
            [
                dict.fromkeys(day["market.request_quarantine"].schema, "?") | {"file_row": row, "market_date": DAY}
                for row in range(2, 9)
            ],
            schema=day["market.request_quarantine"].schema,
        ),
        r"7 row\(s\) of requests .* row 6 of \?.*; and 2 more in market.request_quarantine$",
        7,
    ),
    Fault(
        every_note_is_understood,
        "one more part is not understood",
        NOTES,
        one_more(NOTES, prosumer_id="oak", part=2, quote="be nice", status="not understood"),
        r"part\(s\) of owners' notes set no limit",
        None,
    ),
]


@pytest.mark.parametrize("fault", FAULTS + WARNINGS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", FAULTS + WARNINGS, ids=str)
def test_only_a_wrong_start_stops_the_bids(honest: SolvedDay, fault: Fault) -> None:
    result = fault.check(honest.with_table(fault.table, fault.tamper(honest.tables)), honest.settings)
    assert result.is_warning == (fault in WARNINGS)


def test_a_carried_start_is_held_against_the_schedule_of_the_day_before(honest: SolvedDay) -> None:
    ends = honest.tables[SCHEDULE].with_columns(market_date=pl.lit(DAY - timedelta(days=1)))
    left = ends.sort("start_utc").group_by("prosumer_id").agg(left=pl.col("stored_kwh").last())
    starts = honest.tables[STARTS].join(left, on="prosumer_id", maintain_order="left")
    carried = starts.with_columns(initial_stored_kwh=pl.col("left"), carried_from=pl.lit(DAY - timedelta(days=1))).drop(
        "left"
    )
    day = {**honest.tables, STARTS: carried, SCHEDULE_BEFORE: ends}
    result = BEGIN(day, honest.settings)
    assert result.passed, result.description
    assert result.description == "0 stores begin at the stated state of charge, 200 at the last one of the day before"
    changed = ends.with_columns(stored_kwh=pl.col("stored_kwh") - 0.5)
    again = BEGIN({**day, SCHEDULE_BEFORE: changed}, honest.settings)
    assert (again.passed, again.is_warning, again.violations) == (False, True, 200)
