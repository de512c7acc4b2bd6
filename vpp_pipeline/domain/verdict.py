"""The answer of a check, and how checks read the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from vpp_pipeline.errors import NoDataError

Day = Mapping[str, pl.DataFrame]  # warehouse table name -> that table's rows of one day
SCHEDULE_BEFORE = "dispatch.schedule_before"  # `dispatch.schedule` of the day before, where there is one
LLM_CALLS_BEFORE = "negotiation.llm_calls_before"  # `negotiation.llm_calls` of the last day before that has any


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, with the numbers behind it."""

    violations: int
    description: str
    measured: float  # the one number to watch over time
    is_warning: bool = False  # worth a look, but bids may go out

    @property
    def passed(self) -> bool:
        """Nothing broke the claim."""
        return self.violations == 0


def kept(day: Day, table: str) -> pl.DataFrame | None:
    """The table; nothing for a day that was made before there was such a table, or by the chain alone."""
    try:
        return day[table]
    except (KeyError, NoDataError):
        return None


def judge(broken: pl.DataFrame, found: str, held: str, measured: float, is_warning: bool = False) -> Verdict:
    """A verdict from the rows that break a claim: ``found`` with the first of them, or ``held``."""
    if broken.is_empty():
        return Verdict(0, held, measured)
    first = ", ".join(f"{name} {value}" for name, value in broken.row(0, named=True).items())
    return Verdict(broken.height, f"{broken.height} {found}; first: {first}", measured, is_warning)
