"""What the bids earned at clearing prices, with all prosumers available or with those drawn as available.

Money follows two settlements: awards are paid at the day-ahead price; energy that is missing is bought back, and
energy beyond the award is sold, at the same price made worse by a stated factor. Reserve that is not held is not paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN
from vpp_pipeline.core.display import usd_text
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.tables import with_missing
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.agreements import satisfaction_score
from vpp_pipeline.negotiation.contract import cheapest_usd_per_mwh, prices_of
from vpp_pipeline.negotiation.opportunities import hours_covered
from vpp_pipeline.schemas import DESK, Deliveries, Settlement, validate
from vpp_pipeline.settings import SettlementSettings

A_WATT_KW = 1e-3
DUST_KWH = 1e-6
SAME_PRICE = 1e-9
#: rows of energy that a storage resource sells or, below zero, buys: what differs from the award is settled both ways
IS_NET = pl.col("own_charging_mw").is_not_null()


@dataclass(frozen=True)
class Delivery:
    """The prosumers that deliver a day's bids, and the cost of imbalance."""

    deals: pl.DataFrame  # rows of `negotiation.agreements` that hold an option: who may be called, and for what
    payments: pl.DataFrame  # rows of `dispatch.payments`: who was planned to deliver how much
    done: pl.DataFrame  # rows of `evaluation.dispatched`
    members: pl.DataFrame  # prosumer_id, is_there, is_let_down, wear_usd_per_mwh
    imbalance_factor: float  # at least 1


def draw_available(
    availability_fraction: Array, market_date: date, settings: SettlementSettings, before: int = 0
) -> Flags:
    """Whether each prosumer (N,), in the order of its id, is there all day; the same draw for the same seed and day.

    ``before``: so many draws are of other prosumers.
    """
    chance = (
        availability_fraction
        if settings.availability == "fleet"
        else np.full_like(availability_fraction, settings.availability_fraction)
    )
    draws = np.random.PCG64(np.random.SeedSequence([settings.seed, market_date.toordinal()])).advance(before)
    return np.asarray(np.random.Generator(draws).random(len(chance)) < chance)


def imbalance_usd(price_usd_per_mwh: Array, surplus_mwh: Array, factor: float) -> Array:
    """What energy beyond the award is paid; negative: the cost of a shortfall. Never better than the price itself.

    price · surplus − (factor − 1) · |price| · |surplus|

    One MWh too much and one too little, at $40 and at -$20 per MWh; each is a quarter worse than the price:

    >>> imbalance_usd(np.array([40.0, 40.0, -20.0, -20.0]), np.array([1.0, -1.0, 1.0, -1.0]), 1.25).tolist()
    [30.0, -50.0, -25.0, 15.0]
    """
    worse = (factor - 1.0) * np.abs(price_usd_per_mwh) * np.abs(surplus_mwh)
    return np.asarray(price_usd_per_mwh * surplus_mwh - worse)


def same_source(forecast: pl.DataFrame, prices: pl.DataFrame) -> None:
    """Raises InputError unless prices and forecast (and so the bids) rest on the same source and node."""
    bid_on, cleared = (frame.select("source", "node").row(0) for frame in (forecast, prices))
    if bid_on != cleared:
        raise InputError(
            f"the bids of {prices['market_date'][0]} rest on other prices: {' at '.join(bid_on)}, not "
            f"{' at '.join(cleared)}",
            column="source, node",
            remedy="Name the source of the bids (--prices, --node), or make the bids again from this one",
        )


def settle(
    opportunities: pl.DataFrame,
    final_bids: pl.DataFrame,
    segments: pl.DataFrame,
    prices: pl.DataFrame,
    delivery: Delivery | None = None,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Settlement`, one per bid.

    A segment is awarded where the clearing price (mean over the block; the offered price of a request) reaches its
    own. Revenue is paid at the clearing price, prosumers for what they delivered. Without ``delivery`` all that is
    awarded counts as delivered. Charging follows in proportion to the award, at forecast prices: what it really cost
    is of the whole day (`evaluation.settled_days`).
    """
    bids = awarded_bids(opportunities, final_bids, segments, prices)
    paid = None if delivery is None else deliveries_of(opportunities, bids, prices, delivery)
    return validate(Settlement, account_of(opportunities, bids, delivery, paid))


def account_of(
    opportunities: pl.DataFrame, bids: pl.DataFrame, delivery: Delivery | None, paid: pl.DataFrame | None
) -> pl.DataFrame:
    """:func:`settle`, of :func:`awarded_bids` and, if they were delivered, what :func:`deliveries_of` says was paid;
    not yet validated.
    """
    bids = with_missing(bids, resource_id=DESK)
    rows = bids.join(_delivered(opportunities, bids, delivery, paid), on="opportunity_id", how="left").with_columns(
        pl.col("shortfall_mw", "surplus_mw", "wear_usd").fill_null(0.0),
        pl.col("absent_members", "empty_members").fill_null(0),
    )
    is_energy, price, hours = pl.col("product") == "energy", pl.col("clearing_price"), pl.col("duration_hours")
    factor = 1.0 if delivery is None else delivery.imbalance_factor
    short_mwh, surplus_mwh = pl.col("shortfall_mw") * hours, pl.col("surplus_mw") * hours
    worse = (factor - 1.0) * price.abs()
    delivered = pl.col("awarded_mw") - pl.col("shortfall_mw")
    rows = rows.with_columns(
        delivered_mw=pl.when(IS_NET).then(delivered + pl.col("surplus_mw")).otherwise(delivered.clip(lower_bound=0.0)),
        revenue_usd=(price * pl.col("awarded_mw") * hours).round(2),
        no_pay_usd=pl.when(is_energy).then(0.0).otherwise(price * short_mwh).round(2),
        imbalance_usd=pl.when(is_energy)
        .then((price + worse) * short_mwh - (price - worse) * surplus_mwh)
        .otherwise(0.0)
        .round(2),
        payments_usd=pl.coalesce("owed_usd", pl.col("payments_usd") * pl.col("share")).round(2),
        charging_cost_usd=(pl.col("charging_cost_usd") * pl.col("share")).round(2),
        wear_usd=pl.col("wear_usd").round(2),
    )
    costs = ("no_pay_usd", "imbalance_usd", "payments_usd", "charging_cost_usd")
    profit = pl.col("revenue_usd") - pl.sum_horizontal(costs)
    return rows.with_columns(profit_usd=profit.round(2)).select(Settlement.column_names())


def awarded_bids(
    opportunities: pl.DataFrame, final_bids: pl.DataFrame, segments: pl.DataFrame, prices: pl.DataFrame
) -> pl.DataFrame:
    """The bids with `clearing_price`, `bid_mw`, `awarded_mw` and the `share` of the bid that this is."""
    bids = _with_clearing_prices(opportunities, final_bids, prices)
    share = pl.when(pl.col("bid_mw") > 0.0).then(pl.col("awarded_mw") / pl.col("bid_mw")).otherwise(0.0)
    return (
        bids.join(awards(segments, bids), on="bid_id", how="left")
        .with_columns(pl.col("awarded_mw").fill_null(0.0))
        .with_columns(share=share, own_charging_mw=pl.lit(None, pl.Float64))
    )


def storage_bids(
    opportunities: pl.DataFrame, final_bids: pl.DataFrame, prices: pl.DataFrame, won: pl.DataFrame
) -> pl.DataFrame:
    """The same of a storage resource; ``won``: its awards by product and start_utc, awarded_mw.

    Its `own_charging_mw`, of energy alone: what its members charge in any case, which is load and no part of the award.
    """
    bids = _with_clearing_prices(opportunities, final_bids, prices)
    return bids.join(won, on=["product", "start_utc"], how="left").with_columns(share=pl.lit(1.0))


def awards(segments: pl.DataFrame, bids: pl.DataFrame) -> pl.DataFrame:
    """bid_id, awarded_mw: MW of the segments whose price ``bids.clearing_price`` reaches; no row where none is."""
    return (
        segments.join(bids.select("bid_id", "clearing_price"), on="bid_id")
        .filter(pl.col("price_usd_per_mwh") <= pl.col("clearing_price"))
        .group_by("bid_id")
        .agg(awarded_mw=(pl.col("to_mw") - pl.col("from_mw")).sum())
    )


def _with_clearing_prices(opportunities: pl.DataFrame, final_bids: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """The bids with `clearing_price` and `bid_mw`."""
    long = prices.unpivot(
        on=list(PRICE_COLUMN.values()), index="start_utc", variable_name="column", value_name="cleared"
    ).with_columns(
        product=pl.col("column").replace_strict({column: product for product, column in PRICE_COLUMN.items()})
    )
    cleared = (
        hours_covered(opportunities)
        .join(long, on=["product", "start_utc"], how="left")
        .group_by("opportunity_id")
        .agg(pl.col("cleared").mean())
    )
    clearing = pl.when(pl.col("origin") == "request").then("forecast_price").otherwise("cleared")
    return (
        final_bids.filter(pl.col("status") == "bid")
        .join(cleared, on="opportunity_id")
        .join(opportunities.select("opportunity_id", "origin"), on="opportunity_id")
        .with_columns(clearing_price=clearing, bid_mw="total_capacity_mw")
    )


def _given(opportunities: pl.DataFrame, bids: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
    """What prosumers gave in each hour of each bid: opportunity_id, prosumer_id, start_utc, given_kw, netted_kw,
    discharged_kw.
    """
    is_energy, exported_kw = pl.col("product") == "energy", pl.col("discharge_kw") + pl.col("solar_sold_kw")
    reserve_kw = pl.coalesce(pl.when(pl.col("product") == one.name).then(one.held_column) for one in CAISO.reserves)
    hours = hours_covered(opportunities.join(bids, on="opportunity_id", how="semi"))
    return hours.join(done, on="start_utc").select(
        "opportunity_id",
        "prosumer_id",
        "start_utc",
        given_kw=pl.when(is_energy).then(exported_kw).otherwise(reserve_kw),
        netted_kw=pl.when(is_energy).then("grid_charge_kw").otherwise(0.0),
        discharged_kw=pl.when(is_energy).then("discharge_kw").otherwise(0.0),
    )


def given_of(opportunities: pl.DataFrame, bids: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
    """What each prosumer gives to each of ``bids`` by the schedule ``done``: delivered_kwh, and mean_kw."""
    by_deal = _given(opportunities, bids, done).group_by("opportunity_id", "prosumer_id")
    given = by_deal.agg(delivered_kwh=pl.col("given_kw").sum(), mean_kw=pl.col("given_kw").mean())
    return given.filter(pl.col("delivered_kwh") > DUST_KWH)


def deliveries_of(
    opportunities: pl.DataFrame, bids: pl.DataFrame, prices: pl.DataFrame, delivery: Delivery
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Deliveries`, not yet validated: what each owner is paid for each delivery,
    by its deal.

    ``bids``: of :func:`awarded_bids`. ``prices``: rows of `market.prices`.
    """
    rows = (
        given_of(opportunities, bids, delivery.done)
        .join(delivery.deals, on=["opportunity_id", "prosumer_id"])
        .join(delivery.members.select("prosumer_id", "is_let_down"), on="prosumer_id")
        .join(bids.select("opportunity_id", "clearing_price"), on="opportunity_id")
        .sort("opportunity_id", "prosumer_id")
    )
    deals, clearing = prices_of(rows), rows["clearing_price"].to_numpy()
    cheapest = cheapest_usd_per_mwh(prices[PRICE_COLUMN["energy"]].to_numpy())
    index = deals.index_price(clearing, cheapest)
    paid, is_forced = deals.paid(index), deals.is_forced(index)
    score = satisfaction_score(
        paid,
        rows["reservation_price_usd_per_mwh"].to_numpy(),
        (rows["mean_kw"] / rows["committed_capacity_kw"]).clip(0.0, 1.0).to_numpy(),
        rows["is_let_down"].to_numpy(),
    )
    money = {
        "clearing_price_usd_per_mwh": clearing,
        "recharging_usd_per_mwh": deals.recharge_factor * cheapest,
        "index_price_usd_per_mwh": index,
        "floor_price_usd_per_mwh": deals.floor,
        "cap_price_usd_per_mwh": deals.cap,
        "paid_price_usd_per_mwh": paid,
        "payment_usd": paid * rows["delivered_kwh"].to_numpy() / 1000.0,
        "is_forced": is_forced,
        "satisfaction_score": score,
    }
    rows = rows.with_columns(pl.Series(name, values) for name, values in money.items())
    return rows.with_columns(reason=_why()).select(Deliveries.column_names())


def _why() -> pl.Expr:
    """Why a delivery is paid its price, from the columns of :class:`~vpp_pipeline.schemas.Deliveries`."""
    floor, cap, paid, index = (pl.col(f"{name}_price_usd_per_mwh") for name in ("floor", "cap", "paid", "index"))
    tells = {name: usd_text(f"{name}_price_usd_per_mwh") for name in ("floor", "cap", "paid", "index", "clearing")}
    of_market = pl.format(
        "the market paid {}, {} of it for recharging", tells["clearing"], usd_text("recharging_usd_per_mwh")
    )
    return (
        pl.when((cap - floor).abs() <= SAME_PRICE)
        .then(pl.format("Paid {}, the price of its deal.", tells["paid"]))
        .when("is_forced")
        .then(
            pl.format(
                "Paid its cap of {}, because it was called below its floor of {}: {}.",
                tells["cap"],
                tells["floor"],
                of_market,
            )
        )
        .when(paid >= cap - SAME_PRICE)
        .then(pl.format("Paid its cap of {}: {}.", tells["cap"], of_market))
        .when((paid - index).abs() <= SAME_PRICE)
        .then(pl.format("Paid all that is left, {}: {}.", tells["paid"], of_market))
        .when(paid <= floor + SAME_PRICE)
        .then(pl.format("Paid its floor of {}: {}.", tells["floor"], of_market))
        .otherwise(pl.format("Paid {}, its share of what is left: {}.", tells["paid"], of_market))
    )


def _delivered(
    opportunities: pl.DataFrame, bids: pl.DataFrame, delivery: Delivery | None, paid: pl.DataFrame | None
) -> pl.DataFrame:
    """Per opportunity: shortfall_mw, surplus_mw, absent_members, empty_members, owed_usd, and wear_usd of the stores.

    What an hour with an award lacks is the award less what the fleet gives; energy, net of its own charging. Of a
    storage resource the charging that was due beside its award is none, and what it gives beyond counts as well.
    """
    if delivery is None or paid is None:
        amounts = dict.fromkeys(("shortfall_mw", "surplus_mw", "owed_usd", "wear_usd"), pl.Float64)
        counts = dict.fromkeys(("absent_members", "empty_members"), pl.Int64)
        return pl.DataFrame(schema={"opportunity_id": pl.String, **amounts, **counts})
    hourly = _given(opportunities, bids, delivery.done)
    lacks_mw = pl.col("awarded_mw") - pl.col("net_mw") - pl.col("own_charging_mw").fill_null(0.0)
    short_mw = lacks_mw.clip(lower_bound=0.0)
    lacking = (
        hourly.group_by("opportunity_id", "start_utc")
        .agg(net_mw=(pl.col("given_kw") - pl.col("netted_kw")).sum() / 1000.0)
        .join(bids.select("opportunity_id", "awarded_mw", "own_charging_mw"), on="opportunity_id")
        .group_by("opportunity_id")
        .agg(
            shortfall_mw=pl.when(IS_NET).then(short_mw).otherwise(pl.min_horizontal(short_mw, "awarded_mw")).mean(),
            surplus_mw=pl.when(IS_NET).then((-lacks_mw).clip(lower_bound=0.0)).otherwise(0.0).mean(),
        )
    )
    given = (
        hourly.group_by("opportunity_id", "prosumer_id")
        .agg(pl.col("given_kw").mean(), discharged_mwh=pl.col("discharged_kw").sum() / 1000.0)
        .join(delivery.members, on="prosumer_id")
        .sort("opportunity_id", "prosumer_id")
    )
    worn = given.group_by("opportunity_id", maintain_order=True).agg(
        wear_usd=(pl.col("discharged_mwh") * pl.col("wear_usd_per_mwh")).sum()
    )
    owed = paid.group_by("opportunity_id", maintain_order=True).agg(owed_usd=pl.col("payment_usd").sum())
    ordered_kw = pl.col("share") * pl.col("dispatched_kw")
    members = (
        delivery.payments.join(bids.select("opportunity_id", "share"), on="opportunity_id")
        .join(given, on=["opportunity_id", "prosumer_id"])
        .group_by("opportunity_id")
        .agg(
            absent_members=(~pl.col("is_there")).sum().cast(pl.Int64),
            empty_members=(pl.col("is_there") & (ordered_kw - pl.col("given_kw") > A_WATT_KW)).sum().cast(pl.Int64),
        )
    )
    for others in (owed, worn, members):
        lacking = lacking.join(others, on="opportunity_id", how="left")
    return lacking.with_columns(pl.col("owed_usd").fill_null(0.0))


def leftover_usd(fleet: Fleet, done: DaySchedule, energy_price: Array, owed_kwh: Array) -> float:
    """What the stored energy beyond ``owed_kwh`` (N,) would cost to buy in the cheapest hours; negative if it lacks."""
    beyond = (done.stored_kwh[:, -1] - owed_kwh) / fleet.charge_efficiency
    return cheapest_usd_per_mwh(energy_price) * float(np.where(fleet.has_store, beyond, 0.0).sum()) / 1000.0


@dataclass(frozen=True)
class Money:
    """A day's money of the aggregator, $; costs are positive and subtracted."""

    energy_usd: float  # awarded energy at the price it is paid
    reserve_usd: float  # reserve held, at the price it is paid; what is not held is not paid
    charging_usd: float  # charging scheduled in hours without an award
    imbalance_usd: float  # what the difference to the position costs; negative where a surplus earned
    leftover_usd: float  # worth of stored energy beyond what owners are owed at the day's end
    payments_usd: float

    @property
    def market_usd(self) -> float:
        """What market and stores bring before owners are paid."""
        return self.energy_usd + self.reserve_usd - self.charging_usd - self.imbalance_usd + self.leftover_usd

    @property
    def net_usd(self) -> float:
        """What is left when they are."""
        return self.market_usd - self.payments_usd


@dataclass(frozen=True)
class Awards:
    """MW (T,) of energy bid and won in each hour, and what is paid for each product in each hour (3, T)."""

    bid_mw: Array
    won_mw: Array
    paid_price: Array


def money_of(
    fleet: Fleet,
    planned: DaySchedule,
    done: DaySchedule,
    awards: Awards,
    energy_price: Array,
    payments_usd: float,
    owed_kwh: Array,
    imbalance_factor: float,
) -> Money:
    """What the day ``done`` came to, at the clearing prices ``energy_price`` (T,).

    ``owed_kwh`` (N,): stored energy that owners are to find at the day's end.
    """
    position = position_mw(planned, awards)
    held = np.stack([kw.sum(axis=0) for kw in done.held_kw]) / 1000.0
    surplus = net_export_mw(done) - position
    return Money(
        energy_usd=float(awards.paid_price[0] @ awards.won_mw),
        reserve_usd=float((awards.paid_price[1:] * held).sum()),
        charging_usd=float(energy_price @ (awards.won_mw - position)),
        imbalance_usd=-float(imbalance_usd(energy_price, surplus, imbalance_factor).sum()),
        leftover_usd=leftover_usd(fleet, done, energy_price, owed_kwh),
        payments_usd=payments_usd,
    )


def position_mw(planned: DaySchedule, awards: Awards) -> Array:
    """The day-ahead position of each hour (T,): the plan's net export less the energy that was bid and not won."""
    return np.asarray(net_export_mw(planned) - (awards.bid_mw - awards.won_mw))


def net_export_mw(schedule: DaySchedule) -> Array:
    """What prosumers export beyond what they charge from the grid (T,), MW."""
    return np.asarray((schedule.exported_kw - schedule.grid_charge_kw).sum(axis=0) / 1000.0)
