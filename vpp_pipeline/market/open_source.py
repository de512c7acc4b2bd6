"""Which source of prices is meant: files, OASIS, or the generator, as a run or the file `data/prices.toml` says."""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_files import CaisoFile, PriceTable, columns_of, files_of
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.market.synthetic_prices import NODE, Synthetic
from vpp_pipeline.settings import OasisSettings, RetentionSettings, WeatherSettings

PriceChoice = Path | OasisSettings | None

#: table -> the environment variable that goes before its `url`
ADDRESSES: Mapping[str, str] = {"oasis": "VPP_OASIS_URL", "weather": "VPP_WEATHER_URL"}


class MeterSettings(BaseModel):
    """Where metered hours lie: the table [meters] in `data/prices.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = Field(
        None, description="File or folder of metered hours, relative to prices.toml; empty: there are no meters."
    )


class PriceFile(BaseModel):
    """What `data/prices.toml` says: where prices, metered hours, and the weather come from where a run names nothing.

    Read by :func:`read_price_file`, which makes the paths in it absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["oasis", "file", "synthetic"] | None = Field(
        None, description="Source of prices; empty: `file` where `path` is set, else `synthetic`."
    )
    path: Path | None = Field(None, description="File or folder of prices, relative to prices.toml.")
    node: str | None = Field(
        None, description="Pricing node, such as TH_NP15_GEN-APND; empty: the source's only node, or SP15."
    )
    oasis: OasisSettings = OasisSettings()
    meters: MeterSettings = MeterSettings()
    weather: WeatherSettings = WeatherSettings()
    retention: RetentionSettings = RetentionSettings()


TABLES: Mapping[str, type[BaseModel]] = {
    "oasis": OasisSettings,
    "meters": MeterSettings,
    "weather": WeatherSettings,
    "retention": RetentionSettings,
}
_WRITE = 'Write kind = "oasis", or path = "…", and node = "…"'


def read_price_file(file: Path, archive: str | None = None) -> PriceFile:
    """What ``file`` says, with absolute paths; the defaults, which name the generator, where there is no such file.

    Environment variables go before the file's addresses, and ``archive`` before its folders of copies, which are
    `archive` beside it by default. Raises InputError, which names file, key, value, and a remedy.
    """
    written = _tables_of(file)
    addresses = {table: os.environ[name] for table, name in ADDRESSES.items() if os.environ.get(name)}
    merged = dict(written)
    for table, address in addresses.items():
        if isinstance(merged.get(table, {}), dict):
            merged[table] = {**merged.get(table, {}), "url": address}
    try:
        read = PriceFile.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        from_variable = place[1:] == ["url"] and place[0] in addresses
        raise InputError(
            _problem(place, first["type"], first["msg"].removeprefix("Value error, ")),
            file=f"environment variable {ADDRESSES[place[0]]}" if from_variable else file,
            key=".".join(place),
            value=None if isinstance(first["input"], dict) else first["input"],
            remedy=_remedy(place, first["type"]),
        ) from None
    return _with_absolute_paths(read, file.parent, archive)


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
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=file, remedy=_WRITE) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"not a readable text file: {error}", file=file, remedy=_WRITE) from None
    has_other_feed = {"meters", "weather", "retention"} & set(found) and "node" not in found
    if set(found) <= {*PriceFile.model_fields} and not ({"kind", "path"} & set(found) or has_other_feed):
        raise InputError("no source of prices", file=file, value=", ".join(sorted(found)) or "nothing", remedy=_WRITE)
    return found


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


def choose_source(
    file: Path,
    kind: str | None = None,
    path: str | None = None,
    node: str | None = None,
    archive: str | None = None,
) -> tuple[PriceChoice, str | None]:
    """File or folder of prices, or how to ask OASIS, and node; no file for the generator.

    What a run names, ``kind`` to ``archive``, goes before ``file``. Raises InputError where no source is named, or
    ``file`` names prices that are not there.
    """
    named = read_price_file(file, archive)
    in_file = named.kind or ("file" if named.path else "synthetic")
    kind = kind or ("file" if path else in_file)
    node = node if node or path or kind != in_file else named.node
    if kind == "synthetic":
        return None, node
    if kind == "oasis":
        return named.oasis, node
    if kind != "file" or not (path or named.path):
        raise InputError(
            "no source of prices",
            value=kind if kind != "file" else None,
            remedy=f'Name a file of prices (--prices), or write kind = "oasis" or path = "…" into {file}',
        )
    if not path and named.path and not named.path.exists():
        raise InputError(
            "no such file or folder of prices",
            file=file,
            key="path",
            value=named.path,
            remedy="Correct the path, which is relative to this file, or name a file of prices (--prices)",
        )
    return Path(path) if path else named.path, node


def open_source(prices: PriceChoice = None, node: str | None = None) -> PriceSource:
    """The source for a file or a directory of prices, its layout known by its columns; for OASIS, where its settings
    are given; without either, synthetic prices. Opening sends no request.

    ``node`` may be left out where the source has one node, or has SP15. Raises ``InputError`` for a missing path, an
    unknown layout, wrong columns or a node that the source does not have.
    """
    if prices is None:
        return Synthetic(NODE if node is None else node)
    if isinstance(prices, OasisSettings):
        return OasisPrices(prices, node)
    first = files_of(prices)[0]
    columns = columns_of(first)
    for layout in (PriceTable, CaisoFile):
        if layout.recognises(columns):
            return layout(prices, node)
    raise InputError(
        f"unknown layout of prices, with the columns {', '.join(columns) or '(none)'}",
        file=first,
        row=1,
        remedy=f"Give {' or '.join(', '.join(layout.columns.values()) for layout in (PriceTable, CaisoFile))}.",
    )
