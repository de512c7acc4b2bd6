"""The rules of a negotiation in plain Python loops: what every engine must keep, written apart from the package."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from vpp_pipeline.negotiation.outcome import End, Outcome
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.settings import NegotiationPolicy
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay
from vpp_pipeline_tests.negotiation.talks import every_pair

NEAR = 1e-9  # rounding of prices in one formula
TWICE = 1e-6  # of a price or a power computed in two ways

FACTOR = "recharge_factor"

Deal = tuple[str, str]
Row = dict[str, Any]


def broken_words(outcome: Outcome, terms: Terms, policy: NegotiationPolicy) -> list[str]:
    """Every rule that the words of ``outcome`` break."""
    return [
        f"{terms.opportunity_id[o]} {terms.prosumer_id[i]}: {rule}"
        for o, i in every_pair(terms)
        for rule in _broken_in_one_talk(outcome, terms, o, i, policy)
    ]


def is_posted(policy: NegotiationPolicy) -> bool:
    """Whether owners are posted a cap, which heeds no forecast."""
    return policy.contract == "indexed" and policy.engine == "uniform_clearing"


def _broken_in_one_talk(outcome: Outcome, terms: Terms, o: int, i: int, policy: NegotiationPolicy) -> Iterator[str]:
    asks = [float(price) for price in outcome.ask[:, o, i] if math.isfinite(price)]
    offers = [float(price) for price in outcome.offer[:, o, i] if math.isfinite(price)]
    end, last, price = End(outcome.end[o, i]), int(outcome.end_round[o, i]), float(outcome.end_price[o, i])
    least, ceiling = terms.reservation[o, i], terms.ceiling[o, i]
    is_refused = ceiling <= 0 and not is_posted(policy)
    is_alone = is_posted(policy) and len(terms.prosumer_id) == 1  # there is no other owner whose price sets a cap
    if terms.capacity_kw[o, i] <= 0:
        if asks or offers or end != End.SILENT or last != 0:
            yield "it has nothing to offer, and did not stay silent"
        return
    if not 1 <= last <= min(policy.rounds, len(outcome.ask)):
        yield "it did not end within its rounds"
    if len(asks) != last or not math.isfinite(price):
        yield "it did not ask in every round until the end"
    if len(offers) != (0 if is_refused or is_alone else last):
        yield "it was not answered in every round until the end"
    if any(b > a for a, b in pairwise(asks)):
        yield "an ask rose"
    if any(b < a for a, b in pairwise(offers)):
        yield "an offer fell"
    if min(asks) < least - NEAR:
        yield "it asked less than its least price"
    if max(offers, default=ceiling) > ceiling + NEAR and not is_posted(policy):
        yield "it was offered more than the ceiling"
    if policy.contract == "indexed":
        yield from _broken_in_one_indexed_talk(asks, offers, end, price, least, policy)
        return
    if (end == End.REFUSED) != is_refused:
        yield "refused, though there is something to offer, or the other way round"
    if end == End.ACCEPTED and not least - NEAR <= asks[-1] - NEAR <= price <= offers[-1] + NEAR <= ceiling + 2 * NEAR:
        yield "the deal lies outside both sides' limits"


def _broken_in_one_indexed_talk(
    asks: list[float], offers: list[float], end: End, cap: float, least: float, policy: NegotiationPolicy
) -> Iterator[str]:
    """Asks and offers are about the cap: a posted one is taken or left; an ask that an offer meets, or the floor."""
    if is_posted(policy):
        if asks != [least]:
            yield "it asked more than its floor for a posted cap"
        takes = bool(offers) and least <= offers[0]
        if end != (End.ACCEPTED if takes else End.PRICED_OUT) or cap != (offers[0] if takes else least):
            yield "it took a cap below its floor, left one above it, or took another"
    elif end == End.ACCEPTED:
        if not least <= asks[-1] == cap <= offers[-1]:
            yield "the cap is not the ask that the offer meets"
    elif end != End.STAND_BY or cap != least or (offers and offers[-1] >= asks[-1]):
        yield "it is out of the day, or on stand-by at another price than its floor, or though an offer met its ask"


@dataclass(frozen=True)
class Limits:
    """What both sides of one deal may accept."""

    least: float
    ceiling: float
    envelope_kw: float
    required_mw: float


def broken_rules(day: NegotiatedDay) -> list[str]:
    """Every rule that the tables of ``day`` break, from its inputs and the fleet's envelope."""
    limits = limits_by_deal(day)
    return [
        *_broken_by_words(day, limits),
        *_broken_by_deals(day, limits),
        *_broken_contracts(day, limits),
        *_broken_coalitions(day),
        *_untold(day, limits),
    ]


def limits_by_deal(day: NegotiatedDay) -> dict[Deal, Limits]:
    """The limits of every opportunity and prosumer."""
    starts, prosumers = day.forecast["start_utc"].to_list(), list(day.prosumers.iter_rows(named=True))
    limits = {}
    for opportunity in day.opportunities.iter_rows(named=True):
        first = starts.index(opportunity["start_utc"])
        hours = range(first, first + opportunity["duration_hours"])
        offerable_kw = day.fleet.capacity_kw(opportunity["product"], day.settings.rules.reserve_call_hours)
        for i, prosumer in enumerate(prosumers):
            limits[opportunity["opportunity_id"], prosumer["prosumer_id"]] = Limits(
                least_price(day.settings.negotiation, opportunity, prosumer),
                ceiling_price(day, opportunity, prosumer),
                min(float(offerable_kw[i, t]) for t in hours),
                opportunity["required_capacity_mw"],
            )
    return limits


def least_price(policy: NegotiationPolicy, opportunity: Row, prosumer: Row) -> float:
    """Wear, compensation and inconvenience; for reserve a premium and the chance of a call."""
    product = opportunity["product"]
    energy = prosumer["wear_usd_per_mwh"] + 1000 * prosumer["minimum_compensation_usd_per_kwh"]
    energy += policy.inconvenience_usd_per_mwh * (1 - prosumer["participation_willingness_fraction"])
    if product == "energy":
        return float(energy)
    premium = {"spin": policy.spin_holding_usd_per_mw_h, "nonspin": policy.nonspin_holding_usd_per_mw_h}[product]
    chance = {"spin": policy.spin_call_probability, "nonspin": policy.nonspin_call_probability}[product]
    return float(premium + chance * energy)


def ceiling_price(day: NegotiatedDay, opportunity: Row, prosumer: Row) -> float:
    """What can be paid while the margin is kept, after putting sold energy back into a store."""
    price = opportunity["forecast_price"]
    if opportunity["product"] == "energy" and prosumer["store"] != "none":
        cheapest = sorted(day.forecast["energy_usd_per_mwh"])[:4]
        losses = prosumer["charge_efficiency"] * prosumer["discharge_efficiency"]
        price -= max(0.0, sum(cheapest) / 4) / losses
    return float(price * (1 - day.settings.negotiation.minimum_margin_fraction))


def _broken_by_words(day: NegotiatedDay, limits: dict[Deal, Limits]) -> Iterator[str]:
    talks: dict[Deal, list[Row]] = defaultdict(list)
    for row in day.struck.messages.sort("round").iter_rows(named=True):
        talks[row["opportunity_id"], row["prosumer_id"]].append(row)
    for deal, rows in talks.items():
        ends = [row["round"] for row in rows if row["kind"] in ("accept", "withdraw", "reject")]
        asks = [row["price_usd_per_mwh"] for row in rows if row["kind"] == "ask"]
        offers = [row["price_usd_per_mwh"] for row in rows if row["kind"] == "offer"]
        if len(ends) != 1 or rows[-1]["round"] > ends[0] or ends[0] > day.settings.negotiation.rounds:
            yield f"{deal}: it did not end once, after all other words and within its rounds"
        if asks != sorted(asks, reverse=True) or offers != sorted(offers):
            yield f"{deal}: an ask rose or an offer fell"
        if min(asks) < limits[deal].least - TWICE:
            yield f"{deal}: it asked less than its least price"
        if max(offers, default=-math.inf) > limits[deal].ceiling + TWICE and not is_posted(day.settings.negotiation):
            yield f"{deal}: it was offered more than the ceiling"
        if max(row["capacity_kw"] for row in rows) > limits[deal].envelope_kw + TWICE:
            yield f"{deal}: it spoke of more than the envelope allows"


def _broken_by_deals(day: NegotiatedDay, limits: dict[Deal, Limits]) -> Iterator[str]:
    is_indexed = day.settings.negotiation.contract == "indexed"
    for row in day.struck.agreements.filter("holds_option").iter_rows(named=True):
        deal = (row["opportunity_id"], row["prosumer_id"])
        agreed, kw = row["agreed_price_usd_per_mwh"], row["committed_capacity_kw"]
        if not agreed >= limits[deal].least - TWICE:
            yield f"{deal}: it is not individually rational"
        most = max(limits[deal].least, limits[deal].ceiling) if is_indexed else limits[deal].ceiling
        if not is_posted(day.settings.negotiation) and not agreed <= most + TWICE:
            yield f"{deal}: the budget is not balanced"
        if not 0 < kw <= limits[deal].envelope_kw + TWICE:
            yield f"{deal}: it commits more than the envelope allows, or nothing"
        if not kw <= 390 * limits[deal].required_mw + TWICE:
            yield f"{deal}: it commits more than 39 % of R"


PRICES = ("floor_price_usd_per_mwh", "cap_price_usd_per_mwh", "reference_price_usd_per_mwh")
NO_SHARE = (None, None)


def _broken_contracts(day: NegotiatedDay, limits: dict[Deal, Limits]) -> Iterator[str]:
    """Deals of another floor, cap, share or recharging, or agreed at what the forecast does not pay."""
    policy, opportunities = day.settings.negotiation, _by(day.opportunities, "opportunity_id")
    prosumers = _by(day.prosumers, "prosumer_id")
    cheapest = max(0.0, sum(sorted(day.forecast["energy_usd_per_mwh"])[:4]) / 4)
    for row in day.struck.agreements.iter_rows(named=True):
        deal = (row["opportunity_id"], row["prosumer_id"])
        (floor, cap, reference), share, factor = (row[name] for name in PRICES), row["share_fraction"], row[FACTOR]
        if not row["holds_option"]:
            if (floor, cap, reference, share, factor) != (None,) * 5:
                yield f"{deal}: it is out and has prices"
            continue
        opportunity, prosumer, agreed = opportunities[deal[0]], prosumers[deal[1]], row["agreed_price_usd_per_mwh"]
        if policy.contract == "fixed":
            if not (floor == cap == agreed and (reference, share, factor) == (*NO_SHARE, 0.0)):
                yield f"{deal}: a fixed price has a floor, a cap, a share or recharging of its own"
            continue
        recharges = opportunity["product"] == "energy" and prosumer["store"] != "none"
        losses = prosumer["charge_efficiency"] * prosumer["discharge_efficiency"]
        if not math.isclose(factor, 1 / losses if recharges else 0.0):
            yield f"{deal}: its recharging is another device's"
        if not math.isclose(floor, limits[deal].least, abs_tol=TWICE) or cap < floor:
            yield f"{deal}: its floor is not its least price, or above its cap"
        worth = index = opportunity["forecast_price"] - factor * cheapest
        if (share, reference) != NO_SHARE:
            worth = min(index, reference + share * (index - reference))
        if not math.isclose(agreed, min(max(worth, floor), cap), abs_tol=TWICE):
            yield f"{deal}: {agreed} is not what the forecast pays"
        has_share = is_posted(policy) and policy.posted == "half_share"
        if (share, reference is not None) != ((0.5, True) if has_share else (None, False)):
            yield f"{deal}: it has a share, or none, against the policy"
        if is_posted(policy):
            others = least_prices_of_others(day, opportunity, prosumer)
            if not math.isclose(cap, policy.posted_multiple * np.quantile(others, 0.5), abs_tol=TWICE):
                yield f"{deal}: its posted cap is not that of the others' least prices"
            if has_share and not math.isclose(reference, np.quantile(others, 0.25), abs_tol=TWICE):
                yield f"{deal}: its reference is not that of the others' least prices"


def least_prices_of_others(day: NegotiatedDay, opportunity: Row, prosumer: Row) -> list[float]:
    """Least prices of the other owners of the same kind of site and store; of all others where there are none."""
    others = [row for row in day.prosumers.iter_rows(named=True) if row["prosumer_id"] != prosumer["prosumer_id"]]
    kin = [row for row in others if (row["site_type"], row["store"]) == (prosumer["site_type"], prosumer["store"])]
    return [least_price(day.settings.negotiation, opportunity, row) for row in kin or others]


def _by(frame: pl.DataFrame, name: str) -> dict[str, Row]:
    return {row[name]: row for row in frame.iter_rows(named=True)}


def _broken_coalitions(day: NegotiatedDay) -> Iterator[str]:
    most = day.settings.negotiation.maximum_coalition or math.inf
    reliability = dict(day.prosumers.select("prosumer_id", "availability_fraction").rows())
    by_opportunity: dict[str, list[Row]] = defaultdict(list)
    for row in day.struck.agreements.sort("rank").iter_rows(named=True):
        by_opportunity[row["opportunity_id"]].append(row)
    for name, rows in by_opportunity.items():
        ranks = [row["rank"] for row in rows if row["rank"] is not None]
        members = [row for row in rows if row["holds_option"]]
        if ranks != list(range(1, len(ranks) + 1)):
            yield f"{name}: ranks are {ranks}"
        if [row["rank"] for row in members] != [rank for rank in ranks if rank <= most]:
            yield f"{name}: {len(members)} of {len(ranks)} deals are in, at most {most} may be"
        merit = []
        for row in members:
            price, kw, sure = (
                row["agreed_price_usd_per_mwh"],
                row["committed_capacity_kw"],
                reliability[row["prosumer_id"]],
            )
            if day.settings.negotiation.ranking == "original":
                merit.append(-(1 / max(price, 1) + kw / 1000 + 1 + min(kw / 10, 2)))
            else:
                merit.append(price / sure if sure else math.inf)
        if any(b < a - NEAR for a, b in pairwise(merit)):
            yield f"{name}: ranked before a better deal"


def _untold(day: NegotiatedDay, limits: dict[Deal, Limits]) -> Iterator[str]:
    """Whose outcome is missing, or told in no sentence."""
    rows = {(row["opportunity_id"], row["prosumer_id"]): row for row in day.struck.agreements.iter_rows(named=True)}
    heard, most = set(day.struck.messages["prosumer_id"]), day.settings.negotiation.transcript_prosumers
    everyone_is_heard = day.prosumers.height <= most
    if not everyone_is_heard and len(heard) > most:
        yield "more prosumers are heard than are to be"
    for deal, limit in limits.items():
        is_heard = deal[1] in heard
        if everyone_is_heard and limit.envelope_kw > 0 and not is_heard:
            yield f"{deal}: it was not heard"
        if (everyone_is_heard or is_heard) and deal not in rows:
            yield f"{deal}: no outcome"
    for deal, row in rows.items():
        reason = row["reason"]
        if not is_a_sentence(reason) or not reason.startswith("In: " if row["holds_option"] else "Out: "):
            yield f"{deal}: told as {reason!r}"


def is_a_sentence(words: str) -> bool:
    """One sentence that ends with a full stop and hides no missing value."""
    missing = ("nan", "inf", "none", "null")
    ended = words.endswith(".") and not words.endswith("..") and ". " not in words and "\n" not in words
    return ended and not any(word.strip(",.()$") in missing for word in words.lower().split())
