"""Which source of prices is meant: files, OASIS, or the generator, as a run or the file `data/prices.toml` says."""

from dataclasses import dataclass
from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.table_cells import zone_of
from vpp_pipeline.core.table_file import read_tables
from vpp_pipeline.data_settings import OasisSettings, read_price_file
from vpp_pipeline.market.oasis.downloads import DownloadedPrices
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_files import CaisoFile, PriceTable
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.market.synthetic_prices import NODE, Synthetic


@dataclass(frozen=True)
class PriceFiles:
    """A file or folder of prices; the zone of moments without an offset, and the node's reserve region, where named."""

    path: Path
    time_zone: str | None = None
    region: str | None = None


PriceChoice = PriceFiles | OasisSettings | None


def choose_source(
    file: Path,
    kind: str | None = None,
    path: str | None = None,
    node: str | None = None,
    archive: str | None = None,
    time_zone: str | None = None,
) -> tuple[PriceChoice, str | None]:
    """File or folder of prices, or how to ask OASIS, and node; no file for the generator.

    What a run names, ``kind`` to ``time_zone``, goes before ``file``. Raises InputError where no source is named, or
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
    found = Path(path) if path else named.path
    if kind != "file" or found is None:
        raise InputError(
            "no source of prices",
            value=kind if kind != "file" else None,
            remedy=f'Name a file of prices (--prices), or write kind = "oasis" or path = "…" into {file}',
        )
    if not path and not found.exists():
        raise InputError(
            "no such file or folder of prices",
            file=file,
            key="path",
            value=found,
            remedy="Correct the path, which is relative to this file, or name a file of prices (--prices)",
        )
    zone = time_zone or named.timezone
    return PriceFiles(found, zone and zone_of(zone), named.oasis.region), node


def open_source(prices: PriceFiles | OasisSettings | Path | None = None, node: str | None = None) -> PriceSource:
    """The source for a file or a directory of prices, its layout known by its columns; for OASIS, where its settings
    are given; without either, synthetic prices. Opening sends no request.

    ``node`` may be left out where the source has one node, or has SP15. Raises ``InputError`` for a missing path, an
    unknown layout, wrong columns or a node that the source does not have.
    """
    if prices is None:
        return Synthetic(NODE if node is None else node)
    if isinstance(prices, OasisSettings):
        return OasisPrices(prices, node)
    files = PriceFiles(prices) if isinstance(prices, Path) else prices
    tables = read_tables(files.path, "prices")
    columns = tables[0].rows.columns
    for layout in (PriceTable, CaisoFile):
        if layout.recognises(columns):
            return layout(files.path, node, tables, files.time_zone)
    if DownloadedPrices.recognises(columns):
        return DownloadedPrices(files.path, node, tables, files.region, files.time_zone)
    layouts = " or ".join(", ".join(layout.columns.values()) for layout in (PriceTable, CaisoFile))
    raise InputError(
        f"unknown layout of prices, with the columns {', '.join(columns) or '(none)'}",
        file=tables[0].name,
        row=tables[0].header_row,
        remedy=f"Give {layouts}; or OASIS' reports PRC_LMP and PRC_AS, or gridstatus' tables of both, in one folder.",
    )
