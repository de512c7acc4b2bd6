"""Every cent of the day: each that is out of place is found out."""

from __future__ import annotations

import re

import polars as pl
import pytest

from vpp_pipeline.core.tables import Day
from vpp_pipeline.verification.money import money_adds_up
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.verification.tampering import (
    BIDS,
    BOOKS,
    DEALS,
    PAID,
    Fault,
    Tamper,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

MONEY = money_adds_up
BID, NO_BID = pl.col("status") == "bid", pl.col("status") == "no_bid"
NOON = BID & (pl.col("opportunity_id") == "energy_20230815_1200")  # R = 2 MW


def keep_members(day: Day, count: int) -> pl.DataFrame:
    """Payments with only ``count`` members left in the first bid."""
    first = day[PAID]["opportunity_id"][0]
    mine = day[PAID].filter(opportunity_id=first)
    return pl.concat([mine.head(count), day[PAID].filter(pl.col("opportunity_id") != first)])


def called_deal_with(day: Day, **changes: pl.Expr | float) -> pl.DataFrame:
    """The deals, one that was called changed."""
    first = day[PAID].row(0, named=True)
    where = [pl.col(name) == first[name] for name in ("opportunity_id", "prosumer_id")]
    return edited(day[DEALS], pl.all_horizontal(where), **changes)


def cent(table: str, column: str, where: pl.Expr | bool = True) -> Tamper:
    return edit(table, where, **{column: sees(column, 0.01)})


def swapped_charging(day: Day) -> pl.DataFrame:
    """Payments in which one member carries ten cents of another's charging."""
    first = day[PAID].filter(pl.col("charging_cost_usd") > 0.01).row(0, named=True)
    other = (
        day[PAID]
        .filter((pl.col("opportunity_id") == first["opportunity_id"]) & (pl.col("prosumer_id") != first["prosumer_id"]))
        .row(0, named=True)
    )
    by = {first["prosumer_id"]: 0.1, other["prosumer_id"]: -0.1}
    moved = (
        pl.when(pl.col("opportunity_id") == first["opportunity_id"])
        .then(pl.col("prosumer_id").replace_strict(by, default=0.0))
        .otherwise(0.0)
    )
    return day[PAID].with_columns(charging_cost_usd=pl.col("charging_cost_usd") + moved)


FAULTS = [
    Fault(MONEY, "revenue by a cent", BIDS, cent(BIDS, "expected_revenue_usd", BID), "fault revenue", None),
    Fault(
        MONEY,
        "another expectation than all that is bid",
        BIDS,
        edit(BIDS, BID, expected_mw=sees("expected_mw", 0.01)),
        "fault MW expected",
        1,
    ),
    Fault(MONEY, "payments by a cent", BIDS, cent(BIDS, "payments_usd", BID), "fault payments", None),
    Fault(MONEY, "charging by a cent", BIDS, cent(BIDS, "charging_cost_usd", BID), "fault charging", None),
    Fault(MONEY, "profit by a cent", BIDS, cent(BIDS, "expected_profit_usd", BID), "fault profit", None),
    Fault(
        MONEY,
        "margin by a thousandth",
        BIDS,
        edit(BIDS, BID, profit_margin_fraction=sees("profit_margin_fraction", 0.001)),
        "fault margin",
    ),
    Fault(MONEY, "forecast price of a bid", BIDS, edit(BIDS, NOON, forecast_price=86.0), "fault revenue", 2),
    Fault(MONEY, "a bid is missing", BIDS, dropped(BIDS, BID), "bid_id day, fault sum of bid profits", None),
    Fault(MONEY, "a bid without payments", PAID, lambda day: keep_members(day, 0), "fault payments", None),
    Fault(MONEY, "a payment by a cent", PAID, cent(PAID, "payment_usd"), "fault payments", 4),
    Fault(
        MONEY,
        "an agreed price by a cent",
        PAID,
        cent(PAID, "agreed_price_usd_per_mwh", pl.col("dispatched_kwh") > 1),
        "fault a payment",
        None,  # and no deal's
    ),
    Fault(
        MONEY,
        "an agreed price of no deal, paid",
        PAID,
        edit(
            PAID,
            pl.col("dispatched_kwh") > 1,
            agreed_price_usd_per_mwh=sees("agreed_price_usd_per_mwh", 0.01),
            payment_usd=pl.col("payment_usd") + 0.01 * pl.col("dispatched_kwh") / 1000.0,
        ),
        "fault a price of no deal",
        None,
    ),
    Fault(
        MONEY,
        "a call price by a cent",
        PAID,
        cent(PAID, "call_price_usd_per_mwh", pl.col("dispatched_kwh") > 1),
        "fault a price of no deal",
        None,
    ),
    Fault(
        MONEY,
        "a call at the price that is paid",
        PAID,
        edit(
            PAID,
            pl.col("agreed_price_usd_per_mwh") > pl.col("call_price_usd_per_mwh") + 0.01,
            call_price_usd_per_mwh=pl.col("agreed_price_usd_per_mwh"),
        ),
        "fault a price of no deal",
        None,
    ),
    Fault(
        MONEY,
        "a floor of the deal by a cent",
        DEALS,
        lambda day: called_deal_with(day, floor_price_usd_per_mwh=sees("floor_price_usd_per_mwh", 0.01)),
        "fault a price of no deal",
    ),
    Fault(
        MONEY,
        "a share beyond a reference below the floor",
        DEALS,
        lambda day: called_deal_with(
            day, reference_price_usd_per_mwh=sees("floor_price_usd_per_mwh", -1.0), share_fraction=0.5
        ),
        "fault a price of no deal",
    ),
    Fault(
        MONEY,
        "a payment without a deal",
        DEALS,
        lambda day: day[DEALS].join(day[PAID].head(1), on=["opportunity_id", "prosumer_id"], how="anti"),
        "fault a price of no deal",
    ),
    Fault(
        MONEY,
        "premium by a cent",
        BOOKS,
        cent(BOOKS, "premium_usd"),
        "fault bid profits . unallocated = objective",
        2,
    ),
    Fault(
        MONEY,
        "a premium hides in the satisfaction term",
        BOOKS,
        edit(BOOKS, premium_usd=sees("premium_usd", -5), satisfaction_term_usd=sees("satisfaction_term_usd", 5)),
        "fault premium = payments . calls",
    ),
    Fault(MONEY, "recovered charging by a cent", PAID, cent(PAID, "charging_cost_usd"), "fault charging", 3),
    Fault(
        MONEY,
        "sum of profits by a cent",
        BOOKS,
        cent(BOOKS, "sum_bid_profit_usd"),
        "bid_id day, fault bid profits . unallocated = objective",
        3,
    ),
    Fault(
        MONEY,
        "unallocated by a cent",
        BOOKS,
        cent(BOOKS, "unallocated_usd"),
        "fault bid profits . unallocated = objective",
    ),
    Fault(
        MONEY,
        "objective by a cent",
        BOOKS,
        cent(BOOKS, "objective_usd"),
        "fault bid profits . unallocated = objective",
        2,
    ),
    Fault(
        MONEY,
        "satisfaction term by a cent",
        BOOKS,
        cent(BOOKS, "satisfaction_term_usd"),
        "fault bid profits . unallocated = objective",
    ),
    Fault(
        MONEY,
        "no-sale value by a cent",
        BOOKS,
        cent(BOOKS, "no_sale_value_usd"),
        "fault bid profits . unallocated = objective",
        2,
    ),
    Fault(
        MONEY,
        "the solver's objective by a cent",
        "dispatch.proof",
        cent("dispatch.proof", "objective_usd"),
        "bid_id day, fault objective",
    ),
    Fault(
        MONEY,
        "charging to recover by a dollar",
        "dispatch.charging",
        edit("dispatch.charging", to_recover_usd=sees("to_recover_usd", 1)),
        "fault charging to recover",
        3,
    ),
    Fault(
        MONEY,
        "charging is a hundred times what was bought",
        "dispatch.charging",
        lambda day: day["dispatch.charging"].with_columns(pl.col("charging_usd") * 100.0),
        "fault charging cost is not that of the schedule",
        None,
    ),
    Fault(
        MONEY,
        "nobody recovers charging",
        PAID,
        lambda day: day[PAID].with_columns(charging_cost_usd=pl.lit(0.0)),
        "fault charging",
        None,
    ),
    Fault(MONEY, "rounding by a cent", BOOKS, cent(BOOKS, "rounding_usd"), "rounding"),
    Fault(
        MONEY,
        "satisfaction and no-sale value hide five dollars",
        BOOKS,
        edit(
            BOOKS,
            no_sale_value_usd=sees("no_sale_value_usd", 5),
            satisfaction_term_usd=sees("satisfaction_term_usd", -5),
        ),
        "no-sale",
        None,
    ),
]

#: faults that only a wider look at other tables shows
WIDER_FAULTS = [
    Fault(
        MONEY, "two prosumers swap the charging they recover", PAID, lambda day: swapped_charging(day), "charging", None
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", WIDER_FAULTS, ids=str)
def test_the_wider_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


def test_a_day_that_loses_against_no_bid_is_refused(honest: SolvedDay) -> None:
    books = honest.tables[BOOKS].row(0, named=True)
    beyond = ("sum_bid_profit_usd", "unallocated_usd", "premium_usd", "satisfaction_term_usd")
    lost = sum(books[name] for name in beyond) + 1.0  # objective - no-sale value becomes -1
    charging = "dispatch.charging"
    tables = {
        **honest.tables,
        BOOKS: edited(
            honest.tables[BOOKS],
            pl.lit(True),
            no_sale_value_usd=sees("no_sale_value_usd", lost),
            unallocated_usd=sees("unallocated_usd", -lost),
        ),
        charging: edited(
            honest.tables[charging],
            pl.lit(True),
            to_recover_usd=sees("to_recover_usd", lost),
            no_sale_charging_usd=sees("no_sale_charging_usd", -lost),
        ),
    }
    result = money_adds_up(tables, honest.settings)
    assert result.violations == 2  # the prosumer whose charging was changed, and the day


def test_dollars_cannot_hide_in_the_rounding(honest: SolvedDay) -> None:
    more = {"rounding_usd": 5.0, "unallocated_usd": 5.0, "objective_usd": 5.0}
    tables = {
        **honest.tables,
        BOOKS: edited(honest.tables[BOOKS], pl.lit(True), **{name: sees(name, by) for name, by in more.items()}),
        "dispatch.proof": honest.tables["dispatch.proof"].with_columns(pl.col("objective_usd") + 5.0),
    }
    assert re.search("fault rounding", money_adds_up(tables, honest.settings).description)
