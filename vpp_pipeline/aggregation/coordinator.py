"""Storage whose state of charge the scheduling coordinator keeps: bids of which the market may award any.

The market then clears each hour by itself and knows no state of charge, so that what is charged and what is discharged
are fixed ahead, each in hours of its own. Charging is bid at the market's cap, so it is awarded; discharge may be
awarded or not, in part or in full, and the state of charge lies between two paths that are both within the limits:

    nothing discharged   C_t = Σ_{s ≤ t} c_s            ≤ above_t
    all discharged       C_t − D_t, D_t = Σ_{s ≤ t} d_s ≥ −below_t,   C_T − D_T ≥ −last,   D_T ≤ cycles

Of all such hours those are taken that earn most at the forecast. What the day sells it must have charged, so an owner
who ends the day as it began offers no more than it has room for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linprog

from vpp_pipeline.aggregation.boxes import Boxes
from vpp_pipeline.aggregation.classes import Classes, Outlook
from vpp_pipeline.aggregation.storage_day import Gains
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.errors import SolveError

USED_KWH = 1e-9


def kept_by_coordinator(classes: Classes, outlook: Outlook) -> Classes:
    """``classes`` whose shapes ask for no more than the two paths need, at the prices of ``outlook``, which is of one
    day. What owners have beyond that they can hold as reserve, each for itself.

    Raises SolveError where HiGHS has no answer.
    """
    gains = outlook.gains(0)
    shapes = [_narrowed(shape, gains) for shape in classes.shape]
    return replace(classes, shape=np.array(shapes).reshape(classes.shape.shape))


def _narrowed(shape: Array, gains: Gains) -> Array:
    box = Boxes(shape[None])
    hours = box.hours
    so_far, none = np.tril(np.ones((hours, hours))), np.zeros((hours, hours))
    drawn = np.append(np.zeros(hours), np.ones(hours))
    found = linprog(
        np.append(gains.buy, -gains.sell[:, 0]),
        A_ub=np.vstack([np.hstack([so_far, none]), np.hstack([-so_far, so_far]), drawn]),
        b_ub=np.concatenate([box.above[0], _lowest(box), box.cycles]),
        bounds=np.column_stack([np.zeros(2 * hours), np.append(box.charge[0], box.discharge[0])]),
    )
    if not found.success:
        raise SolveError(f"HiGHS says {found.message} of a storage resource")
    charge, discharge = np.where(found.x > USED_KWH, found.x, 0.0).reshape(2, hours)
    discharge = np.where(charge > 0.0, 0.0, discharge)
    high = np.cumsum(charge)
    below = np.maximum(np.cumsum(discharge) - high, 0.0)
    return np.concatenate([charge, discharge, below, high, [0.0, below[-1], discharge.sum()]])


def _lowest(box: Boxes) -> Array:
    """How far below the baseline one resource may be after each hour (T,), its end included."""
    return np.append(box.below[0, :-1], min(box.below[0, -1], box.last[0]))


def deliverable(charge: Array, discharge: Array, box: Boxes) -> Array:
    """``discharge`` (1, T) of one resource, no more in any hour than ``charge`` (1, T) and the limits of ``box`` allow
    if all of it is awarded, kWh; what the last hours must keep is left to them.
    """
    most = np.minimum(np.cumsum(charge[0]) + _lowest(box), box.cycles[0])
    ahead = np.minimum.accumulate(most[::-1])[::-1]  # what may be drawn by each hour, so that later hours are kept too
    drawn, kept = 0.0, np.zeros_like(discharge)
    for t, kwh in enumerate(discharge[0]):
        kept[0, t] = min(kwh, max(ahead[t] - drawn, 0.0))
        drawn += kept[0, t]
    return kept


def backed_kwh(charge: Array, discharge: Array, box: Boxes) -> Array:
    """Energy (1, T) above the limits of ``box`` that backs reserve if all of ``discharge`` is awarded, before the hour
    and after it."""
    left = np.cumsum(charge - discharge, axis=1) + box.below
    before = np.column_stack([box.first, left[:, :-1]])
    return np.maximum(np.minimum(before, left), 0.0)
