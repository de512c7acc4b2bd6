"""What OASIS sends back: a zip with the report as CSV or its error as XML, and what can go wrong with it."""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree

import polars as pl

from vpp_pipeline.core.errors import Again, InputError, NoDataError

START, DAY, PRICE = "INTERVALSTARTTIME_GMT", "OPR_DT", "MW"  # OASIS names the column of prices MW
LMP_COLUMNS = (START, DAY, "OPR_HR", "NODE", "MARKET_RUN_ID", "LMP_TYPE", PRICE)
AS_COLUMNS = (START, DAY, "OPR_HR", "ANC_TYPE", "ANC_REGION", "MARKET_RUN_ID", PRICE)
LOAD_COLUMNS = (START, DAY, "OPR_HR", "MARKET_RUN_ID", "TAC_AREA_NAME", PRICE)  # here MW is megawatts
RENEWABLE_COLUMNS = (START, DAY, "OPR_HR", "MARKET_RUN_ID", "TRADING_HUB", "RENEWABLE_TYPE", PRICE)
LARGEST_BYTES = 200_000_000  # 31 days of 10 nodes are 12 MB
LARGEST_REFUSAL_BYTES = 1_000_000  # OASIS's own are below 1,000
MOST_FILES = 100  # OASIS sends one
TOO_SOON = b"Acceptable Use Policy"


def rows_of(answer: bytes, columns: tuple[str, ...]) -> pl.DataFrame:
    """The report's rows as OASIS wrote them: every column, all as text.

    Raises ``Again`` for what cannot be read, ``Refusal`` for OASIS's own error, and ``OasisError`` for an unknown
    layout.
    """
    tables = []
    for name, content in _unzipped(answer):
        if name.lower().endswith(".xml"):
            raise _refusal(name, content)
        tables.append(_table(name, content, columns))
    return pl.concat(tables, how="diagonal")


def _table(name: str, content: bytes, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        rows = pl.read_csv(content, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Again(f"{name} is no readable CSV ({error})") from None
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise OasisError(
            f"columns missing among {', '.join(rows.columns)[:300]}",
            file=name,
            row=1,
            column=", ".join(missing),
            remedy=_LAYOUT,
        )
    return rows


_LAYOUT = "OASIS has changed its layout: compare the report's version in market/oasis/client.py"


def _unzipped(answer: bytes) -> list[tuple[str, bytes]]:
    """Names and contents of the zip's files. Some of OASIS's servers send their page of HTTP 429 with HTTP 200."""
    if TOO_SOON in answer[:2000]:
        raise Again("asked too soon (acceptable use policy)")
    try:
        with zipfile.ZipFile(io.BytesIO(answer)) as archive:
            files = [entry for entry in archive.infolist() if entry.filename.lower().endswith((".csv", ".xml"))]
            if 0 < len(files) <= MOST_FILES and sum(entry.file_size for entry in files) <= LARGEST_BYTES:
                return [(entry.filename, archive.read(entry)) for entry in files]
            entries = archive.infolist()
    except Exception as error:  # a damaged byte may name another compression, a password, or a place outside the file:
        # zipfile then raises what it, zlib, bz2 or lzma happen to raise, and each means that the answer is unreadable
        raise Again(f"a torn zip of {len(answer)} bytes ({type(error).__name__}: {error})") from None
    shown = ", ".join(f"{entry.filename} ({entry.file_size} bytes)" for entry in entries[:5])
    raise OasisError(
        f"a zip without CSV or XML, with more than {MOST_FILES} of them, or with more than 200 MB of it",
        value=f"{shown}{f' and {len(entries) - 5} more' if len(entries) > 5 else ''}",
        remedy=_LAYOUT,
    )


def _refusal(name: str, content: bytes) -> Refusal:
    if len(content) > LARGEST_REFUSAL_BYTES:
        raise OasisError(f"XML of {len(content)} bytes, where a CSV was asked for", file=name, remedy=_LAYOUT)
    try:
        found = {
            element.tag.rpartition("}")[2]: element.text or "" for element in ElementTree.fromstring(content).iter()
        }
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding without a codec
        raise Again(f"{name} is no readable XML ({error})") from None
    if "ERR_CODE" not in found:
        raise OasisError("XML without an error code, where a CSV was asked for", file=name, remedy=_LAYOUT)
    return Refusal(found["ERR_CODE"].strip(), found.get("ERR_DESC", "").strip())


class OasisError(InputError):
    """OASIS refuses the question or answers in an unknown layout; asking again would not help."""


class OasisDownError(NoDataError):
    """OASIS could not be reached, or was busy, as often as it was asked; later may succeed."""


class OasisIncompleteError(NoDataError):
    """What OASIS gave lacks an hour or a region, or contradicts itself, as often as it was asked; later may succeed."""


class Incomplete(Again):
    """A readable answer that is not the whole day."""


class Refusal(Exception):
    """OASIS's own error, sent with HTTP 200 as XML inside the zip."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"error {code}: {words}")
        self.code = code
