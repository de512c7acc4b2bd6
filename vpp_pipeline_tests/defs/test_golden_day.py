"""Golden days: every table of a few days is what it was, whatever was rebuilt; see `vpp_pipeline_tests/golden.py`."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline_tests.defs.desk import DAY, UNHURRIED, settled_example
from vpp_pipeline_tests.golden import DAYS, REAL_PRICES, Hashes, differences, hashes_of, make_day, recorded, tables_of

REMEDY = "where the change is meant, record the days again: python -m vpp_pipeline_tests.golden --record"
NAME = "embedded_concession"
BIDS = "bids.final_bids"


def assert_golden(name: str, found: Hashes) -> None:
    changed = differences(recorded()[name], found)
    assert not changed, "\n".join([f"{name} is not as recorded; {REMEDY}", *changed])


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    """Of the day that other tests read too."""
    assert DAYS[NAME].date == DAY
    assert DAYS[NAME].bids == ("--set", f"optimiser.time_limit_seconds={UNHURRIED:.0f}")
    return tables_of(settled_example().warehouse)


def test_the_embedded_day_is_as_recorded(tables: dict[str, pl.DataFrame]) -> None:
    assert_golden(NAME, hashes_of(tables))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DAYS if name != NAME])
def test_another_day_is_as_recorded(name: str, tmp_path: Path) -> None:
    if DAYS[name].is_real and not REAL_PRICES.exists():
        pytest.skip("the real prices are not part of the project (../shared/data)")
    make_day(DAYS[name], tmp_path / "data")
    assert_golden(name, hashes_of(tables_of(tmp_path / "data" / "vpp.duckdb")))


def test_a_changed_bid_is_found_and_named(tables: dict[str, pl.DataFrame]) -> None:
    one = tables[BIDS].with_row_index().filter(pl.col("status") == "bid")["index"][0]
    bid_more = pl.when(pl.int_range(pl.len()) == one).then(pl.col("total_capacity_mw") + 0.01)
    changed = tables[BIDS].with_columns(bid_more.otherwise(pl.col("total_capacity_mw")).alias("total_capacity_mw"))
    found = hashes_of({**tables, BIDS: changed})
    assert differences(hashes_of(tables), found) == [f"{BIDS}: columns total_capacity_mw"]
    with pytest.raises(AssertionError, match=f"{BIDS}: columns total_capacity_mw"):
        assert_golden(NAME, found)


def test_a_lost_row_a_lost_table_and_a_new_one_are_found(tables: dict[str, pl.DataFrame]) -> None:
    before = hashes_of(tables)
    fewer = hashes_of({**tables, BIDS: tables[BIDS].head(-1)})
    assert differences(before, fewer) == [f"{BIDS}: 576 rows, now 575"]
    less = {name: hashed for name, hashed in before.items() if name != BIDS}
    assert differences(before, less) == [f"{BIDS} is gone"]
    assert differences(less, before) == [f"{BIDS} is new, with 576 rows"]


def test_neither_order_nor_rounding_nor_the_run_counts(tables: dict[str, pl.DataFrame]) -> None:
    """What two machines, two processes or two runs of the same code may differ in."""
    other = {}
    for name, frame in tables.items():
        noise = pl.selectors.float() * (1 + 1e-13) + 1e-13
        other[name] = frame.reverse().select(reversed(frame.columns)).with_columns(noise)
        if "run_id" in frame.columns:
            other[name] = other[name].with_columns(run_id=pl.lit("another"))
        if "bid_id" in frame.columns:
            other[name] = other[name].with_columns(bid_id=pl.col("bid_id").str.replace(".{8}$", "0123abcd"))
    assert differences(hashes_of(tables), hashes_of(other)) == []
