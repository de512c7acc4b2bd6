"""Prices that people downloaded themselves: OASIS' CSV and zip, gridstatus' CSV, and what is missing told by name."""

from __future__ import annotations

import zipfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.calendar import PACIFIC, market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.market.oasis.archive import REGIONS
from vpp_pipeline.market.oasis.downloads import DownloadedPrices
from vpp_pipeline.market.open_source import PriceFiles, open_source
from vpp_pipeline_tests.examples import AUTUMN, DAY, SPRING
from vpp_pipeline_tests.market.oasis.published import FIXTURES

NODE = "TH_SP15_GEN-APND"
RESERVES = {"SR": 1.0, "NR": 0.25}


def lmp(*days: date, node: str = NODE, run: str = "DAM") -> pl.DataFrame:
    """PRC_LMP as OASIS writes it, with its parts: 40.5, 41.5 … $/MWh."""
    hours = pl.concat(market_hours(day) for day in days).with_row_index("k")
    kinds = pl.DataFrame({"LMP_TYPE": ["LMP", "MCC"], "factor": [1.0, 0.0]})
    clock = "%Y-%m-%dT%H:%M:%S-00:00"
    return hours.join(kinds, how="cross").select(
        INTERVALSTARTTIME_GMT=pl.col("start_utc").dt.strftime(clock),
        INTERVALENDTIME_GMT=(pl.col("start_utc") + timedelta(hours=1)).dt.strftime(clock),
        OPR_DT=pl.col("market_date").cast(pl.String),
        OPR_HR="hour_ending",
        NODE=pl.lit(node),
        MARKET_RUN_ID=pl.lit(run),
        LMP_TYPE="LMP_TYPE",
        MW=(40.5 + pl.col("k")) * pl.col("factor"),
    )


def reserves(*days: date, without: str = "") -> pl.DataFrame:
    """PRC_AS as OASIS writes it: each of the four regions that a node in the south lies in pays the same."""
    regions = pl.DataFrame({"ANC_REGION": [*REGIONS["SP26"], "AS_NP26"]}).filter(pl.col("ANC_REGION") != without)
    kinds = pl.DataFrame({"ANC_TYPE": [*RESERVES, "RU"], "MW": [*RESERVES.values(), 9.0]})
    hours = pl.concat(market_hours(day) for day in days)
    return (
        hours.join(regions, how="cross")
        .join(kinds, how="cross")
        .select(
            INTERVALSTARTTIME_GMT=pl.col("start_utc").dt.strftime("%Y-%m-%dT%H:%M:%S-00:00"),
            OPR_DT=pl.col("market_date").cast(pl.String),
            OPR_HR="hour_ending",
            ANC_TYPE="ANC_TYPE",
            ANC_REGION="ANC_REGION",
            MARKET_RUN_ID=pl.lit("DAM"),
            MW="MW",
        )
    )


def gridstatus(folder: Path, day: date) -> None:
    """The same two tables as `CAISO().get_lmp(...).to_csv()` and `get_as_prices(...).to_csv()` write them."""
    start = pl.col("INTERVALSTARTTIME_GMT").str.to_datetime("%+", time_zone="UTC").dt.convert_time_zone(str(PACIFIC))
    stamps = {"Time": start, "Interval Start": start, "Interval End": start + timedelta(hours=1)}
    clock = {name: stamp.dt.strftime("%Y-%m-%d %H:%M:%S%:z") for name, stamp in stamps.items()}
    energy = (
        lmp(day)
        .filter(LMP_TYPE="LMP")
        .select(
            **clock,
            Market=pl.lit("DAY_AHEAD_HOURLY"),
            Location="NODE",
            **{"Location Type": pl.lit("Trading Hub")},
            LMP="MW",
            Energy="MW",
            Congestion=pl.lit(0.0),
            Loss=pl.lit(0.0),
            GHG=pl.lit(0.0),
        )
    )
    names = {"SR": "Spinning Reserves", "NR": "Non-Spinning Reserves", "RU": "Regulation Up"}
    held = reserves(day).select(**clock, Region="ANC_REGION", Market="MARKET_RUN_ID", kind="ANC_TYPE", MW="MW")
    wide = held.with_columns(pl.col("kind").replace(names)).pivot("kind", values="MW")
    for name, table in (("lmp", energy), ("as", wide)):
        table.with_row_index("").write_csv(folder / f"{name}.csv")


def check(rows: pl.DataFrame, day: date) -> None:
    assert rows.height == market_hours(day).height
    assert rows["energy_usd_per_mwh"].to_list() == [40.5 + k for k in range(rows.height)]
    assert rows["spin_usd_per_mw_h"].unique().to_list() == [4.0]  # the sum of four nested regions
    assert rows["nonspin_usd_per_mw_h"].unique().to_list() == [1.0]
    assert (rows["node"][0], rows["source"][0]) == (NODE, "oasis files")


def refused(path: Path, day: date = DAY) -> str:
    with pytest.raises(InputError) as error:
        open_source(path).day(day)
    assert not isinstance(error.value, NoDataError)
    return str(error.value)


@pytest.mark.parametrize("day", [DAY, SPRING, AUTUMN])
def test_both_reports_in_one_folder_are_prices(tmp_path: Path, day: date):
    lmp(day).sample(fraction=1.0, shuffle=True, seed=1).write_csv(tmp_path / "PRC_LMP.csv")
    with zipfile.ZipFile(tmp_path / "as.zip", "w") as archive:
        archive.writestr("PRC_AS.csv", reserves(day).write_csv())
    source = open_source(tmp_path)
    assert isinstance(source, DownloadedPrices)
    check(source.day(day), day)


@pytest.mark.parametrize("day", [DAY, AUTUMN])
def test_what_gridstatus_writes_are_the_same_prices(tmp_path: Path, day: date):
    gridstatus(tmp_path, day)
    check(open_source(tmp_path).day(day), day)


def test_downloads_that_overlap_agree_and_other_markets_do_not_count(tmp_path: Path):
    next_day = DAY + timedelta(days=1)
    lmp(DAY).write_csv(tmp_path / "a.csv")
    pl.concat([lmp(DAY), lmp(DAY, run="HASP").with_columns(MW=pl.lit(1.0))]).write_csv(tmp_path / "b.csv")
    reserves(DAY, next_day).write_csv(tmp_path / "c.csv")
    source = open_source(tmp_path)
    assert list(source.days([DAY, next_day])) == [DAY]
    check(source.day(DAY), DAY)
    with pytest.raises(NoDataError, match="2023-08-15 to 2023-08-15"):
        source.day(next_day)


def test_energy_prices_alone_are_refused_with_the_way(tmp_path: Path):
    """The case from outside: PRC_LMP as it was downloaded, and nothing else."""
    lmp(DAY).write_csv(tmp_path / "PRC_LMP.csv")
    message = refused(tmp_path / "PRC_LMP.csv")
    assert "no reserve prices (PRC_AS)" in message
    assert "vpp-pipeline ingest --source oasis" in message
    reserves(DAY).write_csv(tmp_path / "as.csv")
    assert "no energy prices (PRC_LMP)" in refused(tmp_path / "as.csv")


def test_a_gap_a_contradiction_and_a_wrong_number_are_named(tmp_path: Path):
    energy, held = tmp_path / "lmp.csv", tmp_path / "reserves.csv"
    reserves(DAY, without="AS_SP26").write_csv(held)
    lmp(DAY).write_csv(energy)
    assert "48 of 192 prices are missing, first SR in AS_SP26, hour ending 1" in refused(tmp_path)
    reserves(DAY + timedelta(days=1)).write_csv(held)
    assert "energy prices without reserve prices of 2023-08-15" in refused(tmp_path)
    reserves(DAY).write_csv(held)
    lmp(DAY).slice(2).write_csv(energy)
    assert "1 of 24 prices are missing" in refused(tmp_path)
    pl.concat([lmp(DAY), lmp(DAY).with_columns(pl.col("MW") + 1)]).write_csv(energy)
    assert "has two prices, 40.5 and 41.5" in refused(tmp_path)
    lmp(DAY).with_columns(pl.col("MW").cast(pl.String).replace("42.5", "n/a")).write_csv(energy)
    message = refused(tmp_path)
    assert f"file {energy}, row 6, column MW, value n/a" in message
    energy.write_text("a,b\n1,2\n")
    assert "unknown layout of prices" in refused(tmp_path)
    energy.rename(tmp_path / "z.csv")
    assert "neither of energy nor of reserve prices" in refused(tmp_path)


def test_the_region_of_a_node_whose_name_does_not_tell_is_a_setting(tmp_path: Path):
    lmp(DAY, node="SLAP_PGE").write_csv(tmp_path / "lmp.csv")
    reserves(DAY).write_csv(tmp_path / "as.csv")
    assert "does not tell in which reserve region" in refused(tmp_path)
    assert open_source(PriceFiles(tmp_path, region="SP26")).day(DAY)["spin_usd_per_mw_h"][0] == 4.0


@pytest.mark.skipif(not FIXTURES.exists(), reason="the fixtures of OASIS' layout are not at hand")
def test_zips_as_oasis_sends_them_are_read(tmp_path: Path):
    for file in FIXTURES.glob("2024*.zip"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    source = open_source(tmp_path, NODE)
    assert [source.day(day).height for day in (date(2024, 3, 10), date(2024, 7, 11), date(2024, 11, 3))] == [23, 24, 25]
    (tmp_path / "error.zip").write_bytes((FIXTURES / "error_1000.zip").read_bytes())
    with pytest.raises(InputError, match=r"an archive without a CSV file of prices .*resultformat=6"):
        open_source(tmp_path, NODE)
