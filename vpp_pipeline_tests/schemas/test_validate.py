"""A large table is validated in slices as a small one is at once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline import schemas
from vpp_pipeline.core.errors import InputError, ViolationError
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.schemas import Prices, Starts, is_in_order, validate

DAY = date(2023, 8, 15)
KEY = Starts.primary_key()


@pytest.fixture(params=[2, 3, 1000], autouse=True)
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "SLICE", request.param)


def starts(*names: str, stored_kwh: float = 1.0) -> pl.DataFrame:
    rows = {"prosumer_id": list(names), "initial_stored_kwh": [0.0] * (len(names) - 1) + [stored_kwh]}
    return pl.DataFrame(rows).with_columns(market_date=DAY, carried_from=None, other=1)


def test_rows_come_in_key_order_with_the_declared_columns():
    ordered = starts("a", "b", "c", "d", "e")
    expected = ordered.select(Starts.column_names()).cast({"carried_from": pl.Date})
    assert_frame_equal(validate(Starts, ordered), expected)
    assert_frame_equal(validate(Starts, ordered.reverse()), expected)


@pytest.mark.parametrize("names", ["abcda", "aabcd", "abcdd", "abbcd"])
def test_a_key_that_comes_twice_is_refused(names: str):
    with pytest.raises(
        ViolationError, match=r"market_date, prosumer_id comes twice in [24] of 5 rows \(value 2023-08-15, "
    ):
        validate(Starts, starts(*names))


def test_a_value_beyond_its_bound_is_refused_in_any_slice():
    with pytest.raises(
        ViolationError, match=r"dispatch\.starts cannot be used: initial_stored_kwh is below 0 in 1 of 5 rows"
    ):
        validate(Starts, starts("a", "b", "c", "d", "e", stored_kwh=-1.0))


def test_an_empty_cell_of_a_key_is_refused():
    with pytest.raises(ViolationError, match=r"prosumer_id is empty in 1 of 4 rows \(value None\)"):
        validate(Starts, starts("a", "b", "c", "d").with_columns(prosumer_id=pl.Series(["a", "b", None, "d"])))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy_usd_per_mwh": pl.lit(1e9)}, "energy_usd_per_mwh is above 5,000 in 24 of 24 rows"),
        ({"energy_usd_per_mwh": pl.lit(float("nan"))}, "energy_usd_per_mwh is "),
        ({"hour_ending": pl.lit("noon")}, "hour_ending is of another kind in 24 of 24 rows"),
        ({"start_utc": pl.col("start_utc").first()}, "comes twice in 24 of 24 rows"),
        ({"node": pl.lit(None, pl.String)}, "node is empty in 24 of 24 rows"),
    ],
)
def test_a_table_from_outside_is_refused_in_words_of_our_own(change: dict[str, pl.Expr], words: str):
    prices = Synthetic().day(DAY).with_columns(**change)
    with pytest.raises(InputError) as caught:
        validate(Prices, prices)
    said = str(caught.value)
    assert said.startswith("the table market.prices cannot be used: ")
    assert words in said
    assert "\n" not in said
    assert not [word for word in ("failed", "validation", "rules", "nullability", "dtype") if word in said]


def test_order_looks_at_all_columns_of_the_key_before_it():
    noon = datetime(2023, 8, 15, 12, tzinfo=UTC)
    rows = pl.DataFrame({"name": ["a", "a", "b"], "at": [noon, noon + timedelta(hours=1), noon]})
    assert is_in_order(rows, ["name", "at"])
    assert not is_in_order(rows, ["at", "name"])
    assert not is_in_order(pl.concat([rows, rows.tail(1)]), ["name", "at"])
    assert is_in_order(rows.clear(), ["name", "at"])
    assert is_in_order(rows.head(1), ["name", "at"])
