"""The best schedule of one prosumer at given prices, exactly: a dynamic programme over stored energy without a grid.

The value of stored energy is concave and piecewise linear (the stage is a linear programme), so it is kept as its
breakpoints: a handful per hour. An hour without reserve merges sorted slopes (a supremal convolution, Rockafellar 1970,
theorem 16.4). An hour with reserve, whose backing ties both ends together, is walked along its best ends; where it is
not `apart`, it is traced by tangents: two meet either on the function or above it, where another one is found.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vpp_pipeline.dispatch.column_generation.compiled import compiled
from vpp_pipeline.dispatch.column_generation.hour_kernel import (
    C1,
    C2,
    DMAX,
    DRIVE,
    HEAVY_BURNS,
    KIND,
    NEAR_KWH,
    P1,
    P2,
    PC,
    READY,
    ROUNDING_KWH,
    heavy_piece,
)

MOST_POINTS, MOST_STEPS = 192, 200
#: relative error of a value at which two tangents are taken to meet on the function
EXACT = 3e-13
#: relative rise above a straight line that is left out
FLAT = 1e-11


@compiled
def slope_beside(xs: Any, ys: Any, m: int, x: float, side: float) -> float:
    """Slope of a piecewise linear function just right (+1) or left (−1) of ``x``; beyond its ends the last one."""
    if m == 1:
        return 0.0
    low, high = 0, m - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if xs[middle] < x - NEAR_KWH or (side > 0.0 and xs[middle] <= x + NEAR_KWH):
            low = middle
        else:
            high = middle
    return (ys[high] - ys[low]) / (xs[high] - xs[low])


@compiled
def value_at(xs: Any, ys: Any, m: int, x: float) -> float:
    """A piecewise linear function at ``x``, constant beyond its ends."""
    if x <= xs[0] or m == 1:
        return ys[0]
    if x >= xs[m - 1]:
        return ys[m - 1]
    low, high = 0, m - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if xs[middle] <= x:
            low = middle
        else:
            high = middle
    return ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low])


@compiled
def light_backward(
    xs: Any, ys: Any, t: int, m: int, slope: Any, length: Any, n: int, earned: float, start: float
) -> int:
    """Value at the start of an hour without reserve: both lists of slopes merged. Returns the number of breakpoints."""
    xs[t, 0], ys[t, 0] = start, ys[t + 1, 0] + earned
    count, i, k, last = 1, 0, 0, 0.0
    kept = (ys[t + 1, 1] - ys[t + 1, 0]) / (xs[t + 1, 1] - xs[t + 1, 0]) if m > 1 else 0.0
    while i < m - 1 or k < n:
        if k >= n or (i < m - 1 and kept >= slope[t, k]):
            price, kwh = kept, xs[t + 1, i + 1] - xs[t + 1, i]
            i += 1
            kept = (ys[t + 1, i + 1] - ys[t + 1, i]) / (xs[t + 1, i + 1] - xs[t + 1, i]) if i < m - 1 else 0.0
        else:
            price, kwh = slope[t, k], length[t, k]
            k += 1
        if count > 1 and price >= last - 1e-15:
            xs[t, count - 1] += kwh
            ys[t, count - 1] += last * kwh
        else:
            xs[t, count], ys[t, count] = xs[t, count - 1] + kwh, ys[t, count - 1] + price * kwh
            count, last = count + 1, price
    return count


@compiled
def light_forward(xs: Any, ys: Any, t: int, m: int, slope: Any, length: Any, n: int, start: float, s: float) -> float:
    """Stored energy at the end of an hour without reserve that begins with ``s``."""
    left, x, i, k = s - start, xs[t + 1, 0], 0, 0
    kept = (ys[t + 1, 1] - ys[t + 1, 0]) / (xs[t + 1, 1] - xs[t + 1, 0]) if m > 1 else 0.0
    while left > 0.0 and (i < m - 1 or k < n):
        if k >= n or (i < m - 1 and kept >= slope[t, k]):
            kwh = min(xs[t + 1, i + 1] - xs[t + 1, i], left)
            x += kwh
            i += 1
            kept = (ys[t + 1, i + 1] - ys[t + 1, i]) / (xs[t + 1, i + 1] - xs[t + 1, i]) if i < m - 1 else 0.0
        else:
            kwh = min(length[t, k], left)
            k += 1
        left -= kwh
    return x


@compiled
def clip(xs: Any, ys: Any, t: int, m: int, low: float, high: float) -> int:
    """Restrict a piecewise linear function to [low, high], in place; at least one point is left."""
    first = 0
    while first < m - 1 and xs[t, first + 1] <= low + NEAR_KWH:
        first += 1
    if first < m - 1 and xs[t, first] < low:
        ys[t, first] += (ys[t, first + 1] - ys[t, first]) * (low - xs[t, first]) / (xs[t, first + 1] - xs[t, first])
        xs[t, first] = low
    if first > 0:
        for j in range(first, m):
            xs[t, j - first], ys[t, j - first] = xs[t, j], ys[t, j]
        m -= first
    while m > 1 and xs[t, m - 2] >= high - NEAR_KWH:
        m -= 1
    if m > 1 and xs[t, m - 1] > high:
        y = ys[t, m - 2] + (ys[t, m - 1] - ys[t, m - 2]) * (high - xs[t, m - 2]) / (xs[t, m - 1] - xs[t, m - 2])
        xs[t, m - 1], ys[t, m - 1] = high, y
    return m


@compiled
def best_end(
    xs: Any,
    ys: Any,
    m: int,
    hour: Any,
    slope: Any,
    length: Any,
    n: int,
    earned: float,
    charged: float,
    s: float,
    floor_s: float,
    floor_x: float,
    kappa: float,
    eta_c: float,
    eta_d: float,
) -> tuple[float, float, float]:
    """Best stored energy at the end of an hour with reserve, the value of starting with ``s``, and its slope in s.

    The slope is of a plane that lies above the stage everywhere: a mixture of those left and right of the best end.
    """
    idle = s - hour[DRIVE]
    lowest, highest = idle - hour[DMAX] / eta_d, idle + hour[PC] * eta_c
    low_moves, high_moves = lowest >= xs[0] - NEAR_KWH, highest < xs[m - 1] - NEAR_KWH
    low = max(lowest, xs[0])
    high = max(min(highest, xs[m - 1]), low)
    v, v_s, v_x = heavy_piece(
        hour, slope, length, n, earned, charged, s, low, 1.0, floor_s, floor_x, kappa, eta_c, eta_d
    )
    total_low, slope_low, s_low = v + value_at(xs, ys, m, low), v_x + slope_beside(xs, ys, m, low, 1.0), v_s
    if slope_low <= 0.0 or high - low <= NEAR_KWH:
        moves = low_moves if slope_low <= 0.0 else high_moves
        return low, total_low, s_low + (slope_low if moves else 0.0)
    v, v_s, v_x = heavy_piece(
        hour, slope, length, n, earned, charged, s, high, -1.0, floor_s, floor_x, kappa, eta_c, eta_d
    )
    total_high, slope_high, s_high = v + value_at(xs, ys, m, high), v_x + slope_beside(xs, ys, m, high, -1.0), v_s
    if slope_high >= 0.0:
        return high, total_high, s_high + (slope_high if high_moves else 0.0)
    s_left, x_left, s_right, x_right = s_low, slope_low, s_high, slope_high
    for _ in range(MOST_STEPS):
        x = low + (total_high - total_low - slope_high * (high - low)) / (slope_low - slope_high)
        x = min(max(x, low), high)
        v, s_left, x_left = heavy_piece(
            hour, slope, length, n, earned, charged, s, x, -1.0, floor_s, floor_x, kappa, eta_c, eta_d
        )
        x_left += slope_beside(xs, ys, m, x, -1.0)
        total = v + value_at(xs, ys, m, x)
        # where the next end is the last one, nothing is left to gain but rounding
        if x_left < 0.0 and low + NEAR_KWH < x < high:
            high, total_high, slope_high, s_high = x, total, x_left, s_left
            continue
        v, s_right, x_right = heavy_piece(
            hour, slope, length, n, earned, charged, s, x, 1.0, floor_s, floor_x, kappa, eta_c, eta_d
        )
        x_right += slope_beside(xs, ys, m, x, 1.0)
        if x_right > 0.0 and low < x < high - NEAR_KWH:
            low, total_low, slope_low, s_low = x, total, x_right, s_right
            continue
        break
    x_left, x_right = max(x_left, 0.0), min(x_right, 0.0)
    share = -x_right / (x_left - x_right) if x_left - x_right > 1e-15 else 0.5
    return x, total, share * s_left + (1.0 - share) * s_right


@compiled
def append(xs: Any, ys: Any, m: int, x: float, y: float) -> int:
    """Add a point to a concave piecewise linear function; the new number of points.

    Points that then lie on or below the line to it (by rounding) are dropped: slopes always fall.
    """
    if x - xs[m - 1] <= NEAR_KWH:
        return m
    while m > 1:
        before = (ys[m - 1] - ys[m - 2]) * (x - xs[m - 1])
        after = (y - ys[m - 1]) * (xs[m - 1] - xs[m - 2])
        if before - after > EXACT * (1.0 + abs(y)) * (x - xs[m - 2]):
            break
        m -= 1
    xs[m], ys[m] = x, y
    return m + 1


@compiled
def heavy_backward(
    xs: Any,
    ys: Any,
    m: int,
    hour: Any,
    slope: Any,
    length: Any,
    n: int,
    earned: float,
    charged: float,
    low: float,
    high: float,
    floor_s: float,
    floor_x: float,
    kappa: float,
    eta_c: float,
    eta_d: float,
    out_x: Any,
    out_y: Any,
    todo: Any,
) -> int:
    """Value at the start of an hour with reserve for stored energy in [low, high]: traced by its tangents."""
    _, y, g = best_end(xs, ys, m, hour, slope, length, n, earned, charged, low, floor_s, floor_x, kappa, eta_c, eta_d)
    out_x[0], out_y[0], count = low, y, 1
    if high - low <= NEAR_KWH:
        return count
    _, y2, g2 = best_end(
        xs, ys, m, hour, slope, length, n, earned, charged, high, floor_s, floor_x, kappa, eta_c, eta_d
    )
    # a stack of right ends, nearest on top; the left end is where the trace has come to
    todo[0, 0], todo[0, 1], todo[0, 2] = high, y2, g2
    depth, p, yp, gp = 1, low, y, g
    while depth > 0 and count < MOST_POINTS - 1:
        q, yq, gq = todo[depth - 1, 0], todo[depth - 1, 1], todo[depth - 1, 2]
        near = EXACT * (1.0 + abs(yp) + abs(yq))
        gap = q - p
        straight = gap <= NEAR_KWH or yp + gp * gap <= yq + near or yq - gq * gap <= yp + near
        if not straight and depth < MOST_POINTS - 1:
            r = p + (yq - yp - gq * gap) / (gp - gq)
            # how far the function can rise above the straight line: where that is nothing, rounding is all that is left
            rise = yp + gp * (r - p) - (yp + (yq - yp) * (r - p) / gap)
            if r > p + NEAR_KWH and r < q - NEAR_KWH and rise > FLAT * (1.0 + abs(yp)):
                _, yr, gr = best_end(
                    xs, ys, m, hour, slope, length, n, earned, charged, r, floor_s, floor_x, kappa, eta_c, eta_d
                )
                if yr >= yp + gp * (r - p) - near:
                    count = append(out_x, out_y, count, r, yr)
                    p, yp, gp = r, yr, gq
                else:
                    todo[depth, 0], todo[depth, 1], todo[depth, 2] = r, yr, gr
                    depth += 1
                continue
        count = append(out_x, out_y, count, q, yq)
        p, yp, gp = q, yq, gq
        depth -= 1
    return count


@compiled
def walk_backward(
    xs: Any,
    ys: Any,
    ends: Any,
    t: int,
    m: int,
    hours: Any,
    slope: Any,
    length: Any,
    fall: Any,
    n: int,
    earned: float,
    charged: float,
    low: float,
    high: float,
    floor_s: float,
    floor_x: float,
    kappa: float,
    eta_c: float,
    eta_d: float,
) -> int:
    """Value at the start of an hour with reserve for stored energy in [low, high], where `apart` holds: walked.

    As stored energy s rises, the best end x moves along an edge: x rises with s (a kWh is kept, ``ys`` says what for),
    or stays (a kWh is used, as ``slope`` says), or falls. Each step takes the edge that earns most, which is exact as
    the hour's value is concave, and ends at the next breakpoint. What backs a kW of reserve z passes four regions, in
    this order as s rises, since uses fall in price; R is what they leave for reserve, which ``fall``s with them:

    1. charging more than the floors rise: z = κ (s − floor_s), whatever x is;
    2. otherwise the end backs less than the start: z = κ (x − floor_x);
    3. the limits and the end bind at once, κ (x − floor_x) = R: x falls to use more;
    4. the limits bind, z = R; from the first region on where R falls below it.

    Gives up, with 0 points, where the limits and the start bind at once, and x would rise faster than s.

    ``ends`` (row t): the best x at each breakpoint. In between it is a mixture: the value is concave in (s, x).
    """
    ready = hours[t, READY]
    k1, k2 = min(hours[t, C1], ready), min(hours[t, C1] + hours[t, C2], ready)
    p1, p2 = hours[t, P1], hours[t, P2] if hours[t, C2] > 0.0 else 0.0
    even = floor_x - floor_s + hours[t, DRIVE]
    if hours[t, KIND] != HEAVY_BURNS:
        even = max(even, 0.0)
    u, x, i, k = eta_c * charged, xs[t + 1, 0], 0, 0
    s = x + hours[t, DRIVE] - u
    left = length[t, 0] if n > 0 else 0.0
    if u > even:
        phase, z = 1, kappa * (s - floor_s)
    else:
        phase, z = 2, kappa * (x - floor_x)
    if z > ready + ROUNDING_KWH:
        phase, z = 4, ready
    elif z >= ready - ROUNDING_KWH:
        phase, z = (3 if phase == 2 else 4), ready
    # the price of reserve beyond z (below it from the third region on, where z falls): 0 is p1, 1 is p2, 2 is nothing
    at = 0.0 if phase <= 2 else ROUNDING_KWH
    q = 0 if z < k1 + at else (1 if z < k2 + at else 2)
    value = ys[t + 1, 0] + earned + p1 * min(z, k1) + p2 * max(min(z, k2) - k1, 0.0)
    keep = (ys[t + 1, 1] - ys[t + 1, 0]) / (xs[t + 1, 1] - xs[t + 1, 0]) if m > 1 else -np.inf
    use = slope[t, 0] if n > 0 else -np.inf
    loss = fall[t, 0] if n > 0 else 0.0
    count, last = 0, np.inf
    while True:
        # what a kWh more earns, kept or used or (beta) along the third region's edge, and how long
        reserve = p1 if q == 0 else (p2 if q == 1 else 0.0)
        up, down = keep, use
        if phase == 1:
            up, down = up + kappa * reserve, down + kappa * reserve
        elif phase == 2:
            up += kappa * reserve
        else:
            down -= loss * reserve
        edge = 0  # 0: x rises, 1: x stays, 2: x falls
        price = up
        if down > up:
            edge, price = 1, down
        beta = loss / (kappa - loss) if kappa > loss * (1.0 + 1e-9) else 0.0
        if phase == 3 and beta > 0.0:
            j = i if x > xs[t + 1, i] else i - 1
            if j >= 0:
                before = (ys[t + 1, j + 1] - ys[t + 1, j]) / (xs[t + 1, j + 1] - xs[t + 1, j])
                falling = use + beta * (use - before - kappa * reserve)
                if falling > price:
                    edge, price = 2, falling
        if price == -np.inf:
            break
        # the nearest breakpoint. event 0: end of what is kept, 1: of a use, 2: of a price of reserve, 3, 4: of a region
        event = 0
        if phase >= 3 and edge != 2 and not (edge == 1 and loss <= 0.0 and phase == 3):
            phase = 4
        if edge == 0:
            step = xs[t + 1, i + 1] - x
            if phase <= 2 and ready - z < kappa * step:
                step, event = (ready - z) / kappa, 3
        elif edge == 1:
            step, event = left, 1
            if phase == 1 and u - even < step:
                step, event = u - even, 4
            nears = kappa + loss if phase == 1 else loss
            if phase <= 2 and ready - z < nears * step:
                step, event = (ready - z) / nears, 3
        else:
            step, event = left / (1.0 + beta), 1
            if (x - xs[t + 1, j]) < beta * step:
                step, event = (x - xs[t + 1, j]) / beta, 0
        if q < 2 and (phase == 1 or (phase == 2 and edge == 0)):
            until = (k1 if q == 0 else k2) - z
            if until < kappa * step:
                step, event = until / kappa, 2
        elif q > 0 and edge > 0 and phase >= 3 and loss > 0.0:
            until = z - (k2 if q == 2 else k1)
            falls = loss if edge == 1 else kappa * beta
            if until < falls * step:
                step, event = until / falls, 2
        step = max(step, 0.0)
        # the step
        begun, x_begun = s, x
        s += step
        if edge == 0:
            x += step
            if phase <= 2:
                z += kappa * step
        elif edge == 1:
            u -= step
            left -= step
            ready -= loss * step
            if phase == 1:
                z += kappa * step
            elif phase == 4:
                z -= loss * step
        else:
            x -= beta * step
            left -= (1.0 + beta) * step
            ready -= kappa * beta * step
            z -= kappa * beta * step
        if step > 0.0 and s > low:
            if count == 0:
                share = max((low - begun) / step, 0.0)
                xs[t, 0], ys[t, 0] = begun + share * step, value + price * share * step
                ends[t, 0], count = x_begun + share * (x - x_begun), 1
            if count > 1 and (price >= last - 1e-15 or xs[t, count - 1] - xs[t, count - 2] <= NEAR_KWH):
                count -= 1
            if count >= MOST_POINTS - 1:
                return 0
            value += price * step
            xs[t, count], ys[t, count], ends[t, count] = s, value, x
            count, last = count + 1, price
            if s >= high:
                share = min((high - xs[t, count - 2]) / (s - xs[t, count - 2]), 1.0)
                if share <= 0.0:
                    return count - 1
                ys[t, count - 1] = ys[t, count - 2] + share * (value - ys[t, count - 2])
                ends[t, count - 1] = ends[t, count - 2] + share * (x - ends[t, count - 2])
                xs[t, count - 1] = high
                break
        else:
            value += price * step
        # what the breakpoint changes
        if event == 0:
            if edge == 0:
                i += 1
                x = xs[t + 1, i]
                keep = (ys[t + 1, i + 1] - ys[t + 1, i]) / (xs[t + 1, i + 1] - x) if i < m - 1 else -np.inf
            else:
                i, x, keep = j, xs[t + 1, j], before
        elif event == 1:
            k += 1
            left = length[t, k] if k < n else 0.0
            use = slope[t, k] if k < n else -np.inf
            loss = fall[t, k] if k < n else 0.0
        elif event == 2:
            if phase <= 2:
                q, z = q + 1, (k1 if q == 0 else k2)
            else:
                q, z = q - 1, (k2 if q == 2 else k1)
        elif event == 4 and z < ready - ROUNDING_KWH:
            phase = 2
        else:
            above = k if k < n and left < length[t, k] else k - 1
            phase, z = (4 if phase == 1 and event == 3 else 3), ready
            q = 0 if z <= k1 + ROUNDING_KWH else (1 if z <= k2 + ROUNDING_KWH else 2)
            if u >= even - ROUNDING_KWH and above >= 0 and fall[t, above] > 0.0:
                reserve = p1 if q == 0 else (p2 if q == 1 else 0.0)
                if keep > slope[t, above] - fall[t, above] * reserve:
                    return 0
        if edge == 2 and event != 0:
            i, keep = j, before
    if count == 0:
        xs[t, 0], ys[t, 0], ends[t, 0], count = s, value, x, 1
    if count > 1 and xs[t, count - 1] - xs[t, count - 2] <= NEAR_KWH:  # too short to have a slope
        count -= 1
        if count > 1:
            xs[t, count - 1], ys[t, count - 1], ends[t, count - 1] = xs[t, count], ys[t, count], ends[t, count]
    return count


@compiled
def walk_forward(xs: Any, ends: Any, t: int, m: int, s: float) -> float:
    """Stored energy at the end of a walked hour that begins with ``s``: a mixture of those of two breakpoints."""
    if m == 1:
        return ends[t, 0]
    i = 0
    while i < m - 2 and xs[t, i + 1] <= s:
        i += 1
    share = min(max((s - xs[t, i]) / (xs[t, i + 1] - xs[t, i]), 0.0), 1.0)
    return ends[t, i] + share * (ends[t, i + 1] - ends[t, i])


@compiled
def reach(
    xs: Any, t: int, m: int, hours: Any, low: float, high: float, eta_c: float, eta_d: float
) -> tuple[float, float]:
    """Stored energy at the start of an hour from which its end can be reached, within [low, high]."""
    lowest = xs[t + 1, 0] + hours[t, DRIVE] - hours[t, PC] * eta_c
    highest = xs[t + 1, m - 1] + hours[t, DRIVE] + hours[t, DMAX] / eta_d
    return max(low, lowest), min(high, highest)
