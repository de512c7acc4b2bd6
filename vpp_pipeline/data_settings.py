"""Settings of `data/prices.toml`: where prices, metered hours, and the weather come from, where days lie, and how long
they are kept.

They are not part of a bid's fingerprint; those of a run are in `settings.py`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from vpp_pipeline.core.errors import InputError, setting_problem
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.portfolios import place_of, portfolio

_Model = TypeVar("_Model", bound=BaseModel)
_BUCKET = re.compile(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9.-]*(/(?!\.+(/|$))[A-Za-z0-9_.=-]+)*/?")

#: table -> the environment variable that takes precedence over its `url`
ADDRESSES: Mapping[str, str] = {"oasis": "VPP_OASIS_URL", "weather": "VPP_WEATHER_URL", "lake": "VPP_LAKE_URL"}


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OasisSettings(_Table):
    """Requests to CAISO's OASIS: the table [oasis] in `data/prices.toml`."""

    url: str = Field(
        "https://oasis.caiso.com/oasisapi",
        pattern="^https?://",
        description="Address before `/SingleZip`; the environment variable VPP_OASIS_URL overrides it.",
    )
    region: str | None = Field(
        None,
        pattern="^(SP26|NP26)$",
        description="Reserve region of the node, SP26 or NP26; empty: as its name says.",
    )
    archive: Path | None = Field(None, description="Folder of kept answers; empty: `archive` beside prices.toml.")
    interval_s: float = Field(5.0, ge=0, description="Pause between requests of all processes (CAISO's use policy).")
    timeout_s: float = Field(60.0, gt=0, description="Limit of one whole answer, in seconds.")
    attempts: int = Field(6, ge=1, description="Most attempts of one question.")
    backoff_s: float = Field(
        5.0, ge=0, description="Pause before the second attempt; doubles, up to twelve times this."
    )
    patience_s: float = Field(600.0, gt=0, description="Longest wait for other processes that ask OASIS.")
    gate: Path | None = Field(
        None, description="Folder of the lock that paces requests; empty: one per user. Users may name one for all."
    )
    outlook: bool = Field(
        False, description="Ask for the system's load, solar, and wind forecasts too: inputs of `lear` and `average`."
    )

    @model_validator(mode="after")
    def _keeps_the_use_policy(self) -> OasisSettings:
        if "caiso.com" in self.url and self.interval_s < 5.0:
            raise ValueError("CAISO's acceptable use policy asks for interval_s of 5 or more")
        return self


class MeterSettings(_Table):
    """Where metered hours lie: the table [meters] in `data/prices.toml`."""

    path: Path | None = Field(
        None, description="File or folder of metered hours, relative to prices.toml; empty: there are no meters."
    )
    timezone: str | None = Field(
        None, description="Zone of moments in meter files that have no offset, such as America/Los_Angeles."
    )


class WeatherSettings(_Table):
    """Requests to Open-Meteo: the table [weather] in `data/prices.toml`."""

    url: str = Field(
        "https://api.open-meteo.com/v1/forecast",
        pattern="^https?://",
        description="Address of the weather service; the environment variable VPP_WEATHER_URL takes precedence.",
    )
    archive: Path | None = Field(None, description="Folder of kept answers; empty: `archive` beside prices.toml.")
    timeout_s: float = Field(20.0, gt=0, description="Limit of one whole answer, in seconds.")
    attempts: int = Field(4, ge=1, description="Most attempts of one question.")
    backoff_s: float = Field(
        2.0, ge=0, description="Pause before the second attempt; doubles, up to twelve times this."
    )


class RetentionSettings(_Table):
    """How long things are kept: the table [retention] in `data/prices.toml`."""

    detail_days: int = Field(
        400,
        ge=8,
        description="Days for which all tables of a day are kept after it was last published; then bids, prices, and "
        "settlements.",
    )
    history_days: int = Field(90, ge=1, description="Days for which Dagster's runs and their logs are kept.")
    unpublished_hours: float = Field(
        72.0, ge=1, description="Hours for which the tables of a run that never published are kept."
    )


class LakeSettings(_Table):
    """Where the tables of all days lie: the table [lake] in `data/prices.toml`."""

    url: str | None = Field(
        None,
        description="Place in an object store that several machines may share, such as s3://bucket/prefix; empty: the "
        "folder `lake` beside prices.toml. The environment variable VPP_LAKE_URL takes precedence.",
    )
    copies_gb: float = Field(
        20.0, ge=0, description="Room for copies of what is read of the object store; `sweep` keeps to it."
    )

    @field_validator("url")
    @classmethod
    def _is_a_bucket(cls, value: str | None) -> str | None:
        if value and not _BUCKET.fullmatch(value):
            raise ValueError(
                "it must be s3://, gs:// or az:// with bucket and prefix, of letters, digits, and . _ = -, without "
                "user, password, or query"
            )
        return value and value.rstrip("/")


class PriceFile(_Table):
    """What `data/prices.toml` says: where prices, metered hours, and the weather come from where a run names nothing.

    Read by :func:`read_price_file`, which makes the paths in it absolute.
    """

    kind: Literal["oasis", "file", "synthetic"] | None = Field(
        None, description="Source of prices; empty: `file` where `path` is set, else `synthetic`."
    )
    path: Path | None = Field(None, description="File or folder of prices, relative to prices.toml.")
    node: str | None = Field(
        None, description="Pricing node, such as TH_NP15_GEN-APND; empty: the source's only node, or SP15."
    )
    synthetic: bool = Field(
        False, description="Schedules may bid on generated prices, which no market has published; then no other source."
    )
    timezone: str | None = Field(
        None, description="Zone of moments in price files that have no offset, such as America/Los_Angeles."
    )
    oasis: OasisSettings = OasisSettings()
    meters: MeterSettings = MeterSettings()
    weather: WeatherSettings = WeatherSettings()
    retention: RetentionSettings = RetentionSettings()
    lake: LakeSettings = LakeSettings()

    @property
    def names_source(self) -> bool:
        """Whether a source of prices is named, the generator included."""
        return bool(self.kind or self.path or self.synthetic)

    @field_validator("synthetic")
    @classmethod
    def _alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (info.data.get("path") or info.data.get("kind") not in (None, "synthetic")):
            raise ValueError("another source of prices is named beside it")
        return value


TABLES: Mapping[str, type[BaseModel]] = {
    "oasis": OasisSettings,
    "meters": MeterSettings,
    "weather": WeatherSettings,
    "retention": RetentionSettings,
    "lake": LakeSettings,
}
_WRITE = 'Write kind = "oasis", or path = "…", and node = "…"; synthetic = true for generated prices'


def read_price_file(file: Path, archive: str | None = None) -> PriceFile:
    """What ``file`` says, with absolute paths; the defaults, which name the generator, where there is no such file.

    Environment variables go before the file's addresses, and ``archive`` before its folders of copies, which are
    `archive` beside it by default. Raises InputError, which names file, key, value, and a remedy.
    """
    return _with_absolute_paths(_validated(PriceFile, _tables_of(file), file), file.parent, archive)


class _LakeAlone(BaseModel):
    lake: LakeSettings = LakeSettings()


def lake_of(data: Path, name: str | None = None) -> Lake:
    """The lake of a data folder: at the address that VPP_LAKE_URL or the folder's own `prices.toml` names, else in it.

    At an address each portfolio has a place of its own: ``name``, by default the one that this process works for.
    Raises InputError for an address that cannot be used. The project's `prices.toml` does not count for other folders:
    their days would get among its own.
    """
    settings = _validated(_LakeAlone, _toml(data / "prices.toml"), data / "prices.toml").lake
    place = place_of(portfolio() if name is None else name)
    url = f"{settings.url.rstrip('/')}/{place}" if settings.url and place else settings.url
    return Lake(data / "lake", url or "", settings.copies_gb)


def _validated(model: type[_Model], written: Mapping[str, Any], file: Path) -> _Model:
    addresses = {table: os.environ[name] for table, name in ADDRESSES.items() if os.environ.get(name)}
    merged = dict(written)
    for table, address in addresses.items():
        if isinstance(merged.get(table, {}), dict):
            merged[table] = {**merged.get(table, {}), "url": address}
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        from_variable = place[1:] == ["url"] and place[0] in addresses
        raise InputError(
            _problem(place, first["type"], setting_problem(first)),
            file=f"environment variable {ADDRESSES[place[0]]}" if from_variable else file,
            key=".".join(place),
            value=None if isinstance(first["input"], dict) else first["input"],
            remedy=_remedy(place, first["type"]),
        ) from None


def _with_absolute_paths(read: PriceFile, folder: Path, archive: str | None) -> PriceFile:
    def kept(settings: OasisSettings | WeatherSettings) -> dict[str, Path]:
        return {"archive": Path(archive) if archive else folder / (settings.archive or "archive")}

    return read.model_copy(
        update={
            "path": read.path and folder / read.path,
            "oasis": read.oasis.model_copy(update=kept(read.oasis)),
            "meters": read.meters.model_copy(update={"path": read.meters.path and folder / read.meters.path}),
            "weather": read.weather.model_copy(update=kept(read.weather)),
        }
    )


def _tables_of(file: Path) -> dict[str, Any]:
    """The file's own words; nothing where there is none. Raises InputError unless it is TOML that names a source."""
    if not file.exists():
        return {}
    found = _toml(file)
    has_other_feed = {"meters", "weather", "retention", "lake"} & set(found) and "node" not in found
    if set(found) <= {*PriceFile.model_fields} and not ({"kind", "path", "synthetic"} & set(found) or has_other_feed):
        raise InputError("no source of prices", file=file, value=", ".join(sorted(found)) or "nothing", remedy=_WRITE)
    return found


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=file, remedy=_WRITE) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"not a readable text file: {error}", file=file, remedy=_WRITE) from None


def _problem(place: list[str], kind: str, words: str) -> str:
    *table, key = place
    where = f" under [{table[0]}]" if table else ""
    if kind == "extra_forbidden":
        return f"an unknown key or table {key}{where}"
    if kind == "model_type":
        return f"{key} is a table, written as [{key}] above its keys"
    if key in TABLES and not table:
        return f"the table [{key}] cannot be used: {words}"
    return f"{key}{where} cannot be used: {words}"


def _remedy(place: list[str], kind: str) -> str:
    """How to write a key, or what else the name may have meant."""
    *table, key = place
    fields = (TABLES[table[0]] if table else PriceFile).model_fields
    if kind == "extra_forbidden":
        others = [f"[{name}]" for name, model in TABLES.items() if key in model.model_fields and [name] != table]
        near = get_close_matches(key.lower(), fields, n=1)
        if near:
            hint = f"Did you mean {near[0]}? "
        elif table and key in PriceFile.model_fields:
            hint = f"Write {key} at the head of the file, before the first [table]. "
        else:
            hint = f"It belongs under {' or '.join(others)}. " if others else ""
        return f"{hint}{f'[{table[0]}]' if table else 'The file'} may hold {', '.join(fields)}"
    if key in TABLES and not table:
        return f"[{key}] may hold {', '.join(TABLES[key].model_fields)}"
    default = default_of(fields[key])
    return f"{fields[key].description}{f' Default: {default}' if default else ''}"


def default_of(field: FieldInfo) -> str:
    """The default as it would be written in the file; empty where there is none."""
    default = field.get_default()
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
