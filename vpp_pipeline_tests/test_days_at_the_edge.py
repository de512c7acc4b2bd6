"""Days that one odd bid or one odd setting used to end: they go out with everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import ValidationError

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import bid_deadline_utc, pacific_moment_utc
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.pipeline import SERVING, bid
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline.verification.registry import verify
from vpp_pipeline_tests.conftest import DAY, SolvedDay
from vpp_pipeline_tests.defs.desk import DAY as SMALL_DAY
from vpp_pipeline_tests.defs.desk import SMALL, evaluations, metadata_of, small_desk

PRICES = Path(__file__).resolve().parents[1] / "../shared/data/caiso_prices"
NODE = "TH_SP15_GEN-APND"
CAP = 50.0
DEAREST = "energy_20230815_1900"
#: rows 4 and 8 are right; 10 and 11 are of other days
REQUESTS = f"""product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh
energy,{SMALL_DAY}T19:00,1,0.1,4500
# the row of the customer in the valley
energy,{SMALL_DAY}T12:00,1,2.0,85
steam,{SMALL_DAY}T13:00,1,1.0,85
energy,noon,1,1.0,85
energy,{SMALL_DAY}T23:00,2,1.0,85
spin,{SMALL_DAY}T20:00,2,0.6,0
nonspin,{SMALL_DAY}T20:00,1,500,5
water,2023-08-14T20:00,1,500,5
spin,2023-08-16T20:00,1,0.1,5
spin,{SMALL_DAY}T08:00,1,0.6,5
spin,{SMALL_DAY}T07:00,2,0.6,5
"""
SET_ASIDE = [
    (2, "offered_price_usd_per_mwh", "4500"),
    (5, "product", "steam"),
    (6, "start", "noon"),
    (7, "duration_hours", "2"),
    (9, "required_capacity_mw", "500"),
    (12, "start", f"{SMALL_DAY}T08:00"),
    (13, "start", f"{SMALL_DAY}T07:00"),
]


def broken(tables: dict[str, pl.DataFrame], settings: Settings) -> dict[str, str]:
    """Claims that the day breaks, and how."""
    results = verify(tables, settings).items()
    return {name: result.description for name, result in results if not (result.passed or result.is_warning)}


@pytest.mark.slow
@pytest.mark.skipif(not PRICES.exists(), reason="the real prices are not part of the project (../shared/data)")
@pytest.mark.parametrize(
    ("market_date", "chosen", "refused"),
    [
        (date(2024, 7, 12), {}, ["nonspin_20240712_1900", "spin_20240712_1900"]),
        (date(2023, 8, 19), {"forecast": {"price": "seven_day_mean"}}, ["spin_20230819_1900"]),
    ],
)
def test_a_reserve_price_above_the_cap_costs_its_own_bid_alone(
    market_date: date, chosen: dict[str, Any], refused: list[str]
) -> None:
    """Reserve is expected at some 340 $/MW·h and agreed at more than 312 $; a bid may ask 250 $."""
    settings = Settings.model_validate({"negotiation": {"engine": "uniform_clearing"}} | chosen)
    day = DayInputs(market_date, settings, PRICES, NODE, None)
    stamp = Stamp("f", "0.1.0", 1, "run", bid_deadline_utc(market_date))
    tables = bid(day.for_chain(), settings, stamp)
    tables |= {"fleet.notes": day.fleet.notes, "fleet.quarantine": day.fleet.quarantine}
    assert broken(tables, settings) == {}
    bids = tables["bids.final_bids"]
    told = bids.filter(pl.col("reason").str.contains("is above the market's cap of $250.00/MW·h", literal=True))
    assert told["opportunity_id"].to_list() == refused
    assert told["status"].unique().to_list() == ["no_bid"]
    assert (bids["status"] == "bid").sum() >= 40


@pytest.mark.slow
def test_a_price_above_the_cap_costs_its_own_bid_alone() -> None:
    """A cap of 50 $/MWh: at fixed prices, what the dearest hour would pay owners is more than a bid may ask."""
    fixed = {"rules": {"energy_price_cap_usd_per_mwh": CAP}, "negotiation": {"contract": "fixed"}}
    fixed["resources"] = {"participation": "hourly"}
    desk = replace(small_desk(), settings=SMALL | fixed)
    assert desk.run().success
    bids = desk.day()["bids.final_bids"]
    row = bids.row(by_predicate=pl.col("opportunity_id") == DEAREST, named=True)
    assert (row["status"], row["total_capacity_mw"], row["bid_price_usd_per_mwh"]) == ("no_bid", 0.0, None)
    assert row["reason"].startswith("its cost of $")
    assert row["reason"].endswith("is above the market's cap of $50.00/MWh")
    assert (bids["status"] == "bid").sum() > 3
    assert "without 1 bid that the market would not take" in desk.day()["dispatch.proof"]["method"][0]
    assert desk.day()["bids.checks"].filter(~pl.col("passed") & ~pl.col("is_warning")).is_empty()
    why = desk.sql(f"select binding, why from explain.bid where opportunity_id = '{DEAREST}'")
    assert why == [("cost above the market's cap", f"No bid: {row['reason']}.")]


def test_wrong_rows_of_requests_cost_neither_the_day_nor_the_other_rows(tmp_path: Path) -> None:
    requests = tmp_path / "requests.csv"
    requests.write_text(REQUESTS, encoding="utf-8")
    desk = replace(small_desk(), settings=SMALL | {"opportunities": {"requests": str(requests)}})
    result = desk.run()
    assert result.success
    offered = desk.sql("select opportunity_id from market.opportunities where origin = 'request' order by all")
    assert offered == [(f"energy_20230815_1200_{SERVING}",), (f"spin_20230815_2000_{SERVING}",)]
    ((count,),) = desk.sql("select sum(duration_hours) from market.opportunities")
    assert count == 3 * 24  # the policy's opportunities keep the hours of the others
    columns = "file_row, column_name, value"
    assert desk.sql(f"select {columns} from market.request_quarantine order by all") == SET_ASIDE
    assert desk.sql("select distinct file from market.request_quarantine") == [("requests.csv",)]
    noon = desk.sql(f"select status from bids.final_bids where opportunity_id = 'energy_20230815_1200_{SERVING}'")
    assert noon == [("bid",)]
    check = evaluations(result)["every_request_is_offered"]
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert check.metadata["violations"].value == len(SET_ASIDE)
    assert "7 row(s) of requests in quarantine, 2 offered; row 2 of requests.csv" in (check.description or "")
    page = metadata_of(result, "market.request_quarantine")
    assert (page["requests"], page["rows"]) == (7, 7)
    report = (desk.data / "reports" / f"{SMALL_DAY}.html").read_text(encoding="utf-8")
    for words in ("Requests set aside", "5 of requests.csv", "steam", "Use one of energy, spin, nonspin"):
        assert words in report


@pytest.mark.slow
def test_a_bid_whose_revenue_rounds_to_nothing_has_no_margin(solved_day: Callable[..., SolvedDay]) -> None:
    """Half a MW at 0.9 cents makes 0.45 cents: revenue is 0.00 $, of which profit is no share."""
    costless = ["nonspin_holding_usd_per_mw_h", "nonspin_call_probability"]
    settings = Settings.model_validate({"negotiation": dict.fromkeys(costless, 0.0)})
    noon = pacific_moment_utc(DAY, 12)
    day = solved_day(DAY, 60, settings, (("nonspin", noon, 1, 0.5, 0.009),))
    bids = day.tables["bids.final_bids"]
    row = bids.row(by_predicate=pl.col("opportunity_id") == "nonspin_20230815_1200", named=True)
    assert (row["status"], row["expected_revenue_usd"], row["profit_margin_fraction"]) == ("bid", 0.0, None)
    assert broken(dict(day.tables), settings) == {}


def test_a_market_without_a_minimum_still_takes_no_bid_below_its_step(solved_day: Callable[..., SolvedDay]) -> None:
    settings = Settings.model_validate(
        {
            "rules": {"energy_minimum_mw": 0.0, "reserve_minimum_mw": 0.0},
            "opportunities": {"sizing": "fraction", "fraction": 0.001},  # a thousandth of what 30 can offer: some kW
        }
    )
    day = solved_day(DAY, 30, settings)
    assert broken(dict(day.tables), settings) == {}
    assert (day.tables["market.opportunities"]["required_capacity_mw"] >= settings.rules.quantity_step_mw).all()
    assert (day.tables["bids.final_bids"]["status"] == "bid").sum() > 3


def test_a_floor_above_the_cap_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"energy_price_floor_usd_per_mwh 90 is above the cap of 80"):
        MarketRules(energy_price_floor_usd_per_mwh=90.0, energy_price_cap_usd_per_mwh=80.0)
