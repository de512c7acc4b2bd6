"""Prices that people downloaded themselves: OASIS' reports PRC_LMP and PRC_AS, or the same two tables of gridstatus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.table_cells import moments
from vpp_pipeline.core.table_file import TableFile
from vpp_pipeline.market.oasis.archive import energy_of_day, region_of, reserves_of_day
from vpp_pipeline.market.oasis.report import AS_COLUMNS, DAY, LMP_COLUMNS, PRICE, START, Incomplete
from vpp_pipeline.market.price_files import choose_node
from vpp_pipeline.market.price_source import complete_day, day_by_day
from vpp_pipeline.schemas import Prices, validate
from vpp_pipeline.schemas.columns import PRICE_LIMIT_USD_PER_MWH

DAY_AHEAD, LMP = "DAM", "LMP"
# gridstatus 0.37: CAISO.get_lmp(...).to_csv() and CAISO.get_as_prices(...).to_csv(); the index has no name
GRIDSTATUS_START = "Interval Start"
GRIDSTATUS_LMP = (GRIDSTATUS_START, "Market", "Location", LMP)
GRIDSTATUS_RESERVES = {"SR": "Spinning Reserves", "NR": "Non-Spinning Reserves"}  # OASIS' ANC_TYPE -> column
GRIDSTATUS_AS = (GRIDSTATUS_START, "Market", "Region", *GRIDSTATUS_RESERVES.values())
GRIDSTATUS_MARKETS = {"DAY_AHEAD_HOURLY": DAY_AHEAD, "DAM": DAY_AHEAD}
_WAY = (
    "Download both for the same days, PRC_LMP and PRC_AS of the day-ahead market (gridstatus: get_lmp and "
    "get_as_prices), into one folder and name that; or let `vpp-pipeline ingest --source oasis` ask for both"
)


class DownloadedPrices:
    """Day-ahead prices of one node from tables of energy and of reserve prices.

    ``market.prices.source`` says ``oasis files``. Reserve prices are those of the node's region: the sum over the
    regions that it lies in, as for prices that are asked of OASIS.
    """

    name = "oasis files"

    def __init__(
        self, path: Path, node: str | None, tables: Sequence[TableFile], region: str | None, time_zone: str | None
    ) -> None:
        """Raises InputError where a table is of no known layout, or one of the two reports is missing."""
        self.path = path
        energy: list[pl.DataFrame] = []
        reserves: list[pl.DataFrame] = []
        for table in tables:
            if (read := _reader_of(table.rows.columns)) is None:
                raise InputError(
                    "a table that is neither of energy nor of reserve prices",
                    file=table.name,
                    row=table.header_row,
                    column=", ".join(table.rows.columns[:20]),
                    remedy=_WAY,
                )
            (energy if read in (_energy, _gridstatus_energy) else reserves).append(read(table.whole(), time_zone))
        for missing, found in (("energy prices (PRC_LMP)", energy), ("reserve prices (PRC_AS)", reserves)):
            if not found or not sum(part.height for part in found):
                raise InputError(f"no {missing} of the day-ahead market", file=path, remedy=_WAY)
        lmp = pl.concat(energy)
        self.node = choose_node(node, lmp["NODE"].unique().sort().to_list(), path)
        self._region = region_of(self.node, region)
        self._lmp = _by_day(lmp.filter(NODE=self.node))
        self._reserves = _by_day(pl.concat(reserves))

    @staticmethod
    def recognises(columns: Sequence[str]) -> bool:
        """Whether a table with these columns is one of those that people download."""
        return _reader_of(columns) is not None

    def day(self, market_date: date) -> pl.DataFrame:
        """Rows of ``market.prices``; see ``PriceSource.day``."""
        day = market_date.isoformat()
        if day not in self._lmp:
            there = sorted(self._lmp)
            raise NoDataError(
                f"no prices of {self.node} for market day {day}",
                file=self.path,
                remedy=f"It holds {there[0]} to {there[-1]}; choose a day of these or add the day's prices.",
            )
        if day not in self._reserves:
            raise InputError(f"energy prices without reserve prices of {day}", file=self.path, remedy=_WAY)
        try:
            energy = energy_of_day(self._lmp[day], market_date, self.node)
            reserves = reserves_of_day(self._reserves[day], market_date, self._region)
        except Incomplete as gap:
            raise InputError(f"{gap}", file=self.path, remedy=f"Download the day again. {_WAY}") from None
        rows = complete_day(energy.join(reserves, on="start_utc"), market_date, self.path)
        return validate(Prices, rows.with_columns(node=pl.lit(self.node), source=pl.lit(self.name)))

    def days(self, wanted: Sequence[date]) -> dict[date, pl.DataFrame]:
        """Those of the days that there are; see ``PriceSource.days``."""
        return day_by_day(self, wanted)


def _by_day(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(day): part for (day,), part in rows.group_by(DAY, maintain_order=True)}


def _reader_of(columns: Sequence[str]) -> Callable[[TableFile, str | None], pl.DataFrame] | None:
    """How a table with these columns is read; None where it is not of a known report."""
    readers = (
        (LMP_COLUMNS, _energy),
        (AS_COLUMNS, _reserves),
        (GRIDSTATUS_LMP, _gridstatus_energy),
        (GRIDSTATUS_AS, _gridstatus_reserves),
    )
    return next((read for needed, read in readers if set(needed) <= {*columns}), None)


def _energy(table: TableFile, time_zone: str | None) -> pl.DataFrame:
    rows = _timed(table, START, [PRICE], time_zone)
    wanted = rows.filter(MARKET_RUN_ID=DAY_AHEAD, LMP_TYPE=LMP)
    return _with_numbers(wanted, PRICE).select(START, DAY, "MARKET_RUN_ID", "NODE", "LMP_TYPE", PRICE)


def _reserves(table: TableFile, time_zone: str | None) -> pl.DataFrame:
    rows = _timed(table, START, [PRICE], time_zone)
    wanted = rows.filter(pl.col("ANC_TYPE").is_in(list(GRIDSTATUS_RESERVES)), MARKET_RUN_ID=DAY_AHEAD)
    return _with_numbers(wanted, PRICE).select(START, DAY, "MARKET_RUN_ID", "ANC_TYPE", "ANC_REGION", PRICE)


def _gridstatus_energy(table: TableFile, time_zone: str | None) -> pl.DataFrame:
    rows = _timed(table, GRIDSTATUS_START, [LMP], time_zone)
    wanted = rows.with_columns(MARKET_RUN_ID=pl.col("Market").replace(GRIDSTATUS_MARKETS)).filter(
        MARKET_RUN_ID=DAY_AHEAD
    )
    return _with_numbers(wanted, LMP).select(
        START, DAY, "MARKET_RUN_ID", NODE="Location", LMP_TYPE=pl.lit(LMP), **{PRICE: pl.col(LMP)}
    )


def _gridstatus_reserves(table: TableFile, time_zone: str | None) -> pl.DataFrame:
    columns = list(GRIDSTATUS_RESERVES.values())
    rows = _timed(table, GRIDSTATUS_START, columns, time_zone)
    wanted = rows.with_columns(MARKET_RUN_ID=pl.col("Market").replace(GRIDSTATUS_MARKETS)).filter(
        MARKET_RUN_ID=DAY_AHEAD
    )
    return pl.concat(
        _with_numbers(wanted, column).select(
            START, DAY, "MARKET_RUN_ID", ANC_TYPE=pl.lit(kind), ANC_REGION="Region", **{PRICE: pl.col(column)}
        )
        for kind, column in GRIDSTATUS_RESERVES.items()
    )


def _timed(table: TableFile, start: str, prices: list[str], time_zone: str | None) -> pl.DataFrame:
    """The rows as text, with START in UTC and DAY, the trade date, told by the moment itself."""
    rows = table.with_decimal_points(prices).numbered
    if rows.is_empty():
        raise InputError("a header and no rows", file=table.name, remedy=_WAY)
    text = rows.with_columns(pl.col(table.rows.columns).cast(pl.String).str.strip_chars())
    named = text.with_columns(start_utc=rows[start])
    series = [name for name in ("NODE", "LMP_TYPE", "ANC_TYPE", "ANC_REGION", "Location", "Region") if name in text]
    moment = moments(named, start, time_zone, series)
    return text.with_columns(
        moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias(START),
        moment.dt.convert_time_zone(str(PACIFIC)).dt.date().cast(pl.String).alias(DAY),
    )


def _with_numbers(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """The rows. Raises InputError for the first whose price is no number that a price can be."""
    value = pl.col(column).cast(pl.Float64, strict=False)
    wrong = rows.filter(~(value.is_finite() & (value.abs() <= PRICE_LIMIT_USD_PER_MWH)).fill_null(False))
    if wrong.height:
        raise InputError(
            f"not a price within ±${PRICE_LIMIT_USD_PER_MWH:,.0f}/MWh",
            file=wrong["file"][0],
            row=wrong["row"][0],
            column=column,
            value=wrong[column][0],
            remedy="Correct the number in the file, or leave the whole day out.",
        )
    return rows
