"""What each side brings to the table, computed before anyone speaks: capacities, reservation prices, ceilings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Codes, Flags, Indices, Texts
from vpp_pipeline.core.calendar import PRICE_COLUMN
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.fleet.arrays import BOUNDS, CLOSED, SHARE_OF_R, Fleet, reservation_price
from vpp_pipeline.negotiation.contract import cheapest_usd_per_mwh, of_others
from vpp_pipeline.negotiation.opportunities import hours_of
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

POSTED = (0.25, 0.5)  # quantiles of what others ask, on which posted prices rest


@dataclass(frozen=True)
class Terms:
    """O opportunities of one resource by its N members. Prices are $/MWh, for reserves $ per MW held for one hour."""

    market_date: date
    opportunity_id: Texts  # (O,)
    is_energy: Flags  # (O,)
    expected_price: Array  # (O,) forecast, or offered
    prosumer_id: Texts  # (N,)
    segment: Texts  # (N,) kind of prosumer
    required_kw: Array  # (O,)
    capacity_kw: Array  # (O, N) within the envelope and the largest commitment
    bound_by: Codes  # (O, N) what bounds the capacity: index into domain.fleet.BOUNDS
    reservation: Array  # (O, N) private to the prosumer
    opening_ask: Array  # (O, N) never below the reservation
    ceiling: Array  # (O, N) private to the aggregator: paying it leaves the minimum margin
    patience: Array  # (N,)
    availability_fraction: Array  # (N,)
    recharge_factor: Array  # (N,) MWh bought for each MWh of energy delivered
    cheapest_usd_per_mwh: float  # mean of the cheapest forecast hours
    is_storage: bool = False  # whether the resource is cleared over the day: an owner needs deals for all of its hours
    heard: Flags | None = None  # (N,) whose messages are kept; None: by the number of members
    #: quantile -> that of the reservation prices of the other owners of each one's kind in the whole fleet (O, N)
    of_others: Mapping[float, Array] = field(default_factory=dict)

    @property
    def asked(self) -> Indices:
        """Members called for each opportunity (O,): all, where their resource may offer it."""
        return np.asarray((self.bound_by != BOUNDS.index(CLOSED)).sum(axis=1))

    @property
    def factors(self) -> Array:
        """MWh bought for each MWh of each opportunity (O, N); none for reserve."""
        return self.is_energy[:, None] * self.recharge_factor[None, :]

    @property
    def index_price(self) -> Array:
        """Expected price (O, N) less what recharging is expected to cost."""
        return self.expected_price[:, None] - self.factors * self.cheapest_usd_per_mwh

    def only(self, wanted: Flags) -> Terms:
        """The same terms for some of the opportunities: ``wanted`` (O,)."""
        by_opportunity = ("opportunity_id", "is_energy", "expected_price", "required_kw")
        rows = (*by_opportunity, "capacity_kw", "bound_by", "reservation", "opening_ask", "ceiling")
        of_others = {quantile: prices[wanted] for quantile, prices in self.of_others.items()}
        return replace(self, of_others=of_others, **{name: getattr(self, name)[wanted] for name in rows})

    def fingerprints(self, context: str) -> list[str]:
        """One hash per opportunity of all that its negotiation depends on; ``context``: policy and code version."""
        shared = hashlib.sha256(context.encode())
        for values in (
            self.patience.tobytes(),
            self.availability_fraction.tobytes(),
            self.recharge_factor.tobytes(),
            repr(self.cheapest_usd_per_mwh).encode(),
            "\n".join(self.prosumer_id).encode(),
            "\n".join(self.segment).encode(),
            b"" if self.heard is None else self.heard.tobytes(),
            b"storage" if self.is_storage else b"",
        ):
            shared.update(values)
        hashes = []
        for o, name in enumerate(self.opportunity_id):
            own = shared.copy()
            own.update(f"{name} {self.is_energy[o]} {self.required_kw[o]!r} {self.expected_price[o]!r}".encode())
            for prices in (self.capacity_kw, self.reservation, self.opening_ask, self.ceiling):
                own.update(prices[o].tobytes())
            own.update(self.bound_by[o].tobytes())
            for prices in self.of_others.values():
                own.update(prices[o].tobytes())
            hashes.append(own.hexdigest())
        return hashes


def is_kept(prosumers: int, most: int) -> Flags:
    """Prosumers whose messages are published (N,): all in a fleet of up to ``most``, else ``most``, evenly spaced."""
    kept = np.ones(prosumers, dtype=bool)
    if prosumers > most:
        kept[:] = False
        kept[np.linspace(0, prosumers - 1, most).astype(int)] = True
    return kept


def terms_by_resource(
    opportunities: pl.DataFrame, forecast: pl.DataFrame, fleet: Fleet, policy: NegotiationPolicy, rules: MarketRules
) -> list[Terms]:
    """Terms of every opportunity, by resource, of whose opportunities its own members alone are asked.

    Whose messages are kept, and what other owners ask, are of the whole ``fleet``.
    """
    rows, heard = with_missing(opportunities, resource_id=DESK), is_kept(len(fleet), policy.transcript_prosumers)
    posts = policy.engine == "uniform_clearing" and policy.contract == "indexed"
    quantiles = {product: _of_others(fleet, product, policy) for product in PRICE_COLUMN} if posts else {}
    found = []
    for name in rows["resource_id"].unique().sort():
        mine, own = np.flatnonzero(fleet.resource_id == name), rows.filter(resource_id=name)
        terms = prepare_terms(own, forecast, fleet.part(mine), policy, rules)
        prices = {
            quantile: np.stack([quantiles[product][quantile][mine] for product in own["product"]])
            for quantile in (POSTED if posts else ())
        }
        found.append(replace(terms, heard=heard[mine], of_others=prices))
    return found


def _of_others(fleet: Fleet, product: str, policy: NegotiationPolicy) -> dict[float, Array]:
    """Each of POSTED of the reservation prices of the other owners of each one's kind (N,)."""
    asked = reservation_price(fleet, product, policy)
    return {quantile: of_others(asked, fleet.segment, quantile) for quantile in POSTED}


def prepare_terms(
    opportunities: pl.DataFrame, forecast: pl.DataFrame, fleet: Fleet, policy: NegotiationPolicy, rules: MarketRules
) -> Terms:
    """Terms of every opportunity of one resource, whose members are ``fleet``; nothing depends on another outcome.

    Capacity: the least the envelope allows over the block, and at most ``maximum_commitment_fraction`` of R (but not of
    a storage resource, whose R is what its members give together); none where the resource may not offer it.
    Ceiling: reserve, price x (1 - margin); energy, (price - recharging) x (1 - margin), where recharging a store costs
    the mean of the four cheapest forecast hours (never below 0) over the round-trip efficiency.
    Opening ask for a fixed price: reservation plus the larger of the markup and the value of the prosumer's best other
    use at forecast prices, so that a kWh that is worth more elsewhere does not open cheaply here. For the cap of an
    indexed deal: the floor and the premium on it, for dispatch goes by floors and finds the best use by itself.
    """
    energy_price = forecast[PRICE_COLUMN["energy"]].to_numpy()
    cheapest, factor = cheapest_usd_per_mwh(energy_price), recharge_factor(fleet)
    recharging = factor * cheapest
    if policy.contract == "fixed":
        energy_margin = _energy_margin(fleet, energy_price, recharging, policy)  # (N, T)
        best_before, best_after = _best_before_and_after(energy_margin)
    capacity_of = {product: fleet.capacity_kw(product, rules.call_hours(product)) for product in PRICE_COLUMN}
    bound_of = {product: fleet.bounds_of(product, kw) for product, kw in capacity_of.items()}
    reservation_of = {product: reservation_price(fleet, product, policy) for product in PRICE_COLUMN}

    required_kw = 1000.0 * opportunities["required_capacity_mw"].to_numpy()
    shape, everyone = (opportunities.height, len(fleet)), np.arange(len(fleet))
    capacity, reservation, opening, ceiling = (np.empty(shape) for _ in range(4))
    bound_by = np.empty(shape, dtype=np.int8)
    opportunities = with_missing(opportunities, participation=None, closed_reason=None)
    is_storage = (opportunities["participation"] == "storage").fill_null(False).to_list()
    is_closed = opportunities["closed_reason"].is_not_null().to_list()
    products, prices = opportunities["product"].to_list(), opportunities["forecast_price"].to_list()
    for o, block in enumerate(hours_of(opportunities, forecast["start_utc"])):
        product = products[o]
        tightest = block.start + capacity_of[product][:, block].argmin(axis=1)
        least_kw = capacity_of[product][everyone, tightest]
        largest_kw = np.inf if is_storage[o] else rules.maximum_commitment_fraction * required_kw[o]
        capacity[o] = np.minimum(least_kw, largest_kw)
        bound_by[o] = np.where(least_kw > largest_kw, BOUNDS.index(SHARE_OF_R), bound_of[product][everyone, tightest])
        if is_closed[o]:
            capacity[o], bound_by[o] = 0.0, BOUNDS.index(CLOSED)
        reservation[o] = reservation_of[product]
        if policy.contract == "indexed":
            opening[o] = (1.0 + policy.opening_premium_fraction) * reservation_of[product]
        else:
            if product == "energy":
                other_use = np.maximum(best_before[:, block.start], best_after[:, block.stop])
            else:
                other_use = energy_margin[:, block].max(axis=1)
            markup = policy.opening_markup_fraction * reservation_of[product]
            opening[o] = reservation_of[product] + np.maximum(markup, other_use)
        cost = recharging if product == "energy" else 0.0
        ceiling[o] = (prices[o] - cost) * (1.0 - policy.minimum_margin_fraction)
    return Terms(
        market_date=forecast["market_date"][0],
        opportunity_id=opportunities["opportunity_id"].to_numpy(),
        is_energy=(opportunities["product"] == "energy").to_numpy(),
        expected_price=opportunities["forecast_price"].to_numpy(),
        prosumer_id=fleet.prosumer_id,
        segment=fleet.segment,
        required_kw=required_kw,
        capacity_kw=capacity,
        bound_by=bound_by,
        reservation=reservation,
        opening_ask=opening,
        ceiling=ceiling,
        patience=fleet.patience,
        availability_fraction=fleet.availability_fraction,
        recharge_factor=factor,
        cheapest_usd_per_mwh=cheapest,
        is_storage=any(is_storage),
    )


def recharge_factor(fleet: Fleet) -> Array:
    """MWh to be bought (N,) to put back one MWh that was delivered; none without a store."""
    return np.where(fleet.has_store, 1.0 / (fleet.charge_efficiency * fleet.discharge_efficiency), 0.0)


def _energy_margin(fleet: Fleet, energy_price: Array, recharging: Array, policy: NegotiationPolicy) -> Array:
    """What one MWh could bring above the reservation in each hour (N, T), where it can be delivered at all."""
    ceiling = (energy_price[None, :] - recharging[:, None]) * (1.0 - policy.minimum_margin_fraction)
    margin = np.maximum(ceiling - reservation_price(fleet, "energy", policy)[:, None], 0.0)
    return np.where(fleet.energy_capacity_kw > 0.0, margin, 0.0)


def _best_before_and_after(margin: Array) -> tuple[Array, Array]:
    """Largest margin of all hours before t, and of all from t on, (N, T + 1) each; nothing where there is none."""
    n, t = margin.shape
    before, after = np.zeros((n, t + 1)), np.zeros((n, t + 1))
    np.maximum.accumulate(margin, axis=1, out=before[:, 1:])
    after[:, :-1] = np.maximum.accumulate(margin[:, ::-1], axis=1)[:, ::-1]
    return before, after
