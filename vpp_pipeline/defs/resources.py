"""What runs are configured with, and the lake that keeps the tables between assets."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder, requests_file
from vpp_pipeline.core.table_cells import zone_of
from vpp_pipeline.data_settings import RetentionSettings, WeatherSettings, lake_of, read_price_file
from vpp_pipeline.day_parts import InParts
from vpp_pipeline.defs.keys import table_of
from vpp_pipeline.defs.metadata import ROW_COUNT, figures_of, history_of
from vpp_pipeline.market.open_source import PriceChoice, choose_source, open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.settings import Settings, read_settings
from vpp_pipeline.warehouse.day import BY_HAND, SETTLED, LakeDay, LakeNegotiations, published_day
from vpp_pipeline.warehouse.draft import Made
from vpp_pipeline.warehouse.publish import SETTLES

SETTINGS, HASHES = "settings", "input_hashes"
KEPT = (SETTINGS, HASHES, SETTLES)  # metadata of these names stays with the table, in its file


class Storage(dg.ConfigurableResource[Any]):
    """The lake and the published warehouse."""

    data_folder: str = Field(
        str(project_folder() / "data"), description="Folder of the lake, the warehouse and requests."
    )
    owner: str = Field(
        default=BY_HAND, description="Whose tables these are before they are published: a run's, or BY_HAND."
    )

    @property
    def lake(self) -> Lake:
        return lake_of(Path(self.data_folder))

    @property
    def warehouse(self) -> Path:
        return Path(self.data_folder) / "vpp.duckdb"

    @property
    def requests(self) -> Path:
        """The file of requests beside the data, else the project's own, else the example of the package."""
        return requests_file(Path(self.data_folder))

    def day(self, market_date: date) -> LakeDay:
        """The day's tables as the run has made them so far; those it has not made, as they are published."""
        return LakeDay(self.lake, market_date, self.owner)

    def figures(self, market_date: date) -> LakeDay:
        """The same without the sentences of large tables, for what computes with their figures."""
        return LakeDay(self.lake, market_date, self.owner, figures_only=True)

    def negotiations(self, market_date: date) -> LakeNegotiations:
        """The day's negotiations, as the run has them."""
        return LakeNegotiations(self.lake.day(market_date, self.owner))

    def made(self, market_date: date) -> Made:
        """What the run has made of the day and not published."""
        return self.lake.day(market_date, self.owner).own()

    def forget(self, market_date: date) -> None:
        """Let go of what the run has made, once it is published."""
        self.lake.day(market_date, self.owner).forget()

    def settled_day(self, market_date: date) -> LakeDay:
        """The day as its settlement knows it: all as published but what the settlement itself has made.

        Raises NoDataError where no bids of the day are published.
        """
        day = published_day(self.lake, market_date)
        own = {table: file for table, file in self.made(market_date).items() if table in SETTLED}
        day.kept.committed = replace(day.kept.committed, files={**day.kept.committed.files, **own})
        return day


class Prices(dg.ConfigurableResource[Any]):
    """Where market prices come from."""

    kind: str | None = Field(None, description="oasis, file or synthetic; empty: as `path`, else `defaults`, says.")
    path: str | None = Field(None, description="File or folder of prices; empty: what `defaults` names.")
    node: str | None = Field(None, description="Pricing node; empty: what `defaults` names, the source's own, or SP15.")
    meters: str | None = Field(None, description="File or folder of metered hours; empty: what `defaults` names.")
    timezone: str | None = Field(
        None, description="Zone of moments without an offset in files of prices and meters; empty: see `defaults`."
    )
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
        return choose_source(Path(self.defaults), self.kind, self.path, self.node, self.archive, self.timezone)

    def unnamed(self) -> str | None:
        """Why schedules do not bid on this source: it is the generator, and its owner has not asked; else None."""
        if self.kind or self.path or read_price_file(Path(self.defaults), self.archive).names_source:
            return None
        return (
            "no source of prices is named, and generated prices are no basis of bids: write a source into "
            f'{self.defaults} (kind = "oasis", or path = "…"), or synthetic = true to bid on generated prices'
        )

    def meters_path(self) -> Path | None:
        """File or folder of metered hours: the run's own, else what the file of defaults names, if anything."""
        return Path(self.meters) if self.meters else read_price_file(Path(self.defaults)).meters.path

    def meters_time_zone(self) -> str | None:
        """The zone of moments in meter files that have no offset. Raises InputError where there is none of the name."""
        zone = self.timezone or read_price_file(Path(self.defaults)).meters.timezone
        return zone and zone_of(zone)

    def retention(self) -> RetentionSettings:
        """How long things are kept. Raises InputError for an unusable setting."""
        return read_price_file(Path(self.defaults)).retention

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

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | InParts) -> None:
        kept = {
            name: json.dumps(words.value, sort_keys=True)
            for name in KEPT
            if isinstance(words := context.output_metadata.get(name), dg.JsonMetadataValue)
        }
        table, lake = table_of(context.asset_key), self.storage.lake
        day = lake.day(context.partition_key, self.storage.owner)
        if isinstance(obj, InParts):
            file = lake.put_together(obj.parts, obj.whole, kept)
            day.point(table, file)
            context.add_output_metadata({"parts": len(file.parts)})
        else:
            file = day.write(table, obj, kept)
        rows = obj.whole if isinstance(obj, InParts) else obj
        if rows is None:  # of all parts together, it stays in them
            figures: dict[str, Any] = {ROW_COUNT: sum(day.heights(table))}
        else:
            figures = figures_of(table, rows, history_of(lake, table, context.partition_key, rows))
        said = context.output_metadata  # what the asset says itself goes before
        context.add_output_metadata({name: value for name, value in figures.items() if name not in said})
        context.add_output_metadata({"file": lake.store.address(file.keys[0])})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        table = table_of(context.asset_key)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        return pl.concat([self.storage.lake.day(key, self.storage.owner).read(table) for key in keys], how="diagonal")
