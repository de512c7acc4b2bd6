"""One row of `evaluation.benchmark`: what a plan comes to on the day, in money, limits and satisfaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.after_awards import Cleared, Deals
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.evaluation import settlement
from vpp_pipeline.evaluation.backtest.plans import ENERGY, Plan, no_schedule, prices_by_hour
from vpp_pipeline.evaluation.backtest.strategies import PastDay
from vpp_pipeline.evaluation.settle_day import dispatched_anew, limits_broken, past, redispatch
from vpp_pipeline.evaluation.settlement import Awards, Money, position_mw
from vpp_pipeline.fleet.arrays import Fleet, reservation_price
from vpp_pipeline.negotiation.agreements import satisfaction_score, weighted_satisfaction
from vpp_pipeline.negotiation.contract import cheapest_usd_per_mwh
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import terms_of
from vpp_pipeline.settings import MarketRules, Settings

DUST_KW = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What a plan of one resource comes to on its day. Those of several resources make one row by :func:`measure`."""

    sums: dict[str, float | int]  # measures of which those of the day are the sums
    score: Array  # (D,) satisfaction of each paid delivery
    weight_kw: Array  # (D,) what was committed to it
    is_unbroken: Flags  # (D,) no preference violated
    paid_usd: Array  # (N,) to each owner
    option_kw: float  # under option, up to R
    required_kw: float
    gap_usd: float | None
    added_usd: float | None  # most that bidding can add, of which the gap is a share


def measure(outcomes: Sequence[Outcome]) -> dict[str, float | int | None]:
    """The measures of a day by one arm, over all its resources."""
    score, weight_kw, is_unbroken, paid_usd = (
        np.concatenate([getattr(one, name) for one in outcomes])
        for name in ("score", "weight_kw", "is_unbroken", "paid_usd")
    )
    gaps = [one.gap_usd for one in outcomes if one.gap_usd is not None]
    added_usd = sum(one.added_usd for one in outcomes if one.added_usd is not None)
    return {
        **{name: sum(one.sums[name] for one in outcomes) for name in outcomes[0].sums},
        "satisfaction": weighted_satisfaction(score, weight_kw),
        "satisfaction_of_unbroken": weighted_satisfaction(score[is_unbroken], weight_kw[is_unbroken]),
        "gini": gini(paid_usd),
        "fill_fraction": sum(one.option_kw for one in outcomes) / sum(one.required_kw for one in outcomes),
        "gap_fraction": (sum(gaps) / added_usd if added_usd > 0.0 else 0.0) if gaps else None,
        "gap_usd": sum(gaps) if gaps else None,
    }


def outcome(day: PastDay, plan: Plan) -> Outcome:
    """What ``plan`` comes to on its day, above selling nothing."""
    settings, own = day.settings, day.no_sale.fleet
    price = prices_by_hour(day.prices)
    plan = plan.cleared(price)
    clearing = price[plan.product, plan.hour]
    awarded = plan.awarded_mw(clearing)
    share = np.divide(awarded, plan.quantity_mw, out=np.zeros_like(awarded), where=plan.quantity_mw > 0.0)
    done, money = settled(day, plan, price)
    no_sale_usd = market_of(day, day.no_sale)
    sold, paid = plan.sold_kw(done), paid_price(plan, price)
    least = np.stack([reservation_price(own, product, settings.negotiation) for product in PRODUCTS])[plan.product]
    is_paid = sold > DUST_KW
    paid_usd = paid * sold / 1000.0
    broken = violations(own, plan, done, share, day.is_there)
    underpaid = is_paid & (paid < least - 1e-9)
    surplus_usd = float(np.where(is_paid, paid_usd - least * sold / 1000.0, 0.0).sum())
    net_usd = money.market_usd - money.payments_usd - no_sale_usd
    is_home = np.strings.startswith(own.segment.astype(str), "home")
    used = np.clip(sold / np.maximum(plan.committed_kw, DUST_KW), 0.0, 1.0)
    let_down = np.broadcast_to(_let_down(own, done), sold.shape) | underpaid
    (terms,) = terms_of(day.inputs, settings)
    sums = {
        "net_usd": net_usd,
        "value_usd": net_usd + surplus_usd,
        "energy_usd": money.energy_usd,
        "reserve_usd": money.reserve_usd,
        "charging_usd": money.charging_usd,
        "imbalance_usd": money.imbalance_usd,
        "leftover_usd": money.leftover_usd,
        "payments_usd": money.payments_usd,
        "home_payments_usd": float(paid_usd[:, is_home].sum()),
        "homes": int(is_home.sum()),
        "no_sale_usd": no_sale_usd,
        "surplus_usd": surplus_usd,
        "wear_usd": float((own.wear_usd_per_mwh @ done.discharge_kw).sum()) / 1000.0,
        "dispatched": int(is_paid.any(axis=0).sum()),
        **broken,
        "violations_underpaid": int(underpaid.sum()),
        "violations": sum(broken.values()) + int(underpaid.sum()),
        "let_down": int(_let_down(own, done).sum()),
        "bids": int((plan.quantity_mw > 0.0).sum()),
        "awarded_mwh": float(awarded[plan.product == ENERGY].sum()),
        "delivered_mwh": float(done.exported_kw.sum()) / 1000.0,
        "reserve_mw_h": float(awarded[plan.product != ENERGY].sum()),
        **_success(terms, plan, settings.rules),
        "seconds": plan.seconds,
    }
    return Outcome(
        sums,
        score=satisfaction_score(paid, least, used, let_down)[is_paid],
        weight_kw=plan.committed_kw[is_paid],
        is_unbroken=~let_down[is_paid],
        paid_usd=paid_usd.sum(axis=0),
        option_kw=float(np.minimum(_option_kw(terms, plan, settings.rules), terms.required_kw).sum()),
        required_kw=float(terms.required_kw.sum()),
        gap_usd=plan.gap_usd,
        added_usd=plan.added_usd,
    )


def settled(day: PastDay, plan: Plan, price: Array) -> tuple[DaySchedule, Money]:
    """The day as it goes at ``price`` (3, T), and its money: that of each storage resource by itself, since members of
    one do not make up for absent ones of another."""
    done, factor = no_schedule(plan.fleet), day.settings.settlement.imbalance_factor
    owed_kwh, accounts = day.no_sale.fleet.terminal_stored_kwh, []
    for mine, part in plan.by_resource():
        awarded = part.awarded_mw(price[part.product, part.hour])
        did = realise(part, awarded, day.is_there[mine], price, day.settings)
        for name, kw in vars(did).items():
            getattr(done, name)[mine] = kw
        accounts.append(vars(money_of(part, did, awarded, price, owed_kwh[mine], factor)))
    return done, Money(**{name: sum(account[name] for account in accounts) for name in accounts[0]})


def market_of(day: PastDay, plan: Plan) -> float:
    """What market and stores bring if ``plan`` goes as planned, $: for a plan that sells nothing."""
    owed_kwh, factor = day.no_sale.fleet.terminal_stored_kwh, day.settings.settlement.imbalance_factor
    price = prices_by_hour(day.prices)
    return money_of(plan, plan.schedule, plan.quantity_mw, price, owed_kwh, factor).market_usd


def violations(own: Fleet, plan: Plan, done: DaySchedule, share: Array, is_there: Flags) -> dict[str, int]:
    """Breaches of owners' limits in ``done``, by kind, and orders that could not be carried out.

    Prosumer-hours; cycles and the energy owed at the day's end are counted per prosumer. Where the day is dispatched
    anew, orders are what can be carried out; what the awards lack is settled as imbalance.
    """
    broken = limits_broken(own, done) | {"undeliverable": np.zeros(done.stored_kwh.shape, dtype=bool)}
    if not (plan.is_dispatched_anew or plan.goes_as_planned):
        sells = orders(plan, share, is_there)
        ordered = np.asarray(sum(plan.schedule.sold_kw(p) * sells[p] for p in range(len(PRODUCTS))))
        broken["undeliverable"] = past(ordered, np.asarray(sum(done.sold_kw(p) for p in range(len(PRODUCTS)))))
    return {f"violations_{kind}": int(where.sum()) for kind, where in broken.items()}


def _let_down(own: Fleet, done: DaySchedule) -> Flags:
    """Prosumers (N,) with a breach of what they asked for."""
    kinds = limits_broken(own, done).values()
    return np.asarray(np.any([where.reshape(len(own), -1).any(axis=1) for where in kinds], axis=0))


def _success(terms: Terms, plan: Plan, rules: MarketRules) -> dict[str, int]:
    """Capacity under option against R, for opportunities that can be met at all.

    An opportunity is feasible where a linear program over it alone reaches 80% (or all) of R: with commitments of at
    most 0.39 R its optimum is the sum of what everyone can commit whose reservation price the aggregator could pay.
    """
    required, option = terms.required_kw, _option_kw(terms, plan, rules)
    payable = (terms.capacity_kw > 0.0) & (terms.reservation <= terms.ceiling)
    reach = np.where(payable, terms.capacity_kw, 0.0).sum(axis=1)
    enough = payable.sum(axis=1) >= rules.minimum_members
    found: dict[str, int] = {}
    for percent, fraction in ((80, rules.required_fraction), (100, 1.0)):
        feasible = enough & (reach >= fraction * required - 1e-6)
        met = option >= fraction * required - 1e-6
        found[f"feasible_{percent}"] = int(feasible.sum())
        found[f"met_{percent}"] = int((feasible & met).sum())
    return found


def _option_kw(terms: Terms, plan: Plan, rules: MarketRules) -> Array:
    """Capacity under option (O,), of each owner no more than may count."""
    most = rules.maximum_commitment_fraction * terms.required_kw[:, None]
    return np.asarray(np.minimum(plan.committed_kw, most).sum(axis=1))


def gini(amounts: Array) -> float | None:
    """Gini coefficient of ``amounts`` (N,) ≥ 0: 0 all the same, towards 1 all to one; None where all are 0."""
    values = np.sort(np.maximum(amounts, 0.0))
    total, count = float(values.sum()), len(values)
    if total <= 0.0:
        return None
    rank = np.arange(1, count + 1)
    return float(2.0 * (rank @ values) / (count * total) - (count + 1.0) / count)


def orders(plan: Plan, share: Array, is_there: Flags) -> Array:
    """Share (3, N, T) of each planned sale that is asked for: ``share`` (O,) of bids, from who ``is_there`` (N,)."""
    return np.asarray(plan.by_product_and_hour(share)[:, None, :] * is_there[None, :, None])


def realise(plan: Plan, awarded_mw: Array, is_there: Flags, price: Array, settings: Settings) -> DaySchedule:
    """The day as it goes at ``price`` (3, T), with ``awarded_mw`` (O,) won, by available prosumers (N,)."""
    call_hours = settings.rules.backing_hours
    if plan.goes_as_planned:
        return plan.schedule
    if not plan.is_dispatched_anew:
        share = np.divide(awarded_mw, plan.quantity_mw, out=np.zeros_like(awarded_mw), where=plan.quantity_mw > 0.0)
        return redispatch(plan.fleet, plan.schedule, orders(plan, share, is_there), call_hours)
    bid, won = (plan.by_product_and_hour(mw) for mw in (plan.quantity_mw, awarded_mw))
    called = plan.callable_kw(awarded_mw)
    most_kw, call_price = (
        plan.by_product_and_hour(np.nan_to_num(values)).transpose(0, 2, 1) for values in (called, plan.deals.call_price)
    )
    market = Cleared(
        position_mw=position_mw(plan.schedule, Awards(bid[ENERGY], won[ENERGY], price)),
        reserve_mw=won[1:],
        owed_mw=np.zeros(price.shape[1]),
        price=price,
        imbalance_factor=settings.settlement.imbalance_factor,
        leftover_usd_per_mwh=cheapest_usd_per_mwh(price[ENERGY]),
    )
    return dispatched_anew(plan.fleet, plan.schedule, Deals(most_kw, call_price), market, is_there, call_hours)


def paid_price(plan: Plan, price: Array) -> Array:
    """What a delivery is paid (O, N) by its deal at ``price`` (3, T); 0 without a deal."""
    clearing = price[plan.product, plan.hour][:, None]
    index = plan.deals.index_price(clearing, cheapest_usd_per_mwh(price[ENERGY]))
    return np.nan_to_num(plan.deals.paid(index))


def money_of(
    plan: Plan, done: DaySchedule, awarded_mw: Array, price: Array, owed_kwh: Array, imbalance_factor: float
) -> Money:
    """The money of ``done`` at ``price`` (3, T), with ``awarded_mw`` (O,) won."""
    bid, won = (plan.by_product_and_hour(mw)[ENERGY] for mw in (plan.quantity_mw, awarded_mw))
    paid_usd = float((paid_price(plan, price) * plan.sold_kw(done)).sum()) / 1000.0
    awards = Awards(bid, won, price)
    return settlement.money_of(
        plan.fleet, plan.schedule, done, awards, price[ENERGY], paid_usd, owed_kwh, imbalance_factor
    )
