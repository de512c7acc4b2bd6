"""Past days read one after another from one opened source of prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl

from vpp_pipeline.forecasting.meters import content_of
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.pipeline import Inputs


@dataclass(frozen=True)
class PastDays:
    """A day -> what its bids would have been made from, and the prices that cleared. Opened when first asked.

    ``first``: the inputs of any day. Requests are left out, for they are of single days: the policy's hours alone.
    Another process gets it unopened.
    """

    first: DayInputs

    def __call__(self, day: date) -> tuple[Inputs, pl.DataFrame]:
        inputs = replace(self.first, market_date=day, requests_file=None, opened=self.source)
        return inputs.for_chain(), self.source.day(day)

    @cached_property
    def source(self) -> PriceSource:
        return open_source(self.first.prices, self.first.node)

    @property
    def name(self) -> str:
        """What tells one source from another."""
        return f"{self.source.name} {self.source.node} {self.first.prices} {content_of(self.first.meters)}"

    def __getstate__(self) -> dict[str, Any]:
        return {"first": replace(self.first)}
