"""What each strategy plans for a day, in one shape: deals by an engine, the day solved, bids formed.

Ways to decide who may be asked and at what price, beside those of the desk; same interface as its engines.

None of them has a `minimum margin`, and those that pay the least price know it: full information, a rival's best case.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from vpp_pipeline.bidding.bids import curves_of
from vpp_pipeline.bidding.valid_bids import solve_valid_day
from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, market_hours
from vpp_pipeline.dispatch.exact import Log, exact_energy, solve_lp
from vpp_pipeline.dispatch.payments import payments_of
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, day_problem, unlimited_mw
from vpp_pipeline.dispatch.scenarios import with_scenarios
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.dispatch.tables import charging_table, positions_table, scenario_quantities_table, schedule_table
from vpp_pipeline.evaluation.settlement import awards
from vpp_pipeline.fleet.arrays import Fleet, fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.negotiation.agreements import agreements_of, summarise
from vpp_pipeline.negotiation.negotiate import Adviser, Engine
from vpp_pipeline.negotiation.outcome import End, Floor, Outcome, segments_of
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
from vpp_pipeline.pipeline import Inputs, Negotiated
from vpp_pipeline.settings import NegotiationPolicy, OptimiserSettings, Settings

NO_WISHES = {
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


def without_wishes(inputs: Inputs) -> Inputs:
    """The same day for a dispatcher that heeds devices and driving, but nothing that owners ask for.

    Least prices stay: owners are still paid what they ask. Stores still end the day as they should.
    """
    rows = inputs.prosumers
    kinds = {name: rows.schema[name] for name in NO_WISHES}
    bare = rows.with_columns(pl.lit(value, dtype=kinds[name]).alias(name) for name, value in NO_WISHES.items())
    day = inputs.forecast["market_date"][0]
    expected = inputs.expected or (solar_forecast(day), load_forecast(day))
    envelope = hourly_envelope(bare, market_hours(day), *expected)
    return replace(inputs, prosumers=bare, availability=envelope)


def sized_freely(inputs: Inputs, settings: Settings) -> Inputs:
    """The same day with R as large as the fleet: who dispatches centrally is bound by the market's minimum alone."""
    fleet, rules = fleet_arrays(inputs.prosumers, inputs.availability), settings.rules
    offerable = np.stack([fleet.capacity_kw(p, rules.reserve_call_hours).sum(axis=0) for p in PRODUCTS]) / 1000.0
    product, hour = places(inputs)
    largest_mw = np.ceil(offerable[product, hour] / rules.maximum_commitment_fraction) + 1.0
    return replace(inputs, opportunities=inputs.opportunities.with_columns(required_capacity_mw=pl.Series(largest_mw)))


def places(inputs: Inputs) -> tuple[Indices, Indices]:
    """Product and hour (O,) of each opportunity. Raises ValueError for one of more than one hour."""
    opportunities = inputs.opportunities
    if (opportunities["duration_hours"] != 1).any():
        raise ValueError("a back-test knows the policy's hourly opportunities only")
    product = np.array([PRODUCTS.index(name) for name in opportunities["product"]], dtype=np.int64)
    starts = {start: t for t, start in enumerate(inputs.forecast["start_utc"])}
    return product, np.array([starts[start] for start in opportunities["start_utc"]], dtype=np.int64)


def terms_of_day(inputs: Inputs, settings: Settings) -> Terms:
    """Both sides' terms of every opportunity."""
    fleet = fleet_arrays(inputs.prosumers, inputs.availability)
    return prepare_terms(inputs.opportunities, inputs.forecast, fleet, settings.negotiation, settings.rules)


def bid_plan(inputs: Inputs, settings: Settings, engine: Engine, *, market_minimum_only: bool = False) -> Plan:
    """Deals by ``engine``, the day solved at forecast prices, price curves as the desk forms them.

    ``market_minimum_only``: a bid needs the market's minimum, not 80 % of R and three members.
    """
    begun = time.perf_counter()
    day = _struck(inputs, settings, engine)
    if market_minimum_only:
        least = np.array([settings.rules.minimum_mw(product) for product in inputs.opportunities["product"]])
        problem = replace(day.problem, minimum_mw=least, may_bid=np.ones(len(least), dtype=bool))
        small = inputs.opportunities.with_columns(required_capacity_mw=pl.Series(least))  # for a curve in fine steps
        day = replace(day, problem=problem, inputs=replace(inputs, opportunities=small))
    solution = solve_valid_day(day.problem, settings.rules, settings.optimiser)
    segments = _curves(day, solution)
    seconds = time.perf_counter() - begun
    quantity_mw = np.where(solution.is_bid, solution.quantity_mw, 0.0)
    plan = _plan(inputs, day.problem, solution.schedule, quantity_mw, segments, seconds)
    return replace(plan, gap_fraction=solution.gap_fraction)


def _curves(day: Negotiated, solution: DaySolution) -> pl.DataFrame:
    """`bids.bid_segments` as the desk forms them, with the opportunity's place as `bid_id`."""
    opportunities, problem = day.inputs.opportunities, day.problem
    schedule, positions = schedule_table(problem, solution), positions_table(problem, solution)
    deals, charging = day.tables["negotiation.agreements"], charging_table(problem, solution)
    payments = payments_of(opportunities, deals, schedule, positions, charging, day.inputs.availability)
    wanted = scenario_quantities_table(problem, solution)
    summary = day.tables["negotiation.summary"]
    segments = curves_of(opportunities, summary, positions, payments, day.settings.rules, wanted)
    place = opportunities.select(bid_id="opportunity_id").with_row_index("place")
    return segments.join(place, on="bid_id").with_columns(bid_id=pl.col("place").cast(pl.String))


def foresight_plan(inputs: Inputs, prices: pl.DataFrame, settings: Settings, engine: Engine) -> Plan:
    """The most that any arm could earn: the day's own prices, any quantity, no bid needed.

    The relaxation of the day's problem, without minima and steps. ``prices``: rows of `market.prices`.
    """
    begun = time.perf_counter()
    known = _with_prices(inputs, prices)
    problem = _struck(known, settings, engine).problem
    count = len(problem.opportunity_id)
    problem = replace(problem, minimum_mw=np.zeros(count), may_bid=np.ones(count, dtype=bool))
    linear_schedule, quantity_mw = _relaxed(problem, np.ones(count), settings.optimiser)
    return _plan(inputs, problem, linear_schedule, quantity_mw, None, time.perf_counter() - begun)


def no_sale_plan(inputs: Inputs, settings: Settings) -> Plan:
    """The charging that owners need anyway, in the hours that are expected to be cheapest, and no sale."""
    begun = time.perf_counter()
    problem = _struck(inputs, settings, posted_price(0.0)).problem
    schedule, quantity_mw = _relaxed(problem, np.zeros(len(problem.opportunity_id)), settings.optimiser)
    return _plan(inputs, problem, schedule, 0.0 * quantity_mw, None, time.perf_counter() - begun)


def _relaxed(problem: DayProblem, most: Array, settings: OptimiserSettings) -> tuple[DaySchedule, Array]:
    from vpp_pipeline.dispatch.formulation import formulate

    linear = formulate(problem, binary=False)
    linear.set_bids(np.zeros(len(most)), most)
    linear.set_quantities(np.zeros(len(most)), unlimited_mw(problem))
    solve_lp(linear, settings, Log())
    return exact_energy(problem, linear.schedule()), np.maximum(np.asarray(linear.q.value), 0.0)


def _with_prices(inputs: Inputs, prices: pl.DataFrame) -> Inputs:
    """The inputs with the day's own ``prices`` in place of the forecast's."""
    columns = list(PRICE_COLUMN.values())
    forecast = (
        inputs.forecast.drop(columns).join(prices.select("start_utc", *columns), on="start_utc").sort("start_utc")
    )
    product, hour = places(inputs)
    level = np.stack([forecast[column].to_numpy() for column in columns])[product, hour]
    opportunities = inputs.opportunities.with_columns(forecast_price=pl.Series(level), market_price=pl.Series(level))
    return replace(inputs, forecast=forecast, opportunities=opportunities)


def _struck(inputs: Inputs, settings: Settings, engine: Engine) -> Negotiated:
    """The day with the deals of ``engine``; nobody's words are kept."""
    fleet = fleet_arrays(inputs.prosumers, inputs.availability)
    terms = terms_of_day(inputs, settings)
    outcome = engine(terms, settings.negotiation)
    silent = np.zeros(len(fleet), dtype=bool)
    agreements = agreements_of(outcome, terms, settings.negotiation, silent)
    made = inputs.opportunities.select(
        "opportunity_id", engine=pl.lit("backtest"), fingerprint=pl.lit(""), seconds=pl.lit(0.0)
    )
    summary = summarise(segments_of(outcome, terms), agreements, inputs.opportunities, len(fleet), settings.rules, made)
    problem = day_problem(
        fleet, inputs.forecast, inputs.opportunities, summary, agreements, settings.rules, settings.optimiser
    )
    problem = with_scenarios(problem, inputs.opportunities, inputs.price_scenarios, settings.risk)
    tables = {"negotiation.summary": summary, "negotiation.agreements": agreements}
    return Negotiated(inputs, settings, fleet, terms, problem, tables)


def _plan(
    inputs: Inputs,
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
    committed[pair], agreed[pair] = problem.committed_kw, problem.agreed_price
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
    """Everyone is at the dispatcher's disposal and is paid exactly the least price."""
    return _one_round(terms, terms.capacity_kw > 0.0, terms.reservation)


def only(is_there: Flags) -> Engine:
    """:func:`centralised`, of those who will be there (N,) alone: what only foresight knows."""

    def engine(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
        return _one_round(terms, (terms.capacity_kw > 0.0) & is_there, terms.reservation)

    return engine


def greedy(terms: Terms, policy: NegotiationPolicy, adviser: Adviser | None = None) -> Outcome:
    """Each opportunity by itself: the cheapest first, recharging included, until R is reached; the rest is turned away.

    Who is cheapest is the order of ``reservation − ceiling``: among those asking the same, a store that loses less
    comes first. Least prices are paid.
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
