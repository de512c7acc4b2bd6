"""Every check holds on an honest day, and no bids are published where one fails."""

from __future__ import annotations

from collections.abc import Callable

import dataframely as dy
import polars as pl
import pytest

from vpp_pipeline.core.errors import ViolationError
from vpp_pipeline.schemas.columns import unit_of
from vpp_pipeline.settings import OpportunityPolicy, Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.verification.inputs import prices_are_complete_and_ordered
from vpp_pipeline.verification.registry import GUARDS, METRICS, checks_table
from vpp_pipeline.verification.settled_days import SETTLED
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.examples import DAY
from vpp_pipeline_tests.verification import (
    test_advice,
    test_bids,
    test_fleet,
    test_forecast,
    test_inputs,
    test_money,
    test_negotiation,
    test_proof,
    test_sales,
    test_schedule,
    test_storage,
    test_top_ups,
)
from vpp_pipeline_tests.verification.tampering import BIDS, FLEET, FORECAST, PAID, Fault, edited

MODULES = (
    test_bids,
    test_fleet,
    test_inputs,
    test_money,
    test_negotiation,
    test_sales,
    test_schedule,
    test_top_ups,
)
WARNINGS: list[Fault] = test_fleet.WARNINGS + test_advice.WARNINGS + test_forecast.WARNINGS + test_proof.WARNINGS
FAULTS: list[Fault] = [fault for module in MODULES for fault in module.FAULTS]
OF_STORAGE: list[Fault] = test_storage.FAULTS  # of a day of storage resources


@pytest.mark.parametrize("check", GUARDS, ids=lambda check: check.__name__)
def test_the_claim_holds_on_an_honest_day(honest: SolvedDay, check: Callable[..., CheckResult]) -> None:
    result = check(honest.tables, honest.settings)
    assert result.passed or result.is_warning, result.description  # one owner of the example wrote "call me first"
    assert any(letter.isdigit() for letter in result.description)  # it answers with numbers


def test_every_claim_has_faults() -> None:
    assert {fault.check for fault in FAULTS + OF_STORAGE + WARNINGS} == set(GUARDS)


def test_every_metric_ends_in_its_unit() -> None:
    assert set(METRICS) == {*GUARDS, *SETTLED}
    for metric in METRICS.values():
        assert unit_of(metric, dy.Float64()) or metric.endswith(("_count", "_days")), metric


def test_the_table_of_checks_names_each_number(honest: SolvedDay) -> None:
    checks = checks_table(honest.tables, honest.settings)
    metrics = dict(checks.select("check_name", "metric").rows())
    assert metrics == {check.__name__: METRICS[check] for check in GUARDS}
    values = dict(checks.select("metric", "metric_value").rows())
    assert values["priced_hours"] == 24.0
    assert 0.8 <= values["smallest_fill_fraction"] <= 1.0


def test_the_table_of_checks_holds_every_claim(honest: SolvedDay) -> None:
    checks = checks_table(honest.tables, honest.settings)
    assert sorted(checks["check_name"]) == sorted(check.__name__ for check in GUARDS)
    assert checks.filter(~pl.col("passed"))["check_name"].to_list() == ["every_note_is_understood"]
    assert checks["market_date"].unique().to_list() == [DAY]


@pytest.mark.parametrize(
    "fault",
    {fault.check: fault for fault in FAULTS + OF_STORAGE if fault.name != "spin is cheaper than nonspin"}.values(),
    ids=str,
)
def test_no_bids_are_published_with_a_fault(honest: SolvedDay, storage_day: SolvedDay, fault: Fault) -> None:
    day = storage_day if fault in OF_STORAGE else honest
    tampered = day.with_table(fault.table, fault.tamper(day.tables))
    with pytest.raises(ViolationError, match=f"no bids are published; .*{fault.check.__name__}: "):
        checks_table(tampered, day.settings)


def test_a_warning_is_written_down_but_stops_nothing(honest: SolvedDay) -> None:
    inverted = edited(honest.tables[FORECAST], pl.lit(True), spin_usd_per_mw_h=0.5, nonspin_usd_per_mw_h=0.6)
    tables = honest.with_table(FORECAST, inverted)
    assert prices_are_complete_and_ordered(tables, honest.settings).is_warning
    row = checks_table(tables, honest.settings).row(
        by_predicate=pl.col("check_name") == "prices_are_complete_and_ordered", named=True
    )
    assert (row["passed"], row["violations"]) == (False, 1)


def test_every_broken_claim_is_named(honest: SolvedDay) -> None:
    tables = {
        **honest.tables,
        PAID: test_bids.keep_members(honest.tables, 2),
        FLEET: edited(honest.tables[FLEET], pl.col("store") == "battery", terminal_stored_kwh=1e5),
    }
    with pytest.raises(ViolationError) as error:
        checks_table(tables, honest.settings)
    broken = (
        "coalitions_have_enough_members",
        "every_prosumer_is_physical",
        "money_adds_up",
        "no_kilowatt_hour_is_sold_twice",
    )
    assert [check in str(error.value) for check in broken] == [True] * 4
    assert "negotiations_follow_the_protocol" not in str(error.value)


def test_a_day_without_bids_holds_every_claim(solved_day: Callable[..., SolvedDay]) -> None:
    too_large = OpportunityPolicy(sizing="fixed_mw", fixed_mw=50.0)
    day = solved_day(prosumers=20, settings=Settings(opportunities=too_large), requests=())
    assert (day.tables[BIDS]["status"] == "no_bid").all()
    checks = checks_table(day.tables, day.settings)
    assert (checks["passed"] | checks["is_warning"]).all()
