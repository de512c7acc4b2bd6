"""One hour of one prosumer: what a change of stored energy earns at given prices, in closed form.

A stage goes from stored energy s (start of the hour) to x (its end). With net change u = x − s + drive the store either
charges (u > 0) or discharges (u < 0); what is left of sun, inverter, export limit, commitments and backing energy goes
to the best paid of solar sales, spin and nonspin. These limits are nested (reserve within the inverter, all within the
export limit), so that filling by price is optimal; a property test compares it with a linear programme.

Everything is compiled by numba. ``hour`` is a row of :data:`HOUR` numbers, in the order of the indices below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vpp_pipeline.dispatch.column_generation.compiled import compiled, inlined

#: numbers of an hour that the stage needs: limits in kW and kWh, prices in $ per kWh or kW and hour
HOUR = 17
PC, SUN, ROOM, CE, SELL_SUN, SELL, BUY, C1, P1, C2, P2, DMAX, PD, DRIVE, SPIN_FIRST, KIND, READY = range(HOUR)
#: kinds of hours. LIGHT: no reserve is worth selling. HEAVY: some is. BURNS: lost energy earns (see `segments_of`)
LIGHT, HEAVY, HEAVY_BURNS = 0.0, 1.0, 2.0
SEGMENTS = 7
NEAR_KWH = 1e-10
ROUNDING_KWH = 1e-12


@compiled
def describe_hour(
    hours: Any,
    t: int,
    pc: float,
    pd: float,
    sun: float,
    room: float,
    drive: float,
    ce: float,
    ae: float,
    cs: float,
    as_: float,
    cn: float,
    an: float,
    sell: float,
    buy: float,
    spin: float,
    nonspin: float,
    per_kwh_out: float,
) -> None:
    """Fill row ``t`` of ``hours``: net prices after owners' costs, reserves by price, none where nothing is gained."""
    hours[t, PC], hours[t, PD], hours[t, SUN], hours[t, ROOM], hours[t, CE], hours[t, DRIVE] = (
        pc,
        pd,
        sun,
        room,
        ce,
        drive,
    )
    hours[t, SELL_SUN] = max(sell - ae, 0.0) if ce > 0.0 else 0.0
    hours[t, SELL] = (sell - ae if ce > 0.0 else 0.0) - per_kwh_out
    hours[t, BUY] = buy
    hours[t, DMAX] = max(min(pd, ce, room), 0.0)
    ready = min(pd, room)
    ps, pn = spin - as_, nonspin - an
    cs, cn = (min(cs, ready) if ps > 0.0 else 0.0), (min(cn, ready) if pn > 0.0 else 0.0)
    first = ps >= pn if (cs > 0.0 and cn > 0.0) else cs > 0.0
    hours[t, SPIN_FIRST] = 1.0 if first else 0.0
    hours[t, C1], hours[t, P1], hours[t, C2], hours[t, P2] = (cs, ps, cn, pn) if first else (cn, pn, cs, ps)
    hours[t, KIND] = LIGHT if hours[t, C1] <= 0.0 else HEAVY


@inlined
def _use(slope: Any, length: Any, fall: Any, t: int, n: int, price: float, kwh: float, per_kwh: float) -> int:
    """Add a use of stored energy, in its place by price (those of one price in the order added); how many there are."""
    if kwh <= 0.0:
        return n
    k = n
    while k > 0 and slope[t, k - 1] < price:
        slope[t, k], length[t, k], fall[t, k] = slope[t, k - 1], length[t, k - 1], fall[t, k - 1]
        k -= 1
    slope[t, k], length[t, k], fall[t, k] = price, kwh, per_kwh
    return n + 1


@compiled
def segments_of(
    hours: Any, t: int, eta_c: float, eta_d: float, slope: Any, length: Any, fall: Any
) -> tuple[int, float, float]:
    """Uses of stored energy in an hour without reserve: ``slope`` ($/kWh, falling) and ``length`` (kWh) of each.

    Begins at the hour in which the store charges all it can; each kWh more in store first saves the dearest charging,
    then is sold. Returns how many uses there are, what the hour earns at the beginning, and the charging there (kW).
    Where a sale after losses earns more than charging costs (prices below zero), the order lets a store burn energy:
    a relaxation, marked HEAVY_BURNS if reserve is sold as well.

    Of an hour with reserve also READY, the kW that inverter and export limit leave for reserve at the beginning, after
    the sun that is sold, and ``fall``, by how much each kWh of a use lowers them. A use in which that changes is two.
    """
    heavy = hours[t, KIND] == HEAVY
    most_sold = min(hours[t, CE], hours[t, ROOM])
    sun_sold = min(hours[t, SUN], most_sold) if hours[t, SELL_SUN] > 0.0 else 0.0
    # charging takes sun that cannot be sold, sun that could be, the grid; the grid alone if it pays to take energy
    pays = hours[t, BUY] < 0.0
    free_kw = 0.0 if pays else min(hours[t, SUN] - sun_sold, hours[t, PC])
    sun_kw = 0.0 if pays else min(sun_sold, hours[t, PC] - free_kw)
    grid_kw = hours[t, PC] - free_kw - sun_kw
    sun_at_first = sun_sold - sun_kw
    earned = hours[t, SELL_SUN] * sun_at_first - hours[t, BUY] * grid_kw
    # each of them saved, the last one first; sun that is sold again takes of what the export limit leaves for reserve
    n, roomy, saved = 0, sun_kw, hours[t, SELL_SUN] / eta_c
    if heavy:
        roomy = min(max(hours[t, ROOM] - hours[t, PD] - sun_at_first, 0.0), sun_kw)
    n = _use(slope, length, fall, t, n, hours[t, BUY] / eta_c, grid_kw * eta_c, 0.0)
    n = _use(slope, length, fall, t, n, saved, roomy * eta_c, 0.0)
    n = _use(slope, length, fall, t, n, saved, (sun_kw - roomy) * eta_c, 1.0 / eta_c)
    n = _use(slope, length, fall, t, n, 0.0, free_kw * eta_c, 0.0)
    cheapest = slope[t, n - 1] if n > 0 else np.inf
    # discharged beside the sun that is sold, then in its place
    beside = min(max(most_sold - sun_sold, 0.0), hours[t, DMAX])
    instead = hours[t, DMAX] - beside
    sold_at = hours[t, SELL] if beside > 0.0 else hours[t, SELL] - hours[t, SELL_SUN]
    if heavy and hours[t, DMAX] > 0.0 and sold_at * eta_d > cheapest + 1e-15:
        hours[t, KIND] = HEAVY_BURNS
    n = _use(slope, length, fall, t, n, hours[t, SELL] * eta_d, beside / eta_d, eta_d)
    price = (hours[t, SELL] - hours[t, SELL_SUN]) * eta_d
    if heavy:
        roomy = min(max(hours[t, PD] - hours[t, ROOM] + most_sold - beside, 0.0), instead)
        n = _use(slope, length, fall, t, n, price, roomy / eta_d, 0.0)
        instead -= roomy
    n = _use(slope, length, fall, t, n, price, instead / eta_d, eta_d)
    hours[t, READY] = min(hours[t, PD], max(hours[t, ROOM] - sun_at_first, 0.0))
    if hours[t, KIND] == HEAVY_BURNS:  # energy is burnt beside reserve
        hours[t, READY] = hours[t, PD]
        for k in range(n):
            fall[t, k] = 0.0
    return n, earned, hours[t, PC]


@compiled
def apart(hours: Any, t: int, floor_s: float, floor_x: float, kappa: float, eta_d: float) -> bool:
    """Whether reserve comes after all other uses of an hour, so that it can be walked.

    Then it earns L(u) + r(min(κ(s − floor_s), κ(x − floor_x), R(u))): L of the uses without reserve, r of reserve, R
    what they leave of inverter and export limit. Not so where the export limit may bind with sun that is sold for less
    than reserve, or sun is charged though grid energy costs less. The walk also takes it that backing at the hour's end
    falls short no later than at its start while charging (a floor that does not fall; where sun that is charged leaves
    room for reserve, one that does not rise either), and that a kWh backs at least what it delivers in an hour (a call
    of at most one).
    """
    if hours[t, KIND] == HEAVY_BURNS:
        return True
    rises = floor_x - floor_s + hours[t, DRIVE]
    if kappa < eta_d or rises < -ROUNDING_KWH:
        return False
    if hours[t, SELL_SUN] <= 0.0 or hours[t, SUN] <= 0.0:
        return True
    if hours[t, BUY] >= 0.0 and hours[t, SELL_SUN] > hours[t, BUY]:
        return False
    reserve = min(hours[t, PD], hours[t, C1] + hours[t, C2])
    most = min(min(hours[t, SUN], hours[t, CE]) + hours[t, PD], hours[t, CE] + reserve)
    return hours[t, ROOM] >= most or (hours[t, SELL_SUN] >= hours[t, P1] and rises <= ROUNDING_KWH)


@inlined
def _lesser(
    a: float, a_s: float, a_x: float, b: float, b_s: float, b_x: float, side: float
) -> tuple[float, float, float]:
    """The smaller of two quantities with their slopes; of equal ones that which is smaller just beside x, then s."""
    if abs(a - b) > NEAR_KWH:
        first = a < b
    elif abs(a_x - b_x) > 1e-12:
        first = side * a_x < side * b_x
    else:
        first = a_s < b_s
    return (a, a_s, a_x) if first else (b, b_s, b_x)


@compiled
def heavy_piece(
    hour: Any,
    slope: Any,
    length: Any,
    n: int,
    earned: float,
    charged: float,
    s: float,
    x: float,
    side: float,
    floor_s: float,
    floor_x: float,
    kappa: float,
    eta_c: float,
    eta_d: float,
) -> tuple[float, float, float]:
    """What an hour with reserve earns from ``s`` to ``x``, with its slopes in s and in x, just beside x.

    ``side`` is +1 or −1; kappa: kW of reserve that a kWh backs.
    """
    back, back_s, back_x = _lesser(kappa * (s - floor_s), kappa, 0.0, kappa * (x - floor_x), 0.0, kappa, side)
    u = x - s + hour[DRIVE]
    if hour[KIND] == HEAVY_BURNS:
        value, per_a = light_value(slope, length, n, earned, s - x - hour[DRIVE] + eta_c * charged, -side)
        value_s, value_x = per_a, -per_a
        y, y_s, y_x = _lesser(back, back_s, back_x, hour[PD], 0.0, 0.0, side)
        for item in range(2):
            cap, price = (hour[C1], hour[P1]) if item == 0 else (hour[C2], hour[P2])
            k, k_s, k_x = _lesser(cap, 0.0, 0.0, y, y_s, y_x, side)
            value, value_s, value_x = value + price * k, value_s + price * k_s, value_x + price * k_x
            y, y_s, y_x = y - k, y_s - k_s, y_x - k_x
        return value, value_s, value_x
    if u > NEAR_KWH or (u >= -NEAR_KWH and side > 0.0):
        c, c_x = u / eta_c, 1.0 / eta_c
        if hour[BUY] < 0.0:
            value, value_x = -hour[BUY] * c, -hour[BUY] * c_x
            v, v_s, v_x = hour[SUN], 0.0, 0.0
        else:
            over = c > hour[SUN] + NEAR_KWH or (c > hour[SUN] - NEAR_KWH and side > 0.0)
            value, value_x = (-hour[BUY] * (c - hour[SUN]), -hour[BUY] * c_x) if over else (0.0, 0.0)
            v, v_s, v_x = (0.0, 0.0, 0.0) if over else (hour[SUN] - c, c_x, -c_x)
        value_s = -value_x
        v, v_s, v_x = _lesser(v, v_s, v_x, hour[CE], 0.0, 0.0, side)
        y, y_s, y_x = _lesser(back, back_s, back_x, hour[PD], 0.0, 0.0, side)
        left, left_s, left_x = hour[ROOM], 0.0, 0.0
    else:
        d = -u * eta_d
        value, value_s, value_x = hour[SELL] * d, hour[SELL] * eta_d, -hour[SELL] * eta_d
        v, v_s, v_x = _lesser(hour[SUN], 0.0, 0.0, hour[CE] - d, -eta_d, eta_d, side)
        y, y_s, y_x = _lesser(back, back_s, back_x, hour[PD] - d, -eta_d, eta_d, side)
        left, left_s, left_x = hour[ROOM] - d, -eta_d, eta_d
    # the best paid first: solar sales (in its place by price), then the reserves
    sun_done = hour[SELL_SUN] <= 0.0
    for item in range(3):
        if not sun_done:
            price = hour[P1] if item == 0 else (hour[P2] if item == 1 else -1.0)
            has = (hour[C1] if item == 0 else (hour[C2] if item == 1 else 0.0)) > 0.0
            if not has or hour[SELL_SUN] >= price:
                k, k_s, k_x = _lesser(v, v_s, v_x, left, left_s, left_x, side)
                value += hour[SELL_SUN] * k
                value_s += hour[SELL_SUN] * k_s
                value_x += hour[SELL_SUN] * k_x
                left, left_s, left_x = left - k, left_s - k_s, left_x - k_x
                sun_done = True
        if item < 2:
            cap, price = (hour[C1], hour[P1]) if item == 0 else (hour[C2], hour[P2])
            if cap > 0.0:
                k, k_s, k_x = _lesser(y, y_s, y_x, left, left_s, left_x, side)
                k, k_s, k_x = _lesser(cap, 0.0, 0.0, k, k_s, k_x, side)
                value, value_s, value_x = value + price * k, value_s + price * k_s, value_x + price * k_x
                y, y_s, y_x = y - k, y_s - k_s, y_x - k_x
                left, left_s, left_x = left - k, left_s - k_s, left_x - k_x
    return value, value_s, value_x


@compiled
def light_value(slope: Any, length: Any, n: int, earned: float, amount: float, side: float) -> tuple[float, float]:
    """What an hour without reserve earns with ``amount`` kWh of its uses filled, and the price of the next use."""
    value, left, price = earned, amount, 0.0
    for k in range(n):
        price = slope[k]
        if left < length[k] - NEAR_KWH or (left <= length[k] + NEAR_KWH and side < 0.0):
            return value + price * left, price
        value += price * length[k]
        left -= length[k]
    return value + price * left, price


@compiled
def act(
    hours: Any,
    t: int,
    s: float,
    x: float,
    floor_s: float,
    floor_x: float,
    kappa: float,
    eta_c: float,
    eta_d: float,
    out: Any,
) -> float:
    """The powers that go with a step from ``s`` to ``x``, and what they earn ($).

    ``out``: grid charge, solar charge, discharge, solar sold, spin, nonspin (kW). Never charges and discharges at once.
    """
    u = x - s + hours[t, DRIVE]
    c, d = min(max(u / eta_c, 0.0), hours[t, PC]), min(max(-u * eta_d, 0.0), hours[t, DMAX])
    grid = c if hours[t, BUY] < 0.0 else max(c - hours[t, SUN], 0.0)
    solar = c - grid
    y = max(min(kappa * (s - floor_s), kappa * (x - floor_x), hours[t, PD] - d), 0.0)
    v = max(min(hours[t, SUN] - solar, hours[t, CE] - d), 0.0) if hours[t, SELL_SUN] > 0.0 else 0.0
    left = hours[t, ROOM] - d
    sold_first = min(v, left) if hours[t, SELL_SUN] >= hours[t, P1] or hours[t, C1] <= 0.0 else 0.0
    first = max(min(hours[t, C1], y, left - sold_first), 0.0)
    y, left = y - first, left - sold_first - first
    sold_next = min(v - sold_first, left) if hours[t, SELL_SUN] >= hours[t, P2] or hours[t, C2] <= 0.0 else 0.0
    second = max(min(hours[t, C2], y, left - sold_next), 0.0)
    left -= sold_next + second
    v = max(sold_first + sold_next + min(v - sold_first - sold_next, left), 0.0)
    out[t, 0], out[t, 1], out[t, 2], out[t, 3] = grid, solar, d, v
    out[t, 4], out[t, 5] = (first, second) if hours[t, SPIN_FIRST] > 0.0 else (second, first)
    return (
        hours[t, SELL] * d
        + hours[t, SELL_SUN] * v
        - hours[t, BUY] * grid
        + hours[t, P1] * first
        + hours[t, P2] * second
    )
