"""Large tables beside each other."""

from __future__ import annotations

from typing import Literal

import polars as pl


def side_by_side(
    left: pl.DataFrame, right: pl.DataFrame, on: list[str], how: Literal["inner", "full"] = "inner"
) -> pl.DataFrame:
    """``left`` joined with ``right``, of which no other column has the same name.

    Tables that come through `door` are sorted by their key: where both hold the same keys in the same order, rows are
    set beside each other, which takes a tenth of a join's time and memory.
    """
    if left.select(on).equals(right.select(on)):
        return left.hstack(right.drop(on))
    return left.join(right, on=on, how=how, coalesce=True)
