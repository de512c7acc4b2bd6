"""A user's fleet: what is read, and what a wrong row is told."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.errors import InputError
from vpp_pipeline.schemas import Prosumers
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline.sources.fleet_file import DEFAULTS, read_fleet

DAY = date(2024, 1, 2)
FLEET = generate_fleet(FleetSettings(prosumers=30), DAY)
COLUMNS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_written_fleet_reads_back_the_same(tmp_path: Path, suffix: str):
    path = tmp_path / f"fleet.{suffix}"
    rows = FLEET.drop("market_date")
    rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
    assert read_fleet(path, DAY).equals(FLEET)


def test_columns_with_a_default_may_be_left_out(tmp_path: Path):
    batteries = FLEET.filter(pl.col("store") == "battery")
    path = tmp_path / "fleet.csv"
    batteries.drop("market_date", *DEFAULTS).write_csv(path)
    read = read_fleet(path, DAY)
    assert read.height == batteries.height
    assert set(read["site_type"]) == {"home"}


def _with(column: str, value: object, row: int = 4) -> pl.DataFrame:
    texts = FLEET.drop("market_date").with_columns(pl.col(column).cast(pl.String))
    changed = pl.when(pl.int_range(pl.len()) == row).then(pl.lit(str(value))).otherwise(column)
    return texts.with_columns(changed.alias(column))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("capacity_kwh", -5.0, "capacity_kwh"),
        ("capacity_kwh", "large", "not of the column's kind"),
        ("initial_stored_kwh", 99999.0, "starts outside its limits"),
        ("initial_stored_kwh", 0.0, "starts outside its limits"),
        ("store", "tank", "store"),
        ("charge_efficiency", 1.2, "charge_efficiency"),
        ("charge_efficiency", "nan", "charge_efficiency"),
        ("has_solar", "maybe", "not of the column's kind"),
    ],
)
def test_a_wrong_cell_is_named_with_file_row_column_and_value(tmp_path: Path, column: str, value: object, words: str):
    path = tmp_path / "fleet.csv"
    _with(column, value).write_csv(path)
    with pytest.raises(InputError, match=words) as error:
        read_fleet(path, DAY)
    for part in (str(path), "row 6", f"column {column}"):
        assert part in str(error.value)


def test_a_repeated_prosumer_is_refused(tmp_path: Path):
    path = tmp_path / "fleet.csv"
    _with("prosumer_id", FLEET["prosumer_id"][0]).write_csv(path)
    with pytest.raises(InputError, match="prosumer_id") as error:
        read_fleet(path, DAY)
    assert "row 6" in str(error.value)


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path):
    path = tmp_path / "fleet.csv"
    FLEET.drop("market_date", "capacity_kwh").write_csv(path)
    with pytest.raises(InputError, match="column capacity_kwh"):
        read_fleet(path, DAY)
    with pytest.raises(InputError, match="does not exist"):
        read_fleet(tmp_path / "none.csv", DAY)


def test_the_page_on_fleets_names_every_column():
    page = COLUMNS_PAGE.read_text()
    missing = [name for name in Prosumers.column_names() if name != "market_date" and f"`{name}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("where", "changes", "words"),
    [
        (pl.col("store") == "ev", {"has_v2g": False, "max_discharge_kw": 7.2}, "discharges an EV without V2G"),
        (pl.col("store") == "ev", {"ev_departure_hour": None}, "is an EV without hours"),
        (pl.col("store") == "none", {"max_charge_kw": 5.0}, "has power without a store"),
    ],
)
def test_a_device_that_cannot_be_is_refused(tmp_path: Path, where: pl.Expr, changes: dict[str, object], words: str):
    path = tmp_path / "fleet.csv"
    changed = [pl.when(where).then(pl.lit(value)).otherwise(name).alias(name) for name, value in changes.items()]
    FLEET.drop("market_date").with_columns(changed).write_csv(path)
    row = FLEET.with_row_index("row").filter(where)["row"][0] + 2
    with pytest.raises(InputError, match=words) as error:
        read_fleet(path, DAY)
    assert f"row {row}" in str(error.value)
