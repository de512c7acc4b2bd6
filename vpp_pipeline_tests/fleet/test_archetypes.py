"""Kinds of households: drawn as declared, and calibrated on real homes and real EV sessions where those are at hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from scipy import stats

from vpp_pipeline.fleet.archetypes import (
    ARCHETYPES,
    COMMUTE,
    DRIVE_GAMMA,
    ERRANDS,
    HOUSEHOLDS,
    MEAN_LOAD_LOG,
    choose,
    choose_trips,
    of_kind,
    outings,
)
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline_tests.examples import DAY

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
with_data = pytest.mark.skipif(
    not DATA.exists(), reason="the real homes and EV sessions are not part of the project (../shared/data)"
)


def test_an_outing_past_midnight_returns_the_next_day() -> None:
    assert outings(leaves=(9, 22), hours_away=(2, 9)) == ((9, 11, 1.0), (9, 18, 1.0), (22, 0, 1.0), (22, 7, 1.0))


def test_each_group_draws_from_its_own_options_with_its_own_weights() -> None:
    """Two groups of options 0-2 and 3-4; weights 0 : 1 : 3 and 1 : 0."""
    group = np.repeat([0, 1], 40_000)
    places = choose(np.random.default_rng(1), group, [[0.0, 1.0, 3.0], [1.0, 0.0]])
    first, second = np.bincount(places[:40_000], minlength=5), np.bincount(places[40_000:], minlength=5)
    np.testing.assert_allclose(first / 40_000, [0, 0.25, 0.75, 0, 0], atol=0.02)
    assert second.tolist() == [0, 0, 0, 40_000, 0]


def test_trips_are_the_kinds_own_and_all_others_are_errands() -> None:
    kind = np.repeat(np.arange(len(ARCHETYPES)), 5_000)
    makes_trip = np.arange(len(kind)) % 2 == 0
    leaves, returns = choose_trips(np.random.default_rng(1), kind, makes_trip)
    for place, archetype in enumerate(ARCHETYPES):
        mine = kind == place
        for rows, trips in ((mine & makes_trip, archetype.trips), (mine & ~makes_trip, ERRANDS)):
            assert set(zip(leaves[rows].tolist(), returns[rows].tolist(), strict=True)) <= {trip[:2] for trip in trips}


def test_a_night_shift_is_away_at_midnight_and_nobody_else_is() -> None:
    for archetype in HOUSEHOLDS:
        wraps = {leaves > returns for leaves, returns, _ in archetype.trips}
        assert wraps == {archetype.name == "night shift"}


def test_kinds_average_to_what_was_measured() -> None:
    settings = FleetSettings()
    shares = (settings.commuter_share, settings.home_office_share, settings.retired_share, settings.night_shift_share)
    kinds = np.arange(len(HOUSEHOLDS))
    assert shares @ of_kind("load_factor", kinds) == pytest.approx(1.0)
    alpha, beta = of_kind("willingness", kinds)
    assert shares @ (alpha / (alpha + beta)) == pytest.approx(0.71, abs=0.01)
    assert (of_kind("compensation_usd_per_kwh", np.arange(len(ARCHETYPES))).T == (0.0, 0.030)).all()


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    module: ModuleType = pytest.importorskip("benchmarks.calibrate_fleet", reason="the benchmarks are not packaged")
    return module


@pytest.fixture(scope="module")
def made() -> pl.DataFrame:
    return generate_fleet(FleetSettings(prosumers=100_000), DAY)


@with_data
def test_constants_come_from_the_data(calibration: ModuleType) -> None:
    """Tolerance: the last digit printed."""
    np.testing.assert_allclose(calibration.lognormal(calibration.mean_loads()), MEAN_LOAD_LOG, atol=5e-4)
    days = calibration.working_days()
    np.testing.assert_allclose(calibration.commute_table(days), COMMUTE, atol=0.05 + 1e-9)
    kwh = days["kwh"].to_numpy()
    np.testing.assert_allclose(calibration.gamma_of(kwh.mean(), kwh.std(ddof=1)), DRIVE_GAMMA, atol=5e-3)


@with_data
def test_homes_use_what_the_real_ones_use(calibration: ModuleType, made: pl.DataFrame) -> None:
    """17 homes: mean within 5 %, quartiles within 10 %, and no sign of another distribution (p > 0.2)."""
    is_home_with_meter = (pl.col("site_type") == "home") & (pl.col("mean_load_kw") > 0)
    real, loads = calibration.mean_loads(), made.filter(is_home_with_meter)["mean_load_kw"].to_numpy()
    assert loads.mean() == pytest.approx(real.mean(), rel=0.05)
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    np.testing.assert_allclose(np.quantile(loads, quantiles), np.quantile(real, quantiles), rtol=0.10)
    assert stats.ks_2samp(real, loads).pvalue > 0.2


@with_data
def test_commuters_leave_return_and_drive_as_the_real_ones(calibration: ModuleType, made: pl.DataFrame) -> None:
    """Hours: distribution functions within 0.03 of each other. Driving: mean within 5 %, deviation 15 % (a small
    battery cannot drive the longest real days)."""
    real = calibration.working_days()
    errands = {trip[:2] for trip in ERRANDS}
    commuters = made.filter(pl.col("store") == "ev", pl.col("archetype") == "commuter", pl.col("ev_drive_kwh") > 0)
    pairs = pl.struct("ev_departure_hour", "ev_arrival_hour")
    is_errand = (pl.col("ev_arrival_hour") - pl.col("ev_departure_hour")) == 1
    assert {tuple(pair.values()) for pair in commuters.filter(is_errand).select(pairs).to_series()} <= errands
    commuters = commuters.filter(~is_errand)
    for theirs, ours in (("leaves", "ev_departure_hour"), ("returns", "ev_arrival_hour")):
        share = [np.cumsum(np.bincount(v, minlength=25)) / len(v) for v in (real[theirs], commuters[ours])]
        assert np.abs(share[0] - share[1]).max() < 0.03, theirs
    made_kwh, real_kwh = commuters["ev_drive_kwh"].to_numpy(), real["kwh"].to_numpy()
    assert made_kwh.mean() == pytest.approx(real_kwh.mean(), rel=0.05)
    assert made_kwh.std() == pytest.approx(real_kwh.std(), rel=0.15)
