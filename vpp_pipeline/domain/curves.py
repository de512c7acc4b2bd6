"""Price curves of bids: what the market must pay before each MW would rather run."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from vpp_pipeline.domain.payments import hours_covered
from vpp_pipeline.domain.rounding import round_up
from vpp_pipeline.schemas import BidSegments, door
from vpp_pipeline.settings import MarketRules

CENT = 0.01


def bid_segments(
    bids: pl.DataFrame,
    payments: pl.DataFrame,
    schedule: pl.DataFrame,
    fleet: pl.DataFrame,
    opportunities: pl.DataFrame,
    rules: MarketRules,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.BidSegments`.

    ``bids``: bid_id, opportunity_id, market_date, product, quantity_mw, required_capacity_mw, average_cost (payments
    and charging per MWh), last_mw_cost (forecast price less the shadow price of R).

    Energy: members in merit order of agreed price + the value of the stored energy they give up (a dual, over the
    discharge efficiency). The first segment spans at least 80 % of R, at no less than the bid's average cost; rising
    prices, at most ten segments. Reserve: one pair of MW and price, the larger of average cost and cost of the last MW.
    No price exceeds the market's cap.
    """
    cost = _member_cost(payments, schedule, fleet, opportunities)
    rows = []
    for bid in bids.sort("opportunity_id").iter_rows(named=True):
        if bid["product"] == "energy":
            members = cost.filter(pl.col("opportunity_id") == bid["opportunity_id"]).sort("cost", "prosumer_id")
            curve = _energy_curve(members["cost"].to_numpy(), members["dispatched_kw"].to_numpy() / 1000.0, bid, rules)
        else:
            curve = [(bid["quantity_mw"], max(bid["average_cost"], bid["last_mw_cost"]))]
        start_mw, least, highest = 0.0, -math.inf, rules.price_limits(bid["product"])[1]
        for number, (end_mw, price) in enumerate(curve, start=1):
            least = max(least, min(_up_to_cent(price), highest))
            rows.append((bid["market_date"], bid["bid_id"], number, start_mw, end_mw, least))
            start_mw = end_mw
    names = ["market_date", "bid_id", "segment", "from_mw", "to_mw", "price_usd_per_mwh"]
    return door(BidSegments, pl.DataFrame(rows, schema=names, orient="row")) if rows else BidSegments.create_empty()


def _member_cost(
    payments: pl.DataFrame, schedule: pl.DataFrame, fleet: pl.DataFrame, opportunities: pl.DataFrame
) -> pl.DataFrame:
    """What one MWh of each member costs the day: its agreed price and the stored energy it gives up, $/MWh."""
    given_up = (
        hours_covered(opportunities.filter(pl.col("product") == "energy"))
        .join(schedule.select("prosumer_id", "start_utc", "discharge_kw", "stored_value_usd_per_mwh"), on="start_utc")
        .group_by("opportunity_id", "prosumer_id")
        .agg(stored_usd=(pl.col("discharge_kw") * pl.col("stored_value_usd_per_mwh")).sum())
    )
    return (
        payments.join(given_up, on=["opportunity_id", "prosumer_id"])
        .join(fleet.select("prosumer_id", "discharge_efficiency"), on="prosumer_id")
        .with_columns(
            cost=pl.col("agreed_price_usd_per_mwh")
            + pl.col("stored_usd") / pl.col("discharge_efficiency") / pl.col("dispatched_kwh")
        )
    )


def _energy_curve(
    cost: np.ndarray, mw: np.ndarray, bid: dict[str, float], rules: MarketRules
) -> list[tuple[float, float]]:
    """(end of segment in MW, price before rounding), members cheapest first; the ends lie on the bid step."""
    quantity, step = bid["quantity_mw"], rules.quantity_step_mw
    gross = np.cumsum(mw)
    ends = gross * (quantity / gross[-1])  # charging delivered inside the fleet scales every member alike
    first_mw = min(quantity, float(round_up(rules.required_fraction * bid["required_capacity_mw"], step)))
    first = int(np.searchsorted(ends, first_mw - 1e-9))
    first_price = max(bid["average_cost"], float(np.average(cost[: first + 1], weights=mw[: first + 1])))
    curve = [(round(first_mw, 6), first_price)]
    for k in range(1, round((quantity - first_mw) / step) + 1):
        end_mw = round(first_mw + k * step, 6)
        dearest = max(first_price, float(cost[min(int(np.searchsorted(ends, end_mw - 1e-9)), len(cost) - 1)]))
        if k > 1 and _up_to_cent(dearest) == _up_to_cent(curve[-1][1]):
            curve[-1] = (end_mw, dearest)
        else:
            curve.append((end_mw, dearest))
    while len(curve) > rules.maximum_segments:  # join the two neighbours closest in price, at the dearer one's price
        gaps = [curve[k + 1][1] - curve[k][1] for k in range(1, len(curve) - 1)]
        del curve[1 + int(np.argmin(gaps))]
    return curve


def _up_to_cent(price: float) -> float:
    return round(float(round_up(price, CENT)), 2)
