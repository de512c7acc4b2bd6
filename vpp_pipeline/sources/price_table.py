"""Prices in this project's own layout, the one to write when bringing your own."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from vpp_pipeline.sources.price_file import PARQUET, FilePrices, read_lines, read_parquet

SYNTHETIC_MARK = "# source: synthetic"


class PriceTable(FilePrices):
    """CSV (gzip or not) or Parquet with these columns; a CSV may hold comment lines that start with ``#``.

    | column | meaning |
    |---|---|
    | ``start_utc`` | start of the hour with its offset, ``2023-08-15T07:00:00Z``; without one it is refused |
    | ``node`` | pricing node |
    | ``energy_usd_per_mwh`` | energy price |
    | ``spin_usd_per_mw_h``, ``nonspin_usd_per_mw_h`` | reserve prices, $ per MW held for one hour |

    A CSV with the line ``# source: synthetic`` above its header is labelled ``synthetic (file)``; if one file of a
    directory says so, all its rows are.
    """

    def _read(self, file: Path) -> pl.DataFrame:
        if file.name.endswith(PARQUET):
            return self._rows_of(read_parquet(file), file)
        frame, comments = read_lines(file)
        if SYNTHETIC_MARK in (comment.strip() for comment in comments):
            self.name = "synthetic (file)"
        return self._rows_of(frame, file)
