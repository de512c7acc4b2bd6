"""Our own copy of what OASIS gave, row by row and word for word: OASIS itself forgets after about 39 months."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake

LMP, RESERVES = "oasis.prc_lmp", "oasis.prc_as"


@dataclass(frozen=True)
class Copy:
    """One Parquet file per node and day (``prc_lmp``) and one per day (``prc_as``), each replaced whole or not at all.

    Every column is text, as in OASIS's CSV; a file's footer says when and from where it was fetched.
    """

    root: Path
    url: str

    def lmp(self, market_date: date, node: str) -> pl.DataFrame | None:
        """The node's rows of the day, if they are here. Raises ``InputError`` for a damaged file."""
        return self._read(LMP, f"{node}|{market_date}")

    def reserves(self, market_date: date) -> pl.DataFrame | None:
        """All regions' rows of the day, if they are here. Raises ``InputError`` for a damaged file."""
        return self._read(RESERVES, market_date.isoformat())

    def keep_lmp(self, market_date: date, node: str, rows: pl.DataFrame) -> None:
        self._write(LMP, f"{node}|{market_date}", rows)

    def keep_reserves(self, market_date: date, rows: pl.DataFrame) -> None:
        self._write(RESERVES, market_date.isoformat(), rows)

    def _read(self, table: str, partition: str) -> pl.DataFrame | None:
        lake = Lake(self.root)
        if not lake.exists(table, partition):
            return None
        try:
            return lake.read(table, partition)
        except InputError as error:
            raise InputError(
                f"our copy of what OASIS gave cannot be read: {error}",
                file=lake.path(table, partition),
                remedy="Remove the file and ingest the day again, while OASIS still has it",
            ) from error

    def _write(self, table: str, partition: str, rows: pl.DataFrame) -> None:
        when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        Lake(self.root).write(table, partition, rows, {"fetched_utc": when, "url": self.url})
