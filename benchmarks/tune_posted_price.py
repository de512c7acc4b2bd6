"""Which share of what could be paid a posted price should offer: tuned on days before those of docs/backtest.md.

    python benchmarks/tune_posted_price.py [share ..., default 0.65 0.8 0.9]

Every third day of June 2024; real SP15 prices (``../shared/data`` beside the checkout), 200 prosumers, the
7-day mean as forecast. Prints the aggregator's mean net of a day per share; the best one is
`evaluation/backtest/strategies.py:POSTED_FRACTION`.
"""

from __future__ import annotations

import sys
from datetime import date

import numpy as np
from days import prepare_day, real_prices

from vpp_pipeline.evaluation.backtest.metrics import measure, outcome
from vpp_pipeline.evaluation.backtest.plans import at_fixed_prices, bid_plan, no_sale_plan, posted_price
from vpp_pipeline.evaluation.backtest.strategies import PastDay
from vpp_pipeline.evaluation.settlement import draw_available
from vpp_pipeline.settings import OptimiserSettings, Settings

DAYS = [date(2024, 6, day) for day in range(3, 31, 3)]


def main() -> None:
    shares = [float(text) for text in sys.argv[1:]] or [0.65, 0.8, 0.9]
    settings, source = at_fixed_prices(Settings(optimiser=OptimiserSettings(time_limit_seconds=0.5))), real_prices()
    net: dict[float, list[float]] = {share: [] for share in shares}
    for market_date in DAYS:
        inputs = prepare_day(market_date, source, settings)
        rows = inputs["fleet.prosumers"].sort("prosumer_id")
        is_there = draw_available(rows["availability_fraction"].to_numpy(), market_date, settings.settlement)
        no_sale = no_sale_plan(inputs, settings)
        day = PastDay(inputs, settings, source.day(market_date), is_there, no_sale)
        for share in shares:
            plan = bid_plan(inputs, settings, posted_price(share))
            net[share].append(float(measure([outcome(day, plan)])["net_usd"] or 0.0))
    for share, values in net.items():
        print(f"share {share:.2f}: net {np.mean(values):8.2f} $ a day ({', '.join(f'{v:.2f}' for v in values)})")


if __name__ == "__main__":
    main()
