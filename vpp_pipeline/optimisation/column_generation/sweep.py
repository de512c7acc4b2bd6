"""Sweeps over many prosumers: commitments laid out, best responses added up by group, kept one by one, or valued."""

from __future__ import annotations

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.optimisation.column_generation.compiled import compiled
from vpp_pipeline.optimisation.column_generation.respond import POWERS, Stores, carry_out, make_room, respond, scale_of
from vpp_pipeline.optimisation.column_generation.store import slope_beside


@compiled
def add_responses(
    stores: Stores, chosen: Array, group: Array, prices: Array, call_hours: float, power: Array, money: Array
) -> None:
    """Add the best responses of prosumers ``chosen`` (n,) to the sums of their groups.

    ``power`` (G, T, 4): sold, bought, spin, nonspin; ``money`` (G, 2): paid to owners, and value.
    """
    hours = prices.shape[1]
    room = make_room(hours)
    for i in chosen:
        kappa = stores.discharge_efficiency[i] / call_hours
        best, _ = respond(stores, i, prices, kappa, room)
        g = group[i]
        money[g, 0] += carry_out(stores, i, kappa, room)
        money[g, 1] += best
        for t in range(hours):
            p = room.powers[t]
            power[g, t, 0] += p[2] + p[3]
            power[g, t, 1] += p[0]
            power[g, t, 2] += p[4]
            power[g, t, 3] += p[5]


@compiled
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


@compiled
def fill_values(stores: Stores, first: int, last: int, prices: Array, call_hours: float, out: Array) -> None:
    """Value of the best day at ``prices``, $, of prosumers first … last − 1, into ``out`` (N,)."""
    room = make_room(prices.shape[1])
    for i in range(first, last):
        out[i], _ = respond(stores, i, prices, stores.discharge_efficiency[i] / call_hours, room)


@compiled
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
