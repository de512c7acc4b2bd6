"""What a check returns."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class CheckResult:
    """Whether a check passed, with the numbers behind it."""

    violations: int
    description: str
    value: float  # of the check's metric, which `METRICS` of registry.py names
    is_warning: bool = False  # a failure that does not hold the bids back

    @property
    def passed(self) -> bool:
        """Whether there are no violations."""
        return self.violations == 0


def count_violations(
    violations: pl.DataFrame, failure: str, success: str, value: float, is_warning: bool = False
) -> CheckResult:
    """The result of a check that found these rows: ``failure`` with the first of them, or ``success`` if none."""
    if violations.is_empty():
        return CheckResult(0, success, value)
    first = ", ".join(f"{name} {value}" for name, value in violations.row(0, named=True).items())
    return CheckResult(violations.height, f"{violations.height} {failure}; first: {first}", value, is_warning)
