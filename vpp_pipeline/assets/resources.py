"""What runs are configured with: where data lies, which prices, every setting of the desk."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, Field, create_model

from vpp_pipeline.errors import InputError
from vpp_pipeline.paths import project_folder
from vpp_pipeline.settings import Settings
from vpp_pipeline.sources.base import PriceSource
from vpp_pipeline.sources.opening import open_source
from vpp_pipeline.warehouse.day import LakeDay
from vpp_pipeline.warehouse.lake import Lake


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
        """The day's tables."""
        return LakeDay(self.lake, market_date)


class Prices(dg.ConfigurableResource[Any]):
    """Where market prices come from."""

    path: str | None = Field(None, description="File or folder of prices; empty: what `defaults` names.")
    node: str | None = Field(None, description="Pricing node; empty: the source's own, or SP15.")
    defaults: str = Field(
        str(project_folder() / "data" / "prices.toml"),
        description="TOML file with `path` and `node` for runs that name neither; without it the generator.",
    )

    def open(self) -> PriceSource:
        """The source of this run. Raises InputError where it cannot be used."""
        return open_source(*self.chosen())

    def chosen(self) -> tuple[Path | None, str | None]:
        """File or folder of prices, and node; nothing for the generator. A path in the file is relative to it."""
        if self.path is not None or self.node is not None:
            return Path(self.path) if self.path else None, self.node
        file = Path(self.defaults)
        if not file.is_file():
            return None, None
        try:
            named = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"not TOML: {error}", file=file, remedy='Write path = "…" and node = "…"') from None
        unknown = set(named) - {"path", "node"}
        if unknown or "path" not in named:
            found = ", ".join(sorted(named)) or "nothing"
            raise InputError("no source of prices", file=file, value=found, remedy='Write path = "…" and node = "…"')
        return file.parent / named["path"], named.get("node")


def _config_field(kind: Any) -> Any:
    """A type that Dagster's configuration knows, for a type of pydantic's."""
    if get_origin(kind) is Literal:
        return str
    if Path in get_args(kind) or kind is Path:
        return str | None
    return kind


def _as_config(group: type[BaseModel]) -> type[dg.Config]:
    """The same fields and words as a settings group, as Dagster configuration."""
    fields: dict[str, Any] = {
        name: (_config_field(field.annotation), Field(field.default, description=field.description))
        for name, field in group.model_fields.items()
    }
    return create_model(group.__name__, __base__=dg.Config, __doc__=group.__doc__, **fields)


_GROUPS: dict[str, Any] = {name: _as_config(type(field.default)) for name, field in Settings.model_fields.items()}


class _Desk(dg.ConfigurableResource[Any]):
    """Every setting of the desk (see `vpp_pipeline/settings.py`), validated when it is read."""

    def settings(self) -> Settings:
        """Raises pydantic's ValidationError for a value outside its bounds."""
        return Settings.model_validate({name: getattr(self, name).model_dump() for name in _GROUPS})


_fields: dict[str, Any] = {name: (group, Field(default_factory=group)) for name, group in _GROUPS.items()}
Desk: type[_Desk] = create_model("Desk", __base__=_Desk, **_fields)
