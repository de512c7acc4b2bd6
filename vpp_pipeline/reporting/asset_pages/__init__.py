"""What a table's page shows, declared once for each: no Dagster in here. `defs/metadata.py` puts it on the screen."""

from vpp_pipeline.reporting.asset_pages import bids, dispatch, market, negotiation
from vpp_pipeline.reporting.asset_pages.layout import Line, Page

__all__ = ["PAGES", "Line", "Page"]

#: asset -> its page; `warehouse.published`, which is no table, is in `reporting/asset_pages/bids.py`
PAGES: dict[str, Page] = (
    market.PAGES
    | market.METER_PAGES
    | negotiation.FLEET_PAGES
    | negotiation.PAGES
    | dispatch.PAGES
    | bids.PAGES
    | bids.EVALUATION_PAGES
)
