"""Check of how prices were forecast."""

from __future__ import annotations

from vpp_pipeline.domain.forecast import IN_PLACE_OF
from vpp_pipeline.domain.verdict import Day, Verdict
from vpp_pipeline.settings import Settings


def prices_are_forecast_as_asked(day: Day, settings: Settings) -> Verdict:
    """The forecast was made as the settings ask; warns where another method took its place, and says why."""
    table = day["market.price_forecast"]
    method, days = table["method"][0], float(table["history_days"].to_numpy().max())
    if IN_PLACE_OF in method:
        return Verdict(1, f"prices are forecast as {method}", days, is_warning=True)
    return Verdict(0, f"prices are forecast by {method}, from {days:.0f} days", days)
