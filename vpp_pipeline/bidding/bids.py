"""Final bids: MW, price, money and reliability of every opportunity, or the reason why there is none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from vpp_pipeline.bidding.curves import PRICE_TOLERANCE, asked_price, bid_segments
from vpp_pipeline.bidding.storage_curves import first_prices, member_power, storage_segments, told_of_storage
from vpp_pipeline.core.arrays import Array, Indices
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.tables import Day, with_missing
from vpp_pipeline.negotiation.agreements import satisfaction_worth, weighted_satisfaction
from vpp_pipeline.schemas import DESK, FinalBids, Reconciliation, validate
from vpp_pipeline.settings import MarketRules

QUALITY: dict[str, type[pl.DataType]] = {
    "opportunity_id": pl.String,
    "coalition_size": pl.Int32,
    "reliability_score": pl.Float64,
    "satisfaction_score": pl.Float64,
}
CENTS = 2
BID_MWH = pl.col("quantity_mw") * pl.col("duration_hours")
#: calls and charging per MWh; charging in the bid's own hours is delivered on top of what is bid
AVERAGE_COST = (pl.col("called_usd") + pl.col("charging_cost_usd")) / pl.max_horizontal(BID_MWH, "delivered_mwh")
CALLED_USD = pl.col("call_price_usd_per_mwh") * pl.col("dispatched_kwh") / 1000.0
GRID_POINTS = 4_000
POINTS_PER_MEMBER = 8  # a coalition of more than GRID_POINTS / 8 members gets a finer grid
BLOCK = 64  # members convolved one by one; larger coalitions join blocks of them by Fourier transform
NO_CHANCE = 1e-15  # of a sum: less is rounding
LARGE_COALITION = 3_000  # members: for more, one transform of all is quicker than halves
NO_LOG = 45.0  # a chance or a frequency below exp(-45) = 3e-20 counts nothing
MOST_FACTORS = 200_000_000  # members x frequencies that a Fourier transform of the whole coalition may take


@dataclass(frozen=True)
class Stamp:
    """Who made a bid, from what: enough to make it again."""

    fingerprint: str
    code_version: str
    seed: int | None
    run_id: str
    created_utc: datetime


def form_bids(
    opportunities: pl.DataFrame,
    summary: pl.DataFrame,
    agreements: pl.DataFrame,
    positions: pl.DataFrame,
    payments: pl.DataFrame,
    fleet: pl.DataFrame,
    rules: MarketRules,
    stamp: Stamp,
    wanted: pl.DataFrame | None = None,
    storage: Day | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`bids.final_bids` and `bids.bid_segments`.

    Money: revenue = expected price x MW x hours; profit = revenue - payments - charging, all from figures rounded to
    cents. Bid price = price of the first segment that sells: below it the coalition would rather not run. ``wanted``:
    rows of `dispatch.scenario_quantities`, on which curves rest where there are any. ``storage``: the day's tables of
    storage resources, if any are bid.
    """
    bids = _money(opportunities, summary, positions, payments)
    ids = [_bid_id(name, stamp.fingerprint) for name in bids["opportunity_id"]]
    bids = bids.with_columns(bid_id=pl.Series(ids), total_capacity_mw="quantity_mw")
    is_storage = (pl.col("participation") == "storage").fill_null(False)
    trading = bids.filter(pl.col("status") == "bid", ~is_storage)
    segments = bid_segments(trading, payments, rules, wanted)
    first = segments.filter(pl.col("segment") == 1).select("bid_id", bid_price_usd_per_mwh="price_usd_per_mwh")
    quality = _quality(trading, payments, agreements, fleet, rules)
    if storage:
        cleared = bids.filter(pl.col("status") == "bid", is_storage)
        curves = storage_segments(cleared, storage, rules)
        segments = pl.concat([segments, curves])
        first = pl.concat([first, first_prices(curves, cleared, storage)])
        quality = pl.concat([quality, _storage_quality(cleared, storage, agreements, fleet, rules)])
        bids = told_of_storage(bids, storage)
    stamped = {
        "seed": pl.lit(stamp.seed, dtype=pl.Int64),
        "fingerprint": pl.lit(stamp.fingerprint),
        "code_version": pl.lit(stamp.code_version),
        "run_id": pl.lit(stamp.run_id),
        "created_utc": pl.lit(stamp.created_utc),
    }
    final = (
        bids.join(first, on="bid_id", how="left")
        .join(quality, on="opportunity_id", how="left")
        .with_columns(pl.col("coalition_size").fill_null(0), **stamped)
    )
    return validate(FinalBids, final), segments


def refusals(bids: pl.DataFrame, rules: MarketRules) -> dict[str, str]:
    """Why the market would not take a bid, by opportunity; empty where it takes them all.

    A bid may ask no more than the market's cap, so one whose delivery costs more would be awarded at a loss. A cost
    below the floor is no such fault: the floor is asked. ``bids``: opportunity_id, product, quantity_mw,
    duration_hours, and of all its members called_usd, charging_cost_usd, delivered_mwh.
    """
    found = {}
    for bid in bids.with_columns(average_cost=AVERAGE_COST).sort("opportunity_id").iter_rows(named=True):
        cap, cost = rules.price_limits(bid["product"])[1], bid["average_cost"]
        if asked_price(cost, bid["product"], rules) < cost - PRICE_TOLERANCE:
            unit = CAISO.product(bid["product"]).unit
            words = f"its cost of ${cost:,.2f}/{unit} is above the market's cap of ${cap:,.2f}/{unit}"
            found[bid["opportunity_id"]] = words
    return found


def curves_of(
    opportunities: pl.DataFrame,
    summary: pl.DataFrame,
    positions: pl.DataFrame,
    payments: pl.DataFrame,
    rules: MarketRules,
    wanted: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The price curves alone, as :func:`form_bids` makes them; `bid_id` is the opportunity's name."""
    bids = _money(opportunities, summary, positions, payments).with_columns(bid_id="opportunity_id")
    return bid_segments(bids.filter(pl.col("status") == "bid"), payments, rules, wanted)


def _bid_id(opportunity_id: str, fingerprint: str) -> str:
    return f"vpp_bid_{opportunity_id}_{hashlib.sha256(f'{opportunity_id} {fingerprint}'.encode()).hexdigest()[:8]}"


def _money(
    opportunities: pl.DataFrame, summary: pl.DataFrame, positions: pl.DataFrame, payments: pl.DataFrame
) -> pl.DataFrame:
    """Opportunities with status, reason and money in cents, in the order of their id."""
    paid = payments.group_by("opportunity_id").agg(
        pl.col("payment_usd").sort_by("prosumer_id").sum(),
        called_usd=CALLED_USD.sort_by("prosumer_id").sum(),
        charging_cost_usd=pl.col("charging_cost_usd").sort_by("prosumer_id").sum(),
        delivered_mwh=pl.col("dispatched_kwh").sort_by("prosumer_id").sum() / 1000.0,
        coalition_size=pl.len(),
    )
    if "expected_mw" not in positions.columns:  # of a day that older code made
        positions = with_missing(positions, refusal=None).with_columns(expected_mw="quantity_mw")
    rows = (
        with_missing(opportunities, resource_id=DESK, participation=None)
        .join(summary.select("opportunity_id", "status", "reason"), on="opportunity_id", how="left")
        .join(positions.drop("market_date"), on="opportunity_id", how="left")
        .join(paid, on="opportunity_id", how="left")
        .with_columns(pl.col("payment_usd", "called_usd", "charging_cost_usd").fill_null(0.0))
    )
    revenue = (pl.col("forecast_price") * pl.col("expected_mw") * pl.col("duration_hours")).round(CENTS)
    payment, charging = pl.col("payment_usd").round(CENTS), pl.col("charging_cost_usd").round(CENTS)
    profit = (revenue - payment - charging).round(CENTS)
    reason = (
        pl.when("is_bid")
        .then(pl.format("{}; {} MW delivered by {} of them", "reason", "quantity_mw", "coalition_size"))
        .when(pl.col("status") == "no_bid")
        .then(pl.col("reason"))
        .when(pl.col("refusal").is_not_null())
        .then(pl.col("refusal"))
        .otherwise(pl.lit("the day earns more without it: the same energy or power is worth more elsewhere"))
    )
    return (
        rows.with_columns(
            status=pl.when("is_bid").then(pl.lit("bid")).otherwise(pl.lit("no_bid")),
            reason=reason,
            expected_revenue_usd=revenue,
            payments_usd=payment,
            charging_cost_usd=charging,
            expected_profit_usd=profit,
            profit_margin_fraction=pl.when(pl.col("is_bid") & (revenue > 0.0)).then(profit / revenue),
            # what is delivered may be more than the bid: the fleet's own charging in that hour takes the rest
            average_cost=AVERAGE_COST,
        )
        .sort("opportunity_id")
        .drop("coalition_size", "delivered_mwh", "called_usd", "refusal")
    )


def _quality(
    trading: pl.DataFrame, payments: pl.DataFrame, agreements: pl.DataFrame, fleet: pl.DataFrame, rules: MarketRules
) -> pl.DataFrame:
    """Members, their mean satisfaction (weighted by commitment) and the probability that 80% is delivered, per bid."""
    rows, quantity_mw = [], dict(trading.select("opportunity_id", "quantity_mw").iter_rows())
    available = fleet.select("prosumer_id", "availability_fraction").lazy()
    committed = agreements.lazy().select("opportunity_id", "prosumer_id", "committed_capacity_kw")
    for name in payments.join(trading, on="opportunity_id", how="semi")["opportunity_id"].unique().sort():
        of_opportunity = pl.col("opportunity_id") == name  # one at a time: millions of members have no room together
        deals = committed.filter(of_opportunity).drop("opportunity_id")
        paid = payments.lazy().filter(of_opportunity).join(available, on="prosumer_id").join(deals, on="prosumer_id")
        group = paid.sort("prosumer_id").collect()
        delivered = group["dispatched_kw"].to_numpy()
        # the fleet's own charging in the hour must be delivered first, so it comes on top of 80 % of the bid
        netted_kw = delivered.sum() - 1000.0 * quantity_mw[name]
        threshold_kw = netted_kw + rules.required_fraction * 1000.0 * quantity_mw[name]
        chance = delivery_probability(delivered, group["availability_fraction"].to_numpy(), threshold_kw)
        weights = group["committed_capacity_kw"].to_numpy()
        rows.append(
            (name, group.height, chance, float(np.average(group["satisfaction_score"].to_numpy(), weights=weights)))
        )
    return pl.DataFrame(rows, schema=QUALITY, orient="row")


def _storage_quality(
    bids: pl.DataFrame, storage: Day, agreements: pl.DataFrame, fleet: pl.DataFrame, rules: MarketRules
) -> pl.DataFrame:
    """The same of storage bids: members who may be called, and the probability that 80% of what is offered comes."""
    deals = agreements.select("opportunity_id", "prosumer_id", score="expected_satisfaction_score")
    can = member_power(bids, storage, fleet).join(deals, on=["opportunity_id", "prosumer_id"], how="left")
    rows, known = [], dict[tuple[bytes, bytes], float]()
    for (name, offered_mw), group in can.group_by("opportunity_id", "total_capacity_mw", maintain_order=True):
        power, available = group["could_kw"].to_numpy(), group["availability_fraction"].to_numpy()
        of_offer = power / (1000.0 * float(offered_mw))
        alike = (np.round(of_offer, 9).tobytes(), available.tobytes())  # many hours differ by their size alone
        if alike not in known:
            known[alike] = delivery_probability(of_offer, available, rules.required_fraction)
        chance = known[alike]
        rows.append((name, group.height, chance, weighted_satisfaction(group["score"].to_numpy(), power)))
    return pl.DataFrame(rows, schema=QUALITY, orient="row")


def reconcile(
    final_bids: pl.DataFrame,
    payments: pl.DataFrame,
    agreements: pl.DataFrame,
    charging: pl.DataFrame,
    proof: pl.DataFrame,
    owen_shares: pl.DataFrame,
    satisfaction_weight_usd_per_mwh: float,
) -> pl.DataFrame:
    """`dispatch.reconciliation`: bid profits + unallocated = objective - satisfaction term - premium - no-sale value.

    Top-ups are paid from that sum; what they leave is `kept_profit_usd`.

    Every figure is in cents. Unallocated is the charging that no bid recovers (or that sales have saved), plus the
    rounding of each bid's money to cents, shown as `rounding_usd`.
    """
    trading = final_bids.filter(pl.col("status") == "bid")
    revenue_usd = float((trading["forecast_price"] * trading["expected_mw"] * trading["duration_hours"]).sum())
    costs_usd = float(payments["payment_usd"].sum()) + float(payments["charging_cost_usd"].sum())
    sum_profit_usd = round(float(trading["expected_profit_usd"].sum()), CENTS)
    options = payments.join(
        agreements.select("opportunity_id", "prosumer_id", "reservation_price_usd_per_mwh"),
        on=["opportunity_id", "prosumer_id"],
    )
    worth = satisfaction_worth(
        options["call_price_usd_per_mwh"].to_numpy(),
        options["reservation_price_usd_per_mwh"].to_numpy(),
        satisfaction_weight_usd_per_mwh,
    )
    satisfaction_usd = float(worth @ options["dispatched_kwh"].to_numpy()) / 1000.0
    no_sale_usd = -float(charging["no_sale_charging_usd"].sum())
    objective = round(float(proof["objective_usd"][0]), CENTS)
    premium_usd = float(payments.select(pl.col("payment_usd").sum() - CALLED_USD.sum()).item())
    satisfaction, premium, no_sale = (round(usd, CENTS) for usd in (satisfaction_usd, premium_usd, no_sale_usd))
    unallocated_usd = round(objective - satisfaction - premium - no_sale - sum_profit_usd, CENTS)
    top_ups_usd = round(float(owen_shares["top_up_usd"].sum()), CENTS)
    return validate(
        Reconciliation,
        pl.DataFrame(
            {
                "market_date": [proof["market_date"][0]],
                "sum_bid_profit_usd": [sum_profit_usd],
                "unallocated_usd": [unallocated_usd],
                "rounding_usd": [round(revenue_usd - costs_usd - sum_profit_usd, 4)],
                "satisfaction_term_usd": [satisfaction],
                "premium_usd": [premium],
                "no_sale_value_usd": [no_sale],
                "objective_usd": [objective],
                "top_ups_usd": [top_ups_usd],
                "kept_profit_usd": [round(sum_profit_usd + unallocated_usd - top_ups_usd, CENTS)],
            }
        ),
    )


def delivery_probability(member_kw: Array, availability_fraction: Array, threshold_kw: float) -> float:
    """P(Σ x_i B_i ≥ threshold), B_i independent Bernoulli(availability): exact convolution on a grid.

    ``member_kw`` (n,) > 0, ``availability_fraction`` (n,). Each power is rounded to 1/G of the total, G the larger of
    4000 and 8 n, so the sum is off by at most n/2G of it, and typically (errors of either sign) by √(n/12)/G.

    80% of 20 kW, by three members of 10 kW: two of them must come, 0.9³ + 3 · 0.9² · 0.1.

    >>> round(delivery_probability(np.full(3, 10.0), np.full(3, 0.9), threshold_kw=16.0), 3)
    0.972
    """
    total_kw, members = float(member_kw.sum()), len(member_kw)
    if total_kw <= 0.0:
        return 0.0
    step_kw = total_kw / max(GRID_POINTS, POINTS_PER_MEMBER * members)
    sizes = np.maximum(np.rint(member_kw / step_kw).astype(int), 0)
    needed = int(np.ceil(threshold_kw / step_kw - 1e-9))
    found = _distribution_at_once(sizes, availability_fraction) if members > LARGE_COALITION else None
    first, chance = _distribution(sizes, availability_fraction) if found is None else found
    return float(min(chance[max(needed - first, 0) :].sum(), 1.0))


def _distribution(sizes: Indices, availability_fraction: Array) -> tuple[int, Array]:
    """What members of ``sizes`` (n,) grid steps deliver: the least sum with a chance to count, and the chances from it.

    By halves, whose sums are independent. Many members hardly stray from their mean: chances below NO_CHANCE, far out
    on both sides, are left out.
    """
    if len(sizes) > BLOCK:
        half = len(sizes) // 2
        low, one = _distribution(sizes[:half], availability_fraction[:half])
        high, other = _distribution(sizes[half:], availability_fraction[half:])
        first, chance = low + high, _convolved(one, other)
    else:
        first, chance = 0, np.zeros(int(sizes.sum()) + 1)
        chance[0] = 1.0
        for size, available in zip(sizes, availability_fraction, strict=True):
            delivered = np.zeros_like(chance)
            delivered[size:] = chance[: len(chance) - size]
            chance = available * delivered + (1.0 - available) * chance
    counts = np.flatnonzero(chance > NO_CHANCE)
    return first + int(counts[0]), chance[counts[0] : counts[-1] + 1]


def _distribution_at_once(sizes: Indices, availability_fraction: Array) -> tuple[int, Array] | None:
    """The same for many members, from the Fourier transform of their sum; None where that would take longer.

    The transform is the product over members, φ(ω) = Π (1 − p + p e^{−iωs}). Two bounds keep it short: the sum strays
    from its mean by more than t with a chance of at most 2 exp(−t² / 2(σ² + s t / 3)), s the largest size (Bernstein),
    so a window of 2 t is enough; and |φ(ω)| ≤ exp(−Σ p (1 − p) (1 − cos ωs)), which one transform of p (1 − p) by size
    gives for all frequencies, so that of a large coalition some 30 remain.
    """
    spread = availability_fraction * (1.0 - availability_fraction)
    mean, drift = float(sizes @ availability_fraction), NO_LOG * float(sizes.max()) / 3.0
    most = drift + float(np.sqrt(drift**2 + 2.0 * NO_LOG * (spread @ sizes**2)))
    first, points = max(int(mean - most), 0), min(int(2.0 * most) + 3, int(sizes.sum()) + 1)
    length = 1 << (points - 1).bit_length()
    by_size = np.fft.rfft(np.bincount(sizes % length, weights=spread, minlength=length)).real
    frequencies = np.flatnonzero(by_size[0] - by_size <= NO_LOG)
    if len(frequencies) * len(sizes) > MOST_FACTORS:
        return None
    kinds, kind = np.unique(sizes, return_inverse=True)
    turn = np.exp(-2j * np.pi / length * np.arange(length))
    transform = np.zeros(len(by_size), dtype=complex)
    for k in frequencies.tolist():
        turned = turn[k * kinds % length][kind]
        transform[k] = np.prod(1.0 + availability_fraction * (turned - 1.0))
    chance = np.roll(np.fft.irfft(transform, length), -(first % length))
    return first, np.maximum(chance, 0.0)


def _convolved(one: Array, other: Array) -> Array:
    """Distribution of the sum of two independent quantities: the product of their Fourier transforms."""
    points = len(one) + len(other) - 1
    length = 1 << (points - 1).bit_length()  # powers of two transform fastest
    transform = np.fft.rfft(one, length) * np.fft.rfft(other, length)
    return np.asarray(np.fft.irfft(transform, length)[:points])
