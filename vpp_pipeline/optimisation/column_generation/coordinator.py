"""The part of the day that is not the prosumers': prices, sizes and rules of the opportunities."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.optimisation.exact import ENERGY
from vpp_pipeline.optimisation.problem import DayProblem, Duals
from vpp_pipeline.optimisation.uncertainty import tilted_prices


class Coordinator:
    """What the aggregator decides by itself, at given prices of energy and reserve: separable by opportunity."""

    def __init__(self, day: DayProblem, most_sold_mw: Array, most_bought_mw: Array) -> None:
        self.day, self.most_sold_mw, self.most_bought_mw = day, most_sold_mw, most_bought_mw
        self.market = day.market_price + day.charging_adder
        self.scenarios = day.scenarios if day.scenarios is not None and day.scenarios.aversion > 0.0 else None
        self.is_energy = day.product == ENERGY
        #: hours in which energy is bought and never sold
        self.open_hours = ~day.covers[self.is_energy].any(axis=0)

    @property
    def no_tilt(self) -> Array:
        """Every scenario as likely as it is (W,)."""
        return np.zeros(0) if self.scenarios is None else self.scenarios.aversion * self.scenarios.probability

    def prices(self, tilt: Array) -> tuple[Array, Array]:
        """Prices of opportunities (O,) and charging (T,), $: the forecast's, weighed by scenarios in ``tilt`` (W,)."""
        if self.scenarios is None:
            return self.day.price, self.market
        price, market = tilted_prices(self.day, self._admissible(tilt))
        return price, market + self.day.charging_adder

    def _admissible(self, tilt: Array) -> Array:
        """The nearest weights that make a bound: none above its limit, λ in all."""
        assert self.scenarios is not None
        most = self.scenarios.aversion * self.scenarios.probability / self.scenarios.tail_fraction
        tilt = np.clip(tilt, 0.0, most)
        missing = self.scenarios.aversion - tilt.sum()
        spare = most - tilt if missing > 0.0 else tilt
        return np.asarray(tilt + missing * spare / max(float(spare.sum()), 1e-300))

    def owed(self, duals: Duals) -> Array:
        """What a MW of each opportunity (O,) costs at ``duals``, over its hours, $."""
        by_product = np.vstack([duals.buy, duals.spin, duals.nonspin])
        return np.asarray(np.einsum("ot,ot->o", self.day.covers, by_product[self.day.product]))

    def most(self, duals: Duals, tilt: Array, z_low: Array, z_high: Array) -> float:
        """The coordinator's best value at ``duals``, with z (O,) within bounds: its part of the Lagrangian bound, $."""
        day = self.day
        price, market = self.prices(tilt)
        per_mw = price * day.hours - self.owed(duals)
        bid = np.where(per_mw > 0.0, per_mw * day.required_mw, per_mw * day.minimum_mw)
        export = np.maximum(duals.buy - duals.sell, 0.0) * self.most_sold_mw
        bought = np.maximum(duals.buy - market, 0.0) * self.most_bought_mw
        bid = bid + np.where(self.is_energy, day.covers @ export, 0.0)
        no_bid = np.where(self.is_energy, day.covers @ bought, 0.0)
        best = np.where(z_low > 0.5, bid, np.where(z_high < 0.5, no_bid, np.maximum(bid, no_bid)))
        return float(best.sum() + bought[self.open_hours].sum())
