"""A small negotiated day, and for every rule of the protocol a table of it that breaks just that rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, Settings
from vpp_pipeline_tests.examples import BATTERY, EV, envelope, fleet_table, forecast_of
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay
from vpp_pipeline_tests.verification.tampering import (
    DEALS,
    FLEET,
    MESSAGES,
    SUMMARY,
    TALKS,
    Tamper,
    added,
    dropped,
    edit,
    edited,
    sees,
)

#: recharging costs 18 / (0.9 x 0.8) = 25 $/MWh: 100 $ leave a ceiling of 67.5 for a store, 18 $ nothing to offer
DEAR = {**BATTERY, "minimum_compensation_usd_per_kwh": 0.2}  # asks at least 215 $/MWh
LARGE = {**BATTERY, "wear_usd_per_mwh": 12.0, "max_discharge_kw": 50.0, "export_limit_kw": 50.0} | dict.fromkeys(
    ("capacity_kwh", "initial_stored_kwh", "terminal_stored_kwh"), 200.0
)
SMALL = [{**BATTERY, "wear_usd_per_mwh": wear} for wear in (10.0, 14.0, 16.0, 18.0)]
FLEET_ROWS = (DEAR, *SMALL, LARGE, {**EV, "wear_usd_per_mwh": 11.0})
TOO_DEAR, CHEAPEST, LARGEST, AWAY_AT_NOON = "prosumer_1", "prosumer_2", "prosumer_6", "prosumer_7"
EVENING, NOON = "energy_20", "energy_12"


@cache
def small_day(**policy: Any) -> tuple[dict[str, pl.DataFrame], Settings]:
    """One who asks too much, four small batteries, a large one and an EV that is away at noon; noon and evening."""
    forecast = forecast_of([18.0] * 20 + [100.0] + [18.0] * 3)
    calls = forecast.filter(pl.col("hour_ending").is_in([13, 21])).select(
        opportunity_id=pl.Series([NOON, EVENING]),
        market_date="market_date",
        product=pl.lit("energy"),
        start_utc="start_utc",
        duration_hours=pl.lit(1, pl.Int32),
        required_capacity_mw=pl.lit(0.02),  # at most 7.8 kW each
        forecast_price=pl.Series([18.0, 100.0]),
    )
    settings = Settings(rules=MarketRules(energy_minimum_mw=0.0), negotiation=NegotiationPolicy(**policy))
    rows = fleet_table(*FLEET_ROWS)
    day = NegotiatedDay(rows, envelope(*FLEET_ROWS).drop("local_hour"), forecast, calls, settings)
    return day.tables, settings


#: every word is kept, and the fourth and later deals are beyond the largest coalition
HEARD = {"maximum_coalition": 3, "contract": "fixed"}
#: of seven prosumers only the words of the first are kept, the one who asks too much
SAMPLED = {"transcript_prosumers": 1, "contract": "fixed"}
INDEXED, INDEXED_SAMPLED = ({**policy, "contract": "indexed"} for policy in (HEARD, SAMPLED))
POSTED = {"engine": "uniform_clearing", "contract": "indexed"}
HALF_SHARE = {**POSTED, "posted": "half_share"}


@dataclass(frozen=True)
class Seeded:
    """One table changed so that exactly one rule is broken."""

    fault: str
    name: str
    table: str
    tamper: Tamper
    policy: dict[str, Any] = field(default_factory=lambda: HEARD)

    def __str__(self) -> str:
        return f"{self.fault}: {self.name}"


def unheard(fault: str, name: str, tamper: Tamper) -> Seeded:
    """A deal of one whose words are not kept is tampered with."""
    return Seeded(fault, name, DEALS, tamper, SAMPLED)


def indexed(
    fault: str, name: str, policy: dict[str, Any] = INDEXED, where: pl.Expr | None = None, **changes: Any
) -> Seeded:
    """The prices of an indexed deal are tampered with, by default of the best-ranked."""
    return Seeded(fault, name, DEALS, edit(DEALS, ranked(1) if where is None else where, **changes), policy)


def said(kind: str, prosumer: str = TOO_DEAR, **where: object) -> pl.Expr:
    """A word in the evening's negotiation."""
    wanted = {"opportunity_id": EVENING, "prosumer_id": prosumer, "kind": kind, **where}
    return pl.all_horizontal(pl.col(name) == value for name, value in wanted.items())


def ranked(rank: int, opportunity: str = EVENING) -> pl.Expr:
    return (pl.col("rank") == rank) & (pl.col("opportunity_id") == opportunity)


def in_the_evening(prosumer: str = TOO_DEAR) -> pl.Expr:
    return (pl.col("prosumer_id") == prosumer) & (pl.col("opportunity_id") == EVENING)


def at_noon(prosumer: str | None = None) -> pl.Expr:
    return (pl.col("opportunity_id") == NOON) & (
        pl.lit(True) if prosumer is None else pl.col("prosumer_id") == prosumer
    )


def word(kind: str, by: float, **where: object) -> Tamper:
    """A price spoken is moved."""
    return edit(MESSAGES, said(kind, **where), price_usd_per_mwh=sees("price_usd_per_mwh", by))


def moves_kw(to: pl.Expr, kw: float) -> Tamper:
    """A commitment grows by what that of the cheapest shrinks by, so that their sum stays."""

    def tamper(day: Day) -> pl.DataFrame:
        less = edited(day[DEALS], in_the_evening(CHEAPEST), committed_capacity_kw=sees("committed_capacity_kw", -kw))
        return edited(less, to, committed_capacity_kw=sees("committed_capacity_kw", kw))

    return tamper


def swaps_ranks(one: int, other: int) -> Tamper:
    def tamper(day: Day) -> pl.DataFrame:
        swapped = edited(day[DEALS], ranked(one), rank=99)
        return edited(edited(swapped, ranked(other), rank=one), ranked(99), rank=other)

    return tamper


def summarised(name: str, opportunity: str = EVENING, **changes: Any) -> Seeded:
    """A summary that the deals do not bear out."""
    tamper = edit(SUMMARY, pl.col("opportunity_id") == opportunity, **changes)
    return Seeded("summary does not match agreements", name, SUMMARY, tamper)


def last_rank(day: Day) -> int:
    return int(day[DEALS].filter(opportunity_id=EVENING)["rank"].max())


FLOOR, CAP, REFERENCE = (f"{name}_price_usd_per_mwh" for name in ("floor", "cap", "reference"))
OF_CONTRACTS = [
    indexed("floor below the reservation price", "by a cent", **{FLOOR: sees(FLOOR, -0.01)}),
    indexed("floor below the reservation price", "none", **{FLOOR: None}),
    indexed("floor is not the reservation price", "a cent above it", **{FLOOR: sees(FLOOR, 0.01)}),
    indexed("cap below the floor", "by a cent", **{CAP: sees(FLOOR, -0.01)}),
    indexed("cap below the floor", "none, and no word is kept", INDEXED_SAMPLED, **{CAP: None}),
    indexed("share of another reference", "where there is to be none", share_fraction=0.5, **{REFERENCE: 20.0}),
    indexed("share of another reference", "by a cent", HALF_SHARE, **{REFERENCE: sees(REFERENCE, 0.01)}),
    indexed("share of another reference", "not half", HALF_SHARE, share_fraction=0.4),
    indexed("share of another reference", "none", HALF_SHARE, share_fraction=None),
    indexed(
        "agreed price is not what the forecast pays",
        "a cent less",
        agreed_price_usd_per_mwh=sees("agreed_price_usd_per_mwh", -0.01),
    ),
    indexed("agreed price is not what the forecast pays", "half the share", HALF_SHARE, agreed_price_usd_per_mwh=40.0),
    indexed("recharging of another device", "without losses", recharge_factor=1.0),
    indexed("recharging of another device", "none", INDEXED_SAMPLED, recharge_factor=0.0),
    indexed("recharging of another device", "of a fixed price", HEARD, recharge_factor=1.0),
    indexed("a fixed price with a cap", "a cent above it", SAMPLED, **{CAP: sees(CAP, 0.01)}),
    indexed("posted cap rests on the owner's own word", "a cent more", POSTED, **{CAP: sees(CAP, 0.01)}),
    indexed(
        "posted cap rests on the owner's own word",
        "half as much again as its own",
        POSTED,
        **{CAP: 1.5 * pl.col(FLOOR)},
    ),
    indexed("out, but with a floor or a cap", "its floor", where=in_the_evening(), **{FLOOR: 215.0}),
    indexed("out, but with a floor or a cap", "a recharging", where=in_the_evening(), recharge_factor=0.0),
    Seeded("offer is not the posted cap", "to one who takes it", MESSAGES, word("offer", 0.01), POSTED),
    Seeded(
        "left, though its floor stands",
        "withdraws instead of standing by",
        MESSAGES,
        edit(MESSAGES, said("accept"), kind="withdraw"),
        INDEXED,
    ),
    Seeded(
        "left, though its floor stands",
        "leaves a posted cap above its floor",
        MESSAGES,
        edit(MESSAGES, said("accept", CHEAPEST), kind="withdraw"),
        POSTED,
    ),
]

SEEDED = [
    *OF_CONTRACTS,
    Seeded(
        "message by the wrong side",
        "an offer of the prosumer's",
        MESSAGES,
        edit(MESSAGES, said("offer"), sender="prosumer"),
    ),
    Seeded("a round without an ask", "the second", MESSAGES, dropped(MESSAGES, said("ask", round=2))),
    Seeded("another satisfaction", "too content", DEALS, edit(DEALS, ranked(1), expected_satisfaction_score=9.99)),
    Seeded("another satisfaction", "none told", DEALS, edit(DEALS, ranked(1), expected_satisfaction_score=None)),
    Seeded("out, but committed", "in a round", DEALS, edit(DEALS, in_the_evening(), closed_round=2)),
    Seeded(
        "reason contradicts the outcome", "says in, is out", DEALS, edit(DEALS, in_the_evening(), reason="In: it is.")
    ),
    Seeded("reason contradicts the outcome", "none", DEALS, edit(DEALS, ranked(1), reason="")),
    Seeded(
        "segments do not match deals and summary",
        "a deal more",
        TALKS,
        edit(TALKS, pl.col("accepted") > 0, accepted=sees("accepted", 1)),
    ),
    Seeded(
        "segments do not match deals and summary",
        "a round more",
        SUMMARY,
        edit(SUMMARY, pl.col("opportunity_id") == EVENING, rounds=sees("rounds", 1)),
    ),
    Seeded(
        "could offer and has no message",
        "all words of the sample",
        MESSAGES,
        lambda day: day[MESSAGES].clear(),
        SAMPLED,
    ),
    Seeded("ask rose", "in the last round", MESSAGES, word("ask", 500.0, round=3)),
    Seeded("offer fell", "in the last round", MESSAGES, word("offer", -60.0, round=3)),
    Seeded("round beyond the last", "walks away in round 4", MESSAGES, edit(MESSAGES, said("withdraw"), round=4)),
    Seeded(
        "message after the end", "after closing", MESSAGES, added(MESSAGES, said("ask", CHEAPEST, round=2), round=3)
    ),
    Seeded(
        "message after the end",
        "after a rejection",
        MESSAGES,
        added(MESSAGES, said("ask", CHEAPEST, opportunity_id=NOON), round=2),
    ),
    Seeded(
        "ended twice", "closes and walks away", MESSAGES, added(MESSAGES, said("accept", CHEAPEST), kind="withdraw")
    ),
    Seeded("never ended", "does not walk away", MESSAGES, dropped(MESSAGES, said("withdraw"))),
    Seeded("ask below the reservation price", "by a cent", MESSAGES, word("ask", -0.01, round=3)),
    Seeded("offer above the ceiling", "by a cent", MESSAGES, word("offer", 0.01, round=3)),
    Seeded(
        "capacity beyond the envelope",
        "asks for more than it has",
        MESSAGES,
        edit(MESSAGES, said("ask"), capacity_kw=sees("capacity_kw", 0.01)),
    ),
    Seeded(
        "another reservation price",
        "of one who is out",
        DEALS,
        edit(DEALS, in_the_evening(), reservation_price_usd_per_mwh=sees("reservation_price_usd_per_mwh", 0.01)),
    ),
    Seeded(
        "another reservation price",
        "without the inconvenience",
        DEALS,
        edit(DEALS, in_the_evening(CHEAPEST), reservation_price_usd_per_mwh=30.0),
    ),
    unheard("price below the reservation price", "by a cent", edit(DEALS, ranked(1), agreed_price_usd_per_mwh=34.99)),
    unheard(
        "price above the ceiling",
        "by a cent",
        lambda day: edited(day[DEALS], ranked(last_rank(day)), agreed_price_usd_per_mwh=67.51),
    ),
    unheard("commitment above its share of R", "40 % instead of 39 %", moves_kw(in_the_evening(LARGEST), 0.2)),
    unheard(
        "commitment beyond the envelope", "more than the inverter gives", moves_kw(in_the_evening("prosumer_3"), 0.2)
    ),
    Seeded(
        "price outside ask and offer",
        "closes without an offer",
        MESSAGES,
        dropped(MESSAGES, said("offer", CHEAPEST, round=2)),
    ),
    Seeded(
        "price outside ask and offer",
        "closes above the offer",
        MESSAGES,
        edit(MESSAGES, said("offer", CHEAPEST, round=2), price_usd_per_mwh=40.0),
    ),
    Seeded(
        "price outside ask and offer",
        "closes below the ask",  # at 43.17, having asked 43.75 before
        MESSAGES,
        edit(MESSAGES, said("ask", CHEAPEST, round=2), price_usd_per_mwh=43.5),
    ),
    Seeded(
        "agreement without the deal",
        "at another price",
        DEALS,
        edit(DEALS, ranked(3), cap_price_usd_per_mwh=sees("cap_price_usd_per_mwh", 0.01)),
    ),
    Seeded("agreement without the deal", "of another round", DEALS, edit(DEALS, ranked(3), closed_round=3)),
    Seeded(
        "deal without an agreement",
        "the fourth deal is forgotten",
        DEALS,
        lambda day: edited(day[DEALS], ranked(last_rank(day)), rank=None),
    ),
    Seeded("out, but committed", "1 kW", DEALS, edit(DEALS, in_the_evening(), committed_capacity_kw=1.0)),
    Seeded("out, but committed", "at a price", DEALS, edit(DEALS, in_the_evening(), agreed_price_usd_per_mwh=50.0)),
    Seeded(
        "ranks have a gap",
        "before the last",
        DEALS,
        lambda day: edited(day[DEALS], ranked(last_rank(day)), rank=last_rank(day) + 1),
    ),
    Seeded("ranked before a better deal", "first and second", DEALS, swaps_ranks(1, 2)),
    Seeded("option contradicts the rank", "third and fourth", DEALS, swaps_ranks(3, 4)),
    Seeded(
        "could offer and has no message",
        "none of its words",
        MESSAGES,
        lambda day: day[MESSAGES].filter(~in_the_evening()),
    ),
    Seeded(
        "negotiated with another resource's member",
        "who is moved to one",
        FLEET,
        edit(FLEET, pl.col("prosumer_id") == TOO_DEAR, resource_id="north"),
    ),
    Seeded("no outcome", "of one who walked away", DEALS, dropped(DEALS, in_the_evening())),
    Seeded("no outcome", "of one who is away", DEALS, dropped(DEALS, at_noon(AWAY_AT_NOON))),
    summarised("another member", members=sees("members", 1)),
    summarised("other MW", committed_capacity_mw=sees("committed_capacity_mw", 1e-5)),
    summarised("another R", required_capacity_mw=sees("required_capacity_mw", -1e-5)),
    summarised("enough is called too little", status="no_bid"),
    summarised("enough is called 80 % of it", status="relaxed"),
    summarised("too little is called enough", status="agreed", opportunity=NOON),
    summarised("too little is called 80 %", status="relaxed", opportunity=NOON),
    Seeded("summary does not match agreements", "there is none", SUMMARY, dropped(SUMMARY, at_noon())),
    unheard(
        "summary does not match agreements",
        "a deal is missing",
        lambda day: day[DEALS].filter(~ranked(last_rank(day)).fill_null(False)),
    ),
]
