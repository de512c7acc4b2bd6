"""Many days read in one pass: as each day alone would be, from every source, wrong ones and gaps included."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.calendar import hours_of_days, market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PRICE_COLUMNS, day_by_day
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline_tests.market.oasis.desk import prices_of
from vpp_pipeline_tests.market.oasis.published import SP15, generated
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving

SPRING, AUTUMN = date(2024, 3, 10), date(2024, 11, 3)
AROUND = [change + timedelta(days=k) for change in (SPRING, AUTUMN) for k in (-1, 0, 1)]


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    days = pl.concat(Synthetic().day(day) for day in AROUND)
    return days.select("start_utc", "node", *PRICE_COLUMNS)


def of_file(folder: Path, rows: pl.DataFrame, name: str = "prices.parquet"):
    file = folder / name
    rows.write_parquet(file) if name.endswith("parquet") else rows.write_csv(file)
    return file


def test_hours_of_several_days_are_those_of_each():
    assert hours_of_days(AROUND).equals(pl.concat(market_hours(day) for day in AROUND))
    assert hours_of_days([SPRING]).equals(market_hours(SPRING))


@pytest.mark.parametrize("name", ["prices.parquet", "prices.csv"])
def test_a_file_gives_the_same_days_at_once_as_one_by_one(tmp_path: Path, rows: pl.DataFrame, name: str):
    file = of_file(tmp_path, rows.sample(fraction=1.0, shuffle=True, seed=1), name)
    absent = [SPRING - timedelta(days=40), AUTUMN + timedelta(days=40)]
    at_once = open_source(file).days([absent[0], *AROUND, absent[1]])
    alone = day_by_day(open_source(file), AROUND)
    assert list(at_once) == AROUND
    assert all(at_once[day].equals(alone[day]) and at_once[day].schema == alone[day].schema for day in AROUND)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (lambda rows: rows[1:], "24 hours, 1 missing"),
        (lambda rows: pl.concat([rows, rows[3:4]]), "the hour occurs twice"),
        (lambda rows: rows.with_columns(pl.col("start_utc").dt.offset_by("30m")), "not the start of an hour"),
        (lambda rows: rows.with_columns(spin_usd_per_mw_h=float("nan")), "not finite"),
        (lambda rows: rows.with_columns(energy_usd_per_mwh=1e9), "more than any CAISO cap"),
    ],
)
def test_a_wrong_day_among_them_is_refused_as_it_is_alone(tmp_path: Path, fault, problem: str):
    day = Synthetic().day(SPRING - timedelta(days=1)).select("start_utc", "node", *PRICE_COLUMNS)
    others = Synthetic().day(SPRING + timedelta(days=5)).select("start_utc", "node", *PRICE_COLUMNS)
    file = of_file(tmp_path, pl.concat([fault(day), others]))
    days = [SPRING + timedelta(days=k) for k in (-1, 5)]
    with pytest.raises(InputError) as alone:
        open_source(file).day(days[0])
    with pytest.raises(InputError) as at_once:
        open_source(file).days(days)
    assert problem in str(alone.value)
    assert str(at_once.value) == str(alone.value)
    assert open_source(file).days(days[1:])[days[1]].height == 24


def test_the_copy_of_oasis_gives_the_same_days_at_once_and_asks_for_none(tmp_path: Path):
    with serving(LocalOasis(generated(split=2.0))) as oasis:
        source = prices_of(oasis, tmp_path)
        alone = {day: source.day(day) for day in AROUND[:-1]}
        asked = len(oasis.asked)
        held = source.held_days(AROUND)
        assert list(held) == AROUND[:-1]
        assert all(held[day].equals(alone[day]) for day in held)
        assert len(oasis.asked) == asked
        assert list(source.days(AROUND)) == AROUND  # the last one is asked for
        assert len(oasis.asked) > asked


def test_a_copy_that_is_not_whole_is_refused_as_it_is_alone(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        source = prices_of(oasis, tmp_path)
        days = AROUND[:3]
        source.days(days)
        archive, table, partition = ParquetFolder(tmp_path / "archive"), "oasis.prc_lmp", f"{SP15}|{days[1]}"
        kept = archive.read(table, partition)
        start = kept["INTERVALSTARTTIME_GMT"][0]
        archive.write(table, partition, kept.filter(pl.col("INTERVALSTARTTIME_GMT") != start))
        with pytest.raises(InputError, match=rf"our copy of {days[1]} is not whole"):
            source.held_days(days)
        twice = kept.with_columns(MW=pl.lit("123.4"))
        archive.write(table, partition, pl.concat([kept, twice]))
        with pytest.raises(InputError, match="has two prices"):
            source.held_days(days)
        archive.path(table, partition).write_bytes(b"torn")
        with pytest.raises(InputError, match="cannot be read"):
            source.held_days(days)
