"""The file of requests: someone asks for MW at an offered price."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.core.table_cells import number
from vpp_pipeline.core.table_file import TableFile, check_columns, read_table
from vpp_pipeline.negotiation.requests import (
    PLACE_SCHEMA,
    REQUEST_SCHEMA,
    RequestFault,
    Requests,
    quarantined,
)
from vpp_pipeline.schemas import PRODUCTS

COLUMNS = ("product", "start", "duration_hours", "required_capacity_mw", "offered_price_usd_per_mwh")
LAYOUT = ",".join(COLUMNS)
WHOLE_ROW = "the whole row"
LONGEST_DAY_H = 25


class _Start(NamedTuple):
    """A cell ``start`` as it was read: the Pacific day, the moment, and what is wrong, each where there is one."""

    day: date | None
    moment: datetime | None
    fault: RequestFault | None


def read_requests(path: Path | None, market_date: date) -> Requests:
    """Requests for ``market_date``, and rows of the file that cannot be read as one; none where there is no file.

    The file's ``start`` is Pacific time (``2023-08-15T12:00``) or carries an offset; ``#`` opens a comment. Rows of
    other days are passed over. One whose day cannot be read may be meant for any, and is set aside on each.

    Raises InputError where the file as a whole cannot be used.
    """
    if path is None:
        return Requests()
    table = read_table(path, "requests").with_decimal_points(COLUMNS[2:])
    check_columns(table.rows.columns, COLUMNS, COLUMNS, "requests", path, table.header_row)
    rows, faults = [], []
    for line, cell, problem in _lines(table):
        start = _read_start(cell["start"] if "start" in cell else _start_in(cell[WHOLE_ROW], table))
        if start.day not in (None, market_date):
            continue
        place = {"file_row": line, "file": file_name(path), "row_json": json.dumps(cell, ensure_ascii=False)}
        found = [problem] if problem else list(_faults_of(cell, start))
        if found:
            faults += [(place, fault) for fault in found]
        else:
            rows.append({**_request_of(cell), "start_utc": start.moment, **place})
    return Requests(
        pl.DataFrame(rows, schema=REQUEST_SCHEMA | PLACE_SCHEMA, orient="row"), quarantined(market_date, faults)
    )


def _lines(table: TableFile) -> list[tuple[int, dict[str, str], RequestFault | None]]:
    """Number and cells of each row in order; of a line that does not split into the columns, all of it and why."""
    cells = table.rows.select(pl.col(name).cast(pl.String).str.strip_chars() for name in COLUMNS).fill_null("")
    lines: list[tuple[int, dict[str, str], RequestFault | None]] = [
        (line, cell, None) for line, cell in zip(table.numbers, cells.iter_rows(named=True), strict=True)
    ]
    for line in table.broken.iter_rows(named=True):
        count = f"{line['cells']} instead of {table.rows.width} cells"
        problem = "quotes that do not enclose a cell" if line["misquoted"] else count
        fault = RequestFault(WHOLE_ROW, problem, f"Each row holds {LAYOUT}, with points for decimals")
        lines.append((line["row"], {WHOLE_ROW: line["line"]}, fault))
    return sorted(lines, key=lambda line: line[0])


def _start_in(line: str, table: TableFile) -> str:
    """What stands at the place of ``start`` in a line that does not split into the columns; empty if nothing does."""
    cells, place = line.split(table.separator), table.rows.columns.index("start")
    return cells[place].strip() if place < len(cells) else ""


def _faults_of(cell: dict[str, str], start: _Start) -> Iterator[RequestFault]:
    """What cannot be read in a row, cell by cell; only the first fault of a cell is told."""
    if cell["product"] not in PRODUCTS:
        yield RequestFault("product", "not a product of this market", f"Use one of {', '.join(PRODUCTS)}")
    if start.fault:
        yield start.fault
    for column in COLUMNS[2:]:
        if number(cell[column]) is None:
            yield RequestFault(column, "not a number", "Write a number alone, with a point for decimals and no unit")
        elif column == "duration_hours" and not float(cell[column]).is_integer():
            yield RequestFault(column, "not a whole number of hours", "Requests last whole hours")
        elif column == "duration_hours" and not 1 <= float(cell[column]) <= LONGEST_DAY_H:
            yield RequestFault(column, f"not from 1 to {LONGEST_DAY_H}", "Write the hours of one market day")


def _request_of(cell: dict[str, str]) -> dict[str, Any]:
    product, _, hours, power_mw, price = (cell[column] for column in COLUMNS)
    return {
        "product": product,
        "duration_hours": int(float(hours)),
        "required_capacity_mw": float(power_mw),
        "offered_price_usd_per_mwh": float(price),
    }


def _read_start(text: str) -> _Start:
    """The start of a block, Pacific unless it carries an offset."""
    written = "Write it as 2023-08-15T12:00 (Pacific) or with its offset, 2023-08-15T12:00-07:00"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _Start(None, None, RequestFault("start", "not a moment", written))
    try:
        local = found.astimezone(PACIFIC) if found.tzinfo else found.replace(tzinfo=PACIFIC)
        moment = local.astimezone(UTC)
        first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
    except OverflowError:
        remedy = "Write a day between the years 2 and 9998"
        return _Start(None, None, RequestFault("start", "a day that no calendar here has", remedy))
    fault = None
    if _is_date(text):
        fault = RequestFault("start", "a day without an hour", written)
    elif found.tzinfo is None and first != second:
        fault = _at_the_change(local, moment)
    elif moment.minute or moment.second or moment.microsecond:
        fault = RequestFault("start", "not on the hour", "Requests begin on the hour")
    return _Start(local.date(), moment, fault)


def _is_date(text: str) -> bool:
    """Whether the text is a day alone, which would be read as its midnight."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _at_the_change(local: datetime, moment: datetime) -> RequestFault:
    """Why an hour without an offset is none, or two, on the day when clocks are changed."""
    if moment.astimezone(PACIFIC).replace(tzinfo=None) != local.replace(tzinfo=None):
        problem = "an hour that the day does not have, since clocks are set forward"
        return RequestFault("start", problem, "Write another hour, or add the offset, such as -08:00")
    problem = "an hour that comes twice that day, since clocks are set back"
    return RequestFault("start", problem, "Add the offset: -07:00 for the first, -08:00 for the second")
