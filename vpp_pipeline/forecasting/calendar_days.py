"""Days on which a market behaves like a Sunday."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache

import numpy as np

from vpp_pipeline.domain.arrays import Flags


@cache
def holidays(year: int) -> frozenset[date]:
    """The six off-peak holidays of the North American Electric Reliability Corporation; Sunday's are kept on Monday."""
    fixed = (date(year, 1, 1), date(year, 7, 4), date(year, 12, 25))
    observed = {day + timedelta(days=1) if day.weekday() == 6 else day for day in fixed}
    memorial = date(year, 5, 31) - timedelta(days=date(year, 5, 31).weekday())
    labour = date(year, 9, 1) + timedelta(days=-date(year, 9, 1).weekday() % 7)
    first = date(year, 11, 1)
    thanksgiving = first + timedelta(days=(3 - first.weekday()) % 7 + 21)
    return frozenset(observed | {memorial, labour, thanksgiving})


def rest_days(days: Sequence[date]) -> Flags:
    """(N,): Saturdays, Sundays and holidays."""
    return np.array([day.weekday() >= 5 or day in holidays(day.year) for day in days], dtype=bool)
