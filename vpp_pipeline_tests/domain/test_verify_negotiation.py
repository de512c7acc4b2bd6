"""The protocol of the negotiation, and the least price: each breach is found out."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from vpp_pipeline.domain.verdict import Day
from vpp_pipeline.domain.verify_negotiation import negotiations_follow_the_protocol, nobody_is_paid_below_reservation
from vpp_pipeline_tests.conftest import SolvedDay
from vpp_pipeline_tests.domain.tampering import (
    CALLS,
    DEAL,
    DEALS,
    FLEET,
    MESSAGES,
    PAID,
    SUMMARY,
    Fault,
    added,
    assert_caught,
    dropped,
    edit,
    edited,
    sees,
)

LEAST = nobody_is_paid_below_reservation
PROTOCOL = negotiations_follow_the_protocol
BELOW = "deals below the owner's least price"


def underpaid(day: Day) -> pl.DataFrame:
    """Payments with one a hundredth of a cent below the least price, where a payment is large enough to show it."""
    least = day[PAID].join(
        day[DEALS].select(*DEAL, least="reservation_price_usd_per_mwh"), on=DEAL, maintain_order="left"
    )
    short = edited(
        least, pl.col("payment_usd") > 0.1, payment_usd=pl.col("least") * pl.col("dispatched_kwh") / 1000 - 1e-4
    )
    return short.drop("least")


def spoken(kind: str, **where: Any) -> pl.Expr:
    return (pl.col("kind") == kind) & pl.all_horizontal(*[pl.col(k) == v for k, v in where.items()], pl.lit(True))


def in_final_round(day: Day, kind: str, by: float) -> pl.DataFrame:
    """Messages with the last ask or offer of a prosumer that withdrew moved by ``by``."""
    lost = day[MESSAGES].filter(spoken("withdraw")).row(0, named=True)
    same = spoken(kind, round=3, opportunity_id=lost["opportunity_id"], prosumer_id=lost["prosumer_id"])
    return edited(day[MESSAGES], same, price_usd_per_mwh=sees("price_usd_per_mwh", by))


def without_its_offer(day: Day) -> pl.DataFrame:
    deal = day[MESSAGES].filter(spoken("accept")).row(0, named=True)
    same = spoken("offer", **{name: deal[name] for name in (*DEAL, "round")})
    return day[MESSAGES].filter(~same)


def commits(day: Day, share: float) -> pl.DataFrame:
    first = day[DEALS].row(0, named=True)["opportunity_id"]
    required_mw = day[CALLS].filter(opportunity_id=first)["required_capacity_mw"][0]
    return edited(day[DEALS], pl.lit(True), committed_capacity_kw=1000.0 * share * required_mw)


def forgets_inconvenience(day: Day) -> pl.DataFrame:
    """Agreements with one energy reservation of wear and compensation alone."""
    fleet = day[FLEET].select(
        "prosumer_id", bare=pl.col("wear_usd_per_mwh") + 1000 * pl.col("minimum_compensation_usd_per_kwh")
    )
    rows = day[DEALS].join(fleet, on="prosumer_id", maintain_order="left")
    bare = edited(
        rows, pl.col("opportunity_id").str.starts_with("energy"), reservation_price_usd_per_mwh=pl.col("bare")
    )
    return bare.drop("bare")


def commits_more_than_offered(day: Day) -> pl.DataFrame:
    """Agreements in which a kW moves from one member's commitment to another's: their sum stays."""
    a, b = (
        day[DEALS]
        .filter(
            (pl.col("committed_capacity_kw").is_between(2, 20))
            & (pl.col("opportunity_id") == day[DEALS]["opportunity_id"][0])
        )
        .head(2)["prosumer_id"]
    )
    by = pl.col("prosumer_id").replace_strict({a: 1.0, b: -1.0}, default=0.0)
    moved = pl.when(pl.col("opportunity_id") == day[DEALS]["opportunity_id"][0]).then(by).otherwise(0.0)
    return day[DEALS].with_columns(committed_capacity_kw=pl.col("committed_capacity_kw") + moved)


FAULTS = [
    Fault(
        LEAST,
        "agreed below the reservation",
        DEALS,
        lambda day: edited(
            day[DEALS].join(day[PAID], on=DEAL, how="semi"),
            pl.lit(True),
            agreed_price_usd_per_mwh=pl.col("reservation_price_usd_per_mwh") - 0.01,
        ),
        BELOW,
    ),
    Fault(
        LEAST,
        "the reservation forgets wear and compensation",
        DEALS,
        edit(DEALS, pl.col("opportunity_id").str.starts_with("energy"), reservation_price_usd_per_mwh=0.0),
        BELOW,
    ),
    Fault(LEAST, "the payment is short of the reservation", PAID, lambda day: underpaid(day), BELOW),
    Fault(LEAST, "nothing is paid", PAID, edit(PAID, payment_usd=0.0), BELOW),
    Fault(
        LEAST,
        "a payment has no agreement",
        DEALS,
        lambda day: day[DEALS].join(day[PAID].head(1), on=DEAL, how="anti"),
        BELOW,
    ),
    Fault(PROTOCOL, "an ask rises", MESSAGES, lambda day: in_final_round(day, "ask", 500.0), "ask rose"),
    Fault(PROTOCOL, "an offer falls", MESSAGES, lambda day: in_final_round(day, "offer", -500.0), "offer fell"),
    Fault(
        PROTOCOL,
        "a round beyond the last",
        MESSAGES,
        edit(MESSAGES, spoken("withdraw"), round=4),
        "round beyond the last",
    ),
    Fault(
        PROTOCOL,
        "speaks after closing",
        MESSAGES,
        added(MESSAGES, spoken("accept", round=2), kind="offer", round=3, sender="aggregator", price_usd_per_mwh=1e3),
        "spoke after the end",
    ),
    Fault(
        PROTOCOL,
        "speaks after a rejection",
        MESSAGES,
        added(MESSAGES, spoken("reject"), kind="offer", round=2, price_usd_per_mwh=1e3),
        "spoke after the end",
    ),
    Fault(
        PROTOCOL, "closes and withdraws", MESSAGES, added(MESSAGES, spoken("accept"), kind="withdraw"), "ended twice"
    ),
    Fault(PROTOCOL, "never ends", MESSAGES, dropped(MESSAGES, spoken("withdraw")), "never ended"),
    Fault(
        PROTOCOL,
        "closes above the offer",
        MESSAGES,
        edit(MESSAGES, spoken("accept"), price_usd_per_mwh=1e3),
        "price outside ask and offer",
        2,
    ),
    Fault(
        PROTOCOL,
        "closes below the ask",
        MESSAGES,
        edit(MESSAGES, spoken("accept"), price_usd_per_mwh=0.0),
        "price outside ask and offer",
        2,
    ),
    Fault(
        PROTOCOL, "closes without an offer", MESSAGES, lambda day: without_its_offer(day), "price outside ask and offer"
    ),
    Fault(
        PROTOCOL,
        "agrees at another price",
        DEALS,
        edit(DEALS, agreed_price_usd_per_mwh=sees("agreed_price_usd_per_mwh", 0.01)),
        "agreement without the deal",
    ),
    Fault(
        PROTOCOL,
        "agrees without a word",
        MESSAGES,
        lambda day: day[MESSAGES].join(day[DEALS].head(1), on=DEAL, how="anti"),
        "agreement without the deal",
    ),
    Fault(PROTOCOL, "commits 40 % of R", DEALS, lambda day: commits(day, 0.40), "commitment above its share of R", 3),
    Fault(
        PROTOCOL,
        "the summary counts another member",
        SUMMARY,
        edit(SUMMARY, pl.col("members") > 0, members=sees("members", 1)),
        "summary does not match agreements",
    ),
    Fault(
        PROTOCOL,
        "the summary adds up other MW",
        SUMMARY,
        edit(SUMMARY, pl.col("members") > 0, committed_capacity_mw=sees("committed_capacity_mw", 0.01)),
        "summary does not match agreements",
    ),
    Fault(
        PROTOCOL,
        "the summary calls too little enough",
        SUMMARY,
        edit(SUMMARY, pl.col("status") == "no_bid", status="relaxed"),
        "summary does not match agreements",
    ),
    Fault(PROTOCOL, "a member is missing", DEALS, dropped(DEALS, pl.lit(True)), "summary does not match agreements"),
]

#: faults that only a wider look at other tables shows
WIDER_FAULTS = [
    Fault(LEAST, "the reservation forgets the inconvenience", DEALS, lambda day: forgets_inconvenience(day), BELOW),
    Fault(
        LEAST,
        "the reservation of reserve is nothing",
        DEALS,
        edit(DEALS, pl.col("opportunity_id").str.starts_with("spin"), reservation_price_usd_per_mwh=0.0),
        BELOW,
    ),
    Fault(
        PROTOCOL,
        "commits more than was offered",
        DEALS,
        lambda day: commits_more_than_offered(day),
        "commit|agreement",
        None,
    ),
    Fault(
        PROTOCOL,
        "the summary calls 80 % agreed",
        SUMMARY,
        edit(
            SUMMARY, pl.col("members") > 0, required_capacity_mw=pl.col("committed_capacity_mw") / 0.9, status="agreed"
        ),
        "summary does not match agreements",
    ),
    Fault(
        PROTOCOL,
        "the summary calls enough too little",
        SUMMARY,
        edit(SUMMARY, pl.col("status") == "agreed", status="no_bid"),
        "summary does not match agreements",
    ),
    Fault(
        PROTOCOL,
        "the summary states another R",
        SUMMARY,
        edit(SUMMARY, pl.col("status") == "agreed", required_capacity_mw=sees("required_capacity_mw", -0.01)),
        "summary does not match",
    ),
    Fault(
        PROTOCOL,
        "an opportunity has no summary",
        SUMMARY,
        lambda day: day[SUMMARY].slice(1),
        "summary does not match",
        None,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)


@pytest.mark.parametrize("fault", WIDER_FAULTS, ids=str)
def test_the_wider_fault_is_caught(honest: SolvedDay, fault: Fault) -> None:
    assert_caught(honest, fault)
