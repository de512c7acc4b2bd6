"""What runs are configured with: where data lies, which prices, every setting of the desk."""

import os
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.domain.settle_day import READS
from vpp_pipeline.settings import OasisSettings, Settings, WeatherSettings, read_settings
from vpp_pipeline.sources.base import PriceSource
from vpp_pipeline.sources.opening import PriceChoice, open_source
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline.warehouse.published import published_day


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
        """File or folder of prices, or how to ask OASIS, and node; nothing for the generator.

        What the run names goes before the file of defaults; a path in that file is relative to it.
        """
        file = Path(self.defaults)
        named = price_defaults(file)
        kind = self.kind or ("file" if self.path else named["kind"])
        node = self.node if self.node or self.path or kind != named["kind"] else named["node"]
        if kind == "synthetic":
            return None, node
        if kind == "oasis":
            return oasis_settings(named["oasis"], file, self.archive), node
        path = Path(self.path) if self.path else file.parent / named["path"] if named["path"] else None
        if kind != "file" or path is None:
            raise InputError(
                "no source of prices",
                value=kind if kind != "file" else None,
                remedy=f'Name a file of prices (--prices), or write kind = "oasis" or path = "…" into {file}',
            )
        return path, node

    def meters_path(self) -> Path | None:
        """File or folder of metered hours: the run's own, else what the file of defaults names, if anything."""
        file = Path(self.defaults)
        named = price_defaults(file)["meters"].get("path")
        return Path(self.meters) if self.meters else file.parent / named if named else None

    def weather(self) -> WeatherSettings:
        """How the weather service is asked. Raises InputError for an unusable setting."""
        file = Path(self.defaults)
        return weather_settings(price_defaults(file)["weather"], file, self.archive)


def prices_beside(data: Path) -> dict[str, str]:
    """The file of defaults of a data folder: its own `prices.toml`, else the project's, with copies kept in it."""
    if (data / "prices.toml").is_file():
        return {"defaults": str((data / "prices.toml").resolve())}
    is_projects = data.resolve() == (project_folder() / "data").resolve()
    return {} if is_projects else {"archive": str((data / "archive").resolve())}


def price_defaults(file: Path) -> dict[str, Any]:
    """`kind`, `path`, `node`, `oasis`, `meters` and `weather` of the file of defaults; the generator, where there is
    no file, or it says nothing of prices."""
    found: dict[str, Any] = {}
    if file.is_file():
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"not TOML: {error}", file=file, remedy=_WRITE) from None
        unknown = set(found) - {"kind", "path", "node", *TABLES}
        of_tables = all(isinstance(found.get(name, {}), dict) for name in TABLES)
        names_source = {"kind", "path"} & set(found) or ({"meters", "weather"} & set(found) and "node" not in found)
        if unknown or not names_source or not of_tables:
            raise InputError(
                "no source of prices", file=file, value=", ".join(sorted(found)) or "nothing", remedy=_WRITE
            )
        _check_meters(found.get("meters", {}), file)
    kind = found.get("kind", "file" if "path" in found else "synthetic")
    return {"path": None, "node": None, **{name: {} for name in TABLES}, **found, "kind": kind}


def _check_meters(named: dict[str, Any], file: Path) -> None:
    if named and (set(named) != {"path"} or not isinstance(named["path"], str)):
        raise InputError(
            "no source of meters",
            file=file,
            column="meters",
            value=", ".join(sorted(named)),
            remedy='Write path = "…" alone under [meters]: a file or folder, relative to this file',
        )


TABLES = ("oasis", "meters", "weather")
_WRITE = 'Write kind = "oasis", or path = "…", and node = "…"'


def oasis_settings(named: dict[str, Any], file: Path, archive: str | None) -> OasisSettings:
    """How OASIS is asked: the file's table [oasis], before it VPP_OASIS_URL and the run's own archive.

    The archive lies beside the file, or where it says, relative to it. Raises InputError for an unusable setting.
    """
    address = os.environ.get("VPP_OASIS_URL")
    kept = archive or str(file.parent / named.get("archive", "archive"))
    chosen = {**named, **({"url": address} if address else {}), "archive": kept}
    try:
        return OasisSettings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"OASIS cannot be asked so: {first['msg'].removeprefix('Value error, ')}",
            file="VPP_OASIS_URL" if address and first["loc"] == ("url",) else file,
            column=".".join(("oasis", *map(str, first["loc"]))),
            value=first["input"] if first["loc"] else None,
            remedy="OasisSettings in vpp_pipeline/settings.py lists them all",
        ) from None


def weather_settings(named: dict[str, Any], file: Path, archive: str | None) -> WeatherSettings:
    """How Open-Meteo is asked: the file's table [weather], before it VPP_WEATHER_URL and the run's own archive."""
    address = os.environ.get("VPP_WEATHER_URL")
    kept = archive or str(file.parent / named.get("archive", "archive"))
    chosen = {**named, **({"url": address} if address else {}), "archive": kept}
    try:
        return WeatherSettings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"the weather cannot be asked for so: {first['msg']}",
            file="VPP_WEATHER_URL" if address and first["loc"] == ("url",) else file,
            column=".".join(("weather", *map(str, first["loc"]))),
            value=first["input"] if first["loc"] else None,
            remedy="WeatherSettings in vpp_pipeline/settings.py lists them all",
        ) from None


class Desk(dg.ConfigurableResource[Any]):
    """Every setting of the desk by group and name, validated when it is read."""

    groups: Any = Field({}, description="Values by group and name.")  # Dagster's own maps hold no empty values

    def settings(self) -> Settings:
        """Raises InputError for a value outside its bounds."""
        return read_settings(self.groups)
