"""Owners cut into classes that each follow one shape: which owners go together, and the shape that suits them.

A class is a shape r, a box of one unit. An owner takes part with weight w_i = min over entries of box_i / r, the most
copies of the shape that its own box holds, so the class is Σ w_i copies of r and every award within them can be
delivered (`boxes.py`). Its worth at prices p is Σ w_i · V_p(r), V the day of `storage_day.py`.

    who   each owner joins the class where its own weight earns most, after its own floor
    shape r is moved along the gradient of log(Σ w_i) + log V(r): an entry grows where its share of the worth,
          μ_e r_e / V, is larger than the share of weight that it binds, and shrinks where it is smaller

One after the other, some rounds. The first shapes are those of single owners and of owners merged, added one by one
for what they earn, and exchanged while that earns more (facility location). Classes are cut by the shape of the box,
never by the floor. Everything is deterministic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vpp_pipeline.aggregation.boxes import NOTHING_KWH, Boxes, binding_entry, spare_reserve, weights_in
from vpp_pipeline.aggregation.storage_day import Gains, StorageDay
from vpp_pipeline.core.arrays import Array, Indices

NO_CLASS = -1
ROUNDS, STEPS = 3, 24
FIRST_STEP = 0.6  # of the logarithm of an entry; later ones are shorter
MOST_SHAPES = 300  # single owners that first shapes are chosen from
MOST_OWNERS = 600  # that shapes are fitted to; a larger fleet is represented by as many, evenly spaced
EXCHANGES = 2
ALONE_EARNS = 1.25  # times the shape's day: a forecast of reserve must be that much better than that of energy
USABLE_KWH = 1e-6
CHANGED_HOUR = 2  # of the days on which clocks change


@dataclass(frozen=True)
class Outlook:
    """What a typical store expects of D days: prices (D, T) in $/MWh, efficiencies, and floors of its owners."""

    energy: Array
    spin: Array
    nonspin: Array
    call_hours: float
    charge_efficiency: float
    discharge_efficiency: float
    floor: tuple[float, float, float]  # $/MWh delivered; spin and nonspin: $ per MW held for one hour

    def gains(self, day: int) -> Gains:
        """Money per kWh on the stored side."""
        out = self.discharge_efficiency / 1000.0
        return Gains(
            buy=self.energy[day] / self.charge_efficiency / 1000.0,
            sell=((self.energy[day] - self.floor[0]) * out)[:, None],
            spin=(self.spin[day] - self.floor[1]) * out,
            nonspin=(self.nonspin[day] - self.floor[2]) * out,
        )


@dataclass(frozen=True)
class Worth:
    """What a unit of a shape earns a day, $, what it discharges, kWh stored, and what more of each entry would add."""

    usd: float
    discharged_kwh: float
    of_more: Array


class Valuer:
    """What shapes are worth on the days of an outlook; warm from one shape to the next."""

    def __init__(self, outlook: Outlook) -> None:
        hours = outlook.energy.shape[1]
        self.call_hours, gains = outlook.call_hours, [outlook.gains(k) for k in range(len(outlook.energy))]
        self.reserve = np.mean([np.maximum(np.maximum(of.spin, of.nonspin), 0.0) for of in gains], axis=0)  # (T,) $/kWh
        self._days = [StorageDay(hours, outlook.call_hours) for _ in outlook.energy]
        for day, of in zip(self._days, gains, strict=True):
            day.earn(of)

    def of_spare(self, own: Boxes, weight: Array, shape: Array) -> Array:
        """What reserve beyond the shape's copies earns (N,), $."""
        return np.asarray(spare_reserve(own, weight, shape, self.call_hours) @ self.reserve)

    def __call__(self, shape: Array, spare: Array | None = None) -> Worth:
        """Worth of a box, with reserve (T,) beyond it that its owners back."""
        found = []
        for day in self._days:
            day.limit(shape, spare=spare)
            found.append(day.solve())
        return Worth(
            float(np.mean([answer.worth for answer in found])),
            float(np.mean([answer.sold.sum() for answer in found])),
            np.mean([answer.worth_of_more for answer in found], axis=0),
        )


@dataclass(frozen=True)
class Classes:
    """K shapes (K, 4 T + 3), and the class (N,) of each owner; NO_CLASS for one that can discharge nothing."""

    shape: Array
    member: Indices

    def on_a_day_of(self, hours: int) -> Classes:
        """For a day of ``hours``: without the hour that spring leaves out, with the one that autumn repeats."""
        had = (self.shape.shape[1] - 3) // 4
        if hours == had:
            return self
        usual = np.arange(had)
        while len(usual) > hours:
            usual = np.delete(usual, CHANGED_HOUR)
        while len(usual) < hours:
            usual = np.insert(usual, CHANGED_HOUR, usual[CHANGED_HOUR - 1])
        columns = np.concatenate([*(usual + k * had for k in range(4)), 4 * had + np.arange(3)])
        return Classes(self.shape[:, columns], self.member)

    def weights(self, boxes: Boxes) -> Array:
        """Weight (N,) of each owner in its class."""
        found = np.zeros(len(self.member))
        for k, shape in enumerate(self.shape):
            mine = np.flatnonzero(self.member == k)
            found[mine] = weights_in(Boxes(boxes.rows[mine]), shape)
        return found


def make_classes(boxes: Boxes, energy_floor: Array, outlook: Outlook, count: int, least_kwh: float) -> Classes:
    """At most ``count`` classes of the owners of ``boxes``, each of which can discharge ``least_kwh`` in its best hour.

    ``energy_floor`` (N,): owners' floors, $/MWh. A class that would be smaller is given up, and its owners go to
    others. Fewer classes than asked for, down to none, where the fleet is small.
    """
    value, usable = Valuer(outlook), np.flatnonzero(boxes.discharge.max(axis=1) > USABLE_KWH)
    extra, width = energy_floor - outlook.floor[0], boxes.rows.shape[1]
    some = _evenly(usable, MOST_OWNERS)
    own, least_of_some = Boxes(boxes.rows[some]), least_kwh * len(some) / max(len(usable), 1)
    shapes = _first_shapes(own, extra[some], value, count, least_of_some)
    for _ in range(ROUNDS):
        shapes, part = _assigned(shapes, own, extra[some], value, least_of_some)
        shapes = [_improved(own, np.flatnonzero(part == k), shape, value) for k, shape in enumerate(shapes)]
    member = np.full(len(boxes.rows), NO_CLASS, dtype=np.int64)
    shapes, member[usable] = _assigned(shapes, Boxes(boxes.rows[usable]), extra[usable], value, least_kwh)
    return Classes(np.array(shapes).reshape(-1, width), member)


def joined(classes: Classes, boxes: Boxes, energy_floor: Array, outlook: Outlook) -> Classes:
    """``classes`` that have stayed, with each owner who is in none now in the one where it earns most."""
    new = np.flatnonzero((classes.member == NO_CLASS) & (boxes.discharge.max(axis=1) > USABLE_KWH))
    if not len(new):
        return classes
    value, member = Valuer(outlook), classes.member.copy()
    worth = [value(shape) for shape in classes.shape]
    extra = energy_floor[new] - outlook.floor[0]
    earns, _ = _earnings(list(classes.shape), worth, Boxes(boxes.rows[new]), extra, value)
    member[new] = earns.argmax(axis=1)
    return Classes(classes.shape, member)


def _evenly(places: Indices, most: int) -> Indices:
    """At most ``most`` of ``places``, evenly spaced."""
    if len(places) <= most:
        return places
    return np.asarray(places[np.round(np.linspace(0, len(places) - 1, most)).astype(int)])


def for_the_day(classes: Classes, boxes: Boxes, outlook: Outlook) -> Classes:
    """The same members with shapes that suit the day: its boxes, and its own prices.

    Where owners have so little in common that reserve alone, each by itself, earns more, the shape is empty.
    """
    value, classes = Valuer(outlook), classes.on_a_day_of(boxes.hours)
    shapes = np.zeros(classes.shape.shape)
    for k, shape in enumerate(classes.shape):
        mine = np.flatnonzero(classes.member == k)
        best, own = _improved(boxes, mine, shape, value), Boxes(boxes.rows[mine])
        weight = weights_in(own, best)
        spare = spare_reserve(own, weight, best, outlook.call_hours).sum(axis=0)
        alone_usd = float(value.of_spare(own, np.zeros(len(mine)), shapes[k]).sum())
        if ALONE_EARNS * value(weight.sum() * best, spare).usd >= alone_usd:
            shapes[k] = best
    return Classes(shapes, classes.member)


def _first_shapes(own: Boxes, extra: Array, value: Valuer, count: int, least_kwh: float) -> list[Array]:
    """Shapes of single owners and of owners merged: added one by one, then exchanged while that earns more."""
    if not len(own.rows):
        return []
    tried = _evenly(np.argsort(-own.discharge.max(axis=1), kind="stable"), MOST_SHAPES)
    tree = _merged([_Node(shape, value(shape)) for shape in own.rows[tried]], value)
    shapes = [node.shape for node in tree]
    earns, power = _earnings(shapes, [node.worth for node in tree], own, extra, value)

    def total(chosen: list[int]) -> float:
        kept, member = _fitted(earns[:, chosen], power[:, chosen], least_kwh)
        return float(earns[np.arange(len(member)), np.array(chosen)[kept][member]].sum()) if len(kept) else 0.0

    chosen, most = _grown([], 0.0, count, earns, total)
    for _ in range(EXCHANGES):
        before = most
        for place in list(chosen):
            without = [other for other in chosen if other != place]
            again, usd = _grown(without, total(without) if without else 0.0, count, earns, total)
            if usd > most * (1.0 + 1e-9):
                chosen, most = again, usd
        if most <= before:
            break
    return [shapes[place] for place in chosen]


def _grown(
    chosen: list[int], most: float, count: int, earns: Array, total: Callable[[list[int]], float]
) -> tuple[list[int], float]:
    """``chosen`` with the shapes (of ``earns`` (N, candidates)) added that raise ``total`` most, one by one, to
    ``count``.

    Whatever the least size of a class, no owner earns more than in the best of its shapes: most candidates fall behind
    what was found by that bound alone, and their total is not computed.
    """
    while len(chosen) < min(count, earns.shape[1]):
        held = earns[:, chosen].max(axis=1, initial=0.0)
        bound = np.maximum(held[:, None], earns).sum(axis=0)
        found = (most, 0)
        for place in np.argsort(-bound, kind="stable").tolist():
            if bound[place] * (1.0 + 1e-9) < found[0]:
                break
            if place not in chosen:
                found = max(found, (total([*chosen, place]), -place))
        if found[0] <= most * (1.0 + 1e-9):
            break
        chosen, most = [*chosen, -found[1]], found[0]
    return chosen, most


def _fitted(earns: Array, power: Array, least_kwh: float) -> tuple[Indices, Indices]:
    """Classes (K',) that stay of K, and the class among them of each owner (N,): where it earns most.

    A class with less than ``least_kwh`` takes in those who lose least by it, from classes that stay large enough; or it
    is given up.
    """
    kept = np.arange(earns.shape[1])
    while len(kept):
        member = earns[:, kept].argmax(axis=1)
        size = _sizes(member, power[:, kept])
        small = np.flatnonzero(size < least_kwh)
        for k in small.tolist():
            _fill(k, member, earns[:, kept], power[:, kept], least_kwh)
        size = _sizes(member, power[:, kept])
        if (size >= least_kwh).all():
            return kept, member
        kept = np.delete(kept, int(np.argmin(size)))
    return kept, np.full(len(earns), NO_CLASS)


def _sizes(member: Indices, power: Array) -> Array:
    """Power (K,) of the members of each class."""
    return np.bincount(member, power[np.arange(len(member)), member], minlength=power.shape[1]).astype(float)


def _fill(k: int, member: Indices, earns: Array, power: Array, least_kwh: float) -> None:
    """Let those join class ``k`` who lose least for the power they bring, where their own class can spare them."""
    every = np.arange(len(member))
    loses = np.where(member == k, np.inf, earns[every, member] - earns[:, k])
    per_kwh = np.where(power[:, k] > USABLE_KWH, loses / np.maximum(power[:, k], USABLE_KWH), np.inf)
    order = np.argsort(per_kwh, kind="stable")[: np.isfinite(per_kwh).sum()]
    size, of = _sizes(member, power).tolist(), member[order]
    moves = zip(order.tolist(), of.tolist(), power[order, of].tolist(), power[order, k].tolist(), strict=True)
    for i, own, leaves_kwh, brings_kwh in moves:
        if size[k] >= least_kwh:
            break
        left = size[own] - leaves_kwh
        if left >= least_kwh:
            size[own], size[k] = left, size[k] + brings_kwh
            member[i] = k


@dataclass(frozen=True)
class _Node:
    """The box of one or more owners, and its worth."""

    shape: Array
    worth: Worth


def _merged(nodes: list[_Node], value: Valuer) -> list[_Node]:
    """``nodes`` and those made by merging two of them, again and again the pair that loses least.

    Two boxes merge into the largest one of which they hold s and 1 − s, s by their worth. V is the least of its duals'
    values, so those of the two bound the worth of the merger from above: most pairs need no linear program.
    """
    nodes, live = list(nodes), {k for k, node in enumerate(nodes) if node.worth.usd > 0.0}
    heap: list[tuple[float, int, int, bool]] = []

    def consider(k: int, others: Indices) -> None:
        mine, theirs = nodes[k], [nodes[j] for j in others]
        usd = np.array([node.worth.usd for node in theirs])
        shape = _merger(mine, np.array([node.shape for node in theirs]), usd)
        of_theirs = np.einsum("je,je->j", shape, np.array([node.worth.of_more for node in theirs]))
        lost = mine.worth.usd + usd - np.minimum(shape @ mine.worth.of_more, of_theirs)
        for j, usd_lost in zip(others.tolist(), lost.tolist(), strict=True):
            heapq.heappush(heap, (usd_lost, k, j, False))

    for k in sorted(live):
        if others := [j for j in live if j < k]:
            consider(k, np.array(sorted(others)))
    while heap:
        _, k, j, is_exact = heapq.heappop(heap)
        if k not in live or j not in live:
            continue
        pair = nodes[k], nodes[j]
        shape = _merger(pair[0], pair[1].shape[None], np.array([pair[1].worth.usd]))[0]
        worth = value(shape)
        if not is_exact:
            heapq.heappush(heap, (pair[0].worth.usd + pair[1].worth.usd - worth.usd, k, j, True))
            continue
        live -= {k, j}
        if worth.usd > 0.0:
            others = sorted(live)
            nodes.append(_Node(shape, worth))
            live.add(len(nodes) - 1)
            if others:
                consider(len(nodes) - 1, np.array(others))
    return nodes


def _merger(one: _Node, others: Array, usd: Array) -> Array:
    """The largest boxes (J, 4 T + 3) of which ``one`` and each of ``others`` hold shares by their worth."""
    share = (one.worth.usd / (one.worth.usd + usd))[:, None]
    return np.minimum(one.shape / share, others / (1.0 - share))


def _earnings(
    shapes: Sequence[Array], worth: Sequence[Worth], own: Boxes, extra: Array, value: Valuer
) -> tuple[Array, Array]:
    """What each owner earns (N, K), $ a day, and its power (N, K), kWh stored in an hour, were it in each class.

    ``extra`` (N,): floor above the typical one, $/MWh. An owner whose floor is too high earns a little all the same: it
    is in some class, where its reserve may still be wanted.
    """
    earns, power = [], []
    for shape, of in zip(shapes, worth, strict=True):
        weight, least_usd = weights_in(own, shape), 1e-3 * max(of.usd, 0.0)
        unit_usd = np.maximum(of.usd - extra * of.discharged_kwh / 1000.0, least_usd)
        earns.append(weight * unit_usd + value.of_spare(own, weight, shape))
        power.append(weight * Boxes(shape[None]).discharge.max())
    return np.stack(earns, axis=1), np.stack(power, axis=1)


def _assigned(
    shapes: Sequence[Array], own: Boxes, extra: Array, value: Valuer, least_kwh: float
) -> tuple[list[Array], Indices]:
    """Shapes that stay, and the class (N,) of each owner."""
    if not len(shapes):
        return [], np.full(len(own.rows), NO_CLASS)
    kept, member = _fitted(*_earnings(shapes, [value(shape) for shape in shapes], own, extra, value), least_kwh)
    return [shapes[k] for k in kept], member


def _improved(boxes: Boxes, mine: Indices, shape: Array, value: Valuer) -> Array:
    """The best of the shapes met on the way up from ``shape`` for the owners ``mine``."""
    own = Boxes(boxes.rows[_evenly(mine, MOST_OWNERS)])
    total = own.rows.sum(axis=0)
    shape = _trimmed(own, shape)
    best, most = shape, -np.inf
    for step in range(STEPS):
        weight, worth = weights_in(own, shape), value(shape)
        if weight.sum() <= 0.0 or worth.usd <= 0.0:
            break
        if weight.sum() * worth.usd > most:
            best, most = shape, weight.sum() * worth.usd
        asked = shape > NOTHING_KWH
        binds = np.bincount(binding_entry(own, shape), weight, minlength=len(shape)) / weight.sum()
        earns = worth.of_more * shape / worth.usd
        ahead = FIRST_STEP / (1.0 + step / 4.0)
        slope = np.where(asked, earns - binds, 0.0)
        shape = shape * np.exp(ahead * slope / max(float(np.abs(slope).max()), 1e-12))
        shape = _trimmed(own, shape * (weight.sum() / max(weights_in(own, shape).sum(), 1e-12)))
        shape = np.minimum(shape, total)
    return best


def _trimmed(own: Boxes, shape: Array) -> Array:
    """``shape`` with every entry raised to what all weights leave unused: it costs no owner anything."""
    weight = weights_in(own, shape)
    held = weight > 0.0
    if not held.any():
        return shape
    return np.asarray((own.rows[held] / weight[held, None]).min(axis=0))
