"""What owners typically ask: the published assumptions, and the deals of recent days."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.fleet.archetypes import DEAL_SCHEMA, combine_deals, mean_deals, typical_prices
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.schemas import TABLES
from vpp_pipeline.settings import FleetSettings, NegotiationPolicy
from vpp_pipeline_tests.examples import DAY


def thirds(*segments: str, **policy: float) -> list[list[float]]:
    return typical_prices(segments, FleetSettings(), NegotiationPolicy(**policy)).tolist()


def test_the_mean_owner_asks_for_mean_wear_compensation_and_inconvenience():
    business, none = thirds("business battery", "business none")
    # wear 5-20, compensation 0-30, willingness Beta(5, 2) with mean 5/7
    assert np.mean(business) == pytest.approx(12.5 + 15.0 + 20.0 * 2.0 / 7.0, abs=0.05)
    assert np.mean(none) == pytest.approx(15.0 + 20.0 * 2.0 / 7.0, abs=0.05)
    assert np.mean(thirds("business battery", inconvenience_usd_per_mwh=0.0)) == pytest.approx(27.5)


@pytest.mark.parametrize(("segment", "store"), [("home battery", "battery"), ("home ev", "ev"), ("home none", "none")])
def test_thirds_are_those_of_a_large_generated_fleet(segment: str, store: str):
    rows = generate_fleet(FleetSettings(prosumers=20_000), DAY).filter(site_type="home", store=store)
    asked = np.sort(
        rows["wear_usd_per_mwh"]
        + 1000.0 * rows["minimum_compensation_usd_per_kwh"]
        + 20.0 * (1.0 - rows["participation_willingness_fraction"])
    )
    assert thirds(segment)[0] == pytest.approx([third.mean() for third in np.array_split(asked, 3)], rel=0.02)


def test_deals_are_averaged_by_capacity_and_those_without_an_option_do_not_count():
    def rows(table: str, **columns: list[object]) -> pl.DataFrame:
        kinds = {name: TABLES[table].columns()[name].dtype for name in columns}
        return pl.DataFrame(columns, schema=kinds)

    opportunities = rows("market.opportunities", opportunity_id=["e", "s"], product=["energy", "spin"])
    prosumers = rows(
        "fleet.prosumers", prosumer_id=["a", "b"], site_type=["home", "home"], store=["battery", "battery"]
    )
    agreements = rows(
        "negotiation.agreements",
        opportunity_id=["e", "e", "s", "s"],
        prosumer_id=["a", "b", "a", "b"],
        holds_option=[True, True, True, False],
        committed_capacity_kw=[1.0, 3.0, 2.0, 0.0],
        agreed_price_usd_per_mwh=[40.0, 80.0, 1.0, None],
    )
    found = mean_deals(opportunities, prosumers, agreements)
    assert found.rows() == [("home battery", "energy", 70.0, 4.0), ("home battery", "spin", 1.0, 2.0)]
    again = pl.DataFrame([("home battery", "energy", 30.0, 4.0)], schema=DEAL_SCHEMA, orient="row")
    assert combine_deals(pl.concat([found, again])).row(0) == ("home battery", "energy", 50.0, 8.0)
