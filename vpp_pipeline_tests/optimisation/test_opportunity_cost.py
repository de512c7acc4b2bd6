"""What the last MW of an energy bid asks is what it costs the day: duals in the curve against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.optimisation.exact import formulate
from vpp_pipeline.settings import FleetSettings, OpportunityPolicy, Settings
from vpp_pipeline_tests.conftest import SolvedDay

STEP_MW = 1e-3
SETTINGS = Settings(fleet=FleetSettings(prosumers=60), opportunities=OpportunityPolicy(sizing="fraction", fraction=0.3))


def cost_per_mwh(day: SolvedDay, opportunity: int) -> float:
    """What the last bit of a bid costs the day beyond its revenue, found by solving the day with a little less of it.

    With a little more where less is not allowed: where the bid is its least quantity.
    """
    problem, settled = day.problem, day.solution.quantity_mw
    linear, is_bid = formulate(problem, binary=False), day.solution.is_bid.astype(float)
    linear.set_bids(is_bid, is_bid)

    def costs_usd(quantity_mw: np.ndarray) -> float:
        linear.set_quantities(quantity_mw, quantity_mw)
        return float((problem.price * problem.hours) @ quantity_mw) - linear.solve("HIGHS")

    is_least = settled[opportunity] <= problem.minimum_mw[opportunity] + 1e-9
    moved = settled + (STEP_MW if is_least else -STEP_MW) * (np.arange(len(settled)) == opportunity)
    return (costs_usd(moved) - costs_usd(settled)) / float((moved - settled).sum())


def test_the_last_mw_asks_what_it_costs_the_day(solved_day: Callable[..., SolvedDay]) -> None:
    day = solved_day(settings=SETTINGS, requests=())
    segments = day.tables["bids.bid_segments"].join(
        day.tables["bids.final_bids"].select("bid_id", "opportunity_id"), on="bid_id"
    )
    found = []
    for o in np.flatnonzero(day.solution.is_bid & (day.problem.product == 0)):
        curve = segments.filter(opportunity_id=str(day.problem.opportunity_id[o])).sort("segment")
        asked = curve["price_usd_per_mwh"]
        if len(asked) > 1:  # one segment alone asks the mean of its members
            found.append(cost_per_mwh(day, int(o)))
            assert asked[-1] == pytest.approx(found[-1], abs=0.0101)  # rounded up to the cent
    agreed = day.tables["dispatch.payments"].join(
        day.tables["market.opportunities"].filter(pl.col("product") == "energy"), on="opportunity_id"
    )["agreed_price_usd_per_mwh"]
    assert len(found) >= 2
    assert max(found) > float(agreed.max()) * 1.05  # agreed prices alone would ask far less: the rest is the duals
