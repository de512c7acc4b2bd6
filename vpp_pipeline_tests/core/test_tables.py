"""Tables set beside each other are tables joined."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from vpp_pipeline.core.tables import side_by_side

KEY = ["prosumer_id", "hour"]
LEFT = pl.DataFrame({"prosumer_id": ["a", "a", "b"], "hour": [0, 1, 0], "charge_kw": [1.0, 2.0, 3.0]})
RIGHT = LEFT.select(*KEY, limit_kw=pl.col("charge_kw") * 10)


@pytest.mark.parametrize("right", [RIGHT, RIGHT.reverse(), RIGHT.head(2)], ids=["same order", "another", "one less"])
def test_it_is_a_join_whatever_the_order(right: pl.DataFrame):
    for how in ("inner", "full"):
        found = side_by_side(LEFT, right, KEY, how)
        expected = LEFT.join(right, on=KEY, how=how, coalesce=True)
        assert_frame_equal(found, expected, check_row_order=False)
