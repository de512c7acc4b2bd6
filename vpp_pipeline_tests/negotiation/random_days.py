"""Random small fleets with wishes of all kinds, random prices and opportunities, and adversarial policies."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.settings import MarketRules, NegotiationPolicy, Settings
from vpp_pipeline_tests.examples import BATTERY, DAY, EV, envelope, fleet_table
from vpp_pipeline_tests.negotiation.advisers import HOSTILE
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay

POOL_SIZE = 200
RULES = MarketRules(energy_minimum_mw=0.0, reserve_minimum_mw=0.0)
HOURS = market_hours(DAY)["start_utc"]
SOLAR_HOME = {**BATTERY, "store": "none", "has_solar": True, "solar_size_kw": 8.0} | dict.fromkeys(
    ("capacity_kwh", "max_charge_kw", "max_discharge_kw", "initial_stored_kwh", "terminal_stored_kwh"), 0.0
)


@cache
def pool() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `fleet.prosumers` and `fleet.availability` to draw small fleets from; the same in every run."""
    chance = np.random.default_rng(20230815)
    rows = [_prosumer(chance) for _ in range(POOL_SIZE)]
    # at 0.6 of their size in sun, 8 kW make 4.8: above and below the loads of up to 6 kW
    return fleet_table(*rows), envelope(*rows, solar=0.6, load=1.0).drop("local_hour")


def _prosumer(chance: np.random.Generator) -> dict[str, Any]:
    """A battery, an EV or a solar home whose owner may or may not care about each hour of the day."""

    def one_of(*options: Any) -> Any:
        return options[chance.integers(len(options))]

    def window() -> str | None:
        return one_of(None, None, "21-23", "0-7, 21-23", "22-6", "9-17", "0-24")

    kind = one_of("battery", "battery", "ev", "ev", "solar")
    wishes = {
        "export_limit_kw": one_of(0.0, 3.0, 6.0, 50.0),
        "mean_load_kw": one_of(0.0, 0.5, 6.0),
        "opt_out_days": one_of(None, None, None, "tue", "sat, 2023-08-15", "sat, sun"),
        "site_type": one_of("home", "home", "business"),
    }
    if kind == "solar":
        return {**SOLAR_HOME, **wishes}
    size = one_of(0.4, 1.0, 8.0)
    base = BATTERY if kind == "battery" else {**EV, "has_v2g": one_of(True, True, False)}
    scaled = {
        name: size * base[name]
        for name in ("capacity_kwh", "max_charge_kw", "max_discharge_kw", "initial_stored_kwh", "terminal_stored_kwh")
    }
    if kind == "ev":
        leaves, returns = one_of((8, 17), (0, 5), (22, 6), (6, 23))
        scaled |= {"ev_departure_hour": leaves, "ev_arrival_hour": returns, "ev_drive_kwh": size * one_of(0.0, 9.0)}
        scaled |= {"ev_ready_fraction": one_of(0.3, 0.8), "ev_ready_hour": one_of(None, None, leaves)}
        if not base["has_v2g"]:
            scaled["max_discharge_kw"] = 0.0
    sun = one_of({}, {"has_solar": True, "solar_size_kw": 8.0})
    times = {
        "quiet_hours": window(),
        "no_charge_hours": window(),
        "no_export_hours": window(),
        "backup_reserve_hours": one_of(0.0, 0.0, 1.0, 24.0),
    }
    return {**base, **scaled, **wishes, **times, **sun}


PRICE = st.one_of(st.sampled_from([-150.0, -20.0, 0.0, 30.0, 45.0, 80.0, 1000.0]), st.floats(-60, 250))
FRACTION = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))


@st.composite
def _owners(draw: st.DrawFn, count: int) -> dict[str, list[float]]:
    """What owners ask for their trouble, how patient and how reliable they are."""

    def one_each(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=count, max_size=count))

    return {
        "participation_willingness_fraction": one_each(FRACTION),
        "minimum_compensation_usd_per_kwh": one_each(st.sampled_from([0.0, 0.02, 0.035, 0.3])),
        "wear_usd_per_mwh": one_each(st.sampled_from([0.0, 10.0])),
        "patience": one_each(st.floats(0.1, 8)),
        "availability_fraction": one_each(st.one_of(st.sampled_from([0.0, 0.95, 1.0]), st.floats(0.05, 1))),
    }


@st.composite
def _opportunities(draw: st.DrawFn) -> pl.DataFrame:
    count = draw(st.integers(2, 5))
    products, duration = st.sampled_from(["energy", "energy", "spin", "nonspin"]), st.sampled_from([1, 1, 1, 2, 4])
    rows = []
    for k in range(count):
        product, hours = draw(products), draw(duration)
        price = draw(PRICE if product == "energy" else st.one_of(st.sampled_from([0.0, 0.4, 2.0]), st.floats(0, 250)))
        required_mw = draw(st.sampled_from([0.002, 0.01, 0.03, 0.2, 5.0]))
        rows.append(
            (f"{product}_{k}", DAY, product, HOURS[draw(st.integers(0, 24 - hours))], hours, required_mw, price)
        )
    columns = ["opportunity_id", "market_date", "product", "start_utc", "duration_hours", "required_capacity_mw"]
    table = pl.DataFrame(rows, schema=[*columns, "forecast_price"], orient="row")
    return table.cast({"duration_hours": pl.Int32, "start_utc": HOURS.dtype}).sort("opportunity_id")


@st.composite
def _policies(draw: st.DrawFn, engine: str, ranking: str, prosumers: int) -> NegotiationPolicy:
    return NegotiationPolicy(
        engine=engine,
        ranking=ranking,
        rounds=draw(st.integers(1, 10)),
        contract=draw(st.sampled_from(["indexed", "fixed"])),
        opening_premium_fraction=draw(st.sampled_from([0.0, 1.0, 5.0])),
        posted=draw(st.sampled_from(["cap", "half_share"])),
        posted_multiple=draw(st.sampled_from([1.0, 1.5, 10.0])),
        opening_markup_fraction=draw(st.sampled_from([0.0, 0.25, 3.0])),
        opening_offer_fraction=draw(FRACTION),
        minimum_margin_fraction=draw(st.sampled_from([0.0, 0.1, 0.9])),
        auction_depth=draw(st.sampled_from([1.0, 3.0, 50.0])),
        trust_region_fraction=draw(st.sampled_from([0.0, 0.15, 1.0])),
        transcript_prosumers=draw(st.one_of(st.just(2000), st.integers(0, prosumers))),
        maximum_coalition=draw(st.sampled_from([None, None, 3, 4])),
    )


@st.composite
def random_days(draw: st.DrawFn, engine: str, ranking: str) -> NegotiatedDay:
    """3-6 prosumers and 2-5 opportunities on a day of random prices, negotiated with or without a hostile adviser."""
    prosumers, availability = pool()
    chosen = sorted(draw(st.sets(st.integers(1, POOL_SIZE), min_size=3, max_size=6)))
    owners = draw(_owners(len(chosen)))
    names = pl.DataFrame(
        {"prosumer_id": [f"prosumer_{k}" for k in chosen], **owners}, schema_overrides=dict.fromkeys(owners, pl.Float64)
    )
    fleet = prosumers.drop(*owners).join(names, on="prosumer_id").select(prosumers.columns).sort("prosumer_id")
    levels = draw(st.lists(PRICE, min_size=6, max_size=6))
    forecast = pl.DataFrame({"start_utc": HOURS, "energy_usd_per_mwh": np.repeat(levels, 4)})
    return NegotiatedDay(
        prosumers=fleet,
        availability=availability.join(names.select("prosumer_id"), on="prosumer_id", how="semi"),
        forecast=forecast.with_columns(
            market_date=pl.lit(DAY), spin_usd_per_mw_h=pl.lit(2.0), nonspin_usd_per_mw_h=pl.lit(1.0)
        ),
        opportunities=draw(_opportunities()),
        settings=Settings(rules=RULES, negotiation=draw(_policies(engine, ranking, len(chosen)))),
        adviser=draw(st.one_of(st.none(), st.sampled_from(HOSTILE))),
    )
