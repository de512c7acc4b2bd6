"""Whole negotiations of small fleets, from the fleet's rows to the summary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from vpp_pipeline.fleet.arrays import Fleet, fleet_arrays
from vpp_pipeline.negotiation.agreements import summarise
from vpp_pipeline.negotiation.negotiate import Adviser, Negotiations, negotiate
from vpp_pipeline.negotiation.terms import Terms, prepare_terms
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
    def fleet(self) -> Fleet:
        return fleet_arrays(self.prosumers, self.availability)

    @cached_property
    def terms(self) -> Terms:
        return prepare_terms(
            self.opportunities, self.forecast, self.fleet, self.settings.negotiation, self.settings.rules
        )

    @cached_property
    def struck(self) -> Negotiations:
        return negotiate(self.terms, self.settings.negotiation, self.adviser)

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """Everything that `check_negotiation` reads."""
        made = self.opportunities.select(
            "opportunity_id", engine=pl.lit("e"), fingerprint=pl.lit("f"), seconds=pl.lit(0.0)
        )
        struck, asked, rules = self.struck, self.prosumers.height, self.settings.rules
        return {
            "market.price_forecast": self.forecast,
            "market.opportunities": self.opportunities,
            "fleet.prosumers": self.prosumers,
            "fleet.availability": self.availability,
            "negotiation.messages": struck.messages,
            "negotiation.segments": struck.segments,
            "negotiation.agreements": struck.agreements,
            "negotiation.summary": summarise(
                struck.segments, struck.agreements, self.opportunities, asked, rules, made
            ),
        }
