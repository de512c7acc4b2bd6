"""Our own copy of what OASIS gave, since it forgets after about 39 months, and whether it is a whole market day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, market_hours
from vpp_pipeline.core.errors import InputError, without_secrets
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.market.oasis.report import DAY, LOAD_COLUMNS, PRICE, RENEWABLE_COLUMNS, START, Incomplete

# Ancillary service regions nest, and a resource is paid the sum of the prices of all regions it lies in (CAISO tariff
# 27.1.2.1: the shadow prices of its regions are added up). Path 26 parts south from north; NP15 and ZP26 lie north.
WHOLE_SYSTEM = ("AS_CAISO", "AS_CAISO_EXP")
REGIONS: Mapping[str, tuple[str, ...]] = {
    "SP26": (*WHOLE_SYSTEM, "AS_SP26", "AS_SP26_EXP"),
    "NP26": (*WHOLE_SYSTEM, "AS_NP26", "AS_NP26_EXP"),
}
_PART_OF_NAME = {"SP15": "SP26", "NP15": "NP26", "ZP26": "NP26", "DLAP_SCE": "SP26", "DLAP_SDGE": "SP26"}
LMP, RESERVES = "oasis.prc_lmp", "oasis.prc_as"
LOAD, RENEWABLES = "oasis.sld_fcst", "oasis.sld_ren_fcst"
LOAD_RUNS = ("2DA", "7DA")  # the younger forecast first; both are out before the bids close
RENEWABLE_RUN = "DAM"
WHOLE_LOAD = "CA ISO-TAC"
#: hubs without which a sum is not the system's; wind of ZP26, where OASIS has it, is added
HUBS = ("Solar in NP15", "Solar in SP15", "Solar in ZP26", "Wind in NP15", "Wind in SP15")
_HUB_SERIES = pl.format("{} in {}", "RENEWABLE_TYPE", "TRADING_HUB")
OUTLOOK_COLUMNS = ("load_mw", "solar_mw", "wind_mw")


def region_of(node: str, named: str | None) -> str:
    """SP26 or NP26: what the settings say, else what the node's name says. Raises ``InputError`` where neither does."""
    if named is not None:
        return named
    found = {region for part, region in _PART_OF_NAME.items() if part in node}
    if len(found) != 1:
        raise InputError(
            "the node's name does not tell in which reserve region it lies",
            column="node",
            value=node,
            remedy='Write region = "SP26" (south of Path 26) or "NP26" under [oasis] in data/prices.toml',
        )
    return found.pop()


def of_day(rows: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """The rows whose trade date it is: OASIS also sends hours of the days beside it."""
    return rows.filter((pl.col(DAY) == market_date.isoformat()) & (pl.col("MARKET_RUN_ID") == "DAM"))


def energy_of_day(rows: pl.DataFrame, market_date: date, node: str) -> pl.DataFrame:
    """``start_utc`` and ``energy_usd_per_mwh`` of all hours. Raises ``Incomplete`` for a gap or a contradiction."""
    mine = of_day(rows, market_date).filter((pl.col("NODE") == node) & (pl.col("LMP_TYPE") == "LMP"))
    prices = _whole(mine.with_columns(series=pl.lit(f"LMP of {node}")), [f"LMP of {node}"], market_date)
    return prices.select("start_utc", energy_usd_per_mwh="price")


def reserves_of_day(rows: pl.DataFrame, market_date: date, region: str) -> pl.DataFrame:
    """``start_utc`` and the price column of each reserve, of all hours, summed over the nested regions.

    A region that is not there counts as missing, never as 0. Raises ``Incomplete`` for a gap or a contradiction.
    """
    named = pl.format("{} in {}", "ANC_TYPE", "ANC_REGION")
    mine = of_day(rows, market_date).with_columns(series=named)
    wanted = [f"{reserve.oasis_type} in {part}" for reserve in CAISO.reserves for part in REGIONS[region]]
    prices = _whole(mine.filter(pl.col("series").is_in(wanted)), wanted, market_date)
    kind = pl.col("series").str.slice(0, 2)
    return (
        prices.group_by("start_utc", maintain_order=True)
        .agg(
            pl.col("price").filter(kind == reserve.oasis_type).sum().alias(reserve.price_column)
            for reserve in CAISO.reserves
        )
        .sort("start_utc")
    )


def load_of_day(rows: pl.DataFrame, market_date: date, run: str) -> pl.DataFrame:
    """``start_utc`` and ``load_mw`` of CAISO's own area. Raises ``Incomplete`` for a gap or a contradiction."""
    mine = rows.filter(
        (pl.col(DAY) == market_date.isoformat())
        & (pl.col("MARKET_RUN_ID") == run)
        & (pl.col("TAC_AREA_NAME") == WHOLE_LOAD)
    )
    series = f"load of {WHOLE_LOAD}, {run}"
    return _whole(mine.with_columns(series=pl.lit(series)), [series], market_date).select("start_utc", load_mw="price")


def renewables_of_day(rows: pl.DataFrame, market_date: date) -> pl.DataFrame:
    """``start_utc``, ``solar_mw`` and ``wind_mw``, summed over the hubs; below 0 where plants draw power at night.

    Raises ``Incomplete`` for a gap or a contradiction.
    """
    mine = of_day(rows, market_date).with_columns(series=_HUB_SERIES)
    more = set(mine["series"].drop_nulls()) - set(HUBS)
    wanted = [*HUBS, *sorted(name for name in more if name.startswith(("Solar in", "Wind in")))]
    output = _whole(mine.filter(pl.col("series").is_in(wanted)), wanted, market_date)
    is_solar = pl.col("series").str.starts_with("Solar")
    return (
        output.group_by("start_utc", maintain_order=True)
        .agg(solar_mw=pl.col("price").filter(is_solar).sum(), wind_mw=pl.col("price").filter(~is_solar).sum())
        .sort("start_utc")
    )


def outlook_place(market_date: date, run: str) -> tuple[str, str, Callable[[pl.DataFrame], pl.DataFrame]]:
    """Table and partition of the copy that keeps one report of a day's outlook, and how its rows are read."""
    if run == RENEWABLE_RUN:
        return RENEWABLES, market_date.isoformat(), lambda rows: renewables_of_day(rows, market_date)
    return LOAD, f"{run}|{market_date}", lambda rows: load_of_day(rows, market_date, run)


def _whole(rows: pl.DataFrame, wanted: list[str], market_date: date) -> pl.DataFrame:
    """``series``, ``start_utc`` and ``price``: one number per hour and series, in order of time.

    Rows that say the same twice are one row; rows that contradict each other are refused.
    """
    found = _numbered(rows)
    twice = found.filter(pl.struct("series", "start_utc").is_duplicated()).sort("series", "start_utc", "price")
    if twice.height:
        values = twice["price"].head(2).to_list()
        raise Incomplete(f"{_which(twice, market_date)} has two {_what(wanted)}, {values[0]} and {values[1]}")
    hours = market_hours(market_date).select("start_utc")
    expected = hours.join(pl.DataFrame({"series": wanted}), how="cross")
    whole = expected.join(found, on=["series", "start_utc"], how="left", maintain_order="left")
    gaps = whole.filter(~pl.col("price").is_finite().fill_null(False))
    if gaps.height:
        raise Incomplete(
            f"{gaps.height} of {whole.height} {_what(wanted)} are missing, first {_which(gaps, market_date)}"
        )
    return whole


def _what(wanted: list[str]) -> str:
    return "forecasts" if wanted[0].startswith(("load", "Solar")) else "prices"


def _summed(rows: pl.DataFrame, wanted: Sequence[str], name: str) -> pl.DataFrame:
    """``start_utc`` and the sum of all series' numbers; of the hours that have one of each, ``wanted`` among them."""
    found = _numbered(rows, DAY)
    local = pl.col("start_utc").dt.convert_time_zone(str(PACIFIC)).dt.date().cast(pl.String)
    series = pl.col("series")
    hours = found.filter(local == pl.col(DAY)).group_by("start_utc")
    sums = hours.agg(
        pl.col("price").sum(),
        is_whole=pl.col("price").is_finite().fill_null(False).all()
        & series.is_unique().all()
        & (series.is_in(list(wanted)).sum() == len(wanted)),
    )
    return sums.filter("is_whole").select("start_utc", pl.col("price").alias(name))


def _numbered(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """``series``, ``start_utc`` and ``price`` as moments and numbers, each once."""
    start = pl.col(START).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return rows.select(*columns, "series", start_utc=start, price=pl.col(PRICE).cast(pl.Float64, strict=False)).unique()


def _which(rows: pl.DataFrame, market_date: date) -> str:
    """The first row in words: series and OASIS's label of its hour."""
    labels = market_hours(market_date).filter(pl.col("start_utc").eq_missing(rows["start_utc"][0]))["hour_ending"]
    hour = f"hour ending {labels[0]}" if labels.len() else f"the row starting {rows['start_utc'][0]}"
    return f"{rows['series'][0]}, {hour} of {market_date}"


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

    def has(self, market_date: date, node: str) -> bool:
        """Whether there is a file of the node's energy prices of the day, and one of its reserve prices."""
        kept, day = ParquetFolder(self.root), market_date.isoformat()
        return kept.exists(LMP, f"{node}|{day}") and kept.exists(RESERVES, day)

    def fetched_utc(self, market_date: date, node: str) -> datetime | None:
        """When the older of the day's two files was fetched; None where one is missing. Raises ``InputError`` for a
        damaged one."""
        if not self.has(market_date, node):
            return None
        kept, day = ParquetFolder(self.root), market_date.isoformat()
        told = [kept.metadata(table, key) for table, key in ((LMP, f"{node}|{day}"), (RESERVES, day))]
        return min(datetime.fromisoformat(footer["fetched_utc"]) for footer in told)

    def prices(self, days: Sequence[date], node: str, region: str) -> pl.DataFrame:
        """``start_utc`` and the three prices of the hours of ``days`` that :func:`energy_of_day` and
        :func:`reserves_of_day` would accept, in one pass. Raises ``InputError`` for a file that cannot be read.
        """
        kept, common = ParquetFolder(self.root), [START, DAY, "MARKET_RUN_ID", PRICE]
        lmp = kept.read_many(LMP, [f"{node}|{day}" for day in days], [*common, "NODE", "LMP_TYPE"])
        reserves = kept.read_many(RESERVES, [f"{day}" for day in days], [*common, "ANC_TYPE", "ANC_REGION"])
        is_mine = (pl.col("MARKET_RUN_ID") == "DAM") & (pl.col("NODE") == node) & (pl.col("LMP_TYPE") == "LMP")
        priced = _summed(lmp.filter(is_mine).with_columns(series=pl.col("NODE")), [node], "energy_usd_per_mwh")
        for reserve in CAISO.reserves:
            is_mine = (pl.col("ANC_TYPE") == reserve.oasis_type) & pl.col("ANC_REGION").is_in(REGIONS[region])
            mine = reserves.filter(is_mine & (pl.col("MARKET_RUN_ID") == "DAM"))
            summed = _summed(mine.with_columns(series=pl.col("ANC_REGION")), REGIONS[region], reserve.price_column)
            priced = priced.join(summed, on="start_utc")
        return priced

    def outlook(self, days: Sequence[date]) -> pl.DataFrame:
        """``start_utc``, ``load_mw``, ``solar_mw`` and ``wind_mw`` of the hours of those of ``days`` that are here.

        As :func:`load_of_day` and :func:`renewables_of_day` read each day, in one pass; where the copy has the load by
        two runs, the younger. Raises ``InputError`` for a file that cannot be read.
        """
        kept = ParquetFolder(self.root)
        runs = {day: [run for run in LOAD_RUNS if kept.exists(LOAD, f"{run}|{day}")] for day in days}
        there = [day for day in days if runs[day] and kept.exists(RENEWABLES, day.isoformat())]
        if not there:
            return pl.DataFrame(
                schema={"start_utc": pl.Datetime("us", "UTC"), **dict.fromkeys(OUTLOOK_COLUMNS, pl.Float64)}
            )
        load = kept.read_many(LOAD, [f"{runs[day][0]}|{day}" for day in there], list(LOAD_COLUMNS))
        output = kept.read_many(RENEWABLES, [f"{day}" for day in there], list(RENEWABLE_COLUMNS))
        mine = load.filter(pl.col("TAC_AREA_NAME") == WHOLE_LOAD).with_columns(series=pl.col("TAC_AREA_NAME"))
        hours = _summed(mine, [WHOLE_LOAD], OUTLOOK_COLUMNS[0])
        output = output.filter(pl.col("MARKET_RUN_ID") == RENEWABLE_RUN).with_columns(series=_HUB_SERIES)
        for kind, name in zip(("Solar", "Wind"), OUTLOOK_COLUMNS[1:], strict=True):
            wanted = [series for series in HUBS if series.startswith(kind)]
            hours = hours.join(_summed(output.filter(pl.col("RENEWABLE_TYPE") == kind), wanted, name), on="start_utc")
        return hours

    def kept(self, table: str, partition: str) -> pl.DataFrame | None:
        """The rows of another report, if they are here. Raises ``InputError`` for a damaged file."""
        return self._read(table, partition)

    def keep(self, table: str, partition: str, rows: pl.DataFrame) -> None:
        """Keep the rows of another report."""
        self._write(table, partition, rows)

    def keep_lmp(self, market_date: date, node: str, rows: pl.DataFrame) -> None:
        """Keep the rows of energy prices of a node's day."""
        self._write(LMP, f"{node}|{market_date}", rows)

    def keep_reserves(self, market_date: date, rows: pl.DataFrame) -> None:
        """Keep the rows of reserve prices of a day."""
        self._write(RESERVES, market_date.isoformat(), rows)

    def _read(self, table: str, partition: str) -> pl.DataFrame | None:
        kept = ParquetFolder(self.root)
        if not kept.exists(table, partition):
            return None
        try:
            return kept.read(table, partition)
        except InputError as error:
            raise InputError(
                f"our copy of what OASIS gave cannot be read: {error}",
                file=kept.path(table, partition),
                remedy="Remove the file and ingest the day again, while OASIS still has it",
            ) from error

    def _write(self, table: str, partition: str, rows: pl.DataFrame) -> None:
        when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        ParquetFolder(self.root).write(table, partition, rows, {"fetched_utc": when, "url": without_secrets(self.url)})
