"""The numbers of a day that a note about its bids may use, each by name, and the note that a rule makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.tables import Day

Unit = Literal["count", "MW", "$", "$/MWh", "%", "hour"]


@dataclass(frozen=True)
class Fact:
    """One number of the warehouse, rounded as a person would be told it."""

    value: float
    unit: Unit
    words: str


Facts = Mapping[str, Fact]


def facts_of(day: Day) -> dict[str, Fact]:
    """What the tables of a day's bids say in numbers; those of the best bid only where there is one."""
    bids, prices = day["bids.final_bids"], day["market.price_forecast"]
    trading = bids.filter(pl.col("status") == "bid")
    is_energy = pl.col("product") == "energy"
    energy, reserve = trading.filter(is_energy), trading.filter(~is_energy)
    refused = bids.filter(pl.col("status") != "bid")
    found_too_little = day["negotiation.summary"].filter(pl.col("status") == "no_bid").height
    dearest = prices.sort("energy_usd_per_mwh", descending=True).row(0, named=True)
    cheapest = prices.sort("energy_usd_per_mwh").row(0, named=True)
    profit, revenue = (float(trading[f"expected_{name}_usd"].sum()) for name in ("profit", "revenue"))
    facts = {
        "opportunities": Fact(bids.height, "count", "opportunities of the day"),
        "bids": Fact(trading.height, "count", "opportunities that are bid"),
        "no_bids": Fact(refused.height, "count", "opportunities that are not bid"),
        "no_deals": Fact(found_too_little, "count", "of those, for want of deals"),
        "worth_more_elsewhere": Fact(
            refused.height - found_too_little, "count", "of those, because the day earns more without them"
        ),
        "energy_bids": Fact(energy.height, "count", "bids of energy"),
        "energy_mw": Fact(_sum(energy, "total_capacity_mw"), "MW", "energy bid, each MW for its own hours"),
        "reserve_bids": Fact(reserve.height, "count", "bids of reserve"),
        "reserve_mw": Fact(_sum(reserve, "total_capacity_mw"), "MW", "reserve bid, each MW for its own hours"),
        "revenue": Fact(round(revenue, 2), "$", "expected revenue of all bids"),
        "payments": Fact(_sum(trading, "payments_usd"), "$", "payments to prosumers"),
        "profit": Fact(round(profit, 2), "$", "expected profit of all bids"),
        "prosumers": Fact(day["fleet.prosumers"].height, "count", "prosumers of the fleet"),
        "dispatched": Fact(
            day["dispatch.payments"]["prosumer_id"].n_unique(), "count", "prosumers that deliver in some bid"
        ),
        "gap": Fact(
            round(100.0 * float(day["dispatch.proof"]["gap_fraction"][0]), 2),
            "%",
            "most that any other schedule could earn above this, of its profit",
        ),
        "dearest_price": Fact(round(dearest["energy_usd_per_mwh"], 2), "$/MWh", "highest energy price expected"),
        "dearest_hour": Fact(_hour(dearest), "hour", "hour of that price, Pacific"),
        "cheapest_price": Fact(round(cheapest["energy_usd_per_mwh"], 2), "$/MWh", "lowest energy price expected"),
        "cheapest_hour": Fact(_hour(cheapest), "hour", "hour of that price, Pacific"),
    }
    if revenue > 0.0:
        facts["margin"] = Fact(round(100.0 * profit / revenue, 1), "%", "profit over revenue")
    if trading.height:
        best = trading.sort("expected_profit_usd", "bid_id", descending=True).row(0, named=True)
        facts |= {
            "best_hour": Fact(_hour(best), "hour", f"hour of the most profitable bid ({best['product']}), Pacific"),
            "best_mw": Fact(round(best["total_capacity_mw"], 2), "MW", "its size"),
            "best_price": Fact(round(best["forecast_price"], 2), "$/MWh", "its expected price"),
            "best_profit": Fact(round(best["expected_profit_usd"], 2), "$", "its expected profit"),
            "best_members": Fact(best["coalition_size"], "count", "prosumers that deliver it"),
        }
    return facts


def _sum(rows: pl.DataFrame, column: str) -> float:
    return round(float(rows[column].sum()), 2)


def _hour(row: Mapping[str, Any]) -> float:
    """Pacific hour in which the row's block begins."""
    return float(row["start_utc"].astimezone(PACIFIC).hour)


def told(fact: Fact) -> str:
    """The number as a note writes it: `42`, `6.76 MW`, `363.69 $`, `104.43 $/MWh`, `35.6 %`, `19:00`."""
    if fact.unit == "count":
        return f"{fact.value:.0f}"
    if fact.unit == "hour":
        return f"{fact.value:.0f}:00"
    return f"{fact.value:.{1 if fact.unit == '%' and fact.value >= 1 else 2}f} {fact.unit}"


def note_by_rule(facts: Facts) -> str:
    """Why these bids, in sentences that a rule makes of the numbers."""
    say = {name: told(fact) for name, fact in facts.items()}
    sentences = [
        f"Of {say['opportunities']} opportunities {say['bids']} are bid: {say['energy_mw']} of energy in "
        f"{say['energy_bids']} and {say['reserve_mw']} of reserve in {say['reserve_bids']}, each MW for its own hours.",
        f"Energy is expected to be dearest at {say['dearest_hour']}, at {say['dearest_price']}, and cheapest at "
        f"{say['cheapest_hour']}, at {say['cheapest_price']}.",
    ]
    if "margin" in say:
        sentences.append(
            f"The bids expect {say['profit']} of profit on {say['revenue']} of revenue, a margin of {say['margin']}; "
            f"{say['payments']} go to {say['dispatched']} of {say['prosumers']} prosumers."
        )
    if "best_mw" in say:
        sentences.append(
            f"The most profitable bid begins at {say['best_hour']}: {say['best_mw']} at {say['best_price']}, delivered "
            f"by {say['best_members']} prosumers, earn {say['best_profit']}."
        )
    sentences.append(
        f"Not bid are {say['no_bids']}: {say['no_deals']} for want of deals, {say['worth_more_elsewhere']} because the "
        "day earns more without them."
    )
    sentences.append(f"At most {say['gap']} more could be earned by any other schedule.")
    return " ".join(sentences)
