"""The file of requests: someone asks for MW at an offered price."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.negotiation.opportunities import REQUEST_COLUMNS
from vpp_pipeline.schemas import PRODUCTS

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "product": pl.String,
    "start_utc": pl.Datetime("us", "UTC"),
    "duration_hours": pl.Int32,
    "required_capacity_mw": pl.Float64,
    "offered_price_usd_per_mwh": pl.Float64,
}
LAYOUT = "product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh"


def read_requests(path: Path | None) -> pl.DataFrame:
    """Requests with columns REQUEST_COLUMNS; none where there is no file.

    The file's ``start`` is Pacific time (``2023-08-15T12:00``) or carries an offset; ``#`` opens a comment.

    Raises InputError naming file, row, column and value of the first entry that cannot be used.
    """
    if path is None:
        return pl.DataFrame(schema=SCHEMA)
    if not path.is_file():
        raise InputError(
            "the file of requests does not exist", file=path, remedy="Name an existing CSV file, or leave it out"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte-order mark
    except UnicodeDecodeError as error:
        raise InputError(
            f"the file of requests is not text in UTF-8: {error}",
            file=path,
            remedy="Save it again as CSV (in a spreadsheet: CSV UTF-8)",
        ) from None
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines or lines[0][1].replace(" ", "") != LAYOUT:
        found = lines[0][1] if lines else "nothing"
        raise InputError(
            "unknown columns in the file of requests",
            file=path,
            row=1,
            value=found,
            remedy=f"The header must be {LAYOUT}",
        )
    rows = [_request(path, number, line.split(",")) for number, line in lines[1:]]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").select(REQUEST_COLUMNS)


def _request(path: Path, number: int, cells: list[str]) -> tuple[str, datetime, int, float, float]:
    names = LAYOUT.split(",")
    if len(cells) != len(names):
        raise InputError(
            f"{len(cells)} cells instead of {len(names)}", file=path, row=number, remedy=f"Each row holds {LAYOUT}"
        )
    cell = dict(zip(names, (text.strip() for text in cells), strict=True))

    def wrong(column: str, remedy: str) -> InputError:
        return InputError(
            "a request cannot be used", file=path, row=number, column=column, value=cell[column], remedy=remedy
        )

    if cell["product"] not in PRODUCTS:
        raise wrong("product", f"Use one of {', '.join(PRODUCTS)}")
    try:
        start = datetime.fromisoformat(cell["start"])
    except ValueError:
        raise wrong("start", "Write it as 2023-08-15T12:00 (Pacific) or with its offset") from None
    if start.tzinfo is None:
        local = start.replace(tzinfo=PACIFIC)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise wrong("start", "The clock is changed then; add the offset, such as -08:00")
    try:
        start_utc = (start if start.tzinfo else start.replace(tzinfo=PACIFIC)).astimezone(UTC)
    except OverflowError:
        raise wrong("start", "Write a day between the years 2 and 9998") from None
    if start_utc.minute or start_utc.second or start_utc.microsecond:
        raise wrong("start", "Requests begin on the hour")
    numbers = []
    for column, most in (
        ("duration_hours", 25.0),
        ("required_capacity_mw", 1e5),
        ("offered_price_usd_per_mwh", 5_000.0),
    ):
        try:
            value = float(cell[column])
        except ValueError:
            raise wrong(column, "Write a number") from None
        if not 0.0 < value <= most:
            raise wrong(column, f"It must lie above 0 and be at most {most:g}")
        numbers.append(value)
    if numbers[0] != int(numbers[0]):
        raise wrong("duration_hours", "Requests last whole hours")
    return cell["product"], start_utc, int(numbers[0]), numbers[1], numbers[2]
