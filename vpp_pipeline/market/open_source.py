"""Which source of prices is meant: files, OASIS, or the generator, as a run or the file `data/prices.toml` says."""

from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.data_settings import OasisSettings, read_price_file
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_files import CaisoFile, PriceTable, columns_of, files_of
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.market.synthetic_prices import NODE, Synthetic

PriceChoice = Path | OasisSettings | None


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
