"""The page of each table, declared once and without Dagster; `defs/metadata.py` attaches it to the asset."""

from vpp_pipeline.reporting.asset_pages import bids, dispatch, market, negotiation, storage
from vpp_pipeline.reporting.asset_pages.layout import Line, Page

__all__ = ["PAGES", "Line", "Page"]

#: asset -> its page; `warehouse.published`, which is no table, is in `reporting/asset_pages/bids.py`
PAGES: dict[str, Page] = (
    market.PAGES
    | market.METER_PAGES
    | negotiation.FLEET_PAGES
    | negotiation.PAGES
    | dispatch.PAGES
    | storage.PAGES
    | bids.PAGES
    | bids.EVALUATION_PAGES
)
