"""The best response of prosumers to prices: of one within its cycle limit, and sweeps over many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.dispatch.column_generation.compiled import compiled, with_arrays
from vpp_pipeline.dispatch.column_generation.hour_kernel import (
    DMAX,
    DRIVE,
    HOUR,
    KIND,
    LIGHT,
    NEAR_KWH,
    PC,
    SEGMENTS,
    act,
    apart,
    describe_hour,
    segments_of,
)
from vpp_pipeline.dispatch.column_generation.storage_kernel import (
    MOST_POINTS,
    best_end,
    clip,
    heavy_backward,
    light_backward,
    light_forward,
    reach,
    slope_beside,
    value_at,
    walk_backward,
    walk_forward,
)

POWERS = 6  # grid charge, solar charge, discharge, solar sold, spin, nonspin
MOST_CYCLE_STEPS = 60
CYCLE_KWH = 1e-9
CLOSED = -999.0  # $ per kWh: at such a price nothing is sold
LARGEST_KWH = 512.0  # a larger store is scaled down to it: `NEAR_KWH` is a thousand roundings of such a number


class Stores(NamedTuple):
    """Limits and commitments of N prosumers over T hours: kW, kWh, net costs in $ per kWh (or kW and hour)."""

    max_charge: Array  # (N, T)
    max_discharge: Array
    lowest: Array  # stored energy at the end of each hour, the day's end included
    highest: Array
    floor: Array  # what backs a reserve lies above it
    sun: Array  # solar that the home leaves
    room: Array  # export limit at the meter
    drive: Array
    energy_kw: Array  # commitments, and what their owners are paid
    energy_cost: Array
    spin_kw: Array
    spin_cost: Array
    nonspin_kw: Array
    nonspin_cost: Array
    charge_efficiency: Array  # (N,)
    discharge_efficiency: Array
    initial: Array
    floor_before: Array
    most_drawn_kwh: Array  # cycle limit x capacity


class Room(NamedTuple):
    """Working space for one prosumer."""

    xs: Array
    ys: Array
    ends: Array
    points: Array
    walked: Array
    hours: Array
    slope: Array
    length: Array
    fall: Array
    uses: Array
    earned: Array
    charged: Array
    start: Array
    todo: Array
    path: Array
    other: Array
    powers: Array


@with_arrays
def make_room(hours: int) -> Room:
    """Arrays that one thread works in, for days of ``hours``."""
    return Room(
        np.empty((hours + 1, MOST_POINTS)),
        np.empty((hours + 1, MOST_POINTS)),
        np.empty((hours + 1, MOST_POINTS)),
        np.zeros(hours + 1, np.int64),
        np.zeros(hours, np.bool_),
        np.zeros((hours, HOUR)),
        np.empty((hours, SEGMENTS + 1)),
        np.empty((hours, SEGMENTS + 1)),
        np.empty((hours, SEGMENTS + 1)),
        np.zeros(hours, np.int64),
        np.empty(hours),
        np.empty(hours),
        np.empty(hours),
        np.empty((MOST_POINTS, 3)),
        np.empty(hours + 1),
        np.empty(hours + 1),
        np.empty((hours, POWERS)),
    )


@compiled
def scale_of(stores: Stores, i: int) -> float:
    """What the limits of prosumer ``i`` are multiplied by in computing: 1, or a power of two below it for a large one.

    The tolerances are absolute (`NEAR_KWH`), and the numbers of a store of 1,000 MWh are rounded to more than they
    allow: which side of a breakpoint an end lies on would be chance, and its value too small to bound anything. A power
    of two rounds nothing by itself.
    """
    largest = stores.initial[i]
    for t in range(stores.highest.shape[1]):
        largest = max(largest, stores.highest[i, t], stores.sun[i, t])
        largest = max(largest, stores.max_charge[i, t], stores.max_discharge[i, t])
    scale = 1.0
    while largest * scale > LARGEST_KWH:
        scale *= 0.5
    return scale


@compiled
def backward(
    stores: Stores, i: int, scale: float, prices: Array, per_kwh_drawn: float, kappa: float, room: Room
) -> float:
    """Value of prosumer ``i``'s day at ``prices`` (4, T: sell, buy, spin, nonspin, $ per kW and hour).

    What is kept in ``room`` is multiplied by ``scale``, energy and money alike; prices are as they are.
    """
    hours = prices.shape[1]
    eta_c, eta_d = stores.charge_efficiency[i], stores.discharge_efficiency[i]
    last = hours - 1
    # whole arrays and their rows: a view for each hour costs more than what is done with it
    each, slope, length, xs, ys, ends = room.hours, room.slope, room.length, room.xs, room.ys, room.ends
    fall = room.fall
    xs[hours, 0], ys[hours, 0] = scale * stores.lowest[i, last], 0.0
    xs[hours, 1], ys[hours, 1] = scale * stores.highest[i, last], 0.0
    m = 2 if xs[hours, 1] > xs[hours, 0] + NEAR_KWH else 1
    room.points[hours] = m
    for t in range(hours - 1, -1, -1):
        sells = prices[0, t] > CLOSED
        describe_hour(
            each,
            t,
            scale * stores.max_charge[i, t],
            scale * stores.max_discharge[i, t],
            scale * stores.sun[i, t],
            scale * stores.room[i, t],
            scale * stores.drive[i, t],
            scale * stores.energy_kw[i, t] if sells else 0.0,
            stores.energy_cost[i, t],
            scale * stores.spin_kw[i, t],
            stores.spin_cost[i, t],
            scale * stores.nonspin_kw[i, t],
            stores.nonspin_cost[i, t],
            prices[0, t],
            prices[1, t],
            prices[2, t],
            prices[3, t],
            per_kwh_drawn / eta_d,
        )
        n, earned, charged = segments_of(each, t, eta_c, eta_d, slope, length, fall)
        room.uses[t], room.earned[t], room.charged[t] = n, earned, charged
        low = scale * (stores.lowest[i, t - 1] if t > 0 else stores.initial[i])
        high = scale * (stores.highest[i, t - 1] if t > 0 else stores.initial[i])
        low, high = reach(xs, t, m, each, low, high, eta_c, eta_d)
        if low > high:
            if low > high + 1e-6:
                return -np.inf
            low = high
        if each[t, KIND] == LIGHT:
            room.start[t] = xs[t + 1, 0] + each[t, DRIVE] - eta_c * charged
            m = light_backward(xs, ys, t, m, slope, length, n, earned, room.start[t])
            if t == 0:
                return value_at(xs[0], ys[0], m, low) / scale
            m = clip(xs, ys, t, m, low, high)
            room.points[t] = m
            continue
        floor_s = scale * (stores.floor[i, t - 1] if t > 0 else stores.floor_before[i])
        floor_x = scale * stores.floor[i, t]
        found = 0
        if apart(each, t, floor_s, floor_x, kappa, eta_d):
            found = walk_backward(
                xs,
                ys,
                ends,
                t,
                m,
                each,
                slope,
                length,
                fall,
                n,
                earned,
                charged,
                low,
                high,
                floor_s,
                floor_x,
                kappa,
                eta_c,
                eta_d,
            )
        room.walked[t] = found > 0
        if found == 0:
            found = heavy_backward(
                xs[t + 1],
                ys[t + 1],
                m,
                each[t],
                slope[t],
                length[t],
                n,
                earned,
                charged,
                low,
                high,
                floor_s,
                floor_x,
                kappa,
                eta_c,
                eta_d,
                xs[t],
                ys[t],
                room.todo,
            )
        m = found
        room.points[t] = m
    return ys[0, 0] / scale


@compiled
def forward(stores: Stores, i: int, scale: float, kappa: float, room: Room, path: Array) -> float:
    """Stored energy (T+1,) of the best schedule after :func:`backward`, times ``scale``; returns kWh drawn to sell."""
    hours = len(path) - 1
    eta_c, eta_d = stores.charge_efficiency[i], stores.discharge_efficiency[i]
    each, slope, length, xs, ys, ends = room.hours, room.slope, room.length, room.xs, room.ys, room.ends
    points, walked, uses, start = room.points, room.walked, room.uses, room.start
    s = scale * stores.initial[i]
    path[0] = s
    drawn = 0.0
    for t in range(hours):
        if each[t, KIND] == LIGHT:
            x = light_forward(xs, ys, t, points[t + 1], slope, length, uses[t], start[t], s)
        elif walked[t]:
            x = walk_forward(xs, ends, t, points[t], s)
        else:
            floor_s = scale * (stores.floor[i, t - 1] if t > 0 else stores.floor_before[i])
            x, _, _ = best_end(
                xs[t + 1],
                ys[t + 1],
                points[t + 1],
                each[t],
                slope[t],
                length[t],
                uses[t],
                room.earned[t],
                room.charged[t],
                s,
                floor_s,
                scale * stores.floor[i, t],
                kappa,
                eta_c,
                eta_d,
            )
        idle = s - each[t, DRIVE]
        x = min(max(x, idle - each[t, DMAX] / eta_d), idle + each[t, PC] * eta_c)
        x = min(max(x, scale * stores.lowest[i, t]), scale * stores.highest[i, t])
        path[t + 1] = x
        drawn += max(idle - x, 0.0)
        s = x
    return drawn / scale


@compiled
def keep_path(room: Room) -> None:
    """Copy ``room.path`` (T+1,) to ``room.other``."""
    for t in range(len(room.path)):
        room.other[t] = room.path[t]


@compiled
def respond(stores: Stores, i: int, prices: Array, kappa: float, room: Room) -> tuple[float, float]:
    """Best schedule of prosumer ``i``: its value, at least that of any schedule, and its price per kWh drawn.

    ``room.path`` holds stored energy (T+1,), times its scale. Where the cycle limit binds, it is priced: the least of
    V(ψ) + ψ limit is found by its tangents, and the schedules on both sides of it are mixed so that the limit is met
    exactly.
    """
    limit, scale = stores.most_drawn_kwh[i], scale_of(stores, i)
    value = backward(stores, i, scale, prices, 0.0, kappa, room)
    if value == -np.inf:
        return value, 0.0
    drawn = forward(stores, i, scale, kappa, room, room.path)
    if drawn <= limit + CYCLE_KWH / scale:
        return value, 0.0
    low, w_low, g_low = 0.0, value, limit - drawn
    drawn_low = drawn
    keep_path(room)
    high = 0.0  # more than a kWh drawn can earn: by its sale, and by charging again, which is paid below zero
    for t in range(prices.shape[1]):
        high = max(high, prices[0, t], abs(prices[1, t]), prices[2, t], prices[3, t])
    high = 2.0 * high / min(stores.charge_efficiency[i], 1.0) + 1.0
    w_high = backward(stores, i, scale, prices, high, kappa, room) + high * limit
    drawn_high = forward(stores, i, scale, kappa, room, room.path)
    g_high = limit - drawn_high
    best = min(w_low, w_high)
    if g_high < 0.0:
        return best, high
    price = high
    for _ in range(MOST_CYCLE_STEPS):
        step = low + (w_high - w_low - g_high * (high - low)) / (g_low - g_high)
        if not (step > low + 1e-13 and step < high - 1e-13):
            break
        w = backward(stores, i, scale, prices, step, kappa, room) + step * limit
        drawn = forward(stores, i, scale, kappa, room, room.path)
        crossing = w_low + g_low * (step - low)
        best, price = min(best, w), step
        if drawn > limit:
            low, w_low, g_low, drawn_low = step, w, limit - drawn, drawn
            keep_path(room)
        else:
            high, w_high, g_high, drawn_high = step, w, limit - drawn, drawn
        if w - crossing <= 1e-13 * (1.0 + abs(w)):
            break
    # the schedule that draws too little is found again, then mixed with the one that draws too much
    backward(stores, i, scale, prices, high, kappa, room)
    drawn_high = forward(stores, i, scale, kappa, room, room.path)
    share = (limit - drawn_high) / (drawn_low - drawn_high) if drawn_low > drawn_high else 0.0
    share = min(max(share, 0.0), 1.0)
    for t in range(len(room.path)):
        room.path[t] += share * (room.other[t] - room.path[t])
    return best, price


@compiled
def carry_out(stores: Stores, i: int, kappa: float, room: Room) -> float:
    """Powers (T, POWERS) of ``room.path`` into ``room.powers``; returns what its owner is paid, $."""
    eta_c, eta_d = stores.charge_efficiency[i], stores.discharge_efficiency[i]
    scale, paid = scale_of(stores, i), 0.0
    hours, path, powers = room.hours, room.path, room.powers
    for t in range(hours.shape[0]):
        floor_s = scale * (stores.floor[i, t - 1] if t > 0 else stores.floor_before[i])
        floor_x = scale * stores.floor[i, t]
        act(hours, t, path[t], path[t + 1], floor_s, floor_x, kappa, eta_c, eta_d, powers)
        for p in range(POWERS):
            powers[t, p] /= scale
        paid += stores.energy_cost[i, t] * (powers[t, 2] + powers[t, 3])
        paid += stores.spin_cost[i, t] * powers[t, 4] + stores.nonspin_cost[i, t] * powers[t, 5]
    return paid


@with_arrays
def add_responses(
    stores: Stores, chosen: Array, group: Array, prices: Array, call_hours: float, power: Array, money: Array
) -> None:
    """Add the best responses of prosumers ``chosen`` (n,) to the sums of their groups.

    ``power`` (G, T, 4): sold, bought, spin, nonspin; ``money`` (G, 2): paid to owners, and value.
    """
    hours = prices.shape[1]
    room = make_room(hours)
    p = room.powers
    for i in chosen:
        kappa = stores.discharge_efficiency[i] / call_hours
        best, _ = respond(stores, i, prices, kappa, room)
        g = group[i]
        money[g, 0] += carry_out(stores, i, kappa, room)
        money[g, 1] += best
        for t in range(hours):
            power[g, t, 0] += p[t, 2] + p[t, 3]
            power[g, t, 1] += p[t, 0]
            power[g, t, 2] += p[t, 4]
            power[g, t, 3] += p[t, 5]


@with_arrays
def add_schedules(
    stores: Stores, first: int, chosen: Array, weight: Array, prices: Array, call_hours: float, out: Array
) -> None:
    """Add ``weight`` (n,) times the best responses of prosumers ``first + chosen`` (n,) to ``out`` (POWERS, …, T)."""
    hours = prices.shape[1]
    room = make_room(hours)
    for k in range(len(chosen)):
        i = first + chosen[k]
        kappa = stores.discharge_efficiency[i] / call_hours
        respond(stores, i, prices, kappa, room)
        carry_out(stores, i, kappa, room)
        for t in range(hours):
            for p in range(POWERS):
                out[p, chosen[k], t] += weight[k] * room.powers[t, p]


@compiled
def spread(
    opportunity: Array,
    prosumer: Array,
    committed_kw: Array,
    agreed_price: Array,
    worth: Array,
    product: Array,
    covers: Array,
    out: Array,
) -> None:
    """Commitments (K,) by prosumer and hour into ``out`` (6, N, T).

    For each product what is committed (kW), then its net cost: agreed price less worth ($ per MWh), $ per kWh.
    """
    for k in range(len(opportunity)):
        o = opportunity[k]
        for t in range(covers.shape[1]):
            if covers[o, t]:
                out[2 * product[o], prosumer[k], t] = committed_kw[k]
                out[2 * product[o] + 1, prosumer[k], t] = (agreed_price[k] - worth[k]) / 1000.0


@with_arrays
def fill_values(stores: Stores, first: int, last: int, prices: Array, call_hours: float, out: Array) -> None:
    """Value of the best day at ``prices``, $, of prosumers first … last − 1, into ``out`` (N,)."""
    room = make_room(prices.shape[1])
    for i in range(first, last):
        out[i], _ = respond(stores, i, prices, stores.discharge_efficiency[i] / call_hours, room)


@with_arrays
def fill_stored_values(
    stores: Stores, first: int, last: int, prices: Array, call_hours: float, stored: Array, out: Array
) -> None:
    """What a kWh more at the end of each hour is worth with ``stored`` (N, T) kWh in store, $, into ``out``."""
    hours = prices.shape[1]
    room = make_room(hours)
    for i in range(first, last):
        respond(stores, i, prices, stores.discharge_efficiency[i] / call_hours, room)
        scale = scale_of(stores, i)
        for t in range(hours):
            xs, ys, m = room.xs[t + 1], room.ys[t + 1], room.points[t + 1]
            left = slope_beside(xs, ys, m, scale * stored[i, t], -1.0)
            right = slope_beside(xs, ys, m, scale * stored[i, t], 1.0)
            out[i, t] = 0.5 * (left + right)
