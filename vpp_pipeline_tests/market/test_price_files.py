"""Files of prices: both layouts read right, however they are written."""

from __future__ import annotations

import gzip
import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_files import CaisoFile, PriceTable
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.schemas import Prices
from vpp_pipeline_tests.market.price_lines import DAY, HEADER, caiso_lines, changed, complaint, table_lines, write


def test_price_table_is_read_as_written(tmp_path: Path) -> None:
    prices = open_source(write(tmp_path / "prices.csv", table_lines()))
    rows = prices.day(DAY)
    assert isinstance(prices, PriceTable)
    assert rows["energy_usd_per_mwh"].to_list() == [k + 10.5 for k in range(24)]
    assert rows["source"].unique().to_list() == ["file"]
    assert rows["published_utc"][0].isoformat() == "2023-08-14T20:00:00+00:00"  # 13:00 PDT the day before
    assert Prices.is_valid(rows)


def test_caiso_layout_takes_naive_time_as_utc_and_sp15_as_the_nodes_energy_price(tmp_path: Path) -> None:
    rows = open_source(write(tmp_path / "caiso.csv", caiso_lines())).day(DAY)
    assert rows["start_utc"][0].isoformat() == "2023-08-15T07:00:00+00:00"
    assert rows["energy_usd_per_mwh"][0] == 10.5
    assert rows["spin_usd_per_mw_h"][0] == 300.5  # above 250: scarce, and real
    assert rows["nonspin_usd_per_mw_h"][0] == 1


def test_caiso_layout_accepts_an_offset(tmp_path: Path) -> None:
    naive = write(tmp_path / "naive.csv", caiso_lines())
    aware = write(tmp_path / "aware.csv", [re.sub(r"(\d\d:00:00),", r"\1+00:00,", line) for line in caiso_lines()])
    assert open_source(naive).day(DAY).equals(open_source(aware).day(DAY))


def test_row_order_offsets_gzip_and_parquet_do_not_matter(tmp_path: Path) -> None:
    lines = table_lines()
    wanted = open_source(write(tmp_path / "a.csv", lines)).day(DAY)
    assert open_source(write(tmp_path / "b.csv", [lines[0], *lines[:0:-1]])).day(DAY).equals(wanted)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress("\r\n".join(lines).encode("utf-8-sig")))
    assert open_source(tmp_path / "c.csv.gz").day(DAY).equals(wanted)
    local = pl.col("start_utc").dt.convert_time_zone("America/Los_Angeles")
    columns = HEADER.split(",")
    wanted.select(columns).with_columns(local).write_parquet(tmp_path / "d.parquet")
    assert open_source(tmp_path / "d.parquet").day(DAY).equals(wanted)
    lines[1:] = [
        f"{start:%Y-%m-%dT%H:%M:%S}-07:00," + line.split(",", 1)[1]
        for start, line in zip(wanted.select(local)["start_utc"], lines[1:], strict=True)
    ]
    assert open_source(write(tmp_path / "e.csv", lines)).day(DAY).equals(wanted)


@pytest.mark.parametrize("day", [date(2024, 3, 10), date(2024, 7, 11), date(2024, 11, 3)])
def test_clock_change_days_need_exactly_their_hours(tmp_path: Path, day: date) -> None:
    assert open_source(write(tmp_path / "p.csv", table_lines(day))).day(day).height == market_hours(day).height
    message = complaint(write(tmp_path / "q.csv", table_lines(day)[:-1]), day)
    assert f"has {market_hours(day).height} hours, 1 missing" in message


def test_a_directory_holds_several_files(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"{k}.csv", table_lines(DAY + timedelta(days=k)))
    (tmp_path / "LICENSE.txt").write_text("not prices")
    prices = open_source(tmp_path)
    assert [prices.day(DAY + timedelta(days=k)).height for k in range(3)] == [24, 24, 24]


def test_a_file_that_says_it_is_synthetic_stays_labelled_so(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ["# source: synthetic", *table_lines()])
    assert open_source(path).day(DAY)["source"].unique().to_list() == ["synthetic (file)"]


def test_a_price_at_the_sanity_bound_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", changed(table_lines(), 7, 2, "-5000"))
    assert open_source(path).day(DAY)["energy_usd_per_mwh"].min() == -5000


def test_without_a_path_prices_are_synthetic() -> None:
    assert isinstance(open_source(None, None), Synthetic)


def test_caiso_file_can_be_opened_by_itself(tmp_path: Path) -> None:
    assert CaisoFile(write(tmp_path / "p.csv", caiso_lines()), "A").day(DAY).height == 24
