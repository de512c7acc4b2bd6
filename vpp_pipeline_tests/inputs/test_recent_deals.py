"""Deals of the days before: which days count, and that a day keeps what it was sized by."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.lake import Lake, LakeFiles
from vpp_pipeline.fleet.archetypes import DEAL_SCHEMA
from vpp_pipeline.inputs.day_inputs import keep_deals, recent_deals
from vpp_pipeline_tests.warehouse.rows import rows

DAY, PRICES = date(2023, 8, 15), {"source": "s", "node": "A"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def negotiate(lake: Lake, back: int, price: float, node: str = "A") -> LakeFiles:
    """A day ``back`` days before DAY on which one battery agreed to 1 kW of energy, as a run leaves it in the lake."""
    run = lake.day(DAY - timedelta(days=back), "run")
    day = DAY - timedelta(days=back)
    told: dict[str, dict[str, object]] = {
        "bids.final_bids": {},
        "market.price_forecast": {"source": "s", "node": node},
        "market.opportunities": {"opportunity_id": "e", "product": "energy"},
        "fleet.prosumers": {"prosumer_id": "a", "site_type": "home", "store": "battery"},
        "negotiation.agreements": {
            "opportunity_id": "e",
            "prosumer_id": "a",
            "holds_option": True,
            "agreed_price_usd_per_mwh": price,
            "committed_capacity_kw": 1.0,
        },
    }
    for table, values in told.items():
        named = [pl.lit(value).alias(name) for name, value in values.items()]
        run.write(table, rows(table, day, 1).with_columns(named))
    return run


def deal(lake: Lake, back: int, price: float, node: str = "A") -> None:
    """Such a day, published."""
    run = negotiate(lake, back, price, node)
    lake.commit(run.name, "bids", lambda _: run.own())


def prices(lake: Lake) -> list[float]:
    return recent_deals(lake, DAY, 7, PRICES)["agreed_price_usd_per_mwh"].to_list()


def test_the_seven_days_before_count_and_no_others(lake: Lake):
    for back, price in ((8, 1.0), (7, 30.0), (1, 50.0), (0, 1000.0), (-1, 1000.0)):
        deal(lake, back, price)
    assert prices(lake) == [40.0]


def test_days_at_other_prices_and_days_without_published_bids_do_not_count(lake: Lake):
    deal(lake, 1, 50.0, node="B")
    negotiate(lake, 2, 30.0)  # and stopped before it was published
    assert prices(lake) == []
    assert recent_deals(lake, DAY, 7, PRICES).schema == DEAL_SCHEMA


def test_deals_of_a_run_that_did_not_publish_do_not_replace_the_published_ones(lake: Lake):
    deal(lake, 1, 50.0)
    negotiate(lake, 1, 70.0)
    assert prices(lake) == [50.0]


def test_a_day_keeps_what_it_was_sized_by(lake: Lake):
    deal(lake, 2, 30.0)
    keep_deals(lake.day(DAY), 7, PRICES, recent_deals(lake, DAY, 7, PRICES))
    deal(lake, 1, 50.0)
    assert prices(lake) == [30.0]
    assert recent_deals(lake, DAY, 7, {"source": "s", "node": "B"}).is_empty()  # at other prices it is another day
    assert recent_deals(lake, DAY, 1, PRICES)["agreed_price_usd_per_mwh"].to_list() == [50.0]
