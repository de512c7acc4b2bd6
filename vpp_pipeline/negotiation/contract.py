"""What a deal is, and what a delivery is paid: a floor and a cap, indexed to the price that clears.

    index price   v = clearing price − recharging,   recharging = factor · max(0, mean of the four cheapest hours)
    called        where v reaches the call price: the floor, or what lets a share of v reach it
    paid          min(max(w, floor), cap),  w = v, or with a share x of what v exceeds a reference by:
                  w = min(v, reference + x · (v − reference))
    forced        a call below the call price is the desk's own doing, and is paid the cap

The factor is 1/(ηc ηd) for energy of a prosumer with a store, whose sun that is sold could have been stored, and 0 for
sun alone and for reserve. A deal at a fixed price is one whose floor and cap are that price.

A cap that rests on the reservation prices of *other* owners (`uniform_clearing`) leaves an owner nothing to gain from
another reservation price than its own: what it is paid when called holds none of its words, and it is called where that
is no less than its floor (Vickrey, Counterspeculation, auctions, and competitive sealed tenders, 1961). Bids and
dispatch go by call prices; how the day's value is split enters neither.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices, Texts

CHEAPEST_HOURS = 4  # a store recharges in the day's cheapest hours

#: columns of `negotiation.agreements` that hold a deal's prices, by field of :class:`Prices`
COLUMNS = {
    "floor": "floor_price_usd_per_mwh",
    "cap": "cap_price_usd_per_mwh",
    "reference": "reference_price_usd_per_mwh",
    "share": "share_fraction",
    "recharge_factor": "recharge_factor",
}


@dataclass(frozen=True)
class Prices:
    """Prices of deals, arrays of one shape: $/MWh, for reserves $ per MW held for one hour."""

    floor: Array
    cap: Array
    reference: Array  # not a number where the deal has no share
    share: Array  # part of the index price beyond the reference that the owner gets; not a number without one
    recharge_factor: Array  # MWh bought for each MWh delivered

    @property
    def call_price(self) -> Array:
        """Least index price at which a call pays the floor."""
        shared = self.reference + (self.floor - self.reference) / self.share
        return np.where(self.floor > self.reference, shared, self.floor)

    def index_price(self, clearing_price: Array, cheapest_usd_per_mwh: float) -> Array:
        """What a delivery is worth once it is recharged: v of the module's head."""
        return np.asarray(clearing_price - self.recharge_factor * cheapest_usd_per_mwh)

    def paid(self, index_price: Array) -> Array:
        """What a delivery is paid at ``index_price``, called by the rule or forced.

        A floor of $40 and a cap of $60: at an index price of $50, of $90, and forced at $30.

        >>> none = np.full(3, np.nan)
        >>> deals = Prices(np.full(3, 40.0), np.full(3, 60.0), none, none, np.zeros(3))
        >>> deals.paid(np.array([50.0, 90.0, 30.0])).tolist()
        [50.0, 60.0, 60.0]
        """
        return np.where(self.is_forced(index_price), self.cap, self.expected(index_price))

    def expected(self, index_price: Array) -> Array:
        """What a delivery would be paid at ``index_price`` if it were called by the rule."""
        shared = self.reference + self.share * (index_price - self.reference)
        indexed = np.where(index_price > self.reference, shared, index_price)
        return np.minimum(np.maximum(indexed, self.floor), self.cap)

    def is_forced(self, index_price: Array) -> Flags:
        """Whether a call at ``index_price`` is one that the rule would not make."""
        return np.asarray(index_price < self.call_price - 1e-9)

    def of(self, chosen: Flags | tuple[Indices, ...]) -> Prices:
        """Those that ``chosen`` picks of each array."""
        return Prices(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def prices_of(agreements: pl.DataFrame) -> Prices:
    """The prices (K,) of rows of `negotiation.agreements`; those of older code had one fixed price each."""
    agreed = agreements["agreed_price_usd_per_mwh"].to_numpy()
    none = np.full(len(agreed), np.nan)
    before = {
        "floor": agreed,
        "cap": agreed,
        "reference": none,
        "share": none,
        "recharge_factor": np.zeros(len(agreed)),
    }
    held = {}
    for name, column in COLUMNS.items():
        stated = agreements[column].to_numpy() if column in agreements.columns else none
        held[name] = np.where(np.isnan(stated), before[name], stated)
    return Prices(**held)


def cheapest_usd_per_mwh(energy_price: Array) -> float:
    """Mean price of the cheapest hours, at which stored energy can be had; never below 0."""
    return max(0.0, float(np.sort(energy_price)[:CHEAPEST_HOURS].mean()))


def of_others(values: Array, segment: Texts, quantile: float) -> Array:
    """The ``quantile`` of ``values`` (N,) of the *other* prosumers of each one's ``segment`` (N,), by linear
    interpolation; of all others where it is alone in its segment, not a number where there are none.

    >>> of_others(np.array([10.0, 20.0, 40.0, 7.0]), np.array(["home", "home", "home", "shop"]), 0.5).tolist()
    [30.0, 25.0, 15.0, 20.0]
    """
    found = np.full(len(values), np.nan)
    for kind in np.unique(segment.astype(str)):
        members = np.flatnonzero(segment == kind)
        if len(members) > 1:
            found[members] = _without_each(values[members], quantile)
        elif len(values) > 1:
            found[members] = _without_each(values, quantile)[members]
    return found


def _without_each(values: Array, quantile: float) -> Array:
    """The quantile of all but each of at least two ``values`` (n,)."""
    order = np.argsort(values, kind="stable")
    ranked, rank = values[order], np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    place = quantile * (len(values) - 2)
    below = int(np.floor(place))
    above = min(below + 1, len(values) - 2)
    low, high = (ranked[at + (rank <= at)] for at in (below, above))
    return np.asarray(low + (place - below) * (high - low))
