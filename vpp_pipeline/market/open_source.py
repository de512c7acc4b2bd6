"""Which source of prices is meant: files, OASIS or the generator, as a run or `data/prices.toml` says."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_files import CaisoFile, PriceTable, columns_of, files_of
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.market.synthetic_prices import NODE, Synthetic
from vpp_pipeline.settings import OasisSettings, WeatherSettings

PriceChoice = Path | OasisSettings | None


def open_source(prices: PriceChoice = None, node: str | None = None) -> PriceSource:
    """The source for a file or a directory of prices, its layout known by its columns; for OASIS, where its settings
    are given; without either, synthetic prices. Opening asks nobody.

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
