"""Market regimes (`CAISO.regimes`): spans of market days bought under the same rules, so that prices compare.

A forecast, a scenario or a back-test that mixes two regimes learns from a market that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from vpp_pipeline.core.caiso import CAISO, Regime
from vpp_pipeline.core.errors import InputError

GENERATED = "synthetic"  # sources whose name begins so imitate one market on all days: no regime parts them


def regime_of(market_date: date) -> Regime:
    """The rules that the market day was bought under."""
    return next(regime for regime in reversed(CAISO.regimes) if regime.first_day <= market_date)


def comparable(days: Sequence[date], market_date: date, source: str) -> list[date]:
    """Those of ``days`` that are of the market day's regime; all of them where ``source`` is generated."""
    if source.startswith(GENERATED):
        return list(days)
    return [day for day in days if regime_of(day) == regime_of(market_date)]


def note_on(days: Sequence[date], market_date: date, source: str) -> str:
    """Why some of ``days`` do not count, in words; empty where all do."""
    left_out = sorted(set(days) - set(comparable(days, market_date, source)))
    if not left_out:
        return ""
    later = max(regime_of(left_out[-1]), regime_of(market_date), key=lambda regime: regime.first_day)
    return (
        f"{len(left_out)} days of another market regime than {market_date} do not count "
        f"({left_out[0]} to {left_out[-1]}): since {later.first_day}, {later.change}"
    )


def check_one_regime(prices: pl.DataFrame, market_date: date) -> None:
    """Raises ``InputError`` if rows of ``market.prices`` are of another regime than the market day that they serve.

    For every function that learns from past prices: a forecast, scenarios, a back-test, a model's training.
    """
    for (source,), rows in prices.group_by("source"):
        days: list[date] = rows["market_date"].unique().sort().to_list()
        note = note_on(days, market_date, str(source))
        if note:
            raise InputError(
                note,
                column="market_date",
                value=" to ".join(map(str, (days[0], days[-1]))),
                remedy=f"Use days of one regime: {regime_of(market_date).name}",
            )
