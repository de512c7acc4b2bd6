"""What a table's page shows, declared once for each: no Dagster in here. `assets/figures.py` puts it on the screen."""

from vpp_pipeline.pages import bids, dispatch, evaluation, fleet, market, meters, negotiation
from vpp_pipeline.pages.page import Line, Page

__all__ = ["PAGES", "Line", "Page"]

#: asset -> its page; `warehouse.published`, which is no table, is in `pages/publication.py`
PAGES: dict[str, Page] = (
    market.PAGES | meters.PAGES | fleet.PAGES | negotiation.PAGES | dispatch.PAGES | bids.PAGES | evaluation.PAGES
)
