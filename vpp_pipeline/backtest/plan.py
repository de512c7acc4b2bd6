"""What one arm means to do on one day, whoever made it: the same shape for all, so that one settlement judges all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.settlement import awards
from vpp_pipeline.fleet.arrays import Fleet

ENERGY = PRODUCTS.index("energy")


@dataclass(frozen=True)
class Plan:
    """N prosumers, T hours, O opportunities of one hour each. Powers in kW, quantities in MW, prices $/MWh.

    ``segments``: rows of `bids.bid_segments` whose `bid_id` is the place (O,) as text; None: bought at any price.
    """

    fleet: Fleet  # with the limits that the arm heeds
    schedule: DaySchedule
    product: Indices  # (O,) index into PRODUCTS
    hour: Indices  # (O,) place of the hour
    quantity_mw: Array  # (O,) what is bid; 0 where nothing is
    segments: pl.DataFrame | None
    committed_kw: Array  # (O, N) most that each may be asked for; 0 without a deal
    agreed_price: Array  # (O, N) what a delivery is paid; not a number without a deal
    seconds: float  # to make it
    gap_fraction: float | None = None  # of its objective at forecast prices, where the search proves one

    def by_product_and_hour(self, values: Array) -> Array:
        """Spread ``values`` (O, …) over (3, T, …); zero where there is no opportunity."""
        spread = np.zeros((len(PRODUCTS), self.schedule.stored_kwh.shape[1], *values.shape[1:]))
        spread[self.product, self.hour] = values
        return spread

    def awarded_mw(self, clearing_price: Array) -> Array:
        """MW (O,) that are bought where ``clearing_price`` (O,) clears."""
        if self.segments is None:
            return self.quantity_mw
        bids = pl.DataFrame({"bid_id": [str(o) for o in range(len(self.product))], "clearing_price": clearing_price})
        won = awards(self.segments, bids)
        awarded = np.zeros(len(self.product))
        awarded[won["bid_id"].cast(pl.Int64).to_numpy()] = won["awarded_mw"].to_numpy()
        return awarded

    def sold_kw(self, schedule: DaySchedule) -> Array:
        """What each prosumer sells in each opportunity (O, N) by ``schedule``."""
        sold = np.stack([schedule.sold_kw(product) for product in range(len(PRODUCTS))])
        return np.asarray(sold[self.product, :, self.hour])
