"""What missing energy may cost before an arm is no longer worth it: net $ a day by imbalance factor and availability.

    python benchmarks/sweep_settlement.py [days, default 6]

Every fifth day from 1 July 2024, real SP15 prices (``../shared/data`` beside the checkout), 200 prosumers, the 7-day
mean as forecast. Each plan is made once and settled under every assumption, so that only the settlement differs.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from days import prepare_day, real_prices

from vpp_pipeline.evaluation.backtest.metrics import measure, outcome
from vpp_pipeline.evaluation.backtest.plans import no_sale_plan
from vpp_pipeline.evaluation.backtest.strategies import ARMS, PastDay
from vpp_pipeline.evaluation.settlement import draw_available
from vpp_pipeline.settings import OptimiserSettings, Settings, SettlementSettings

FACTORS, COMPARED = (1.0, 1.25, 1.5, 2.0, 3.0), ("concession", "uniform_clearing", "centralised")
ASSUMED = [
    SettlementSettings(availability=who, imbalance_factor=factor) for who in ("fleet", "fixed") for factor in FACTORS
]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    settings, source = Settings(optimiser=OptimiserSettings(time_limit_seconds=0.5)), real_prices()
    net = np.zeros((len(ASSUMED), len(COMPARED), count))
    for k in range(count):
        market_date = date(2024, 7, 1) + timedelta(days=5 * k)
        inputs = prepare_day(market_date, source, settings)
        chance = inputs["fleet.prosumers"].sort("prosumer_id")["availability_fraction"].to_numpy()
        day = PastDay(inputs, settings, source.day(market_date), chance > 0.0, no_sale_plan(inputs, settings))
        plans = [ARMS[arm](day) for arm in COMPARED]
        for a, assumed in enumerate(ASSUMED):
            is_there = draw_available(chance, market_date, assumed)
            other = replace(day, settings=settings.model_copy(update={"settlement": assumed}), is_there=is_there)
            net[a, :, k] = [float(measure([outcome(other, plan)])["net_usd"] or 0.0) for plan in plans]
    print(f"{'there':>6s} {'factor':>7s}  " + " ".join(f"{arm:>17s}" for arm in COMPARED))
    for a, assumed in enumerate(ASSUMED):
        means = " ".join(f"{value:17.2f}" for value in net[a].mean(axis=1))
        print(f"{assumed.availability:>6s} {assumed.imbalance_factor:7.2f}  {means}")


if __name__ == "__main__":
    main()
