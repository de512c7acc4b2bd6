"""How many drawn cases a test tries: an eighth where slow tests are left out (`make test`), all of them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

is_short = False  # set from the marker expression, before tests are collected


def tries(examples: int, **others: Any) -> settings:
    """Hypothesis' settings for ``examples`` cases, without a deadline for each."""
    return settings(max_examples=max(8, examples // 8) if is_short else examples, deadline=None, **others)


def seeds(values: Iterable[int], often: int | None = None) -> list[Any]:
    """Parameters of which the first ``often``, by default a fifth, are tried in every run and the others are slow."""
    every = list(values)
    count = -(-len(every) // 5) if often is None else often
    return [*every[:count], *(pytest.param(value, marks=pytest.mark.slow) for value in every[count:])]
