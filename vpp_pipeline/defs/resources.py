"""What runs are configured with, and the lake that keeps the tables between assets."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.defs.metadata import figures_of, history_of
from vpp_pipeline.evaluation.settle_day import READS
from vpp_pipeline.market.open_source import PriceChoice, choose_source, open_source, read_price_file
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.settings import Settings, WeatherSettings, read_settings
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline.warehouse.published import published_day

SETTINGS, HASHES = "settings", "input_hashes"  # metadata of these names stays with the table, in its file


class Storage(dg.ConfigurableResource[Any]):
    """The lake and the published warehouse."""

    data_folder: str = Field(
        str(project_folder() / "data"), description="Folder of the lake, the warehouse and requests."
    )

    @property
    def lake(self) -> Lake:
        return Lake(Path(self.data_folder) / "lake")

    @property
    def warehouse(self) -> Path:
        return Path(self.data_folder) / "vpp.duckdb"

    @property
    def requests(self) -> Path | None:
        """The file of requests beside the data, else the project's own, if there is one."""
        folders = (Path(self.data_folder), project_folder() / "data")
        return next(
            (folder / "opportunities.csv" for folder in folders if (folder / "opportunities.csv").is_file()), None
        )

    def day(self, market_date: date) -> LakeDay:
        """The day's tables in the lake, as a run that makes them needs them."""
        return LakeDay(self.lake, market_date)

    def figures(self, market_date: date) -> LakeDay:
        """The same without the sentences of large tables, for what computes with their figures."""
        return LakeDay(self.lake, market_date, figures_only=True)

    def settled_day(self, market_date: date) -> LakeDay:
        """The day as its settlement knows it: bids and what they rest on as published, prices and what the settlement
        itself makes from the lake.

        Raises NoDataError where no bids of the day are published.
        """
        with published_day(self.warehouse, market_date) as published:
            tables = {table: published[table] for table in READS if table != "market.prices"}
        missing = [table for table in ("dispatch.starts", "dispatch.schedule") if tables[table].is_empty()]
        if missing:
            raise NoDataError(
                f"the warehouse has no {missing[0]} of {market_date}, whose bids an older version has published",
                file=self.warehouse,
                remedy=f"Make them again: vpp-pipeline bids --date {market_date}",
            )
        return self.day(market_date).holding(tables)


class Prices(dg.ConfigurableResource[Any]):
    """Where market prices come from."""

    kind: str | None = Field(None, description="oasis, file or synthetic; empty: as `path`, else `defaults`, says.")
    path: str | None = Field(None, description="File or folder of prices; empty: what `defaults` names.")
    node: str | None = Field(None, description="Pricing node; empty: what `defaults` names, the source's own, or SP15.")
    meters: str | None = Field(None, description="File or folder of metered hours; empty: what `defaults` names.")
    archive: str | None = Field(None, description="Folder of our copy of what OASIS gave; empty: see `defaults`.")
    defaults: str = Field(
        str(project_folder() / "data" / "prices.toml"),
        description="TOML file with `kind`, `path`, `node`, [oasis], [meters] and [weather], for what a run leaves "
        "open; without it the generator.",
    )

    def open(self) -> PriceSource:
        """The source of this run. Raises InputError where it cannot be used."""
        return open_source(*self.chosen())

    def chosen(self) -> tuple[PriceChoice, str | None]:
        """File or folder of prices, or how to ask OASIS, and node; nothing for the generator."""
        return choose_source(Path(self.defaults), self.kind, self.path, self.node, self.archive)

    def meters_path(self) -> Path | None:
        """File or folder of metered hours: the run's own, else what the file of defaults names, if anything."""
        return Path(self.meters) if self.meters else read_price_file(Path(self.defaults)).meters.path

    def weather(self) -> WeatherSettings:
        """How the weather service is asked. Raises InputError for an unusable setting."""
        return read_price_file(Path(self.defaults), self.archive).weather


def prices_beside(data: Path) -> dict[str, str]:
    """The file of defaults of a data folder: its own `prices.toml`, else the project's, with copies kept in it."""
    if (data / "prices.toml").is_file():
        return {"defaults": str((data / "prices.toml").resolve())}
    is_projects = data.resolve() == (project_folder() / "data").resolve()
    return {} if is_projects else {"archive": str((data / "archive").resolve())}


class Desk(dg.ConfigurableResource[Any]):
    """Every setting of the desk by group and name, validated when it is read."""

    groups: Any = Field({}, description="Values by group and name.")  # Dagster's own maps hold no empty values

    def settings(self) -> Settings:
        """Raises InputError for a value outside its bounds."""
        return read_settings(self.groups)


class LakeIOManager(dg.IOManager):
    """Asset ``market/prices``, partition ``2023-08-15`` is the lake's table ``market.prices`` of that day."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        told = {name: context.output_metadata.get(name) for name in (SETTINGS, HASHES)}
        kept = {
            name: json.dumps(words.value, sort_keys=True)
            for name, words in told.items()
            if isinstance(words, dg.JsonMetadataValue)
        }
        table, lake = ".".join(context.asset_key.path), self.storage.lake
        path = lake.write(table, context.partition_key, obj, kept)
        figures = figures_of(table, obj, history_of(lake, table, context.partition_key))
        said = context.output_metadata  # what the asset says itself goes before
        context.add_output_metadata({name: value for name, value in figures.items() if name not in said})
        context.add_output_metadata({"file": str(path)})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        table = ".".join(context.asset_key.path)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        return self.storage.lake.read_many(table, keys) if len(keys) != 1 else self.storage.lake.read(table, keys[0])
