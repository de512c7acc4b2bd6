"""What each strategy plans for a day, in one shape: deals by an engine, the day solved, bids formed.

Ways to decide who may be asked and at what price, beside those of the desk; same interface as its engines.

None of them has a `minimum margin`. Those that pay the reservation price are given it: full information, a rival's best
case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from vpp_pipeline.aggregation.offer import StorageOffer
from vpp_pipeline.aggregation.resource_offers import offer_of_tables
from vpp_pipeline.bidding.bids import Stamp, curves_of
from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import Day, Tables, with_missing
from vpp_pipeline.dispatch import after_awards
from vpp_pipeline.dispatch.exact import Log, exact_energy, solve_lp
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, unlimited_mw
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.settlement import awards, net_export_mw
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.negotiation.agreements import options
from vpp_pipeline.negotiation.contract import Prices, cheapest_usd_per_mwh, prices_of
from vpp_pipeline.negotiation.negotiate import Adviser, Engine
from vpp_pipeline.negotiation.outcome import End, Floor, Outcome
from vpp_pipeline.negotiation.requests import Requests
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import (
    aggregate,
    bid_solution,
    find_opportunities,
    fleet_of,
    limit_fleet,
    pay,
    prepare_problem,
    solve,
    tabulate,
)
from vpp_pipeline.settings import NegotiationPolicy, OptimiserSettings, Settings

NO_PREFERENCES = {
    "backup_reserve_hours": 0.0,
    "backup_reserve_fraction": 0.001,  # so that rounding in a schedule never falls below an empty store
    "quiet_hours": None,
    "no_charge_hours": None,
    "no_export_hours": None,
    "opt_out_days": None,
    "ev_ready_fraction": None,
    "ev_ready_hour": None,
    "maximum_cycles_per_day": 24.0,  # more than any store can do
}
ENERGY = PRODUCTS.index("energy")


def without_preferences(inputs: Day) -> Tables:
    """The same day within the limits of devices and driving, without any owner preference.

    Reservation prices stay, and so do terminal states of charge.
    """
    rows = inputs["fleet.prosumers"]
    kinds = {name: rows.schema[name] for name in NO_PREFERENCES}
    bare = rows.with_columns(pl.lit(value, dtype=kinds[name]).alias(name) for name, value in NO_PREFERENCES.items())
    bare_day = {**inputs, "fleet.prosumers": bare}
    return bare_day | limit_fleet(bare_day)


def sized_freely(inputs: Day, settings: Settings) -> Tables:
    """The same day with R as large as the fleet: who dispatches centrally is bound by the market's minimum alone."""
    fleet, rules = fleet_of(inputs), settings.rules
    offerable = np.stack([fleet.capacity_kw(p, rules.call_hours(p)).sum(axis=0) for p in PRODUCTS]) / 1000.0
    product, hour = places(inputs)
    largest_mw = np.ceil(offerable[product, hour] / rules.maximum_commitment_fraction) + 1.0
    larger = inputs["market.opportunities"].with_columns(required_capacity_mw=pl.Series(largest_mw))
    return {**inputs, "market.opportunities": larger}


def places(inputs: Day) -> tuple[Indices, Indices]:
    """Product and hour (O,) of each opportunity. Raises ValueError for one of more than one hour."""
    opportunities = inputs["market.opportunities"]
    if (opportunities["duration_hours"] != 1).any():
        raise ValueError("a back-test knows the policy's hourly opportunities only")
    product = np.array([PRODUCTS.index(name) for name in opportunities["product"]], dtype=np.int64)
    starts = {start: t for t, start in enumerate(inputs["market.price_forecast"]["start_utc"])}
    return product, np.array([starts[start] for start in opportunities["start_utc"]], dtype=np.int64)


def bid_plan(inputs: Day, settings: Settings, engine: Engine, *, market_minimum_only: bool = False) -> Plan:
    """Deals by ``engine``, the day solved at forecast prices, price curves as the desk forms them.

    ``market_minimum_only``: a bid needs the market's minimum, not 80% of R and three members.
    """
    begun = time.perf_counter()
    day, problem = _struck(inputs, settings, engine)
    if market_minimum_only:
        least = np.array([settings.rules.minimum_mw(product) for product in inputs["market.opportunities"]["product"]])
        problem = replace(problem, minimum_mw=least, may_bid=np.ones(len(least), dtype=bool))
        small = day["market.opportunities"].with_columns(required_capacity_mw=pl.Series(least))
        day = day | {"market.opportunities": small}  # for a curve in fine steps
    solution = solve(problem, settings)
    segments = _curves(day, problem, solution, settings)
    seconds = time.perf_counter() - begun
    quantity_mw = np.where(solution.is_bid, solution.quantity_mw, 0.0)
    plan = _plan(day, problem, solution.schedule, quantity_mw, segments, seconds)
    gap_usd = max(0.0, solution.bound_usd - solution.objective_usd)
    return replace(plan, gap_usd=gap_usd, added_usd=solution.bound_usd - solution.no_bid_usd)


def _curves(day: Tables, problem: DayProblem, solution: DaySolution, settings: Settings) -> pl.DataFrame:
    """`bids.bid_segments` as the desk forms them, with the opportunity's place as `bid_id`."""
    day = day | tabulate(problem, solution, settings)
    opportunities, payments = day["market.opportunities"], pay(day)["dispatch.payments"]
    summary, positions = day["negotiation.summary"], day["dispatch.positions"]
    wanted = day["dispatch.scenario_quantities"]
    segments = curves_of(opportunities, summary, positions, payments, settings.rules, wanted)
    place = opportunities.select(bid_id="opportunity_id").with_row_index("place")
    return segments.join(place, on="bid_id").with_columns(bid_id=pl.col("place").cast(pl.String))


def storage_plan(inputs: Day, settings: Settings, engine: Engine, classes: Day) -> Plan:
    """The day's resource as storage: deals by ``engine``, bids as the desk forms them; ``classes`` as for
    :func:`as_storage`.
    """
    begun = time.perf_counter()
    day, problem = _struck(as_storage(inputs, settings, classes), settings, engine)
    stamp = Stamp("back-test", "", None, "back-test", datetime.now(UTC))
    tables = bid_solution(day, problem, solve(problem, settings), settings, stamp)
    fleet, hours = problem.fleet, problem.covers.shape[1]
    parts = {name: np.flatnonzero(fleet.resource_id == name) for name in np.unique(fleet.resource_id.astype(str))}
    offers = [(mine, offer_of_tables(name, fleet.part(mine), tables)) for name, mine in parts.items()]
    # one row per product and hour: an owner has deals with its own resource alone
    product, hour = (grid.ravel() for grid in np.indices((len(PRODUCTS), hours)))
    place = (problem.product * hours + problem.covers.argmax(axis=1))[problem.agreement_opportunity]
    committed, deals = _deals(day, problem, place, len(product))
    plan = Plan(fleet, no_schedule(fleet), product, hour, np.zeros(len(product)), None, committed, deals, 0.0)
    seconds = time.perf_counter() - begun
    return replace(plan, storage=offers, is_dispatched_anew=True, seconds=seconds)


def as_storage(inputs: Day, settings: Settings, classes: Day) -> Tables:
    """The same day with its resources as storage, those that are bid hour by hour.

    ``classes``: CLASSES_BEFORE and MEMBERS_BEFORE of another day, which are kept; without them they are made for this
    one.
    """
    resources = inputs["market.resources"].with_columns(pl.col("participation").replace("hourly", "storage"))
    day = {**inputs, **classes, "market.resources": resources}
    day |= aggregate(day, settings)
    return day | find_opportunities(day, settings, Requests())


def no_schedule(fleet: Fleet) -> DaySchedule:
    """Nothing charged, sold, or held, to be filled in."""
    return DaySchedule(**{one.name: np.zeros(fleet.max_charge_kw.shape) for one in fields(DaySchedule)})


def foresight_plan(inputs: Day, prices: pl.DataFrame, settings: Settings, is_there: Flags) -> Plan:
    """The most that any arm could earn: the day's own prices, any quantity, no bid needed, nothing bought back, within
    what the resource may offer.

    ``prices``: rows of `market.prices`. ``is_there`` (N,): who can be called; the others charge as is cheapest.
    """
    begun, rules = time.perf_counter(), settings.rules
    fleet, price = fleet_of(inputs), prices_by_hour(prices)
    capacity = np.stack([fleet.capacity_kw(name, rules.call_hours(name)) for name in PRODUCTS])
    least = np.stack([reservation_price(fleet, name, settings.negotiation) for name in PRODUCTS])
    most_kw = np.where(is_there[None, :, None], capacity, 0.0)
    product, hour = places(inputs)
    is_closed = (
        with_missing(inputs["market.opportunities"], closed_reason=None)["closed_reason"].is_not_null().to_numpy()
    )
    most_kw[product[is_closed], :, hour[is_closed]] = 0.0
    deals = after_awards.Deals(most_kw, np.broadcast_to(least[:, :, None], most_kw.shape))
    leftover = cheapest_usd_per_mwh(price[ENERGY])
    schedule = after_awards.best_dispatch(fleet, deals, price, leftover, rules.backing_hours)
    committed = most_kw[product, :, hour]
    floor = np.where(committed > 0.0, least[product], np.nan)
    held_mw = [schedule.sold_kw(p).sum(axis=0) / 1000.0 for p in range(1, len(PRODUCTS))]
    quantity_mw = np.maximum(np.stack([net_export_mw(schedule), *held_mw])[product, hour], 0.0)
    seconds = time.perf_counter() - begun
    plan = Plan(fleet, schedule, product, hour, quantity_mw, None, committed, at_fixed(floor), seconds)
    return replace(plan, goes_as_planned=True)


def no_sale_plan(inputs: Day, settings: Settings) -> Plan:
    """The charging that owners need anyway, in the hours that are expected to be cheapest, and no sale."""
    begun = time.perf_counter()
    day, problem = _struck(inputs, at_fixed_prices(settings), posted_price(0.0))
    schedule, quantity_mw = _relaxed(problem, np.zeros(len(problem.opportunity_id)), settings.optimiser)
    return _plan(day, problem, schedule, 0.0 * quantity_mw, None, time.perf_counter() - begun)


def _relaxed(problem: DayProblem, most: Array, settings: OptimiserSettings) -> tuple[DaySchedule, Array]:
    from vpp_pipeline.dispatch.formulation import formulate

    linear = formulate(problem, binary=False)
    linear.set_bids(np.zeros(len(most)), most)
    linear.set_quantities(np.zeros(len(most)), unlimited_mw(problem))
    solve_lp(linear, settings, Log())
    return exact_energy(problem.fleet, linear.schedule()), np.maximum(np.asarray(linear.q.value), 0.0)


def prices_by_hour(prices: pl.DataFrame) -> Array:
    """Prices (3, T) of each product: ``prices`` are rows of `market.prices`."""
    rows = prices.sort("start_utc")
    return np.stack([rows[column].to_numpy() for column in PRICE_COLUMN.values()])


def _struck(inputs: Day, settings: Settings, engine: Engine) -> tuple[Tables, DayProblem]:
    """The day with the deals of ``engine``, without its messages, and its problem."""
    return prepare_problem(inputs, negotiating(settings, transcript_prosumers=0), engine=engine)


def _plan(
    day: Day,
    problem: DayProblem,
    schedule: DaySchedule,
    quantity_mw: Array,
    segments: pl.DataFrame | None,
    seconds: float,
) -> Plan:
    committed, deals = _deals(day, problem, problem.agreement_opportunity, len(problem.opportunity_id))
    product, hour = places(day)
    return Plan(problem.fleet, schedule, product, hour, quantity_mw, segments, committed, deals, seconds)


def _deals(day: Day, problem: DayProblem, place: Indices, count: int) -> tuple[Array, Prices]:
    """What each may be asked for (``count``, N), and for what; ``place`` (K,): row of each agreement."""
    shape, pair = (count, len(problem.fleet)), (place, problem.agreement_prosumer)
    committed = np.zeros(shape)
    committed[pair] = problem.committed_kw
    held = prices_of(options(day["negotiation.agreements"]))

    def spread(values: Array) -> Array:
        every = np.full(shape, np.nan)
        every[pair] = values
        return every

    return committed, Prices(**{name: spread(values) for name, values in vars(held).items()})


def at_fixed(price: Array) -> Prices:
    """Deals at a fixed ``price`` (O, N); not a number without a deal."""
    none = np.full_like(price, np.nan)
    return Prices(price, price, none, none, np.where(np.isnan(price), np.nan, 0.0))


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
    deals: Prices  # (O, N) what a delivery is paid; not a number without a deal
    seconds: float  # to make it
    gap_usd: float | None = None  # of its objective at forecast prices, where the search proves one
    added_usd: float | None = None  # most that bidding can add, likewise
    goes_as_planned: bool = False  # with everything known: awards and dispatch are the plan's
    is_dispatched_anew: bool = False  # after awards, by the linear program of a settled day
    #: bid as storage resources, each with the places of its members: awards and schedule follow from all prices at once
    storage: Sequence[tuple[Indices, StorageOffer]] = ()

    def by_product_and_hour(self, values: Array) -> Array:
        """Spread ``values`` (O, …) over (3, T, …); zero where there is no opportunity."""
        spread = np.zeros((len(PRODUCTS), self.schedule.stored_kwh.shape[1], *values.shape[1:]))
        spread[self.product, self.hour] = values
        return spread

    def cleared(self, price: Array) -> Plan:
        """The plan once storage resources are cleared at ``price`` (3, T): its schedule, and what was awarded."""
        if not self.storage:
            return self
        schedule = no_schedule(self.fleet)
        for mine, offer in self.storage:
            for name, kw in vars(offer.schedule(offer.awards(price))).items():
                getattr(schedule, name)[mine] = kw
        return _at_awards(self, schedule)

    def by_resource(self) -> list[tuple[Indices, Plan]]:
        """The plan of each storage resource by itself, with the places of its members, once it is cleared: each is
        settled for its own awards. Any other plan as a whole."""
        if not self.storage:
            return [(np.arange(len(self.fleet)), self)]
        return [
            (
                mine,
                _at_awards(
                    replace(
                        self,
                        fleet=self.fleet.part(mine),
                        committed_kw=self.committed_kw[:, mine],
                        deals=Prices(**{name: values[:, mine] for name, values in vars(self.deals).items()}),
                    ),
                    self.schedule.of(mine),
                ),
            )
            for mine, _ in self.storage
        ]

    def callable_kw(self, awarded_mw: Array) -> Array:
        """Most that each may be called for (O, N) with ``awarded_mw`` (O,): where something is awarded; a storage
        resource is awarded the day as a whole.
        """
        return self.committed_kw if self.storage else np.where(awarded_mw[:, None] > 0.0, self.committed_kw, 0.0)

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


def _at_awards(plan: Plan, schedule: DaySchedule) -> Plan:
    """``plan`` whose bids are what ``schedule`` sells."""
    sold_mw = np.stack([net_export_mw(schedule), *(kw.sum(axis=0) / 1000.0 for kw in schedule.held_kw)])
    return replace(plan, schedule=schedule, quantity_mw=np.maximum(sold_mw[plan.product, plan.hour], 0.0))


def centralised(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Every prosumer is dispatched centrally and is paid exactly its reservation price."""
    return _one_round(terms, terms.capacity_kw > 0.0, terms.reservation)


def negotiating(settings: Settings, **policy: object) -> Settings:
    """The same but for these settings of the negotiation."""
    return settings.model_copy(update={"negotiation": settings.negotiation.model_copy(update=policy)})


def at_fixed_prices(settings: Settings) -> Settings:
    """The same with deals at fixed prices."""
    return negotiating(settings, contract="fixed")


def greedy(fleet: Fleet) -> Engine:
    """Merit order: the dearest hour first, in each the cheapest owners who have energy left, until R is reached.

    An owner's energy is what its cycles allow and its sun of the day; a sale takes its capacity of it. Who is cheapest
    is the order of ``reservation − index price``: among those asking the same, a store that loses less comes first.
    Reservation prices are paid, and only owners whom the forecast pays are asked.
    """

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        cost = terms.reservation - terms.index_price
        cycled_kwh = fleet.maximum_cycles_per_day * fleet.capacity_kwh * fleet.discharge_efficiency
        left_kwh = np.where(fleet.has_store, cycled_kwh, 0.0) + fleet.surplus_kw.sum(axis=1)
        chosen = np.zeros(cost.shape, dtype=bool)
        for o in np.argsort(-terms.expected_price, kind="stable"):
            may = (terms.capacity_kw[o] > 0.0) & (cost[o] <= 0.0)
            if terms.is_energy[o]:
                may &= left_kwh > 0.0
            order = np.argsort(np.where(may, cost[o], np.inf), kind="stable")
            capacity = np.where(may, terms.capacity_kw[o], 0.0)[order]
            chosen[o, order] = may[order] & (capacity.cumsum() - capacity < terms.required_kw[o])
            if terms.is_energy[o]:
                left_kwh -= np.where(chosen[o], terms.capacity_kw[o], 0.0)
        return _one_round(terms, chosen, terms.reservation)

    return engine


def posted_price(fraction: float) -> Engine:
    """Take it or leave it: ``fraction`` of what the aggregator could pay at most is offered to everyone."""

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        offer = fraction * np.maximum(terms.ceiling, 0.0)
        return _one_round(terms, (terms.capacity_kw > 0.0) & (terms.reservation <= offer), offer)

    return engine


def _one_round(terms: Terms, is_in: Flags, price: Array) -> Outcome:
    floor = Floor(terms.capacity_kw > 0.0)
    floor.ask(terms.reservation)
    floor.offer(price)
    floor.close(is_in, End.ACCEPTED, price)
    floor.close(terms.capacity_kw > 0.0, End.PRICED_OUT, terms.reservation)
    return floor.outcome("as this arm pays", 1)
