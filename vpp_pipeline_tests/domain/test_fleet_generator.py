"""The seeded fleet: the same for everyone, of Californian sizes, and able to keep its own limits."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from vpp_pipeline.domain.availability import hourly_envelope
from vpp_pipeline.domain.calendar import market_hours
from vpp_pipeline.domain.fleet_generator import generate_fleet
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline.sources.profiles import load_forecast, solar_forecast
from vpp_pipeline_tests.domain.examples import AUTUMN, DAY, SPRING

FLEET = generate_fleet(FleetSettings(), DAY)
LARGE = generate_fleet(FleetSettings(prosumers=20_000), DAY)


def share(rows: pl.DataFrame, condition: pl.Expr) -> float:
    return rows.filter(condition).height / rows.height


def test_the_same_settings_give_the_same_fleet() -> None:
    assert generate_fleet(FleetSettings(), DAY).equals(FLEET)


def test_the_date_is_only_stamped_on_it() -> None:
    tomorrow = generate_fleet(FleetSettings(), date(2024, 1, 1))
    assert tomorrow.drop("market_date").equals(FLEET.drop("market_date"))
    assert tomorrow["market_date"].unique().to_list() == [date(2024, 1, 1)]


def test_another_seed_gives_another_fleet() -> None:
    assert not generate_fleet(FleetSettings(seed=1), DAY).equals(FLEET)


@pytest.mark.parametrize("prosumers", [3, 14, 15, 57, 200, 2_000])
def test_any_size_has_exactly_that_many_prosumers(prosumers: int) -> None:
    fleet = generate_fleet(FleetSettings(prosumers=prosumers), DAY)
    assert fleet.height == fleet["prosumer_id"].n_unique() == prosumers
    assert fleet["prosumer_id"].is_sorted()


def test_the_default_200_hold_at_least_ten_business_sites() -> None:
    assert FLEET.height == 200
    assert FLEET.filter(site_type="business")["site_id"].n_unique() == 14
    assert LARGE.filter(site_type="business").height == 1_400  # the share holds


def test_a_home_with_battery_and_ev_is_two_rows_of_one_site() -> None:
    stores = LARGE.group_by("site_id").agg(pl.col("store").sort().str.join("+"))
    assert set(stores["store"]) == {"battery", "ev", "none", "battery+ev"}


def test_shares_of_homes_are_as_stated() -> None:
    homes = LARGE.filter(site_type="home").group_by("site_id").agg(pl.col("store"), pl.col("has_solar").any())
    assert share(homes, pl.col("store").list.contains("battery")) == pytest.approx(0.72, abs=0.02)
    assert share(homes, pl.col("store").list.contains("ev")) == pytest.approx(0.35, abs=0.02)
    # solar: 60 % of those with a store, all of those without (28 % x 65 %)
    assert share(homes, pl.col("has_solar")) == pytest.approx(0.6 + 0.4 * 0.28 * 0.65, abs=0.02)
    assert share(LARGE.filter(store="ev"), pl.col("has_v2g")) == pytest.approx(0.35, abs=0.03)
    assert LARGE["participation_willingness_fraction"].mean() == pytest.approx(5 / 7, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "column", "low", "high"),
    [
        ((pl.col("store") == "battery") & (pl.col("site_type") == "home"), "capacity_kwh", 5, 20),
        ((pl.col("store") == "battery") & (pl.col("site_type") == "home"), "max_discharge_kw", 3, 10),
        (pl.col("site_type") == "business", "max_discharge_kw", 100, 500),
        (pl.col("site_type") == "business", "capacity_kwh", 200, 2_000),
        (pl.col("store") == "ev", "capacity_kwh", 40, 100),
        (pl.col("store") == "ev", "max_charge_kw", 7, 11.5),
        (pl.col("has_solar") & (pl.col("site_type") == "home"), "solar_size_kw", 4, 12),
        (pl.col("store") != "none", "wear_usd_per_mwh", 5, 20),
        (pl.lit(True), "minimum_compensation_usd_per_kwh", 0, 0.03),
        (pl.lit(True), "charge_efficiency", 0.93, 0.97),
    ],
)
def test_sizes_are_californian(rows: pl.Expr, column: str, low: float, high: float) -> None:
    values = LARGE.filter(rows)[column]
    assert low <= values.min() <= values.max() <= high
    assert values.n_unique() > 2


def test_an_ev_discharges_only_with_v2g_and_a_home_without_store_never() -> None:
    can_discharge = pl.col("max_discharge_kw") > 0
    assert LARGE.filter((pl.col("store") == "ev") & (can_discharge != pl.col("has_v2g"))).is_empty()
    assert LARGE.filter((pl.col("store") == "none") & (can_discharge | (pl.col("capacity_kwh") > 0))).is_empty()


def test_solar_and_load_stand_behind_one_row_of_their_site() -> None:
    rows = LARGE.group_by("site_id").agg(
        solar=(pl.col("solar_size_kw") > 0).sum(), load=(pl.col("mean_load_kw") > 0).sum()
    )
    assert rows["solar"].max() == 1
    assert rows["load"].unique().to_list() == [1]


@pytest.mark.parametrize("day", [DAY, SPRING, AUTUMN])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_generated_fleet_can_keep_its_own_limits(day: date, seed: int) -> None:
    fleet = generate_fleet(FleetSettings(prosumers=2_000, seed=seed), day)
    envelope = hourly_envelope(fleet, market_hours(day), solar_forecast(day), load_forecast(day))
    assert envelope.height == 2_000 * market_hours(day).height
