"""The day's problem as numbers: what any method that solves it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices, Texts, round_up
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.forecasting.price_scenarios import Scenarios
from vpp_pipeline.negotiation.agreements import options, satisfaction_worth
from vpp_pipeline.negotiation.contract import COLUMNS, prices_of
from vpp_pipeline.negotiation.opportunities import covered_hours
from vpp_pipeline.schemas import DESK
from vpp_pipeline.settings import MarketRules, OptimiserSettings

#: columns of an agreement that the problem is made of
AGREED = (
    "opportunity_id",
    "prosumer_id",
    "holds_option",
    "committed_capacity_kw",
    "reservation_price_usd_per_mwh",
    "agreed_price_usd_per_mwh",
    *COLUMNS.values(),
)


@dataclass(frozen=True)
class DayProblem:
    """N prosumers, T hours (step 1 h), O opportunities, K agreements. Powers in kW, quantities of bids in MW."""

    market_date: date
    fleet: Fleet
    start_utc: pl.Series  # (T,)
    market_price: Array  # (T,) $/MWh at which charging is bought
    opportunity_id: Texts  # (O,)
    product: Indices  # (O,) index into PRODUCTS
    covers: Flags  # (O, T) hours of each opportunity
    price: Array  # (O,) $/MWh or $ per MW and hour
    required_mw: Array  # (O,)
    minimum_mw: Array  # (O,) least quantity of a bid
    may_bid: Flags  # (O,) the negotiation found enough capacity
    agreement_opportunity: Indices  # (K,)
    agreement_prosumer: Indices  # (K,)
    committed_kw: Array  # (K,)
    call_price: Array  # (K,) $/MWh for which each may be called, charging aside
    premium: Array  # (K,) $/MWh paid beyond it at the forecast: how a day is split, which decides nothing here
    satisfaction_worth: Array  # (K,) $/MWh credited in the objective, on top of the money
    call_hours: float
    charging_adder: float
    scenarios: Scenarios | None = None  # what may come instead of the forecast; None: the forecast alone
    resource_id: Texts | None = None  # (O,) resource of each opportunity; None: all are of one
    #: resource -> how its day is solved, where not by the search for its bids
    solved_by: Mapping[str, Callable[[DayProblem], DaySolution]] = field(default_factory=dict)

    @property
    def hours(self) -> Array:
        """Hours (O,) in each opportunity."""
        return np.asarray(self.covers.sum(axis=1), dtype=float)

    def undecided_worth(self, z: Array) -> Array:
        """Money (O,) that hangs on each bid that a relaxation leaves undecided: a search begins with the most."""
        return np.minimum(z, 1.0 - z) * np.maximum(np.abs(self.price), 1.0) * self.hours * self.required_mw

    def by_prosumer_and_hour(self, product: int, values: Array) -> Array:
        """Spread per-agreement ``values`` of one product over (N, T); zero where there is no agreement."""
        mine = np.flatnonzero(self.product[self.agreement_opportunity] == product)
        spread = np.zeros((len(self.fleet), self.covers.shape[1]))
        k, t = np.nonzero(self.covers[self.agreement_opportunity[mine]])
        spread[self.agreement_prosumer[mine][k], t] = values[mine][k]
        return spread


@dataclass(frozen=True)
class Duals:
    """What one more kWh from any prosumer is worth to the whole fleet, by hour (T,), $ per MWh or MW and hour.

    Duals of the position and of each reserve with the bids as they were decided. ``sell`` is what exported energy
    brings and ``buy`` what charging costs, sell ≤ buy; where no energy is bid, ``sell`` is minus infinity.
    """

    sell: Array
    buy: Array
    spin: Array
    nonspin: Array

    @property
    def held(self) -> tuple[Array, ...]:
        """Those of each reserve (T,), in the order of the market's."""
        return tuple(getattr(self, reserve.name) for reserve in CAISO.reserves)


@dataclass(frozen=True)
class DaySolution:
    """A schedule, what it earns, and how much better any schedule could be."""

    schedule: DaySchedule
    is_bid: Flags  # (O,)
    quantity_mw: Array  # (O,)
    objective_usd: float
    bound_usd: float
    no_bid_usd: float  # what the day is worth without bids: by how much bidding could add, gaps are measured
    stored_value_usd_per_mwh: Array  # (N, T) dual of the stored-energy balance
    shadow_price_usd_per_mwh: Array  # (O,) dual of R, per MW and hour
    duals: Duals
    no_sale_charging_usd: Array  # (N,) cheapest charging that each owner needs with no sales
    method: str
    solver: str
    status: str
    seconds: float
    refusals: dict[str, str] = field(default_factory=dict)  # opportunity -> why the market would not take its bid
    duals_of: Mapping[str, Duals] = field(default_factory=dict)  # by resource, where there are several
    expected_mw: Array | None = None  # (O,) what clears at the forecast; None: all that is bid
    own_charging_usd: Array | None = None  # (N,) charging that is no part of a bid, of storage; not a number elsewhere
    storage: Mapping[str, pl.DataFrame] = field(default_factory=dict)  # tables of storage resources, by name
    callable_members: Indices | None = None  # (O,) how many a storage resource may call; None of another resource

    @property
    def clears_mw(self) -> Array:
        """MW (O,) that clear at the forecast: all that is bid, but what a storage resource is awarded."""
        return self.quantity_mw if self.expected_mw is None else self.expected_mw

    @property
    def gap_fraction(self) -> float:
        """(bound - objective) / (bound - value of no bid): the share of what bidding could add that is left open.

        From 0 to 1 where bidding is no worse than not bidding; 0 where it can add nothing.
        """
        open_usd, added_usd = self.bound_usd - self.objective_usd, self.bound_usd - self.no_bid_usd
        return max(0.0, open_usd) / added_usd if added_usd > 0.0 else 0.0


def day_problem(
    fleet: Fleet,
    forecast: pl.DataFrame,
    opportunities: pl.DataFrame,
    summary: pl.DataFrame,
    agreements: pl.DataFrame,
    rules: MarketRules,
    settings: OptimiserSettings,
) -> DayProblem:
    """The problem of one day from its tables; opportunities in the order of ``opportunities``."""
    required_mw = opportunities["required_capacity_mw"].to_numpy()
    floor_mw = np.array([rules.minimum_mw(product) for product in opportunities["product"]])
    statuses = opportunities.select("opportunity_id").join(
        summary, on="opportunity_id", how="left", maintain_order="left"
    )
    held = options(agreements.select(AGREED))
    call_price = prices_of(held).call_price
    return DayProblem(
        market_date=forecast["market_date"][0],
        fleet=fleet,
        start_utc=forecast["start_utc"],
        market_price=forecast[PRICE_COLUMN["energy"]].to_numpy(),
        opportunity_id=opportunities["opportunity_id"].to_numpy(),
        product=np.array([PRODUCTS.index(product) for product in opportunities["product"]], dtype=np.int64),
        covers=covered_hours(opportunities, forecast["start_utc"]),
        price=opportunities["forecast_price"].to_numpy(),
        required_mw=required_mw,
        minimum_mw=round_up(np.maximum(rules.required_fraction * required_mw, floor_mw), rules.quantity_step_mw),
        may_bid=(statuses["status"] != "no_bid").to_numpy(),
        agreement_opportunity=_places(held["opportunity_id"], opportunities["opportunity_id"]),
        agreement_prosumer=_places(held["prosumer_id"], pl.Series(fleet.prosumer_id, dtype=pl.String)),
        committed_kw=held["committed_capacity_kw"].to_numpy(),
        call_price=call_price,
        premium=held["agreed_price_usd_per_mwh"].to_numpy() - call_price,
        satisfaction_worth=satisfaction_worth(
            call_price, held["reservation_price_usd_per_mwh"].to_numpy(), settings.satisfaction_weight_usd_per_mwh
        ),
        call_hours=rules.backing_hours,
        charging_adder=settings.charging_adder_usd_per_mwh,
        resource_id=with_missing(opportunities, resource_id=DESK)["resource_id"].to_numpy(),
    )


def _places(names: pl.Series, among: pl.Series) -> Indices:
    """Place (K,) of each of ``names`` in ``among``. Raises KeyError for the first that is not there."""
    known = pl.DataFrame({"name": among}).with_row_index("place")
    found = pl.DataFrame({"name": names}).join(known, on="name", how="left", maintain_order="left")["place"]
    if found.null_count():
        raise KeyError(names.filter(found.is_null())[0])
    return found.cast(pl.Int64).to_numpy()


def part_of(day: DayProblem, chosen: Indices, share: float | Array) -> DayProblem:
    """The day of ``chosen`` prosumers (n,), ascending, with opportunities ``share`` (or (O,)) times their size."""
    is_chosen, place = np.zeros(len(day.fleet), dtype=bool), np.zeros(len(day.fleet), dtype=np.int64)
    is_chosen[chosen], place[chosen] = True, np.arange(len(chosen))
    mine = np.flatnonzero(is_chosen[day.agreement_prosumer])
    return replace(
        day,
        fleet=day.fleet.part(chosen),
        required_mw=day.required_mw * share,
        minimum_mw=day.minimum_mw * share,
        agreement_opportunity=day.agreement_opportunity[mine],
        agreement_prosumer=place[day.agreement_prosumer[mine]],
        committed_kw=day.committed_kw[mine],
        call_price=day.call_price[mine],
        premium=day.premium[mine],
        satisfaction_worth=day.satisfaction_worth[mine],
    )


def by_resource(day: DayProblem) -> dict[str, tuple[Indices, Indices]]:
    """Places of the prosumers and of the opportunities of each resource; none where there is one resource alone.

    No prosumer belongs to two resources, energy of one is no position of another, and charging is bought by each for
    itself: at forecast prices the day is the sum of its resources' days.
    """
    names = sorted(set(day.fleet.resource_id))
    if day.resource_id is None or len(names) == 1:
        return {}
    return {
        name: (np.flatnonzero(day.fleet.resource_id == name), np.flatnonzero(day.resource_id == name)) for name in names
    }


def part_of_resource(day: DayProblem, prosumers: Indices, opportunities: Indices) -> DayProblem:
    """The day of one resource: its ``prosumers`` and its ``opportunities``, places in ascending order."""
    own, place = part_of(day, prosumers, 1.0), np.full(len(day.opportunity_id), -1, dtype=np.int64)
    place[opportunities] = np.arange(len(opportunities))
    per_opportunity = ("opportunity_id", "product", "covers", "price", "required_mw", "minimum_mw", "may_bid")
    return replace(
        own,
        **{name: getattr(own, name)[opportunities] for name in per_opportunity},
        agreement_opportunity=place[own.agreement_opportunity],
        resource_id=None,
    )


def joined(day: DayProblem, solved: Mapping[str, DaySolution]) -> DaySolution:
    """The solutions of all resources (:func:`by_resource`) as one of the whole day: money adds up, and so do bounds."""
    places, parts = by_resource(day), list(solved.values())

    def spread(name: str, along: int, of: Sequence[object]) -> Array:
        return spread_out([np.asarray(getattr(one, name)) for one in of], along)

    def spread_out(values: Sequence[Array], along: int) -> Array:
        count = len((day.fleet.prosumer_id, day.opportunity_id)[along])
        every = np.empty((count, *values[0].shape[1:]), dtype=values[0].dtype)
        for resource, own in zip(solved, values, strict=True):
            every[places[resource][along]] = own
        return every

    def words(name: str) -> str:
        return "; ".join(dict.fromkeys(str(getattr(one, name)) for one in parts))

    def total(name: str) -> float:
        return float(sum(getattr(one, name) for one in parts))

    unbid = [np.full(len(one.no_sale_charging_usd), np.nan) for one in parts]
    own = [x if one.own_charging_usd is None else one.own_charging_usd for one, x in zip(parts, unbid, strict=True)]
    storage = {name: pl.concat(one.storage[name] for one in parts if one.storage) for name in _tables_of(parts)}
    schedules = [one.schedule for one in parts]
    unknown = np.full(len(day.market_price), np.nan)  # they differ by resource
    return DaySolution(
        schedule=DaySchedule(**{name: spread(name, 0, schedules) for name in vars(schedules[0])}),
        is_bid=spread("is_bid", 1, parts).astype(bool),
        quantity_mw=spread("quantity_mw", 1, parts),
        objective_usd=total("objective_usd"),
        bound_usd=total("bound_usd"),
        no_bid_usd=total("no_bid_usd"),
        stored_value_usd_per_mwh=spread("stored_value_usd_per_mwh", 0, parts),
        shadow_price_usd_per_mwh=spread("shadow_price_usd_per_mwh", 1, parts),
        duals=Duals(unknown, unknown, unknown, unknown),
        no_sale_charging_usd=spread("no_sale_charging_usd", 0, parts),
        method=words("method"),
        solver=words("solver"),
        status=words("status"),
        seconds=total("seconds"),
        refusals={name: why for one in parts for name, why in one.refusals.items()},
        duals_of={resource: one.duals for resource, one in solved.items()},
        expected_mw=spread("clears_mw", 1, parts),
        own_charging_usd=spread_out(own, 0),
        storage=storage,
    )


def _tables_of(parts: Sequence[DaySolution]) -> list[str]:
    return sorted({name for one in parts for name in one.storage})


def prosumers_with_deals(day: DayProblem) -> Indices:
    """Places of the prosumers who hold an agreement, ascending."""
    has_deal = np.zeros(len(day.fleet), dtype=bool)
    has_deal[day.agreement_prosumer] = True
    return np.flatnonzero(has_deal)


def merit_order_bound(day: DayProblem) -> float:
    """What no schedule can earn more than, $: each opportunity's cheapest commitments up to R, as if stores were full.

    Purchases earn at most what negative prices pay for all charging. Loose, and free of any solver. Infinite where the
    day is held against scenarios.
    """
    if day.scenarios is not None:
        return np.inf
    gain = day.price[day.agreement_opportunity] - day.call_price + day.satisfaction_worth  # $ per MWh or MW and hour
    order = np.lexsort((-gain, day.agreement_opportunity))
    opportunity, mw = day.agreement_opportunity[order], day.committed_kw[order] / 1000.0
    before = np.cumsum(mw) - mw
    begins = np.searchsorted(opportunity, opportunity)  # where the commitments to the same opportunity begin
    left_mw = np.maximum(day.required_mw[opportunity] - (before - before[begins]), 0.0)
    worth_usd = np.maximum(gain[order], 0.0) * np.minimum(mw, left_mw) * day.hours[opportunity]
    paid_to_charge = np.maximum(-(day.market_price + day.charging_adder), 0.0)
    return float(worth_usd.sum() + paid_to_charge @ day.fleet.max_charge_kw.sum(axis=0) / 1000.0)


def unlimited_mw(day: DayProblem) -> Array:
    """Quantities (O,) that never bind, so that the dual of q ≤ R z alone tells what a larger R is worth."""
    return day.required_mw + 1.0
