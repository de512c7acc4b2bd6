"""The arms of a back-test: each is a pure function from what is known of a day to a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from vpp_pipeline.backtest.engines import centralised, greedy, only, posted_price
from vpp_pipeline.backtest.made import bid_plan, foresight_plan, sized_freely, without_wishes
from vpp_pipeline.backtest.original import original_plan
from vpp_pipeline.backtest.plan import Plan
from vpp_pipeline.core.arrays import Flags
from vpp_pipeline.negotiation.negotiate import concession, uniform_clearing
from vpp_pipeline.pipeline import Inputs
from vpp_pipeline.settings import Settings

POSTED_FRACTION = 0.8  # of the ceiling: the best of benchmarks/tune_posted_price.py, on June 2024


@dataclass(frozen=True)
class Day:
    """A day to be replayed. Only foresight reads ``prices`` and ``is_there``."""

    inputs: Inputs
    settings: Settings
    prices: pl.DataFrame  # rows of `market.prices` of the day itself
    is_there: Flags  # (N,)
    no_sale: Plan


Arm = Callable[[Day], Plan]


def _ours(day: Day) -> Plan:
    return bid_plan(day.inputs, day.settings, concession)


def _at_any_price(day: Day) -> Plan:
    return replace(_ours(day), segments=None)


def _uniform(day: Day) -> Plan:
    policy = day.settings.negotiation.model_copy(update={"engine": "uniform_clearing"})
    settings = day.settings.model_copy(update={"negotiation": policy})
    return bid_plan(day.inputs, settings, uniform_clearing)


def _posted(day: Day) -> Plan:
    return bid_plan(day.inputs, day.settings, posted_price(POSTED_FRACTION))


def _greedy(day: Day) -> Plan:
    return bid_plan(day.inputs, day.settings, greedy)


def _centralised(day: Day) -> Plan:
    return bid_plan(sized_freely(day.inputs, day.settings), day.settings, centralised, market_minimum_only=True)


def _centralised_at_any_price(day: Day) -> Plan:
    return replace(_centralised(day), segments=None)


def _wishless(day: Day) -> Plan:
    inputs = sized_freely(without_wishes(day.inputs), day.settings)
    return bid_plan(inputs, day.settings, centralised, market_minimum_only=True)


def _foresight(day: Day) -> Plan:
    inputs = sized_freely(without_wishes(day.inputs), day.settings)
    return foresight_plan(inputs, day.prices, day.settings, only(day.is_there))


def _original(day: Day) -> Plan:
    return original_plan(day.inputs, day.settings, day.no_sale)


#: name -> arm; the first is the one that others are held against
ARMS: dict[str, Arm] = {
    "concession": _ours,
    "uniform_clearing": _uniform,
    "centralised": _centralised,
    "centralised_no_wishes": _wishless,
    "perfect_foresight": _foresight,
    "greedy": _greedy,
    "posted_price": _posted,
    "original": _original,
    "concession_at_any_price": _at_any_price,
    "centralised_at_any_price": _centralised_at_any_price,
}
#: arms that answer a question of their own, and are run where they are named
BY_NAME_ONLY = ("concession_at_any_price", "centralised_at_any_price")
DEFAULT_ARMS = tuple(arm for arm in ARMS if arm not in BY_NAME_ONLY)
OURS, BEST = "concession", "perfect_foresight"
#: what each arm is, for readers
WORDS = {
    "concession": "ours: bargaining over three rounds",
    "uniform_clearing": "ours: an auction",
    "centralised": "dispatch of everyone at their least price, wishes as hard limits; knows least prices",
    "centralised_no_wishes": "the same, heeding devices and driving only",
    "perfect_foresight": "the same, knowing prices and who comes; any quantity: the most there is to earn",
    "greedy": "cheapest first up to R, each opportunity alone; least prices; our schedule",
    "posted_price": f"take it or leave it at {POSTED_FRACTION:.0%} of what could be paid; our schedule",
    "original": "re-implemented by us from the original's README",
    "concession_at_any_price": "ours, the same schedule bid without price curves: what they cost or save",
    "centralised_at_any_price": "the same of central dispatch",
}
