"""Monthly totals of each arm, and confidence intervals of its difference from another arm, by a bootstrap of days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array

BLOCK_DAYS, DRAWS, SEED = 7, 10_000, 20230815
DAYS_PER_YEAR = 365.0


@dataclass(frozen=True)
class Interval:
    """A mean, and where 95% of its bootstrap draws lie."""

    mean: float
    low: float
    high: float


def block_bootstrap(values: Array, block_days: int = BLOCK_DAYS, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """Mean of daily ``values`` (D,), with a 95% interval from weeks drawn with replacement.

    Days of a week resemble each other, so whole blocks of ``block_days`` consecutive days are drawn (the last one may
    be shorter); the mean is that of all days drawn. With one block nothing can be said: the interval is not a number.
    """
    firsts = np.arange(0, len(values), block_days)
    sums, counts = np.add.reduceat(values, firsts), np.diff([*firsts, len(values)])
    if len(firsts) < 2:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(firsts), size=(draws, len(firsts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def by_arm(rows: pl.DataFrame, best: str) -> pl.DataFrame:
    """One row per arm of `evaluation.benchmark`'s days: yearly money per kW of the fleet, shares, sums and means.

    Gross is net and payments to owners. Captures are shares of what arm ``best`` nets. Satisfaction is the mean over
    days with a dispatch, Gini likewise.
    """
    days = rows["market_date"].n_unique()
    per_year = DAYS_PER_YEAR / days
    yearly = per_year / pl.col("fleet_kw").mean()
    gross_usd = (pl.col("net_usd") + pl.col("payments_usd")).sum()
    most = float(rows.filter(arm=best)["net_usd"].sum()) if best in rows["arm"] else float("nan")
    kinds = [name for name in rows.columns if name.startswith("violations")]
    return rows.group_by("arm", maintain_order=True).agg(
        days=pl.len(),
        net_usd_per_kw_year=pl.col("net_usd").sum() * yearly,
        surplus_usd_per_kw_year=pl.col("surplus_usd").sum() * yearly,
        net_capture=pl.col("net_usd").sum() / most,
        value_capture=pl.col("value_usd").sum() / most,
        median_day_usd=pl.col("net_usd").median(),
        gross_usd=gross_usd,
        owners_fraction=pl.col("payments_usd").sum() / gross_usd,
        reserve_fraction=pl.col("reserve_usd").sum() / (pl.col("reserve_usd") + pl.col("energy_usd")).sum(),
        usd_per_home_year=pl.col("home_payments_usd").sum() * per_year / pl.col("homes").mean(),
        usd_per_business_year=(pl.col("payments_usd") - pl.col("home_payments_usd")).sum()
        * per_year
        / (pl.col("prosumers") - pl.col("homes")).mean(),
        payments_usd=pl.col("payments_usd").sum(),
        imbalance_usd=pl.col("imbalance_usd").sum(),
        satisfaction=pl.col("satisfaction").mean(),
        gini=pl.col("gini").mean(),
        dispatched=pl.col("dispatched").mean(),
        let_down=pl.col("let_down").sum(),
        success_80=pl.col("met_80").sum() / pl.col("feasible_80").sum(),
        success_100=pl.col("met_100").sum() / pl.col("feasible_100").sum(),
        fill_fraction=pl.col("fill_fraction").mean(),
        awarded_mwh=pl.col("awarded_mwh").sum(),
        gap_fraction=pl.col("gap_fraction").median(),
        gap_usd=pl.when(pl.col("gap_usd").count() > 0).then(pl.col("gap_usd").sum()),
        seconds=pl.col("seconds").mean(),
        **{name: pl.col(name).sum() for name in kinds},
    )


def differences(rows: pl.DataFrame, measure: str, other: str) -> dict[str, Interval]:
    """``other`` less each arm, per day with both, in the unit of ``measure``: arm -> mean and interval."""
    wide = rows.pivot("arm", index="market_date", values=measure).sort("market_date")
    found = {}
    for arm in wide.columns[1:]:
        pairs = wide.select(other, arm).drop_nulls().drop_nans() if arm != other else wide.clear()
        if arm != other and not pairs.is_empty():
            found[arm] = block_bootstrap((pairs[other] - pairs[arm]).to_numpy())
    return found
