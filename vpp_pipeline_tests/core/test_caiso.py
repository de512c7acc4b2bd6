"""The market declaration: every name in it exists, wide tables follow it, and no other list stands beside it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import dataframely as dy
import pytest

import vpp_pipeline
from vpp_pipeline.core.caiso import CAISO, Product
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, SLOTS
from vpp_pipeline.dispatch.problem import Duals
from vpp_pipeline.dispatch.schedule import COLUMNS, DaySchedule
from vpp_pipeline.schemas import InternalPrices, PriceForecast, Prices, PriceScenarios, Runs, Schedule, documents
from vpp_pipeline.settings import MarketRules, NegotiationPolicy

ENERGY, SPIN = CAISO.product("energy"), CAISO.product("spin")

#: where a reserve is named beside the declaration, and why
NAMES_RESERVES = {
    "core/caiso.py": "the declaration",
    "settings.py": "settings of one product each",
    "schemas/bids.py": "columns of wide tables",
    "schemas/dispatch.py": "columns of wide tables",
    "schemas/market.py": "columns of wide tables",
    "dispatch/problem.py": "a field for each column",
    "dispatch/schedule.py": "a field for each column",
    "dispatch/column_generation/best_response.py": "kernels of two reserves",
    "dispatch/column_generation/branch_and_price.py": "kernels of two reserves",
    "dispatch/column_generation/hour_kernel.py": "kernels of two reserves",
    "dispatch/column_generation/master.py": "kernels of two reserves",
    "dispatch/column_generation/method.py": "kernels of two reserves",
    "dispatch/column_generation/pricing.py": "kernels of two reserves",
    "dispatch/column_generation/recovery.py": "kernels of two reserves",
    "dispatch/column_generation/shard.py": "kernels of two reserves",
    "dispatch/column_generation/shard_files.py": "kernels of two reserves",
    "dispatch/column_generation/warm_start.py": "kernels of two reserves",
    "aggregation/classes.py": "linear programs of two reserves",
    "aggregation/clearing.py": "linear programs of two reserves",
    "aggregation/resources.py": "linear programs of two reserves",
    "aggregation/storage_day.py": "linear programs of two reserves",
    "reporting/asset_pages/market.py": "columns of wide tables",
    "warehouse/sql/24_bids_by_resource.sql": "columns of wide tables",
    "market/synthetic_prices.py": "how generated prices are made",
    "market/price_files.py": "what the columns of files mean",
    "cli/query.py": "columns of wide tables",
    "reporting/style.css": "colors",
    "warehouse/sql/00_dispatch_storage_by_hour.sql": "columns of wide tables",
    "warehouse/sql/02_dispatch_site_hours.sql": "columns of wide tables",
    "warehouse/sql/05_dispatch_position_by_hour.sql": "columns of wide tables",
    "warehouse/sql/06_dispatch_fleet_hours.sql": "columns of wide tables",
    "warehouse/sql/07_dispatch_limits_reached.sql": "columns of wide tables",
    "warehouse/sql/13_market_forecast_against_actual.sql": "columns of wide tables",
    "warehouse/sql/19_bids_runs_of_day.sql": "columns of wide tables",
    "warehouse/sql/21_bids_runs_compared.sql": "columns of wide tables",
}
#: reasons by which a further product has a place in the file
WHOLE = {"columns of wide tables", "a field for each column", "colors"}


def test_reserves_are_named_in_the_declaration_and_where_a_column_or_a_rule_needs_it():
    package = Path(vpp_pipeline.__file__).parent
    files = [file for file in package.rglob("*") if file.suffix in {".py", ".sql", ".css", ".j2"}]
    naming = {str(file.relative_to(package)) for file in files if "nonspin" in file.read_text("utf-8").lower()}
    assert naming == set(NAMES_RESERVES)


@pytest.mark.parametrize("name", [name for name, why in NAMES_RESERVES.items() if why in WHOLE])
def test_a_file_that_has_a_place_for_each_reserve_names_all(name: str):
    text = (Path(vpp_pipeline.__file__).parent / name).read_text("utf-8")
    assert [
        reserve.name for reserve in CAISO.reserves if not re.search(rf"(?<![a-z]){reserve.name}(?![a-z])", text)
    ] == []


@pytest.mark.parametrize("product", CAISO.products, ids=lambda product: product.name)
def test_every_setting_that_a_product_names_exists(product: Product):
    of_rules = {product.minimum, product.price_floor, product.price_cap, product.call_hours}
    of_policy = set() if product.is_energy else {product.holding, product.call_probability}
    assert of_rules <= MarketRules.model_fields.keys()
    assert of_policy <= NegotiationPolicy.model_fields.keys()


@pytest.mark.parametrize("schema", [Prices, PriceForecast, PriceScenarios])
def test_tables_of_prices_have_a_column_for_each_product(schema: type[dy.Schema]):
    assert [name for name in schema.column_names() if "_usd_per_mw" in name] == list(PRICE_COLUMN.values())


def test_tables_of_dispatch_and_of_runs_have_a_column_for_each_product():
    held = [reserve.held_column for reserve in CAISO.reserves]
    assert set(held) <= set(Schedule.column_names())
    assert {reserve.price_column for reserve in CAISO.reserves} <= set(InternalPrices.column_names())
    assert {product.total_column for product in CAISO.products} <= set(Runs.column_names())
    assert tuple(field.name for field in fields(DaySchedule)) == COLUMNS
    assert [field.name for field in fields(Duals)][2:] == [reserve.name for reserve in CAISO.reserves]


def test_documents_and_slots_follow_the_declaration():
    assert get_args(documents.Product) == PRODUCTS == CAISO.names
    assert len(SLOTS) == len(CAISO.products) * len(CAISO.hour_labels)


def test_the_method_lists_the_products_as_declared():
    rules, rows = MarketRules(), []
    for product in CAISO.products:
        low, high = rules.price_limits(product.name)
        lasts = "–" if product.is_energy else f"{rules.call_hours(product.name):g} h"
        offers = ["yes" if flag else "no" for flag in (not product.needs_store, product.needs_certification)]
        bounds = f"{rules.minimum_mw(product.name):g} MW | {low:g} to {high:g} | {lasts} | {product.substitute or '–'}"
        rows.append(f"| {product.name} | {product.per} | {bounds} | {' | '.join(offers)} |")
    method = Path(vpp_pipeline.__file__).parents[1] / "docs" / "method.md"
    assert "\n".join(rows) in method.read_text("utf-8")


def test_a_better_reserve_is_one_of_the_market():
    assert all(CAISO.product(one.substitute) in CAISO.reserves for one in CAISO.reserves if one.substitute)


@pytest.mark.parametrize(
    ("products", "words"),
    [
        ((SPIN, ENERGY), "energy first"),
        ((ENERGY, SPIN, replace(ENERGY, name="energy_down")), "energy first"),
        ((ENERGY, replace(SPIN, name="regdown", direction="down")), "room to charge"),
        ((ENERGY, SPIN, SPIN), "twice"),
    ],
)
def test_a_market_that_no_rule_can_bid_for_is_refused(products: tuple[Product, ...], words: str):
    with pytest.raises(ValueError, match=words):
        replace(CAISO, products=products)
