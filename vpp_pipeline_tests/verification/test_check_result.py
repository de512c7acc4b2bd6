"""Parts of a fleet: each row belongs to exactly one, however many there are."""

from __future__ import annotations

import polars as pl
import pytest

from vpp_pipeline.verification.check_result import PART, parts_of


@pytest.mark.parametrize("count", [0, 1, 30_000, PART, PART + 1, 2 * PART + 7])  # polars divides from some 10,000 on
def test_every_row_belongs_to_one_part_those_of_unknown_prosumers_too(count: int):
    fleet = pl.DataFrame({"prosumer_id": [f"p{k:06d}" for k in range(count)]}, schema={"prosumer_id": pl.String})
    rows = pl.concat([fleet, pl.DataFrame({"prosumer_id": ["a stranger", None, "z"]})]).with_row_index()
    parts = [rows.filter(part)["index"] for part in parts_of(fleet)]
    assert len(parts) == max(1, -(-count // PART))
    assert pl.concat(parts).sort().to_list() == list(range(count + 3))
