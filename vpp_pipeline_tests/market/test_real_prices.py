"""The public CAISO file against the operator's own layout, where the data are at hand."""

from __future__ import annotations

import io
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
NODE = "TH_SP15_GEN-APND"
pytestmark = pytest.mark.skipif(
    not DATA.exists(), reason="the real prices are not part of the project (../shared/data)"
)


@pytest.fixture(scope="module")
def real() -> PriceSource:
    return open_source(DATA / "caiso_prices", NODE)


def oasis(name: str) -> pl.DataFrame:
    with zipfile.ZipFile(DATA / "oasis_layout_fixtures" / name) as archive:
        frame = pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])))
    start = pl.col("INTERVALSTARTTIME_GMT").str.to_datetime("%+", time_unit="us", time_zone="UTC")
    return frame.with_columns(start_utc=start)


@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 10), 23), (date(2024, 7, 11), 24), (date(2024, 11, 3), 25)])
def test_a_day_equals_what_the_operator_publishes(real: PriceSource, day: date, hours: int) -> None:
    rows = real.day(day)
    assert rows.height == hours

    energy = (
        oasis(f"{day:%Y%m%d}_{day:%Y%m%d}_PRC_LMP_DAM_LMP_v12.zip").filter(pl.col("NODE") == NODE).sort("start_utc")
    )
    assert rows["start_utc"].to_list() == energy["start_utc"].to_list()
    assert rows["hour_ending"].to_list() == energy["OPR_HR"].to_list()
    np.testing.assert_allclose(rows["energy_usd_per_mwh"], energy["MW"], atol=1e-9)

    reserve = oasis(f"{day:%Y%m%d}_{day:%Y%m%d}_PRC_AS_DAM_v12.zip")
    for kind, column in (("SR", "spin_usd_per_mw_h"), ("NR", "nonspin_usd_per_mw_h")):
        regions = reserve.filter(pl.col("ANC_TYPE") == kind).group_by("start_utc").agg(pl.col("MW").sum())
        np.testing.assert_allclose(rows[column], regions.sort("start_utc")["MW"], atol=1e-9)


def test_the_spike_day_is_not_refused(real: PriceSource) -> None:
    assert real.day(date(2023, 8, 16))["spin_usd_per_mw_h"].to_numpy().max() > 1000


def test_reserve_prices_are_ordered_and_labelled(real: PriceSource) -> None:
    rows = real.day(date(2023, 8, 15))
    assert (rows["spin_usd_per_mw_h"] >= rows["nonspin_usd_per_mw_h"]).all()
    assert rows["source"].unique().to_list() == ["caiso file"]
