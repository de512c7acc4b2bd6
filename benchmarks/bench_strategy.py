"""What an owner gains by lying about its price, what is lost if all lie, and net against satisfaction.

    python benchmarks/bench_strategy.py [days, default 8] [--picture docs/img/net_and_satisfaction.svg]
    python benchmarks/bench_strategy.py depth [days, default 12]      fixed prices: who earns how much, by auction depth

Real SP15 prices (``../shared/data`` beside the checkout), days spread evenly over August 2023 to June 2024, on which
parameters may be chosen; the default 200 prosumers, all hourly opportunities, no requests. Each day is planned and
settled by the arms of the back-test, at the prices and absences that came.

One owner lies: it states its reservation price times a factor, all others are truthful. It is called where the index
price reaches what it stated (fixed prices: where the deal still closes), for the kWh that it delivered when it told
the truth, and its gain is what it is paid beyond its true reservation price, less that of the truth. Calls that only
a lower price would bring are left out: each of them is paid less than the true reservation price. Ends with 1 where a
lie gains anything under a posted cap or a half share.

Everybody lies: the whole day is planned again with every reservation price times the factor, and worth what it is at
the true ones.

The frontier: the same plans, for dispatch goes by floors, with caps from other opening premiums; posted caps by other
multiples are planned again, for they decide who holds an option.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from days import prepare_day, random_days, real_prices

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.evaluation.backtest.metrics import measure, outcome, realise
from vpp_pipeline.evaluation.backtest.plans import ENERGY, Plan, no_sale_plan, prices_by_hour
from vpp_pipeline.evaluation.backtest.strategies import ARMS, PastDay
from vpp_pipeline.evaluation.settlement import draw_available
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.negotiation.agreements import deal_prices
from vpp_pipeline.negotiation.contract import Prices, cheapest_usd_per_mwh
from vpp_pipeline.negotiation.negotiate import ENGINES
from vpp_pipeline.negotiation.outcome import Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import bid_solution, fleet_of, limit_fleet, prepare_problem, solve, terms_of
from vpp_pipeline.settings import NegotiationPolicy, Settings

Floats = npt.NDArray[np.float64]

FIRST, LAST = date(2023, 8, 10), date(2024, 6, 30)
FACTORS = (0.5, 0.8, 1.2, 2.0)
PREMIUMS, MULTIPLES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0), (1.0, 1.25, 1.5, 2.0)
DEPTHS = (1.0, 2.0, 3.0, 5.0, 10.0, 100.0)
STAMP = Stamp("benchmark", "benchmark", None, "benchmark", datetime(2000, 1, 1, tzinfo=UTC))
NO_GAIN_USD = 1e-9
#: arm of the back-test -> how it negotiates
POLICIES = {
    "indexed": NegotiationPolicy(),
    "indexed_posted": NegotiationPolicy(engine="uniform_clearing"),
    "indexed_half_share": NegotiationPolicy(engine="uniform_clearing", posted="half_share"),
    "concession": NegotiationPolicy(contract="fixed"),
    "uniform_clearing": NegotiationPolicy(engine="uniform_clearing", contract="fixed"),
}
POSTED = ("indexed_posted", "indexed_half_share")


@dataclass(frozen=True)
class Replayed:
    """A day as an arm ran it, told the truth."""

    day: PastDay
    policy: NegotiationPolicy
    plan: Plan
    terms: Terms
    kwh: Floats  # (O, N) delivered
    index: Floats  # (O, N) price that cleared, less recharging

    def worth(self, deals: Prices, is_called: npt.NDArray[np.bool_]) -> Floats:
        """What each owner (N,) is paid beyond its true reservation price, $."""
        index = self.clearing(deals)
        beyond = np.nan_to_num(deals.paid(index)) - self.terms.reservation
        return np.asarray(np.where(is_called, beyond * self.kwh, 0.0).sum(axis=0) / 1000.0)

    def clearing(self, deals: Prices) -> Floats:
        """The index price (O, N) as ``deals`` reckon it."""
        return np.where(np.nan_to_num(deals.recharge_factor) > 0.0, self.index, self.price[:, None])

    @property
    def price(self) -> Floats:
        """Clearing price (O,)."""
        return np.asarray(prices_by_hour(self.day.prices)[self.plan.product, self.plan.hour])


def settings_with(policy: NegotiationPolicy) -> Settings:
    return Settings(negotiation=policy)


def past_day(market_date: date, source: PriceSource) -> PastDay:
    settings = Settings()
    inputs = DayInputs(market_date, settings.hour_by_hour(), None, None, None, opened=source).tables()
    rows = inputs["fleet.prosumers"].sort("prosumer_id")
    is_there = draw_available(rows["availability_fraction"].to_numpy(), market_date, settings.settlement)
    return PastDay(inputs, settings, source.day(market_date), is_there, no_sale_plan(inputs, settings))


def replayed(day: PastDay, arm: str) -> Replayed:
    plan, policy = ARMS[arm](day), POLICIES[arm]
    price = prices_by_hour(day.prices)
    awarded_mw = plan.awarded_mw(price[plan.product, plan.hour])
    done = realise(plan, awarded_mw, day.is_there, price, day.settings)
    terms = terms_of(day.inputs, settings_with(policy))
    clearing = price[plan.product, plan.hour][:, None]
    index = clearing - terms.factors * cheapest_usd_per_mwh(price[ENERGY])
    return Replayed(day, policy, plan, terms, np.where(np.isfinite(plan.deals.floor), plan.sold_kw(done), 0.0), index)


def told(run: Replayed, factor: float, i: int | None = None) -> tuple[Outcome, Prices]:
    """The negotiation if prosumer ``i`` (None: each of them) states ``factor`` times its reservation price."""
    scale = np.ones(len(run.terms.prosumer_id))
    scale[slice(None) if i is None else i] = factor
    lied = replace(run.terms, reservation=scale * run.terms.reservation, opening_ask=scale * run.terms.opening_ask)
    outcome = ENGINES[run.policy.engine](lied, run.policy)
    return outcome, deal_prices(outcome, lied, run.policy)


def gains(run: Replayed, factor: float) -> tuple[Floats, Floats]:
    """What each owner (N,) has by the truth, and what more by lying alone, $."""
    sold = run.kwh > 0.0
    truth = run.worth(run.plan.deals, sold)
    if run.policy.engine == "concession":  # an owner's ask touches no deal but its own
        outcome, deals = told(run, factor)
        return truth, _worth_of_lie(run, outcome, deals) - truth
    lied = np.empty_like(truth)
    for i in range(len(truth)):
        outcome, deals = told(run, factor, i)
        lied[i] = _worth_of_lie(run, outcome, deals)[i]
    return truth, lied - truth


def _worth_of_lie(run: Replayed, outcome: Outcome, deals: Prices) -> Floats:
    is_called = (run.kwh > 0.0) & outcome.is_closed
    if run.policy.contract == "indexed":
        was_forced = run.plan.deals.is_forced(run.clearing(run.plan.deals))
        is_called &= ~deals.is_forced(run.clearing(deals)) | was_forced
    return run.worth(deals, is_called)


def compare_lies(days: list[PastDay]) -> dict[str, list[Replayed]]:
    """One line per contract, engine, and factor."""
    print("| Deals | States its price times | Mean gain | Gain | Lose | Mean, $/day | Largest, $/day |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    runs = {arm: [replayed(day, arm) for day in days] for arm in POLICIES}
    for arm, replays in runs.items():
        for factor in FACTORS:
            both = [gains(run, factor) for run in replays]
            worth, gain = (np.concatenate([pair[k] for pair in both]) for k in (0, 1))
            share = [(gain > NO_GAIN_USD).mean(), (gain < -NO_GAIN_USD).mean()]
            print(
                f"| `{arm}` | {factor:g} | {100.0 * gain.sum() / worth.sum():+.1f}% | "
                f"{' | '.join(f'{100.0 * part:.0f}%' for part in share)} | {_usd(gain.mean())} | "
                f"{_usd(max(gain.max(), 0.0))} |",
                flush=True,
            )
            if arm in POSTED and gain.max() > NO_GAIN_USD:
                sys.exit(f"failed: a lie of x {factor:g} gains ${gain.max():.3g} under {arm}")
    return runs


def _usd(amount: float) -> str:
    return f"-${-amount:.4f}" if amount < 0.0 else f"${amount:.4f}"


def everybody_states(day: PastDay, factor: float) -> Tables:
    """The day's inputs with every owner's reservation price times ``factor``, energy and reserve."""
    names = ("wear_usd_per_mwh", "minimum_compensation_usd_per_kwh")
    rows = day.inputs["fleet.prosumers"].with_columns(pl.col(name) * factor for name in names)
    inputs = {**day.inputs, "fleet.prosumers": rows}
    return inputs | limit_fleet(inputs)


def compare_everybody(runs: dict[str, list[Replayed]]) -> None:
    """What the day is worth, owners' surplus at true prices included, if nobody or everybody lies."""
    print("\n| Deals | Everybody states | Value, $/day | Lost, $/day | Net, $/day |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for arm in ("indexed", "indexed_posted"):
        truth = None
        for factor in (1.0, 0.8, 1.2, 2.0):
            values = [_if_everybody(run, arm, factor) for run in runs[arm]]
            value, net = (float(np.mean([pair[k] for pair in values])) for k in (0, 1))
            truth = value if truth is None else truth
            print(f"| `{arm}` | × {factor:g} | {value:.2f} | {truth - value:.2f} | {net:.2f} |", flush=True)


def _if_everybody(run: Replayed, arm: str, factor: float) -> tuple[float, float]:
    day = run.day
    if factor == 1.0:
        plan = run.plan
    else:
        negotiation = day.settings.negotiation
        higher = {
            name: factor * getattr(negotiation, name)
            for name in ("spin_holding_usd_per_mw_h", "nonspin_holding_usd_per_mw_h", "inconvenience_usd_per_mwh")
        }
        settings = day.settings.model_copy(update={"negotiation": negotiation.model_copy(update=higher)})
        lied = replace(day, inputs=everybody_states(day, factor), settings=settings)
        # what is planned on stated prices is paid and measured by the true reservation prices of the fleet
        plan = replace(ARMS[arm](lied), fleet=fleet_of(day.inputs))
    found = measure([outcome(day, plan)])
    return float(found["value_usd"] or 0.0), float(found["net_usd"] or 0.0)


def frontier(runs: dict[str, list[Replayed]]) -> list[tuple[str, float, float, float]]:
    """Of each setting: net of perfect foresight's, and mean satisfaction."""
    best = [
        float(measure([outcome(run.day, ARMS["perfect_foresight"](run.day))])["net_usd"] or 0.0)
        for run in runs["indexed"]
    ]
    points = []
    for premium in PREMIUMS:
        policy = POLICIES["indexed"].model_copy(update={"opening_premium_fraction": premium})
        found = [_measured(run, _with_caps(run, policy)) for run in runs["indexed"]]
        points.append(("opening premium", premium, *_of(found, best)))
    for multiple in MULTIPLES:
        policy = POLICIES["indexed_posted"].model_copy(update={"posted_multiple": multiple})
        found = []
        for run in runs["indexed_posted"]:
            day = replace(run.day, settings=settings_with(policy))
            found.append(_measured(run, ARMS["indexed_posted"](day)))
        points.append(("posted multiple", multiple, *_of(found, best)))
    for run_arm, words in (("indexed_half_share", "half share"), ("concession", "fixed prices")):
        found = [_measured(run, run.plan) for run in runs[run_arm]]
        points.append((words, float("nan"), *_of(found, best)))
    print("\n| Setting | Value | Net of foresight | Satisfaction |\n| --- | ---: | ---: | ---: |")
    for words, value, net, score in points:
        print(f"| {words} | {'' if np.isnan(value) else f'{value:g}'} | {100.0 * net:.1f}% | {score:.2f} |")
    return points


def _with_caps(run: Replayed, policy: NegotiationPolicy) -> Plan:
    terms = terms_of(run.day.inputs, settings_with(policy))
    outcome = ENGINES[policy.engine](terms, policy)
    caps = np.where(np.isfinite(run.plan.deals.floor), deal_prices(outcome, terms, policy).cap, np.nan)
    return replace(run.plan, deals=replace(run.plan.deals, cap=caps))


def _measured(run: Replayed, plan: Plan) -> dict[str, float | int | None]:
    return measure([outcome(run.day, plan)])


def _of(found: list[dict[str, float | int | None]], best: list[float]) -> tuple[float, float]:
    net = sum(float(row["net_usd"] or 0.0) for row in found) / sum(best)
    scores = [float(row["satisfaction"]) for row in found if row["satisfaction"] is not None]
    return net, float(np.mean(scores))


def picture(points: list[tuple[str, float, float, float]], days: int) -> str:
    """Net against satisfaction as an SVG."""
    left, top, width, height = 70.0, 30.0, 520.0, 300.0
    nets, scores = [100.0 * point[2] for point in points], [point[3] for point in points]
    low, high = np.floor(min(nets) / 10.0) * 10.0, np.ceil(max(nets) / 10.0) * 10.0
    first, last = np.floor(min(scores) * 2.0) / 2.0, np.ceil(max(scores) * 2.0) / 2.0

    def x(score: float) -> float:
        return float(left + width * (score - first) / (last - first))

    def y(net: float) -> float:
        return float(top + height * (high - net) / (high - low))

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="400" fill="#fff"/>',
        f'<text x="{left}" y="18">Net of perfect foresight (%) against satisfaction (0-10), {days} days of 2023-08 to '
        "2024-06</text>",
    ]
    for net in np.arange(low, high + 1.0, 10.0):
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y(net):.1f}" y2="{y(net):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(net) + 4:.1f}" text-anchor="end">{net:.0f}</text>')
    for score in np.arange(first, last + 0.01, 0.5):
        parts.append(f'<text x="{x(score):.1f}" y="{top + height + 18}" text-anchor="middle">{score:.1f}</text>')
    colors = {
        "opening premium": "#1b5e9b",
        "posted multiple": "#b3541e",
        "half share": "#3d7a3d",
        "fixed prices": "#555",
    }
    for kind, color in colors.items():
        line = [(x(score), y(100.0 * net)) for words, _, net, score in points if words == kind]
        parts.append(
            f'<polyline fill="none" stroke="{color}" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in line)}"/>'
        )
    for words, value, net, score in points:
        label = words if np.isnan(value) else f"{words} {value:g}"
        parts.append(f'<circle cx="{x(score):.1f}" cy="{y(100.0 * net):.1f}" r="4" fill="{colors[words]}"/>')
        parts.append(f'<text x="{x(score) + 6:.1f}" y="{y(100.0 * net) - 6:.1f}" font-size="10">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def money(inputs: Tables, settings: Settings) -> list[float]:
    """The figures of one day under one engine, in the order of :func:`compare_depths`."""
    day, problem = prepare_problem(inputs, settings)
    solution = solve(problem, settings)
    tables = bid_solution(day, problem, solution, settings, STAMP)
    sums = tables["dispatch.reconciliation"].row(0, named=True)
    paid = tables["dispatch.payments"].join(tables["negotiation.agreements"], on=["opportunity_id", "prosumer_id"])
    least_usd = (paid["reservation_price_usd_per_mwh"] * paid["dispatched_kwh"]).to_numpy() / 1000.0
    return [
        sums["objective_usd"],
        sums["objective_usd"] - sums["no_sale_value_usd"],
        paid["payment_usd"].to_numpy().sum(),
        (paid["payment_usd"].to_numpy() - least_usd).sum(),
        int(solution.is_bid.sum()),
        tables["negotiation.summary"].filter(pl.col("status") == "no_bid").height,
        100.0 * solution.gap_fraction,
    ]


def compare_depths(inputs: list[Tables]) -> None:
    """One line per engine and depth, at fixed prices: means over the days, and the widest gap."""
    auctions = {
        f"`uniform_clearing`, depth {depth:g}": POLICIES["uniform_clearing"].model_copy(update={"auction_depth": depth})
        for depth in DEPTHS
    }
    print("| Engine | Objective, $ | From bidding, $ | Payments, $ | Owners' surplus, $ | Bids | No-bid | Gap (max) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for words, policy in ({"`concession`": POLICIES["concession"]} | auctions).items():
        rows = np.array([money(day, settings_with(policy)) for day in inputs])
        usd = " | ".join(f"{mean:.2f}" for mean in rows[:, :4].mean(axis=0))
        counts = " | ".join(f"{mean:.1f}" for mean in rows[:, 4:6].mean(axis=0))
        print(f"| {words} | {usd} | {counts} | {rows[:, 6].mean():.2f}% ({rows[:, 6].max():.2f}%) |", flush=True)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["depth"]:
        drawn, prices = random_days(int(arguments[1]) if arguments[1:] else 12), real_prices()
        compare_depths(
            [prepare_day(market_date, prices, settings_with(POLICIES["concession"])) for market_date in drawn]
        )
        return
    target = Path(arguments[arguments.index("--picture") + 1]) if "--picture" in arguments else None
    count = int(arguments[0]) if arguments and not arguments[0].startswith("--") else 8
    source, span = real_prices(), (LAST - FIRST).days
    dates = [FIRST + timedelta(days=round(k * span / max(1, count - 1))) for k in range(count)]
    print(f"{count} days: {', '.join(map(str, dates))}\n", flush=True)
    runs = compare_lies([past_day(market_date, source) for market_date in dates])
    compare_everybody(runs)
    points = frontier(runs)
    if target is not None:
        target.write_text(picture(points, count), encoding="utf-8")


if __name__ == "__main__":
    main()
