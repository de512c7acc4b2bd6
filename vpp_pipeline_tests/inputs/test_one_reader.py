"""Prices, fleet, meters, requests and resources go through one reader: what it reads of one, it reads of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.fleet.file import read_fleet
from vpp_pipeline.forecasting.meters import meters_of_day, read_meters
from vpp_pipeline.inputs.requests import LAYOUT, read_requests
from vpp_pipeline.inputs.resource_file import resources_of_day
from vpp_pipeline.market.open_source import PriceFiles, open_source
from vpp_pipeline.settings import ResourceSettings
from vpp_pipeline_tests.fleet.fleet_rows import ROWS, text_of
from vpp_pipeline_tests.forecasting import meter_lines
from vpp_pipeline_tests.market.oasis.published import SHARED
from vpp_pipeline_tests.market.price_lines import DAY, table_lines

CASES = SHARED.parent / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases from outside are not at hand")
REQUESTS = f"{LAYOUT}\nenergy,2023-08-15T12:00,1,2.5,85\n"
RESOURCES = "resource_id,participation,maximum_mw\nnorth,hourly,2.5\nsouth,none,0.125\n"

#: what each file holds as plain CSV, and what is read from one
READ: dict[str, tuple[str, Callable[[Path], pl.DataFrame]]] = {
    "prices": ("\n".join(table_lines()), lambda path: open_source(path).day(DAY)),
    "fleet": (text_of(ROWS), lambda path: read_fleet(path, DAY).prosumers),
    "meters": (
        meter_lines.lines(date(2024, 7, 10)).write_csv(),
        lambda path: meters_of_day(path, meter_lines.DAY).hours,
    ),
    "requests": (REQUESTS, lambda path: read_requests(path, DAY).rows.drop("file", "row_json", "file_row")),
    "resources": (
        RESOURCES,
        lambda path: resources_of_day(ResourceSettings(path=path), DAY, "A").drop("source"),
    ),
}


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def separated(text: str, separator: str) -> str:
    """The same with another separator and, in cells that are a number, a decimal comma."""
    content = io.StringIO()
    writer = csv.writer(content, delimiter=separator, lineterminator="\r\n")
    for row in rows_of(text):
        writer.writerow(cell.replace(".", ",") if cell.replace(".", "", 1).isdigit() else cell for cell in row)
    return content.getvalue()


def workbook(text: str) -> bytes:
    book = openpyxl.Workbook()
    for row in rows_of(text):
        book.active.append([float(cell) if cell.replace(".", "", 1).isdigit() else cell or None for cell in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def reordered(text: str) -> str:
    """The columns in the opposite order, behind a comment."""
    content = io.StringIO()
    csv.writer(content).writerows(row[::-1] for row in rows_of(text))
    return "# from the office\n" + content.getvalue()


DIALECTS: dict[str, Callable[[str], bytes]] = {
    "byte-order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "semicolons and decimal commas": lambda text: separated(text, ";").encode(),
    "tabs and decimal commas": lambda text: separated(text, "\t").encode("utf-16"),
    "another order": lambda text: reordered(text).encode(),
    "workbook": workbook,
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_file_is_read_in_every_dialect(tmp_path: Path, kind: str, dialect: str):
    text, read = READ[kind]
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(text, encoding="utf-8")
    other.write_bytes(DIALECTS[dialect](text))
    assert read(plain).height
    assert read(other).equals(read(plain))


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.encode("utf-16-le"),
        lambda text: (text + "é").encode("cp1252"),
        lambda text: b"PK\x03\x04" + text.encode(),
        lambda text: b"",
        lambda text: b"\xff\xfe\x00",
    ],
)
def test_what_cannot_be_read_is_refused_in_one_paragraph(tmp_path: Path, kind: str, spoil: Callable[[str], bytes]):
    text, read = READ[kind]
    path = tmp_path / "spoilt.csv"
    path.write_bytes(spoil(text))
    with pytest.raises(InputError) as error:
        _ = read_meters(path, meter_lines.DAY) if kind == "meters" else read(path)  # a day's meters are set aside
    assert f"file {path}" in str(error.value)
    assert "\n" not in str(error.value)


LOCAL = (pl.col("start_utc").str.to_datetime("%+", time_zone="UTC").dt.convert_time_zone(str(PACIFIC))).dt.strftime(
    "%Y-%m-%d %H:%M"
)


@pytest.mark.parametrize("day", [DAY, date(2024, 3, 10), date(2024, 11, 3)])
def test_prices_in_local_time_are_read_in_the_zone_that_is_named(tmp_path: Path, day: date):
    """The case from outside, SP15 in naive local time: without a zone its peak would lie seven hours early."""
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(table_lines(day)))
    wanted = open_source(plain).day(day)
    ours, caiso = tmp_path / "local.csv", tmp_path / "caiso.csv"
    local = pl.read_csv(plain, infer_schema=False).with_columns(LOCAL)
    local.write_csv(ours)
    names = {"start_utc": "datetime", "energy_usd_per_mwh": "SP15", "spin_usd_per_mw_h": "Spin"}
    local.rename({**names, "nonspin_usd_per_mw_h": "NonSpin"}).write_csv(caiso)
    for file in (ours, caiso):
        source = open_source(PriceFiles(file, str(PACIFIC)))
        assert source.day(day).drop("source").equals(wanted.drop("source"))
    with pytest.raises(InputError, match="name the zone of local time with --timezone"):
        open_source(ours)


def test_meters_in_local_time_are_read_in_the_zone_that_is_named(tmp_path: Path):
    lines, day = meter_lines.lines(date(2024, 10, 20), date(2024, 11, 5)), date(2024, 11, 5)
    plain, local = meter_lines.write(tmp_path, lines), meter_lines.write(tmp_path, lines.with_columns(LOCAL), "l.csv")
    assert meters_of_day(local, day, str(PACIFIC)).hours.equals(meters_of_day(plain, day).hours)
    assert meters_of_day(local, day).is_unreadable


@needs_cases
@pytest.mark.parametrize(
    ("case", "file_row"), [("requests_bom_excel/requests.csv", 2), ("requests_encoding_traceback/utf16.csv", 2)]
)
def test_the_cases_of_requests_are_read(case: str, file_row: int):
    rows = read_requests(CASES / case, DAY).rows
    assert rows.select("file_row", "required_capacity_mw", "offered_price_usd_per_mwh").rows() == [
        (file_row, 2.0, 85.0)
    ]


@needs_cases
def test_a_comment_in_another_encoding_costs_nothing():
    assert read_requests(CASES / "requests_encoding_traceback/latin1.csv", DAY).rows["file_row"].to_list() == [3]


@needs_cases
def test_a_request_without_an_hour_is_set_aside():
    found = read_requests(CASES / "request_date_only/requests.csv", DAY)
    assert found.rows.is_empty()
    assert found.quarantine["problem"].to_list() == ["a day without an hour"]


@needs_cases
def test_the_downloaded_report_alone_names_the_way():
    with pytest.raises(InputError, match=r"no reserve prices \(PRC_AS\).*ingest --source oasis"):
        open_source(CASES / "oasis_csv_by_hand/PRC_LMP.csv")
