"""The strategies of a back-test, each a pure function from what is known of a day to a plan.

The original project's algorithm, re-implemented from the description in its README; its code was never published to
us.

From the README: every opportunity by itself, three rounds, deals ranked by its bid score (which
adds up unlike units), members added until R is reached, at least 3 and at most 20 of them, at least 80% of R; then
dispatch by its objective, whose bonus of 0.1 per unit of satisfaction and kW outweighs every price, so that the
coalition delivers all it can up to R. The bid price is its fallback's: the weighted average of agreed prices.

Not in the README, and assumed here: a deal is struck half-way between the reservation price and the expected price,
where the former is lower (its language model's fallback is "rule-based pricing"). Capacity is what the store holds
above the owner's reserve at the start of the day. The README has no charging, no state of charge
between hours, and no rest of the day, so no store recharges after a sale, and the same kWh can be sold in every hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, round_down
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.tables import Day, with_missing
from vpp_pipeline.dispatch.schedule import DaySchedule, held_by_column
from vpp_pipeline.evaluation.backtest.plans import (
    ENERGY,
    Plan,
    at_fixed,
    at_fixed_prices,
    bid_plan,
    centralised,
    foresight_plan,
    greedy,
    negotiating,
    places,
    posted_price,
    sized_freely,
    storage_plan,
    without_preferences,
)
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.negotiation.negotiate import ENGINES, concession, uniform_clearing
from vpp_pipeline.pipeline import fleet_of
from vpp_pipeline.settings import Settings

POSTED_FRACTION = 0.8  # of the ceiling: the best of benchmarks/tune_posted_price.py, on June 2024
LEAST_MEMBERS, MOST_MEMBERS, LEAST_SHARE = 3, 20, 0.8


@dataclass(frozen=True)
class PastDay:
    """A day of one resource to be replayed. Only foresight reads ``prices`` and ``is_there``."""

    inputs: Day
    settings: Settings
    prices: pl.DataFrame  # rows of `market.prices` of the day itself
    is_there: Flags  # (N,)
    no_sale: Plan
    classes: Day = field(default_factory=dict)  # of storage resources, made before; none: made for the day

    @property
    def participation(self) -> str:
        """How the resource takes part where it is not bid as storage."""
        return str(self.inputs["market.resources"]["participation"].item())

    @cached_property
    def central(self) -> Plan:
        """Central dispatch at known reservation prices, which several arms begin with."""
        inputs = sized_freely(self.inputs, self.settings)
        return bid_plan(inputs, self.settings, centralised, market_minimum_only=True)


Arm = Callable[[PastDay], Plan]


def plan_by(arm: str, day: PastDay) -> Plan:
    """What an arm plans for the day's resource: no sale of one that takes no part in the market."""
    return day.no_sale if day.participation == "none" else ARMS[arm](day)


def _indexed(day: PastDay) -> Plan:
    settings = negotiating(day.settings, engine="concession", contract="indexed")
    return replace(bid_plan(day.inputs, settings, concession), is_dispatched_anew=True)


def _indexed_posted(posted: str) -> Arm:
    def arm(day: PastDay) -> Plan:
        settings = negotiating(day.settings, engine="uniform_clearing", contract="indexed", posted=posted)
        return replace(bid_plan(day.inputs, settings, uniform_clearing), is_dispatched_anew=True)

    return arm


def _fixed(day: PastDay) -> Plan:
    return bid_plan(day.inputs, at_fixed_prices(day.settings), concession)


def _at_any_price(day: PastDay) -> Plan:
    return replace(_indexed(day), segments=None)


def _uniform(day: PastDay) -> Plan:
    settings = negotiating(day.settings, engine="uniform_clearing", contract="fixed")
    return bid_plan(day.inputs, settings, uniform_clearing)


def _posted(day: PastDay) -> Plan:
    return bid_plan(day.inputs, at_fixed_prices(day.settings), posted_price(POSTED_FRACTION))


def _greedy(day: PastDay) -> Plan:
    plan = bid_plan(day.inputs, day.settings, greedy(fleet_of(day.inputs)))
    return replace(plan, is_dispatched_anew=True)


def _centralised(day: PastDay) -> Plan:
    return day.central


def _centralised_anew(day: PastDay) -> Plan:
    return replace(day.central, is_dispatched_anew=True)


def _centralised_at_any_price(day: PastDay) -> Plan:
    return replace(day.central, segments=None)


def _without_preferences(day: PastDay) -> Plan:
    inputs = sized_freely(without_preferences(day.inputs), day.settings)
    return bid_plan(inputs, day.settings, centralised, market_minimum_only=True)


def _foresight(day: PastDay) -> Plan:
    return foresight_plan(without_preferences(day.inputs), day.prices, day.settings, day.is_there)


def _storage(engine: str) -> Arm:
    def arm(day: PastDay) -> Plan:
        settings = negotiating(day.settings, engine=engine, contract="indexed", posted="cap")
        if day.participation != "hourly":  # proxy demand, which is no storage
            return replace(bid_plan(day.inputs, settings, ENGINES[engine]), is_dispatched_anew=True)
        return storage_plan(day.inputs, settings, ENGINES[engine], day.classes)

    return arm


def _foresight_within_preferences(day: PastDay) -> Plan:
    return foresight_plan(day.inputs, day.prices, day.settings, day.is_there)


def _original(day: PastDay) -> Plan:
    return original_plan(day.inputs, day.settings, day.no_sale)


def original_plan(inputs: Day, settings: Settings, no_sale: Plan) -> Plan:
    """The day by the original's algorithm; owners' own charging stays as in ``no_sale``."""
    begun, fleet = time.perf_counter(), no_sale.fleet
    product, hour = places(inputs)
    required_kw = 1000.0 * inputs["market.opportunities"]["required_capacity_mw"].to_numpy()
    price = inputs["market.opportunities"]["forecast_price"].to_numpy()
    least = np.stack([reservation_price(fleet, name, settings.negotiation) for name in PRODUCTS])[product]
    is_open = with_missing(inputs["market.opportunities"], closed_reason=None)["closed_reason"].is_null().to_numpy()
    agreed = np.where((least <= price[:, None]) & is_open[:, None], (least + price[:, None]) / 2.0, np.nan)
    capacity_kw = np.where(np.isfinite(agreed), _capacity_kw(fleet)[:, hour].T, 0.0)
    committed = np.stack([_coalition(agreed[o], capacity_kw[o], required_kw[o]) for o in range(len(price))])
    given = np.minimum(1.0, required_kw / np.maximum(committed.sum(axis=1), 1e-9))[:, None] * committed
    bid_mw = round_down(given.sum(axis=1) / 1000.0, settings.rules.quantity_step_mw)
    given *= (1000.0 * bid_mw / np.maximum(given.sum(axis=1), 1e-9))[:, None]
    agreed = np.where(committed > 0.0, agreed, np.nan)
    average = np.nansum(agreed * given, axis=1) / np.maximum(given.sum(axis=1), 1e-9)
    deals = at_fixed(agreed)
    plan = Plan(fleet, no_sale.schedule, product, hour, bid_mw, _segments(bid_mw, average), committed, deals, 0.0)
    ordered = plan.by_product_and_hour(given).transpose(0, 2, 1)  # (3, N, T)
    own = no_sale.schedule
    schedule = DaySchedule(
        grid_charge_kw=own.grid_charge_kw,
        solar_charge_kw=own.solar_charge_kw,
        discharge_kw=ordered[ENERGY],
        solar_sold_kw=0.0 * ordered[ENERGY],
        stored_kwh=own.stored_kwh,
        **held_by_column(ordered[1:]),
    )
    return replace(plan, schedule=schedule, seconds=time.perf_counter() - begun)


def _capacity_kw(fleet: Fleet) -> Array:
    """What each store could give for an hour from its first stored energy (N, T), within that hour's limits."""
    above_kwh = np.maximum(fleet.initial_stored_kwh[:, None] - fleet.min_stored_kwh, 0.0)
    return np.asarray(
        np.minimum(
            np.minimum(fleet.max_discharge_kw, above_kwh * fleet.discharge_efficiency[:, None]), fleet.export_room_kw
        )
    )


def _coalition(agreed: Array, capacity_kw: Array, required_kw: float) -> Array:
    """Committed power (N,) of the members, best score first; 0 throughout where 80% of R is not reached."""
    merit = np.minimum(capacity_kw / 10.0, 2.0) + capacity_kw / 1000.0 + 1.0 / np.maximum(np.nan_to_num(agreed), 1.0)
    order = np.argsort(np.where(capacity_kw > 0.0, -merit, np.inf), kind="stable")[:MOST_MEMBERS]
    order = order[capacity_kw[order] > 0.0]
    before_kw = np.cumsum(capacity_kw[order]) - capacity_kw[order]
    members = order[(before_kw < required_kw) | (np.arange(len(order)) < LEAST_MEMBERS)]
    committed = np.zeros_like(capacity_kw)
    if len(members) >= LEAST_MEMBERS and capacity_kw[members].sum() >= LEAST_SHARE * required_kw:
        committed[members] = capacity_kw[members]
    return committed


def _segments(bid_mw: Array, price: Array) -> pl.DataFrame:
    """One segment per bid, at its average cost."""
    bids = np.flatnonzero(bid_mw > 0.0)
    return pl.DataFrame(
        {
            "bid_id": [str(o) for o in bids],
            "from_mw": np.zeros(len(bids)),
            "to_mw": bid_mw[bids],
            "price_usd_per_mwh": price[bids],
        }
    )


#: name -> arm
ARMS: dict[str, Arm] = {
    "indexed": _indexed,
    "storage": _storage("concession"),
    "storage_posted": _storage("uniform_clearing"),
    "indexed_posted": _indexed_posted("cap"),
    "indexed_half_share": _indexed_posted("half_share"),
    "concession": _fixed,
    "uniform_clearing": _uniform,
    "centralised": _centralised,
    "centralised_recourse": _centralised_anew,
    "centralised_no_wishes": _without_preferences,
    "perfect_foresight": _foresight,
    "foresight_within_preferences": _foresight_within_preferences,
    "greedy": _greedy,
    "posted_price": _posted,
    "original": _original,
    "indexed_at_any_price": _at_any_price,
    "centralised_at_any_price": _centralised_at_any_price,
}
#: arms that answer a question of their own, and are run where they are named
BY_NAME_ONLY = ("indexed_half_share", "indexed_at_any_price", "centralised_at_any_price")
#: arms that bid classes of owners
AS_STORAGE = ("storage", "storage_posted")
DEFAULT_ARMS = tuple(arm for arm in ARMS if arm not in BY_NAME_ONLY)
OURS, BEST = ("storage", "indexed"), "perfect_foresight"  # ours: as the desk bids by default, else hour by hour


def ours_of(arms: Iterable[str]) -> str | None:
    """Of ``arms`` the one that the others are held against."""
    found = set(arms)
    return next((arm for arm in OURS if arm in found), None)


#: what each arm is, for readers
DESCRIPTIONS = {
    "indexed": "ours hour by hour: indexed deals, caps by bargaining over three rounds; dispatch after awards",
    "storage": "ours by default: the same deals, bid as storage resources that the market clears over the day",
    "storage_posted": "the same at posted caps",
    "indexed_posted": "ours hour by hour at posted caps; dispatch after awards",
    "indexed_half_share": "the same, and half of what exceeds a posted reference",
    "concession": "fixed prices by bargaining; planned sales shrunk by rule",
    "uniform_clearing": "fixed prices by an auction; planned sales shrunk by rule",
    "centralised": "central dispatch at reservation prices, which are known; owner preferences as hard limits",
    "centralised_recourse": "the same with dispatch after awards",
    "centralised_no_wishes": "central dispatch within the limits of devices and driving only",
    "perfect_foresight": "the same with known prices and availability, any quantity, no bids: the upper bound",
    "foresight_within_preferences": "the same within owner preferences: the bound of whoever keeps them",
    "greedy": "merit order up to R, the dearest hour first, at reservation prices; our schedule, dispatch after awards",
    "posted_price": f"take it or leave it at {POSTED_FRACTION:.0%} of the ceiling; our schedule",
    "original": "re-implemented by us from the original's README",
    "indexed_at_any_price": "ours, the same schedule bid without price curves: what the curves cost or save",
    "centralised_at_any_price": "the same of central dispatch",
}
