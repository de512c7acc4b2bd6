"""A day settled: who came, what the fleet did after the awards, what each bid earned, and the day's whole account."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.dispatch.schedule import schedule_arrays, schedule_rows
from vpp_pipeline.domain.day_money import Awards, Money, money_of
from vpp_pipeline.domain.redispatch import limits_broken, redispatch
from vpp_pipeline.domain.settlement import Delivery, awarded_bids, same_source, settle, who_is_there
from vpp_pipeline.fleet.arrays import begin_with, fleet_arrays
from vpp_pipeline.negotiation.opportunities import hours_of
from vpp_pipeline.schemas import Dispatched, SettledDays, door
from vpp_pipeline.settings import MarketRules, SettlementSettings

#: tables that a settlement reads
READS = (
    "market.prices",
    "market.price_forecast",
    "market.opportunities",
    "fleet.prosumers",
    "fleet.availability",
    "dispatch.starts",
    "dispatch.schedule",
    "dispatch.payments",
    "bids.final_bids",
    "bids.bid_segments",
)
MONEY = ("energy_usd", "reserve_usd", "charging_usd", "imbalance_usd", "leftover_usd", "payments_usd", "net_usd")


def settle_day(
    tables: Mapping[str, pl.DataFrame], rules: MarketRules, settings: SettlementSettings
) -> dict[str, pl.DataFrame]:
    """`evaluation.dispatched`, `evaluation.settlement` and `evaluation.settled_days` of one day, from :data:`READS`.

    Awards by segment; those who are there (drawn, as ``settings`` say) deliver their part of the awards as far as their
    stores hold it, and no store charges more than that needs. Money is that of two settlements: the position at the
    price that cleared, the difference to it at that price made worse by `imbalance_factor`.

    Raises InputError where bids and prices are of different sources.
    """
    prices, opportunities = tables["market.prices"].sort("start_utc"), tables["market.opportunities"]
    same_source(tables["market.price_forecast"], prices)
    rows, planned = tables["fleet.prosumers"].sort("prosumer_id"), schedule_arrays(tables["dispatch.schedule"])
    fleet = begin_with(fleet_arrays(rows, tables["fleet.availability"]), tables["dispatch.starts"])
    is_there = who_is_there(rows["availability_fraction"].to_numpy(), rows["market_date"][0], settings)
    day = (opportunities, tables["bids.final_bids"], tables["bids.bid_segments"], prices)
    bids = awarded_bids(*day)

    def by_hour(column: str) -> Array:
        return _by_product_and_hour(bids, opportunities, prices["start_utc"], column)

    asked = by_hour("share")[:, None, :] * is_there[None, :, None]
    done = redispatch(fleet, planned, asked, rules.reserve_call_hours)
    dispatched = door(Dispatched, schedule_rows(done, tables["dispatch.schedule"]))
    members = rows.select("prosumer_id", "wear_usd_per_mwh", is_there=pl.Series(is_there))
    factor = settings.imbalance_factor
    settlement = settle(*day, Delivery(tables["dispatch.payments"], dispatched, members, factor))

    cleared = np.stack([prices[PRICE_COLUMN[product]].to_numpy() for product in PRODUCTS])
    won = Awards(by_hour("bid_mw")[0], by_hour("awarded_mw")[0], by_hour("clearing_price"))
    paid_usd, owed_kwh = float(settlement["payments_usd"].sum()), fleet.terminal_stored_kwh
    money = money_of(fleet, planned, done, won, cleared[0], paid_usd, owed_kwh, factor)
    account = {
        "market_date": prices["market_date"][0],
        "bids": bids.height,
        "awarded_bids": int((bids["awarded_mw"] > 0.0).sum()),
        "present": int(is_there.sum()),
        "absent": int((~is_there).sum()),
        "awarded_mwh": float(won.won_mw.sum()),
        "exported_mwh": float(done.exported_kw.sum()) / 1000.0,
        "reserve_awarded_mw_h": float(by_hour("awarded_mw")[1:].sum()),
        "reserve_held_mw_h": float((done.spin_kw + done.nonspin_kw).sum()) / 1000.0,
        "limits_broken": sum(int(where.sum()) for where in limits_broken(fleet, done).values()),
        "expected_profit_usd": float(bids["expected_profit_usd"].sum()),
        **_in_cents(money),
    }
    return {
        "evaluation.dispatched": dispatched,
        "evaluation.settlement": settlement,
        "evaluation.settled_days": door(SettledDays, pl.DataFrame([account])),
    }


def _in_cents(money: Money) -> dict[str, float]:
    """The account's lines, and their sum as it follows from the rounded lines."""
    lines = {name: round(float(getattr(money, name)), 2) for name in MONEY[:-1]}
    costs = lines["charging_usd"] + lines["imbalance_usd"] + lines["payments_usd"]
    return lines | {"net_usd": round(lines["energy_usd"] + lines["reserve_usd"] + lines["leftover_usd"] - costs, 2)}


def _by_product_and_hour(bids: pl.DataFrame, opportunities: pl.DataFrame, starts: pl.Series, column: str) -> Array:
    """A column of the bids spread over (3, T) hours; 0 where nothing is bid."""
    spread, value = np.zeros((len(PRODUCTS), len(starts))), dict(bids.select("opportunity_id", column).iter_rows())
    names, products = opportunities["opportunity_id"], opportunities["product"]
    for name, product, block in zip(names, products, hours_of(opportunities, starts), strict=True):
        spread[PRODUCTS.index(product), block] = value.get(name, 0.0)
    return spread
