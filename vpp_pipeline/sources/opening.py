"""Which source of prices is meant: files, recognised by their columns; OASIS; or the generator."""

from __future__ import annotations

from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.settings import OasisSettings
from vpp_pipeline.sources.base import PriceSource
from vpp_pipeline.sources.caiso_file import CaisoFile
from vpp_pipeline.sources.oasis.source import OasisPrices
from vpp_pipeline.sources.price_file import columns_of, files_of
from vpp_pipeline.sources.price_table import PriceTable
from vpp_pipeline.sources.synthetic import NODE, Synthetic

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
