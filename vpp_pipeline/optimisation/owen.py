"""What each prosumer adds to the day at the day's own prices: the Owen share, from which top-ups are paid.

The day with its bids decided is a linear production game: each coalition of prosumers may use the aggregator's slots
(its bids) and earns what its best schedule earns. Everybody's best day at the duals of the rows that couple prosumers,
with the rent of the slots left to the aggregator, is an allocation in the core (Owen, On the core of linear production
games, Mathematical Programming 9, 1975): no coalition earns more on its own with all the slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.domain.payments import top_ups
from vpp_pipeline.optimisation.infeasible import without_dust
from vpp_pipeline.optimisation.problem import DayProblem, DaySolution
from vpp_pipeline.optimisation.uncertainty import outcome_of
from vpp_pipeline.schemas import OwenShares, door
from vpp_pipeline.settings import Settings


@dataclass(frozen=True)
class Owen:
    """How the day's value is imputed to N prosumers and the slots of O opportunities, $."""

    value_usd: Array  # (N,) best day at internal prices, agreed payments deducted
    share_usd: Array  # (N,) what that is above the day with no sales; beyond the agreed payments
    slot_rent_usd: Array  # (O,) what the market pays above internal prices; negative where the least quantity binds

    @property
    def forced_usd(self) -> float:
        """What least quantities (the 80 % rule) cost: coalitions freed from them could gain at most so much."""
        return -float(np.minimum(self.slot_rent_usd, 0.0).sum())


def owen(day: DayProblem, solution: DaySolution) -> Owen:
    """The Owen allocation: Σ value + Σ rent = what the bids as decided earn, before quantities are rounded.

    ``share_usd`` is negative for a prosumer that must charge where the fleet's own energy is dearer than the market's.
    """
    from vpp_pipeline.optimisation.column_generation.pricing import FleetPricer, stores_of

    reachable = without_dust(day)
    everyone = np.zeros(len(day.fleet), dtype=np.int64)
    value_usd = FleetPricer(stores_of(reachable), everyone, 1, day.call_hours).values(solution.duals)
    return Owen(value_usd, value_usd + solution.no_sale_charging_usd, slot_rent_usd(day, solution))


def slot_rent_usd(day: DayProblem, solution: DaySolution) -> Array:
    """What each bid (O,) brings above the internal prices of what it takes, at the quantity that is best for it, $."""
    worth = np.vstack([solution.duals.buy, solution.duals.spin, solution.duals.nonspin])
    per_mw = day.price * day.hours - np.einsum("ot,ot->o", day.covers, worth[day.product])
    return np.where(solution.is_bid, per_mw * np.where(per_mw > 0.0, day.required_mw, day.minimum_mw), 0.0)


def profit_usd(day: DayProblem, solution: DaySolution) -> float:
    """What the day is expected to leave the aggregator beyond the day with no bids, agreed payments made, $."""
    objective_usd = outcome_of(day, solution).expected_usd if day.scenarios else solution.objective_usd
    credit_usd = sum(
        float(np.vdot(day.by_prosumer_and_hour(product, day.satisfaction_worth), solution.schedule.sold_kw(product)))
        for product in range(len(PRODUCTS))
    )
    return objective_usd - credit_usd / 1000.0 + float(solution.no_sale_charging_usd.sum())


def owen_shares_table(day: DayProblem, solution: DaySolution, settings: Settings) -> pl.DataFrame:
    """`dispatch.owen_shares`: one row per prosumer; none where owners are paid the agreed price alone."""
    if settings.payments.rule == "agreed":
        return OwenShares.create_empty()
    share_usd = owen(day, solution).share_usd
    margin_fraction = settings.negotiation.minimum_margin_fraction
    energy, *reserves = (_gained_usd(day, solution, product) for product in range(len(PRODUCTS)))
    charging_usd = solution.schedule.grid_charge_kw @ solution.duals.buy / 1000.0
    return door(
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
    worth = (solution.duals.sell, solution.duals.spin, solution.duals.nonspin)[product]
    gain = np.where(np.isfinite(worth), worth, 0.0) - day.by_prosumer_and_hour(product, day.agreed_price)
    return np.asarray(np.einsum("nt,nt->n", gain, solution.schedule.sold_kw(product)) / 1000.0)
