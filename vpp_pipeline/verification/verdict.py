"""The answer of a check, and how checks read the day."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


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


def judge(broken: pl.DataFrame, found: str, held: str, measured: float, is_warning: bool = False) -> Verdict:
    """A verdict from the rows that break a claim: ``found`` with the first of them, or ``held``."""
    if broken.is_empty():
        return Verdict(0, held, measured)
    first = ", ".join(f"{name} {value}" for name, value in broken.row(0, named=True).items())
    return Verdict(broken.height, f"{broken.height} {found}; first: {first}", measured, is_warning)
