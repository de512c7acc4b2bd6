"""Limits of both sides in every negotiation, computed from the published tables without `negotiation/terms.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.tables import Day, optional_table, rows_where, with_missing
from vpp_pipeline.schemas import DESK, TABLES
from vpp_pipeline.settings import NegotiationPolicy, Settings

DEAL = ["opportunity_id", "prosumer_id"]
PRICE_TERMS = ("wear_usd_per_mwh", "minimum_compensation_usd_per_kwh", "participation_willingness_fraction")
OFFERED = ("energy_kw", "reserve_kw")
ENVELOPE = (
    "max_charge_kw",
    "max_discharge_kw",
    "min_stored_kwh",
    "max_stored_kwh",
    "solar_kw",
    "load_kw",
    "drive_kwh",
    "export_limit_kw",
)
SLICE_PAIRS = 1_000_000  # opportunities x prosumers whose limits are held in memory at once: about 150 MB


@dataclass(frozen=True)
class Negotiations:
    """Some opportunities: limits of all their pairs, and messages and agreements, each with the limits of its deal.

    ``deal`` is the pair's number of :class:`Pairs`, for quick joins; it and the limits are empty where the pair does
    not exist.
    """

    limits: pl.DataFrame
    messages: pl.DataFrame
    agreements: pl.DataFrame


class Pairs:
    """A number for every pair of opportunity and prosumer of a day, quicker to join on than two names."""

    def __init__(self, day: Day) -> None:
        calls = with_missing(day["market.opportunities"], resource_id=DESK, closed_reason=None)
        self.calls = calls.with_row_index("call")
        devices = day["fleet.prosumers"].drop("market_date", "resource_id", strict=False)
        of_each = resources_of_prosumers(day)
        self.devices = devices.join(of_each, on="prosumer_id", maintain_order="left").with_row_index("device")

    def number(self) -> pl.Expr:
        """The pair's number, from the places of its opportunity and its prosumer."""
        return pl.col("call").cast(pl.UInt64) * self.devices.height + pl.col("device")

    def numbered(self, rows: pl.DataFrame) -> pl.DataFrame:
        """``rows`` with ``call``, the place of their opportunity, and ``deal``, the number of their pair; empty where
        the opportunity or the pair does not exist.
        """
        placed = rows.join(self.calls.select("opportunity_id", "call"), on="opportunity_id", how="left")
        placed = placed.join(self.devices.select("prosumer_id", "device"), on="prosumer_id", how="left")
        return placed.with_columns(deal=self.number()).drop("device")

    def with_reservation(self, rows: pl.DataFrame, policy: NegotiationPolicy) -> pl.DataFrame:
        """``rows`` with ``deal`` and ``reservation``, the owner's reservation price; both empty for unknown pairs."""
        placed = rows.join(self.calls.select("opportunity_id", "call", "product"), on="opportunity_id", how="left")
        placed = placed.join(self.devices.select("prosumer_id", "device", *PRICE_TERMS), on="prosumer_id", how="left")
        reservation = pl.when(pl.col("call").is_not_null()).then(reservation_price(policy))
        return placed.select(*rows.columns, deal=self.number(), reservation=reservation)


def table_or_none(day: Day, table: str) -> pl.DataFrame:
    """The table; without rows for a day that was published before there was such a table."""
    found = optional_table(day, table)
    return TABLES[table].create_empty() if found is None else found


def storage_pools(day: Day) -> pl.DataFrame:
    """resource_id of each storage resource, and pool_id, the resource of `market.resources` that it is cut from.

    None of a pool that there is not, or that takes part otherwise.
    """
    classes = table_or_none(day, "fleet.storage_classes").select("resource_id", "pool_id").unique()
    pools = table_or_none(day, "market.resources").filter(participation="storage").select(pool_id="resource_id")
    return classes.join(pools, on="pool_id", how="semi")


def is_of_storage(day: Day) -> pl.Expr:
    """Whether a row's `resource_id` is a storage resource."""
    return pl.col("resource_id").is_in(storage_pools(day)["resource_id"].implode())


def resources_of_prosumers(day: Day) -> pl.DataFrame:
    """prosumer_id, resource_id: the resource that each prosumer is bid with, its storage resource if it has one."""
    own = with_missing(day["fleet.prosumers"], resource_id=DESK).select("prosumer_id", "resource_id")
    members = table_or_none(day, "fleet.storage_members")
    if members.is_empty():
        return own
    placed = own.join(members.select("prosumer_id", of_storage="resource_id"), on="prosumer_id", how="left")
    return placed.select("prosumer_id", resource_id=pl.coalesce("of_storage", "resource_id"))


def with_expected(rows: pl.DataFrame, offered: str) -> pl.DataFrame:
    """``rows`` with `expected_mw`; what is ``offered`` on days that were published before that column."""
    if "expected_mw" not in rows.columns:
        return rows.with_columns(expected_mw=offered)
    return rows.with_columns(pl.coalesce("expected_mw", offered).alias("expected_mw"))


def bids_of(day: Day) -> pl.DataFrame:
    """Bids with their resource, whether it is a storage resource, and the MW that are expected to clear."""
    bids = with_missing(day["bids.final_bids"].filter(pl.col("status") == "bid"), resource_id=DESK)
    return with_expected(bids, "total_capacity_mw").with_columns(is_storage=is_of_storage(day))


def negotiations_of(day: Day, settings: Settings) -> Iterator[Negotiations]:
    """All messages and agreements of the day, some opportunities at a time; last, those of unknown opportunities.

    Of a day in files only those opportunities are read: the agreements of a million prosumers take 13 GB.
    """
    pairs = Pairs(day)
    tables = ("negotiation.messages", "negotiation.agreements")
    known = pl.col("opportunity_id").is_in(pairs.calls["opportunity_id"].implode())

    def beside(limits: pl.DataFrame, wanted: pl.Expr) -> Negotiations:
        numbers, first = limits.drop(*DEAL, "call", "deal"), limits["deal"].min()
        chosen = [pairs.numbered(rows_where(day, table, wanted)) for table in tables]
        places = [(rows["deal"] - (first or 0)).cast(pl.UInt32) for rows in chosen]
        return Negotiations(limits, *(rows.hstack(numbers[place]) for rows, place in zip(chosen, places, strict=True)))

    for limits in _limits_by_slice(day, settings):
        yield beside(limits, pl.col("opportunity_id").is_in(limits["opportunity_id"].unique().implode()))
    yield beside(limits.clear(), ~known)


def limits_of_deals(day: Day, settings: Settings) -> pl.DataFrame:
    """One row per opportunity and prosumer: `reservation` and `ceiling` price, `index` price at the forecast, `factor`
    of its recharging, `posted` cap and `reference` of the engine that posts them, `most_kw` by envelope and share of R:
    none of another resource's members, and none where the resource may not offer it (`is_member`, `may_offer`).
    """
    return pl.concat(_limits_by_slice(day, settings))


def _limits_by_slice(day: Day, settings: Settings) -> Iterator[pl.DataFrame]:
    """:func:`limits_of_deals`, some opportunities at a time; at least one table."""
    pairs = Pairs(day)
    cheapest = max(0.0, float(day["market.price_forecast"]["energy_usd_per_mwh"].sort()[:4].to_numpy().mean()))
    factor = (
        pl.when((pl.col("product") == "energy") & (pl.col("store") != "none"))
        .then(1.0 / (pl.col("charge_efficiency") * pl.col("discharge_efficiency")))
        .otherwise(0.0)
    )
    left = pl.col("forecast_price") - factor * cheapest
    posted = (
        _posted(day, settings.negotiation).drop("prosumer_id").partition_by("product", as_dict=True, include_key=False)
    )
    none = pl.DataFrame(schema={"posted": pl.Float64, "reference": pl.Float64})
    unknown = none.clear(pairs.devices.height)  # what is posted for a product that there is not
    limits = {
        "deal": pairs.number(),
        # R of a storage resource is what its members give together, so that no part of it bounds one of them
        "share_kw": pl.when(is_of_storage(day))
        .then(float("inf"))
        .otherwise(1000.0 * settings.rules.maximum_commitment_fraction * pl.col("required_capacity_mw")),
        "reservation": reservation_price(settings.negotiation),
        "ceiling": left * (1.0 - settings.negotiation.minimum_margin_fraction),
        "index": left,
        "factor": factor,
        "is_member": pl.col("resource_id") == pl.col("resource_id_right"),
        "may_offer": pl.col("closed_reason").is_null(),
    }
    offerable = _offerable(day, settings, pairs)
    step = max(1, SLICE_PAIRS // max(1, pairs.devices.height))
    for first in range(0, max(1, pairs.calls.height), step):
        calls = pairs.calls.slice(first, step)
        both = calls.lazy().join(pairs.devices.lazy(), how="cross", maintain_order="left_right")  # of columns in use
        rows = both.select(*DEAL, "call", "availability_fraction", **limits).collect()
        rows = rows.hstack(pl.concat([none, *(posted.get((product,), unknown) for product in calls["product"])]))
        allowed_kw = pl.when(pl.col("is_member") & pl.col("may_offer")).then(pl.col("allowed_kw")).otherwise(0.0)
        rows = rows.with_columns(allowed_kw=_allowed(calls, offerable, pairs.devices.height))
        rows = rows.with_columns(allowed_kw=allowed_kw)
        yield rows.with_columns(most_kw=pl.min_horizontal("share_kw", "allowed_kw"))


def _posted(day: Day, policy: NegotiationPolicy) -> pl.DataFrame:
    """What `uniform_clearing` posts to each prosumer for each product: product, prosumer_id, posted, reference; those
    of a product in the order of the fleet.

    ``posted_multiple`` times the median, and the lower quartile, of the reservation prices of the other prosumers with
    the same site and store; of all others where there is none.
    """
    prices = pl.DataFrame({"product": CAISO.names}).join(
        day["fleet.prosumers"], how="cross", maintain_order="left_right"
    )
    rows = prices.select(
        "product", "prosumer_id", "site_type", "store", own=reservation_price(policy), everyone=pl.lit("all")
    )
    kin, others = ["product", "site_type", "store"], ["product", "everyone"]
    found = rows.with_columns(
        alike=pl.len().over(kin),
        **{f"{name}_kin": _of_others(quantile, kin) for name, quantile in (("median", 0.5), ("quartile", 0.25))},
        **{f"{name}_all": _of_others(quantile, others) for name, quantile in (("median", 0.5), ("quartile", 0.25))},
    )

    def chosen(name: str) -> pl.Expr:
        return pl.when(pl.col("alike") > 1).then(f"{name}_kin").otherwise(f"{name}_all")

    return found.select(
        "product", "prosumer_id", posted=policy.posted_multiple * chosen("median"), reference=chosen("quartile")
    )


def _of_others(quantile: float, group: list[str]) -> pl.Expr:
    """The quantile of ``own`` over the other rows of the group, empty where there are none.

    Of n - 1 values, the k-th from 0 is the k-th of all n in order, or the next one for those who stand no later.
    """
    place = quantile * (pl.len() - 2)
    rank = pl.col("own").rank("ordinal") - 1

    def other(k: pl.Expr) -> pl.Expr:
        in_order = pl.col("own").sort()
        early, late = in_order.get(k + 1, null_on_oob=True), in_order.get(k, null_on_oob=True)
        return pl.when(rank.cast(pl.Int64) <= k).then(early).otherwise(late)

    below = place.floor().cast(pl.Int64).clip(lower_bound=0)
    above = pl.min_horizontal(below + 1, pl.len().cast(pl.Int64) - 2).clip(lower_bound=0)
    low, high = other(below), other(above)
    return pl.when(pl.len() > 1).then(low + (place - below) * (high - low)).over(group)


def _allowed(calls: pl.DataFrame, offerable: dict[datetime, pl.DataFrame], devices: int) -> pl.Series:
    """Most that each prosumer can offer throughout the block of each of ``calls``, opportunity by opportunity."""
    unknown = pl.DataFrame({kind: pl.repeat(None, devices, dtype=pl.Float64, eager=True) for kind in OFFERED})
    found = [pl.Series(dtype=pl.Float64)]
    for (_, product), block in block_hours(calls).group_by("opportunity_id", "product", maintain_order=True):
        kind = OFFERED[0] if product == "energy" else OFFERED[1]
        hours = [offerable.get(start, unknown)[kind].alias(str(start)) for start in block["start_utc"]]
        found.append(pl.DataFrame(hours).min_horizontal())
    return pl.concat(found)


def block_hours(opportunities: pl.DataFrame) -> pl.DataFrame:
    """One row per opportunity and hour of its block, in order: opportunity_id, product, start_utc of the hour.

    Every hour between the block's first moment and its last, by comparison of moments.
    """
    blocks = opportunities.select(
        "opportunity_id",
        "product",
        first_utc="start_utc",
        end_utc=pl.col("start_utc") + pl.duration(hours=pl.col("duration_hours")),
    ).with_row_index("place")
    if blocks.is_empty():
        return blocks.select("opportunity_id", "product", start_utc="first_utc")
    span = pl.datetime_range(pl.col("first_utc").min(), pl.col("end_utc").max(), "1h", closed="left")
    hours = blocks.select(start_utc=span)
    within = (pl.col("start_utc") >= pl.col("first_utc")) & (pl.col("start_utc") < pl.col("end_utc"))
    return blocks.join_where(hours, within).sort("place", "start_utc").select("opportunity_id", "product", "start_utc")


def reservation_price(policy: NegotiationPolicy) -> pl.Expr:
    """Reservation price, from the fleet's columns."""
    energy = (
        pl.col("wear_usd_per_mwh")
        + 1000.0 * pl.col("minimum_compensation_usd_per_kwh")
        + policy.inconvenience_usd_per_mwh * (1.0 - pl.col("participation_willingness_fraction"))
    )
    stated = policy.model_dump()
    held = {
        product.name: stated[product.holding] + stated[product.call_probability] * energy for product in CAISO.reserves
    }
    return pl.coalesce(
        pl.when(pl.col("product") == product).then(price) for product, price in {"energy": energy, **held}.items()
    )


def _offerable(day: Day, settings: Settings, pairs: Pairs) -> dict[datetime, pl.DataFrame]:
    """Most each prosumer can offer, by hour's start: energy_kw, reserve_kw, in the order of ``pairs.devices``.

    A store is charged at its limit from midnight on; the energy above the floor can be sold, or back a call
    of ``reserve_call_hours`` before and after the hour. Empty from an hour on that a prosumer lacks, or has twice.
    """
    fixed = ["device", "charge_efficiency", "discharge_efficiency"]
    state = pairs.devices.select(*fixed, before="initial_stored_kwh", floor_before=pl.lit(None))
    known = pairs.devices.select("prosumer_id", "device")
    placed = day["fleet.availability"].select("prosumer_id", "start_utc", *ENVELOPE).join(known, on="prosumer_id")
    hours = placed.drop("prosumer_id").partition_by("start_utc", as_dict=True)
    offers = {}
    for (start,), hour in sorted(hours.items()):
        now = (
            hour.unique("device", keep="none")
            .join(state, on="device")
            .with_columns(
                floor_before=pl.coalesce("floor_before", pl.min_horizontal("before", "min_stored_kwh")),
                after=pl.min_horizontal(
                    pl.col("before") + pl.col("charge_efficiency") * pl.col("max_charge_kw") - pl.col("drive_kwh"),
                    "max_stored_kwh",
                ),
            )
        )
        offered = _offered(now, settings.rules.reserve_call_hours)
        offers[start] = known.select("device").join(offered, on="device", how="left", maintain_order="left")
        state = now.select(*fixed, before="after", floor_before="min_stored_kwh")
    return offers


def _offered(hour: pl.DataFrame, call_hours: float) -> pl.DataFrame:
    """Most each prosumer can offer in one hour: device, energy_kw, reserve_kw."""
    sun_kw = pl.col("solar_kw") - pl.col("load_kw")
    room_kw = pl.col("export_limit_kw") + (-sun_kw).clip(lower_bound=0.0)
    delivered = (pl.col("before") - pl.col("drive_kwh") - pl.col("min_stored_kwh")).clip(lower_bound=0.0)
    energy = pl.min_horizontal("max_discharge_kw", delivered * pl.col("discharge_efficiency"))
    behind = pl.min_horizontal(pl.col("before") - pl.col("floor_before"), pl.col("after") - pl.col("min_stored_kwh"))
    backed = behind.clip(lower_bound=0.0) * pl.col("discharge_efficiency") / call_hours
    return hour.select(
        "device",
        energy_kw=pl.min_horizontal(energy + sun_kw.clip(lower_bound=0.0), room_kw),
        reserve_kw=pl.min_horizontal("max_discharge_kw", backed, room_kw),
    )
