"""What each prosumer delivers and is paid: agreed prices, the charging that sales cause, and the Owen share.

What each prosumer adds to the day at the day's own prices: the Owen share, from which top-ups are paid.

The day with its bids decided is a linear production game: each coalition of prosumers may use the aggregator's slots
(its bids) and earns what its best schedule earns. Everybody's best day at the duals of the rows that couple prosumers,
with the rent of the slots left to the aggregator, is an allocation in the core (Owen, On the core of linear production
games, Mathematical Programming 9, 1975): no coalition earns more on its own with all the slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.core.tables import in_parts, side_by_side
from vpp_pipeline.dispatch.infeasibility import without_dust
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.dispatch.scenarios import outcome_of
from vpp_pipeline.dispatch.schedule import SOLD
from vpp_pipeline.negotiation.agreements import satisfaction_score
from vpp_pipeline.negotiation.contract import COLUMNS, prices_of
from vpp_pipeline.negotiation.opportunities import hours_covered
from vpp_pipeline.schemas import OwenShares, Payments, validate
from vpp_pipeline.settings import Settings

DUST_KW = 1e-6  # less than a milliwatt is solver dust, not a delivery
PREFERENCE_TOLERANCE = 1e-4  # kW or kWh
AGREED = (
    "market_date",
    "opportunity_id",
    "prosumer_id",
    "committed_capacity_kw",
    "reservation_price_usd_per_mwh",
    "agreed_price_usd_per_mwh",
    *COLUMNS.values(),
)

_DELIVERED = {
    "market_date": pl.Date,
    "opportunity_id": pl.String,
    "prosumer_id": pl.String,
    "dispatched_kwh": pl.Float64,
    "dispatched_kw": pl.Float64,
    "forecast_price": pl.Float64,
    "committed_capacity_kw": pl.Float64,
    "reservation_price_usd_per_mwh": pl.Float64,
    "agreed_price_usd_per_mwh": pl.Float64,
    **dict.fromkeys(COLUMNS.values(), pl.Float64),
}


def payments_of(
    opportunities: pl.DataFrame,
    agreements: pl.DataFrame,
    schedule: pl.DataFrame,
    positions: pl.DataFrame,
    charging: pl.DataFrame,
    availability: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Payments`: one per prosumer dispatched in an opportunity that trades.

    Payment = agreed price x energy delivered (reserve: capacity held), which is what is paid if the forecast clears.
    The charging that a prosumer's sales cause (`to_recover_usd`, where positive) is split over its bids in proportion
    to revenue - call price x energy.
    """
    traded = opportunities.join(positions.filter("is_bid").select("opportunity_id"), on="opportunity_id", how="semi")
    owned = _deliveries(traded, schedule, agreements).join(
        charging.select("prosumer_id").with_row_index("place"), on="prosumer_id"
    )
    mwh, call_price = owned["dispatched_kwh"].to_numpy() / 1000.0, prices_of(owned).call_price
    charging_cost_usd = recovered_usd(
        owned["place"].to_numpy(),
        mwh,
        call_price,
        owned["forecast_price"].to_numpy(),
        charging["to_recover_usd"].to_numpy(),
    )
    score = satisfaction_score(
        owned["agreed_price_usd_per_mwh"].to_numpy(),
        owned["reservation_price_usd_per_mwh"].to_numpy(),
        (owned["dispatched_kw"] / owned["committed_capacity_kw"]).clip(0.0, 1.0).to_numpy(),
        owned["prosumer_id"].is_in(let_down(schedule, availability).implode()).to_numpy(),
    )
    money = {
        "call_price_usd_per_mwh": call_price,
        "payment_usd": mwh * owned["agreed_price_usd_per_mwh"].to_numpy(),
        "charging_cost_usd": charging_cost_usd,
        "satisfaction_score": score,
    }
    return validate(Payments, owned.with_columns(**{name: pl.Series(values) for name, values in money.items()}))


def _deliveries(traded: pl.DataFrame, schedule: pl.DataFrame, agreements: pl.DataFrame) -> pl.DataFrame:
    """What each prosumer delivers of each of ``traded`` opportunities, with its deal, in the order of both.

    Some opportunities at a time: a day of a million prosumers has twenty million deliveries.
    """
    hours, keys = hours_covered(traded), ["opportunity_id", "prosumer_id"]
    once = [name for name in (*AGREED, "forecast_price", "duration_hours") if name not in keys]
    found = [pl.DataFrame(schema=_DELIVERED)]
    for product, kwh in SOLD.items():
        of_product = hours.lazy().filter(pl.col("product") == product)
        sold = schedule.lazy().select("prosumer_id", "start_utc", kwh=kwh).filter(pl.col("kwh") != 0.0).collect().lazy()
        deals = agreements.lazy().filter("holds_option").join(of_product, on="opportunity_id", how="semi")
        for part in in_parts(deals, "opportunity_id"):
            delivered = (
                deals.filter(part)
                .select(AGREED)
                .join(of_product.filter(part), on="opportunity_id")
                .join(sold, on=["prosumer_id", "start_utc"])
                .sort(*keys, "start_utc")
                .group_by(keys, maintain_order=True)
                .agg(pl.col(once).first(), dispatched_kwh=pl.col("kwh").sum())
                .with_columns(dispatched_kw=pl.col("dispatched_kwh") / pl.col("duration_hours"))
                .filter(pl.col("dispatched_kw") > DUST_KW)
            )
            found.append(delivered.select(pl.col(name).cast(kind) for name, kind in _DELIVERED.items()).collect())
    return pl.concat(found).sort("opportunity_id", maintain_order=True)


def recovered_usd(
    prosumer: Indices, mwh: Array, call_price: Array, forecast_price: Array, to_recover_usd: Array
) -> Array:
    """The charging (D,) that each of D deliveries recovers of what its prosumer (N,) must, $.

    ``prosumer`` (D,): place in ``to_recover_usd``. One row per prosumer and opportunity that trades.

    One prosumer sells 0.1 MWh at $80 and 0.1 MWh at $60, called at $50 each, and must recover $2 of charging: three
    quarters of it fall on the sale that leaves three quarters of the gain.

    >>> charging_usd = recovered_usd(
    ...     np.array([0, 0]), np.array([0.1, 0.1]), np.array([50.0, 50.0]), np.array([80.0, 60.0]), np.array([2.0])
    ... )
    >>> charging_usd.round(2).tolist()
    [1.5, 0.5]
    """
    earned_usd = np.maximum((forecast_price - call_price) * mwh, 0.0)
    of_prosumer_usd = np.bincount(prosumer, weights=earned_usd, minlength=len(to_recover_usd))[prosumer]
    share = np.divide(earned_usd, of_prosumer_usd, out=np.zeros_like(earned_usd), where=of_prosumer_usd > 0.0)
    return np.asarray(share * np.maximum(to_recover_usd, 0.0)[prosumer])


def let_down(schedule: pl.DataFrame, availability: pl.DataFrame) -> pl.Series:
    """Prosumers with a violated preference: quiet hours, hours without charging, backup reserve, ready-by charge."""
    hour = ["prosumer_id", "start_utc"]
    limits = availability.select(*hour, "max_discharge_kw", "max_charge_kw", "min_stored_kwh")
    rows = side_by_side(schedule.select(*hour, "discharge_kw", "charge_kw", "stored_kwh"), limits, on=hour)
    is_broken = (
        (pl.col("discharge_kw") > pl.col("max_discharge_kw") + PREFERENCE_TOLERANCE)
        | (pl.col("charge_kw") > pl.col("max_charge_kw") + PREFERENCE_TOLERANCE)
        | (pl.col("stored_kwh") < pl.col("min_stored_kwh") - PREFERENCE_TOLERANCE)
    )
    return rows.filter(is_broken)["prosumer_id"].unique()


def top_ups(share_usd: Array, profit_usd: float, minimum_margin_fraction: float) -> Array:
    """What each prosumer (N,) is paid beyond its agreed payments, $: the same part of every positive share.

    All of it, unless the sum would exceed the day's ``profit_usd`` less the aggregator's margin.

    >>> top_ups(np.array([6.0, 2.0, -1.0]), profit_usd=20.0, minimum_margin_fraction=0.1).tolist()
    [6.0, 2.0, 0.0]
    >>> top_ups(np.array([6.0, 2.0, -1.0]), profit_usd=5.0, minimum_margin_fraction=0.2).tolist()
    [3.0, 1.0, 0.0]
    """
    owed_usd = np.maximum(share_usd, 0.0)
    affordable_usd = max(profit_usd, 0.0) * (1.0 - minimum_margin_fraction)
    return np.asarray(owed_usd * min(1.0, affordable_usd / max(float(owed_usd.sum()), 1e-9)))


def slot_rent_usd(day: DayProblem, solution: DaySolution) -> Array:
    """What each bid (O,) brings above the internal prices of what it takes, at the quantity that is best for it, $."""
    worth = np.vstack([solution.duals.buy, *solution.duals.held])
    per_mw = day.price * day.hours - np.einsum("ot,ot->o", day.covers, worth[day.product])
    return np.where(solution.is_bid, per_mw * np.where(per_mw > 0.0, day.required_mw, day.minimum_mw), 0.0)


@dataclass(frozen=True)
class Owen:
    """How the day's value is imputed to N prosumers and the slots of O opportunities, $."""

    value_usd: Array  # (N,) best day at internal prices, at call prices
    share_usd: Array  # (N,) what that is above the day with no sales; beyond the agreed payments of the schedule
    slot_rent_usd: Array  # (O,) what the market pays above internal prices; negative where the least quantity binds

    @property
    def forced_usd(self) -> float:
        """Cost of smallest quantities (the 80% rule): coalitions without them could gain at most this."""
        return -float(np.minimum(self.slot_rent_usd, 0.0).sum())


def owen(day: DayProblem, solution: DaySolution) -> Owen:
    """The Owen allocation: Σ value + Σ rent = what the bids as decided earn, before quantities are rounded.

    ``share_usd`` is negative for a prosumer that must charge where the fleet's own energy is dearer than the market's.
    """
    from vpp_pipeline.dispatch.column_generation.pricing import FleetPricer, stores_of

    reachable = without_dust(day)
    everyone = np.zeros(len(day.fleet), dtype=np.int64)
    value_usd = FleetPricer(stores_of(reachable), everyone, 1, day.call_hours).values(solution.duals)
    share_usd = value_usd + solution.no_sale_charging_usd - _of_deals_usd(day, solution, day.premium)
    return Owen(value_usd, share_usd, slot_rent_usd(day, solution))


def profit_usd(day: DayProblem, solution: DaySolution) -> float:
    """What the day is expected to leave the aggregator beyond the day with no bids, agreed payments made, $."""
    objective_usd = outcome_of(day, solution).expected_usd if day.scenarios else solution.objective_usd
    beyond_usd = float(_of_deals_usd(day, solution, day.satisfaction_worth + day.premium).sum())
    return objective_usd - beyond_usd + float(solution.no_sale_charging_usd.sum())


def _of_deals_usd(day: DayProblem, solution: DaySolution, price: Array) -> Array:
    """What each prosumer's deliveries (N,) come to at ``price`` (K,) of their deals, $."""
    usd = np.zeros(len(day.fleet))
    for product in range(len(PRODUCTS)):
        sold_kw = solution.schedule.sold_kw(product)
        usd += np.einsum("nt,nt->n", day.by_prosumer_and_hour(product, price), sold_kw) / 1000.0
    return usd


def owen_shares_table(day: DayProblem, solution: DaySolution, settings: Settings) -> pl.DataFrame:
    """`dispatch.owen_shares`: one row per prosumer; none where owners are paid the agreed price alone."""
    if settings.payments.rule == "agreed":
        return OwenShares.create_empty()
    share_usd = owen(day, solution).share_usd
    margin_fraction = settings.negotiation.minimum_margin_fraction
    energy, *reserves = (_gained_usd(day, solution, product) for product in range(len(PRODUCTS)))
    charging_usd = solution.schedule.grid_charge_kw @ solution.duals.buy / 1000.0
    return validate(
        OwenShares,
        pl.DataFrame(
            {
                "market_date": pl.repeat(day.market_date, len(day.fleet), eager=True),
                "prosumer_id": day.fleet.prosumer_id.astype(str),
                "from_energy_usd": energy,
                "from_reserve_usd": sum(reserves),
                "from_charging_usd": solution.no_sale_charging_usd - charging_usd,
                "owen_share_usd": share_usd,
                "top_up_usd": top_ups(share_usd, profit_usd(day, solution), margin_fraction),
            }
        ),
    )


def _gained_usd(day: DayProblem, solution: DaySolution, product: int) -> Array:
    """What each prosumer's sales (N,) of a product are worth at internal prices, beyond what its owner is paid, $."""
    worth = (solution.duals.sell, *solution.duals.held)[product]
    gain = np.where(np.isfinite(worth), worth, 0.0) - day.by_prosumer_and_hour(product, day.call_price + day.premium)
    return np.asarray(np.einsum("nt,nt->n", gain, solution.schedule.sold_kw(product)) / 1000.0)
