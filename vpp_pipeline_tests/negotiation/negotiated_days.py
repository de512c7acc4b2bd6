"""Whole negotiations of small fleets, from the fleet's rows to the summary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from vpp_pipeline.core.tables import Tables
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.negotiation.negotiate import Adviser, Negotiations, negotiate
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import fleet_of, negotiate_in_memory, terms_of
from vpp_pipeline.settings import Settings


@dataclass(frozen=True)
class NegotiatedDay:
    """What a day is negotiated from, and what comes of it."""

    prosumers: pl.DataFrame
    availability: pl.DataFrame
    forecast: pl.DataFrame
    opportunities: pl.DataFrame
    settings: Settings
    adviser: Adviser | None = None

    @cached_property
    def given(self) -> Tables:
        """The tables that are negotiated from; an opportunity without a slot has its own name for one."""
        calls = self.opportunities
        return {
            "market.price_forecast": self.forecast,
            "market.opportunities": calls if "slot" in calls.columns else calls.with_columns(slot="opportunity_id"),
            "fleet.prosumers": self.prosumers,
            "fleet.availability": self.availability,
        }

    @cached_property
    def fleet(self) -> Fleet:
        return fleet_of(self.given)

    @cached_property
    def terms(self) -> Terms:
        (terms,) = terms_of(self.given, self.settings)
        return terms

    @cached_property
    def struck(self) -> Negotiations:
        return negotiate(self.terms, self.settings.negotiation, self.adviser)

    @cached_property
    def tables(self) -> Tables:
        """Everything that `check_negotiation` reads."""
        return self.given | negotiate_in_memory(self.given, self.settings, self.adviser)
