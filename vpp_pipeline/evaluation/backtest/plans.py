"""What each strategy plans for a day, in one shape: deals by an engine, the day solved, bids formed.

Ways to decide who may be asked and at what price, beside those of the desk; same interface as its engines.

None of them has a `minimum margin`. Those that pay the reservation price are given it: full information, a rival's best
case.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from vpp_pipeline.bidding.bids import curves_of
from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.tables import Day, Tables
from vpp_pipeline.dispatch.exact import Log, exact_energy, solve_lp
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, unlimited_mw
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation.settlement import awards
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.negotiate import Adviser, Engine
from vpp_pipeline.negotiation.outcome import End, Floor, Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import fleet_of, limit_fleet, pay, prepare_problem, solve, tabulate
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
    offerable = np.stack([fleet.capacity_kw(p, rules.reserve_call_hours).sum(axis=0) for p in PRODUCTS]) / 1000.0
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
    plan = _plan(inputs, problem, solution.schedule, quantity_mw, segments, seconds)
    return replace(plan, gap_fraction=solution.gap_fraction)


def _curves(day: Tables, problem: DayProblem, solution: DaySolution, settings: Settings) -> pl.DataFrame:
    """`bids.bid_segments` as the desk forms them, with the opportunity's place as `bid_id`."""
    day = day | tabulate(problem, solution, settings)
    opportunities, payments = day["market.opportunities"], pay(day)["dispatch.payments"]
    summary, positions = day["negotiation.summary"], day["dispatch.positions"]
    wanted = day["dispatch.scenario_quantities"]
    segments = curves_of(opportunities, summary, positions, payments, settings.rules, wanted)
    place = opportunities.select(bid_id="opportunity_id").with_row_index("place")
    return segments.join(place, on="bid_id").with_columns(bid_id=pl.col("place").cast(pl.String))


def foresight_plan(inputs: Day, prices: pl.DataFrame, settings: Settings, engine: Engine) -> Plan:
    """The most that any arm could earn: the day's own prices, any quantity, no bid needed.

    The relaxation of the day's problem, without minima and steps. ``prices``: rows of `market.prices`.
    """
    begun = time.perf_counter()
    known = _with_prices(inputs, prices)
    _, problem = _struck(known, settings, engine)
    count = len(problem.opportunity_id)
    problem = replace(problem, minimum_mw=np.zeros(count), may_bid=np.ones(count, dtype=bool))
    linear_schedule, quantity_mw = _relaxed(problem, np.ones(count), settings.optimiser)
    return _plan(inputs, problem, linear_schedule, quantity_mw, None, time.perf_counter() - begun)


def no_sale_plan(inputs: Day, settings: Settings) -> Plan:
    """The charging that owners need anyway, in the hours that are expected to be cheapest, and no sale."""
    begun = time.perf_counter()
    _, problem = _struck(inputs, settings, posted_price(0.0))
    schedule, quantity_mw = _relaxed(problem, np.zeros(len(problem.opportunity_id)), settings.optimiser)
    return _plan(inputs, problem, schedule, 0.0 * quantity_mw, None, time.perf_counter() - begun)


def _relaxed(problem: DayProblem, most: Array, settings: OptimiserSettings) -> tuple[DaySchedule, Array]:
    from vpp_pipeline.dispatch.formulation import formulate

    linear = formulate(problem, binary=False)
    linear.set_bids(np.zeros(len(most)), most)
    linear.set_quantities(np.zeros(len(most)), unlimited_mw(problem))
    solve_lp(linear, settings, Log())
    return exact_energy(problem.fleet, linear.schedule()), np.maximum(np.asarray(linear.q.value), 0.0)


def _with_prices(inputs: Day, prices: pl.DataFrame) -> Tables:
    """The inputs with the day's own ``prices`` in place of the forecast's."""
    columns = list(PRICE_COLUMN.values())
    hours = inputs["market.price_forecast"].drop(columns)
    forecast = hours.join(prices.select("start_utc", *columns), on="start_utc").sort("start_utc")
    product, hour = places(inputs)
    level = np.stack([forecast[column].to_numpy() for column in columns])[product, hour]
    known = dict.fromkeys(("forecast_price", "market_price"), pl.Series(level))
    opportunities = inputs["market.opportunities"].with_columns(**known)
    return {**inputs, "market.price_forecast": forecast, "market.opportunities": opportunities}


def _struck(inputs: Day, settings: Settings, engine: Engine) -> tuple[Tables, DayProblem]:
    """The day with the deals of ``engine``, without its messages, and its problem."""
    silent = settings.negotiation.model_copy(update={"transcript_prosumers": 0})
    settings = settings.model_copy(update={"negotiation": silent})
    return prepare_problem(inputs, settings, engine=engine)


def _plan(
    inputs: Day,
    problem: DayProblem,
    schedule: DaySchedule,
    quantity_mw: Array,
    segments: pl.DataFrame | None,
    seconds: float,
) -> Plan:
    fleet: Fleet = problem.fleet
    shape = (len(problem.opportunity_id), len(fleet))
    committed, agreed = np.zeros(shape), np.full(shape, np.nan)
    pair = (problem.agreement_opportunity, problem.agreement_prosumer)
    committed[pair], agreed[pair] = problem.committed_kw, problem.call_price
    product, hour = places(inputs)
    return Plan(fleet, schedule, product, hour, quantity_mw, segments, committed, agreed, seconds)


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


def centralised(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Every prosumer is dispatched centrally and is paid exactly its reservation price."""
    return _one_round(terms, terms.capacity_kw > 0.0, terms.reservation)


def only(is_there: Flags) -> Engine:
    """:func:`centralised`, of those who will be there (N,) alone: what only foresight knows."""

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        return _one_round(terms, (terms.capacity_kw > 0.0) & is_there, terms.reservation)

    return engine


def greedy(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Each opportunity by itself: the cheapest first, recharging included, until R is reached; the rest is turned away.

    Who is cheapest is the order of ``reservation − ceiling``: among those asking the same, a store that loses less
    comes first. Reservation prices are paid.
    """
    may = (terms.capacity_kw > 0.0) & (terms.reservation <= terms.ceiling)
    order = np.argsort(np.where(may, terms.reservation - terms.ceiling, np.inf), axis=1, kind="stable")
    capacity = np.take_along_axis(np.where(may, terms.capacity_kw, 0.0), order, axis=1)
    is_needed = capacity.cumsum(axis=1) - capacity < terms.required_kw[:, None]
    chosen = np.zeros_like(may)
    np.put_along_axis(chosen, order, is_needed, axis=1)
    return _one_round(terms, chosen & may, terms.reservation)


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
