"""What a plan comes to on the day: awards, who is there, what each store can still do, and the money of it."""

from __future__ import annotations

import numpy as np

from vpp_pipeline.backtest.plan import ENERGY, Plan
from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation import settlement
from vpp_pipeline.evaluation.settle_day import redispatch
from vpp_pipeline.evaluation.settlement import Awards, Money


def orders(plan: Plan, share: Array, is_there: Flags) -> Array:
    """Share (3, N, T) of each planned sale that is asked for: ``share`` (O,) of bids, from who ``is_there`` (N,)."""
    return np.asarray(plan.by_product_and_hour(share)[:, None, :] * is_there[None, :, None])


def realise(plan: Plan, share: Array, is_there: Flags, call_hours: float) -> DaySchedule:
    """The day as it goes, with ``share`` (O,) of each bid awarded and ``is_there`` (N,)."""
    return redispatch(plan.fleet, plan.schedule, orders(plan, share, is_there), call_hours)


def money_of(
    plan: Plan, done: DaySchedule, awarded_mw: Array, price: Array, owed_kwh: Array, imbalance_factor: float
) -> Money:
    """The money of ``done`` at ``price`` (3, T), with ``awarded_mw`` (O,) won."""
    bid, won = (plan.by_product_and_hour(mw)[ENERGY] for mw in (plan.quantity_mw, awarded_mw))
    paid_usd = float((np.nan_to_num(plan.agreed_price) * plan.sold_kw(done)).sum()) / 1000.0
    awards = Awards(bid, won, price)
    return settlement.money_of(
        plan.fleet, plan.schedule, done, awards, price[ENERGY], paid_usd, owed_kwh, imbalance_factor
    )
