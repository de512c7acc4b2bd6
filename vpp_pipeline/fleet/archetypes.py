"""Kinds of households and businesses: when they drive, what they use, and what they ask for.

Mean load and commuters' hours and energy are statistics of real homes and of real charging at work, printed by
`python benchmarks/calibrate_fleet.py`. No data tell the kinds apart: how the others differ from a commuter is an
assumption, chosen so that the mean over the default shares stays the measured one.

What each kind of prosumer typically asks, known before anyone is asked: no owner's own row is read here.

First the published assumptions that the generator draws from; then, where there are any, the deals of recent days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Array, Flags, Indices
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.fleet.arrays import Fleet, reservation_by_energy
from vpp_pipeline.settings import FleetSettings, NegotiationPolicy

# Yearly mean load of 17 homes in Fontana, California: mean and standard deviation of its logarithm (kW).
MEAN_LOAD_LOG = (0.106, 0.229)
# kWh delivered per working day at two workplaces near Los Angeles: a gamma distribution's shape and scale, by moments.
DRIVE_GAMMA = (1.49, 10.03)
# Working days by whole Pacific hour of leaving home (rows, from 4) and of being back (columns, from 13), in percent:
# the same cars' hours at work, half an hour's commute each way, rounded outwards because the market's hour is whole.
COMMUTE = np.array(
    [
        [0.2, 0.3, 0.4, 0.9, 0.7, 0.3, 0.2, 0.0, 0.0],
        [0.5, 0.9, 1.9, 3.7, 7.4, 2.2, 0.8, 0.3, 0.1],
        [0.0, 0.6, 1.8, 3.5, 10.4, 12.9, 4.5, 1.0, 0.4],
        [0.0, 0.0, 0.7, 1.6, 3.1, 5.4, 3.2, 0.9, 0.6],
        [0.0, 0.0, 0.0, 0.7, 2.2, 4.0, 4.0, 1.7, 1.0],
        [0.0, 0.0, 0.0, 0.0, 1.2, 2.5, 3.3, 2.1, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 2.0, 1.1, 0.9],
    ]
)
FIRST_LEAVES, FIRST_RETURNS = 4, 13
WEAR_USD_PER_MWH = (5.0, 20.0)  # of every store, drawn evenly: DESIGN
EVENING, PEAK = "21-23", "16-21"  # PEAK: the dear hours of Californian household tariffs

Trips = tuple[tuple[int, int, float], ...]  # hour of leaving, hour of return, weight
TIERS = 3  # a segment's cheapest, middle and dearest third
_POINTS = 20  # of each quantity that is drawn: 8,000 typical owners of each archetype

#: what is kept of earlier days' deals
DEAL_SCHEMA = {
    "segment": pl.String,
    "product": pl.String,
    "agreed_price_usd_per_mwh": pl.Float64,
    "committed_capacity_kw": pl.Float64,
}


def commutes() -> Trips:
    """Every pair of hours that occurs on working days, weighted by how often."""
    return tuple(
        (FIRST_LEAVES + row, FIRST_RETURNS + column, float(COMMUTE[row, column]))
        for row, column in np.argwhere(COMMUTE > 0).tolist()
    )


def outings(leaves: Sequence[int], hours_away: Sequence[int]) -> Trips:
    """All pairs of hour of leaving and time away (h), equally often; one that runs past midnight ends the next day."""
    return tuple((leave, (leave + away) % 24, 1.0) for leave, away in product(leaves, hours_away))


# A car that stays near home is still out for an hour: without hours away a row is no EV.
ERRANDS = outings(leaves=(9, 10, 11, 12, 13, 14), hours_away=(1,))
ERRAND_KWH = (0.5, 3.0)


@dataclass(frozen=True)
class Archetype:
    """What sets one kind of household or business apart. Shares are of its sites, ranges are drawn from evenly."""

    name: str
    load_factor: float = 1.0  # of MEAN_LOAD_LOG's draw
    trip_share: float = 1.0  # of its EVs that make one of its trips on the day; the others run an errand
    trips: Trips = ERRANDS
    drive_factor: float = 0.0  # of DRIVE_GAMMA's draw
    early_ready_share: float = 0.0  # EVs that must be ready an hour before they leave
    willingness: tuple[float, float] = (5.0, 2.0)  # alpha, beta; mean 0.71: most who signed up like to
    compensation_usd_per_kwh: tuple[float, float] = (0.0, 0.030)
    reserve_fraction: tuple[float, float] = (0.10, 0.40)
    reserve_hours_share: float = 0.0  # batteries whose owner states hours of load instead of a fraction
    reserve_hours: tuple[float, float] = (1.0, 3.0)
    quiet_share: float = 0.0  # batteries that may not discharge in some hours
    quiet_hours: tuple[str, ...] = (EVENING,)
    no_charge_share: float = 0.0  # batteries that may not charge in some hours
    no_charge_hours: tuple[str, ...] = (PEAK,)
    opt_out_share: float = 0.03
    opt_out_days: tuple[str, ...] = ("sat, sun",)


HOUSEHOLDS = (  # in the order of the settings' shares
    Archetype(
        "commuter",
        load_factor=0.95,
        trip_share=0.9,
        trips=commutes(),
        drive_factor=1.0,
        early_ready_share=0.1,
        reserve_hours_share=0.3,
        quiet_share=0.15,
        no_charge_share=0.1,
        opt_out_days=("sat, sun", "fri", "sat"),
    ),
    Archetype(
        "home office",
        load_factor=1.10,
        trip_share=0.6,
        trips=outings(leaves=(9, 10, 11, 12, 13, 14), hours_away=(2, 3, 4)),
        drive_factor=0.5,
        willingness=(5.0, 2.2),
        reserve_hours_share=0.3,
        reserve_hours=(2.0, 4.0),
        quiet_share=0.15,
        quiet_hours=("9-12", EVENING),
        no_charge_share=0.1,
        opt_out_days=("mon", "tue", "wed", "thu"),
    ),
    Archetype(
        "retired",
        load_factor=1.05,
        trip_share=0.7,
        trips=outings(leaves=(9, 10, 11), hours_away=(2, 3, 4, 5)),
        drive_factor=0.5,
        willingness=(6.0, 2.0),
        reserve_fraction=(0.20, 0.40),
        reserve_hours_share=0.3,
        reserve_hours=(2.0, 6.0),
        quiet_share=0.15,
        quiet_hours=("13-15", "0-6, 22-24", EVENING),
        no_charge_share=0.1,
        no_charge_hours=(PEAK, "6-8, 16-21"),
        opt_out_days=("sun", "sun, 2023-12-25", "wed"),
    ),
    Archetype(
        "night shift",
        load_factor=0.95,
        trip_share=0.9,
        trips=outings(leaves=(21, 22), hours_away=(9,)),
        drive_factor=1.0,
        early_ready_share=0.1,
        willingness=(4.0, 2.0),
        reserve_hours_share=0.3,
        quiet_share=0.3,
        quiet_hours=("8-15",),
        no_charge_share=0.1,
        opt_out_days=("sat, sun", "mon"),
    ),
)
BUSINESS = Archetype(
    "small business", reserve_fraction=(0.05, 0.20), no_charge_share=0.2, opt_out_days=("sat, sun", "sun")
)
ARCHETYPES = (*HOUSEHOLDS, BUSINESS)


@dataclass(frozen=True)
class OwnersNote:
    """A note an owner may leave, on which rows, the share of the store it asks to keep, and how common it is."""

    text: str
    rows: tuple[str, ...]  # of NOTE_ROWS
    keep_fraction: float = 0.0
    weight: float = 1.0


NOTE_ROWS = ("battery", "ev", "none", "business")
_ANY = NOTE_ROWS
# Prices are low, so that their owners go on trading. Some speak of an EV that the home may not have; the last two ask
# for what no column can hold.
NOTES = (
    OwnersNote("no EV discharge before 7am", ("ev", "battery"), weight=2.0),
    OwnersNote("not below 4 cents", ("battery", "ev", "none")),
    OwnersNote("at least 2 cents per kWh", _ANY),
    OwnersNote("keep 40 % for outages", ("battery",), keep_fraction=0.40, weight=3.0),
    OwnersNote("always leave 30 % in the battery", ("battery",), keep_fraction=0.30, weight=2.0),
    OwnersNote("at most one cycle a day", ("battery", "business"), weight=2.0),
    OwnersNote("no discharge between 9pm and 11pm", ("battery", "ev")),
    OwnersNote("no charging between 4pm and 9pm", ("battery",)),
    OwnersNote("keep 25 % in the car", ("ev",), keep_fraction=0.25, weight=2.0),
    OwnersNote("not on Sundays", _ANY),
    OwnersNote("not on weekends; not below 3 cents", ("battery", "ev", "none")),
    OwnersNote("be gentle with the battery", ("battery", "ev")),
    OwnersNote("call me before you use it", _ANY),
)


def of_kind(name: str, kind: Indices) -> Array:
    """The parameter ``name`` of each row's archetype: (N,), or (2, N) for a pair."""
    values: Array = np.array([getattr(archetype, name) for archetype in ARCHETYPES], dtype=float)[kind].T
    return values


def choose(rng: np.random.Generator, group: Indices, weights: Sequence[Sequence[float]]) -> Indices:
    """For each row the place of an option in the list of all groups' options, drawn with its own group's weights."""
    steps = [k + np.cumsum(w) / np.sum(w) for k, w in enumerate(weights)]
    for k, step in enumerate(steps):
        step[-1] = k + 1
    draw = rng.random(len(group)) * (1.0 - 1e-12)  # group + draw must not round up to the next group
    places: Indices = np.searchsorted(np.concatenate(steps), group + draw, side="right")
    return places


def choose_text(rng: np.random.Generator, kind: Indices, share: str, options: str, may_have: Flags) -> pl.Series:
    """One of the archetype's texts in its share of the rows that may have one; empty in the others."""
    has = may_have & (rng.random(len(kind)) < of_kind(share, kind))
    texts = [getattr(archetype, options) for archetype in ARCHETYPES]
    place = choose(rng, kind, [[1.0] * len(group) for group in texts])
    all_texts = [text for group in texts for text in group]
    return pl.Series([*all_texts, None]).gather(np.where(has, place, len(all_texts)))


def choose_trips(rng: np.random.Generator, kind: Indices, makes_trip: Flags) -> tuple[Indices, Indices]:
    """Pacific hours of leaving and of return (N,): of one of the archetype's trips, or of an errand."""
    groups = [*(archetype.trips for archetype in ARCHETYPES), ERRANDS]
    group = np.where(makes_trip, kind, len(ARCHETYPES))
    place = choose(rng, group, [[weight for *_, weight in trips] for trips in groups])
    hours = np.array([trip[:2] for trips in groups for trip in trips])[place]
    return hours[:, 0], hours[:, 1]


def choose_notes(rng: np.random.Generator, row: Indices, has_note: Flags) -> tuple[pl.Series, Array]:
    """A note that suits the row (a place in NOTE_ROWS), empty without one; the share of the store it asks to keep."""
    suits = [[note.weight * (name in note.rows) for note in NOTES] for name in NOTE_ROWS]
    place = choose(rng, row, suits) % len(NOTES)
    text = pl.Series([*(note.text for note in NOTES), None]).gather(np.where(has_note, place, len(NOTES)))
    return text, np.where(has_note, np.array([note.keep_fraction for note in NOTES])[place], 0.0)


def typical_prices(segments: Sequence[str], fleet: FleetSettings, policy: NegotiationPolicy) -> Array:
    """Mean energy reservation price (S, TIERS) of each segment's thirds, cheapest first, $/MWh.

    By the published assumptions: wear, least compensation and willingness of the segment's archetypes, in their shares.
    """
    return np.array([_thirds(segment, fleet, policy) for segment in segments])


def typical_floors(members: Fleet, fleet: FleetSettings, policy: NegotiationPolicy) -> Array:
    """What owners of each segment typically ask, in every hour (PRODUCTS, N, T): $/MWh, for reserves $ per MW and hour.

    The middle third of :func:`typical_prices`: no owner's own price is read.
    """
    segments = sorted(set(members.segment))
    middle = typical_prices(segments, fleet, policy)[:, TIERS // 2]
    energy = middle[np.searchsorted(np.array(segments), members.segment.astype(str))]
    asked = [reservation_by_energy(energy, product, policy) for product in CAISO.names]
    return np.broadcast_to(np.stack(asked)[:, :, None], (len(asked), *members.load_kw.shape))


def mean_deals(opportunities: pl.DataFrame, prosumers: pl.DataFrame, agreements: pl.DataFrame) -> pl.DataFrame:
    """What one day's owners agreed to, by segment and product (DEAL_SCHEMA): mean price by capacity, and capacity."""
    segment = pl.format("{} {}", "site_type", "store")
    return combine_deals(
        agreements.filter("holds_option")
        .join(opportunities.select("opportunity_id", "product"), on="opportunity_id")
        .join(prosumers.select("prosumer_id", segment=segment), on="prosumer_id")
    )


def combine_deals(deals: pl.DataFrame) -> pl.DataFrame:
    """One row per segment and product of several (DEAL_SCHEMA): the mean price by capacity, and the sum of capacity."""
    kw = pl.col("committed_capacity_kw")
    price = (pl.col("agreed_price_usd_per_mwh") * kw).sum() / kw.sum()
    combined = deals.filter(kw > 0.0).group_by("segment", "product").agg(price, kw.sum())
    return combined.select(list(DEAL_SCHEMA)).sort("segment", "product")


def _thirds(segment: str, fleet: FleetSettings, policy: NegotiationPolicy) -> Array:
    """The mean of each third (TIERS,) of what a segment's typical owners ask."""
    site, _, store = segment.partition(" ")
    shares = (fleet.commuter_share, fleet.home_office_share, fleet.retired_share, fleet.night_shift_share)
    mix = [(BUSINESS, 1.0)] if site == "business" else list(zip(HOUSEHOLDS, shares, strict=True))
    asked = np.concatenate([_asked(archetype, store != "none", policy) for archetype, _ in mix])
    weight = np.repeat([share for _, share in mix], len(asked) // len(mix))
    order = np.argsort(asked, kind="stable")
    below = np.cumsum(weight[order]) - weight[order] / 2.0
    third = (TIERS * below / weight.sum()).astype(np.int64)
    sums = [np.bincount(third, values, TIERS) for values in (weight[order] * asked[order], weight[order])]
    return np.asarray(sums[0] / sums[1])


def _asked(archetype: Archetype, has_store: bool, policy: NegotiationPolicy) -> Array:
    """Energy reservation prices ($/MWh) of typical owners: every combination of evenly spread quantiles."""
    from scipy.special import betaincinv

    quantile = (np.arange(_POINTS) + 0.5) / _POINTS
    wear = np.interp(quantile, [0.0, 1.0], WEAR_USD_PER_MWH) if has_store else np.zeros(_POINTS)
    compensation = 1000.0 * np.interp(quantile, [0.0, 1.0], archetype.compensation_usd_per_kwh)
    inconvenience = policy.inconvenience_usd_per_mwh * (1.0 - betaincinv(*archetype.willingness, quantile))
    return np.asarray(wear[:, None, None] + compensation[None, :, None] + inconvenience[None, None, :]).ravel()
