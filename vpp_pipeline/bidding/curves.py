"""Price curves of bids: what the market must pay before each MW would rather run.

A bid asks what its delivery costs and would not cost without the award: the price for which each member is called, and
charging. What the same energy
was worth in another hour when the day was planned is no such cost: that hour's quantity is bid as well, and cannot
grow when this one is refused. (Asking for it too lost a fifth of the day's profit: ADR 0035.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, round_up
from vpp_pipeline.schemas import BidSegments, validate
from vpp_pipeline.settings import MarketRules

CENT = 0.01
MW_TOLERANCE = 1e-9
DIGITS = 9  # of MW, as `round_down` leaves quantities
PRICE_TOLERANCE = 1e-8  # what rounding up to the cent lets pass


class Price(NamedTuple):
    """The price of a bid's MW, counted from its cheapest: $/MWh, constant between ``changes`` (MW)."""

    at: Callable[[float], float]
    changes: Array


def bid_segments(
    bids: pl.DataFrame, payments: pl.DataFrame, rules: MarketRules, wanted: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.BidSegments`.

    ``bids``: bid_id, opportunity_id, market_date, product, quantity_mw, required_capacity_mw, average_cost (calls
    and charging per MWh). ``payments``: rows of `dispatch.payments`. ``wanted``: of `dispatch.scenario_quantities`,
    if the day was held against scenarios.

    Energy: members in merit order of call price and charging per MWh; with scenarios, what the fleet would want to sell
    in each of them (see :func:`_scenario_price`). The first segment spans at least 80% of R, at no less than the bid's
    average cost; rising prices, at most ten segments. Reserve: one pair of MW and average cost. Every price lies within
    the market's floor and cap.
    """
    delivered_mwh = pl.col("dispatched_kwh") / 1000.0
    cost = payments.with_columns(cost=pl.col("call_price_usd_per_mwh") + pl.col("charging_cost_usd") / delivered_mwh)
    responses = {} if wanted is None else {str(name): rows for (name,), rows in wanted.group_by("opportunity_id")}
    rows = []
    for bid in bids.sort("opportunity_id").iter_rows(named=True):
        if bid["product"] == "energy":
            members = cost.filter(pl.col("opportunity_id") == bid["opportunity_id"]).sort("cost", "prosumer_id")
            first_mw = min(
                bid["quantity_mw"],
                float(round_up(rules.required_fraction * bid["required_capacity_mw"], rules.quantity_step_mw)),
            )
            price = _merit_price(members, bid["quantity_mw"], first_mw)
            if bid["opportunity_id"] in responses:
                price = _scenario_price(responses[bid["opportunity_id"]], price)
            curve = _energy_curve(price, first_mw, bid, rules)
        else:
            curve = [(bid["quantity_mw"], bid["average_cost"])]
        start_mw, least = 0.0, -math.inf
        for number, (end_mw, asked) in enumerate(curve, start=1):
            least = max(least, asked_price(asked, bid["product"], rules))
            rows.append((bid["market_date"], bid["bid_id"], number, start_mw, end_mw, least))
            start_mw = end_mw
    names = ["market_date", "bid_id", "segment", "from_mw", "to_mw", "price_usd_per_mwh"]
    return validate(BidSegments, pl.DataFrame(rows, schema=names, orient="row")) if rows else BidSegments.create_empty()


def _merit_price(members: pl.DataFrame, quantity_mw: float, first_mw: float) -> Price:
    """Cost of the member that delivers the bid's MW number so many; of the first ``first_mw``, the mean cost.

    ``members``: cost, dispatched_kw, cheapest first.
    """
    cost, gross = members["cost"].to_numpy(), np.cumsum(members["dispatched_kw"].to_numpy())
    ends = gross * (quantity_mw / gross[-1])  # charging delivered inside the fleet scales every member alike

    def price_at(mw: float) -> float:
        last = min(int(np.searchsorted(ends, mw - MW_TOLERANCE)), len(cost) - 1)
        if mw > first_mw:
            return float(cost[last])
        return float(np.average(cost[: last + 1], weights=members["dispatched_kw"].to_numpy()[: last + 1]))

    return Price(price_at, ends)


def _scenario_price(response: pl.DataFrame, below: Price) -> Price:
    """The price from which most scenarios want so many MW.

    ``response``: price and quantity of each scenario, 0 being the forecast. A bid of m MW at price p is awarded in the
    scenarios that pay p or more, and should be in those whose fleet wants m or more. The price is the one with which
    the fewest scenarios get the other (the isotonic median of "wants m"), so it rises with m; never above the forecast,
    where all was decided to be sold. Where no scenario is low enough to say no, ``below`` says when to stop.
    """
    rows = response.sort("price_usd_per_mwh")
    price, quantity_mw = rows["price_usd_per_mwh"].to_numpy(), rows["quantity_mw"].to_numpy()
    forecast = rows.filter(pl.col("scenario") == 0)["price_usd_per_mwh"][0]
    candidates = np.unique(price[price <= forecast])
    places = np.searchsorted(price, candidates)

    def price_at(mw: float) -> float:
        wants = quantity_mw >= mw - MW_TOLERANCE
        missed = np.concatenate([[0], np.cumsum(wants)])[places]
        unwanted = np.concatenate([np.cumsum(~wants[::-1])[::-1], [0]])[places]
        best = int(np.argmin(missed + unwanted))
        return float(candidates[best]) if best else min(float(candidates[0]), below.at(mw))

    return Price(price_at, np.concatenate([quantity_mw, below.changes]))


def _energy_curve(
    price: Price, first_mw: float, bid: dict[str, float], rules: MarketRules
) -> list[tuple[float, float]]:
    """(end of segment in MW, price before rounding); the ends lie on the bid step."""
    step = rules.quantity_step_mw
    first_price = max(bid["average_cost"], price.at(first_mw))
    curve, cents = [(round(first_mw, DIGITS), first_price)], _up_to_cent(first_price)
    count = round((bid["quantity_mw"] - first_mw) / step)
    last = np.floor((price.changes - first_mw) / step)  # steps before a change; it may lie on either side of one
    # a fleet of 100 MW has 10,000 steps, at which the price changes as often as it has members
    steps = {1, count, *np.concatenate([last - 1, last, last + 1]).astype(int).tolist()}
    for k in sorted(k for k in steps if 1 <= k <= count):
        end_mw = round(first_mw + k * step, DIGITS)
        dearest = max(first_price, price.at(end_mw))
        before, cents = cents, cents if dearest == curve[-1][1] else _up_to_cent(dearest)
        if k > 1 and cents == before:
            curve[-1] = (end_mw, dearest)
        else:
            curve.append((end_mw, dearest))
    # join the two neighbours closest in price, at the dearer one's price; the first segment only if it is to be alone
    first = 1 if rules.maximum_segments > 1 else 0
    while len(curve) > rules.maximum_segments:
        gaps = [curve[k + 1][1] - curve[k][1] for k in range(first, len(curve) - 1)]
        del curve[first + int(np.argmin(gaps))]
    return curve


def asked_price(price: float, product: str, rules: MarketRules) -> float:
    """``price`` as a bid asks it: up to the cent, within the market's floor and cap.

    >>> [asked_price(price, "energy", MarketRules()) for price in (48.381, 1250.0, -200.0)]
    [48.39, 1000.0, -150.0]
    """
    floor, cap = rules.price_limits(product)
    return min(max(_up_to_cent(price), floor), cap)


def _up_to_cent(price: float) -> float:
    return round(float(round_up(price, CENT)), 2)
