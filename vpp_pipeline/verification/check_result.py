"""What a check returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from vpp_pipeline.core.display import printable

PART = 50_000  # prosumers whose hours are held in memory with all that is computed of them: about 500 MB


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
    description = printable(f"{violations.height} {failure}; first: {first}")  # of a file set aside: any letters
    return CheckResult(violations.height, description, value, is_warning)


def of_all_parts(results: Sequence[CheckResult], metric: str) -> CheckResult:
    """One result of a check that was made of each part of a day; ``metric``: the name of its number.

    What is smallest or largest is so of all parts; anything else adds up.
    """
    failed = [(number, result) for number, result in enumerate(results, 1) if not result.passed]
    values = [result.value for result in results]
    is_extreme = metric.startswith(("largest", "highest", "widest", "gap"))
    value = min(values) if metric.startswith("smallest") else max(values) if is_extreme else sum(values)
    if not failed:
        held = f"in each of {len(results)} parts of the fleet; of the first: {results[0].description}"
        return CheckResult(0, held, value)
    stops = [one for one in failed if not one[1].is_warning]
    number, first = (stops or failed)[0]
    told = f"in {len(failed)} of {len(results)} parts of the fleet; of part {number}: {first.description}"
    return CheckResult(sum(result.violations for _, result in failed), told, value, is_warning=not stops)


def parts_of(prosumers: pl.DataFrame) -> Iterator[pl.Expr]:
    """Which rows of any table belong to one part of the prosumers after the other, by ranges of ``prosumer_id``.

    Every row belongs to exactly one part, those of unknown prosumers too.
    """
    first = prosumers["prosumer_id"].sort().gather_every(PART)[1:].to_list()
    name = pl.col("prosumer_id")
    every = name.is_null() | name.is_not_null()  # a literal would not be as long as a table that polars has divided
    for low, high in zip([None, *first], [*first, None], strict=True):
        is_from = every if low is None else name >= low
        yield is_from.fill_null(True) if high is None else is_from & (name < high)
