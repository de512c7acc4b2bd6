"""CAISO day-ahead prices in the layout of k-keshav-aggarwal's public data set (from CAISO OASIS, Apache-2.0)."""

from __future__ import annotations

from typing import ClassVar

from vpp_pipeline.sources.price_file import FilePrices


class CaisoFile(FilePrices):
    """One or more ``*.csv`` or ``*.csv.gz`` with the columns datetime, node, SP15, Spin, NonSpin (others are ignored).

    ``datetime`` is the start of the hour in UTC, written without an offset: that is the layout's own convention (an
    offset, where written, counts). ``SP15``, in spite of its name, is the energy price [$/MWh] at the row's ``node``.
    ``Spin`` and ``NonSpin`` are reserve prices [$/MW for an hour] summed over all reserve regions, so they overstate
    SP15 where the north binds; values above 250 are real scarcity.
    """

    name = "caiso file"
    naive_is_utc = True
    columns: ClassVar[dict[str, str]] = {
        "start_utc": "datetime",
        "node": "node",
        "energy_usd_per_mwh": "SP15",
        "spin_usd_per_mw_h": "Spin",
        "nonspin_usd_per_mw_h": "NonSpin",
    }
