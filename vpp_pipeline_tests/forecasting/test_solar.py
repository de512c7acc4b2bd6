"""The sun: where it stands, how much of it arrives, and that nothing unknown becomes a zero."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.forecasting import profiles
from vpp_pipeline.forecasting.similar_days import COLUMNS, known_at_deadline
from vpp_pipeline.forecasting.solar import Panel, clear_sky, solar_output
from vpp_pipeline.schemas import SolarForecast

pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
PANEL, DAY = Panel(), date(2024, 6, 21)


def sunny(panel: Panel, market_date: date, share: float | np.ndarray, days: int = 10) -> pl.DataFrame:
    """Meters that showed ``share`` of the clear sky, to the last hour known."""
    frames = []
    for back in range(days, 0, -1):
        day = market_date - timedelta(days=back)
        frames.append(market_hours(day).with_columns(value=share * clear_sky(panel, day)).select(COLUMNS))
    return known_at_deadline(pl.concat(frames), market_date)


@pytest.mark.parametrize("day", [date(2024, 6, 21), date(2024, 12, 21), date(2024, 3, 20)])
def test_two_ways_to_the_clear_sky_agree(day: date):
    ours, pvlibs = profiles.clear_sky(day), clear_sky(PANEL, day)
    assert abs(ours.sum() / pvlibs.sum() - 1.0) < 0.1
    assert abs(int(ours.argmax()) - int(pvlibs.argmax())) <= 1
    assert ((pvlibs > 0.001) == (ours > 0.001)).sum() >= 22  # sunrise and sunset


def test_nights_are_dark_and_days_are_longer_in_june():
    june, december = clear_sky(PANEL, DAY), clear_sky(PANEL, date(2024, 12, 21))
    assert june[[0, 1, 2, 22, 23]].max() == 0.0
    assert june.sum() > 1.5 * december.sum()
    assert 0.0 <= december.min() <= june.max() <= 1.0


def test_a_panel_to_the_west_gives_more_in_the_evening():
    west = clear_sky(Panel(tilt_deg=30.0, azimuth_deg=270.0), DAY)
    east = clear_sky(Panel(tilt_deg=30.0, azimuth_deg=90.0), DAY)
    assert west[16:].sum() > 1.3 * east[16:].sum()


def test_it_stays_as_clear_as_it_was():
    made = solar_output(PANEL, DAY, sunny(PANEL, DAY, 0.6))
    np.testing.assert_allclose(made["solar_kw_per_kw"], 0.6 * clear_sky(PANEL, DAY), atol=2e-4)
    assert SolarForecast.is_valid(made)


def test_hazy_mornings_stay_hazy():
    share = np.where(np.arange(24) < 12, 0.3, 0.9)
    made = solar_output(PANEL, DAY, sunny(PANEL, DAY, share))["solar_kw_per_kw"].to_numpy()
    np.testing.assert_allclose(made[8:17], (share * clear_sky(PANEL, DAY))[8:17], atol=2e-3)


@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 10), 23), (date(2024, 11, 3), 25)])
def test_days_of_23_and_25_hours(day: date, hours: int):
    made = solar_output(PANEL, day, sunny(PANEL, day, 0.5))
    assert made.height == hours
    np.testing.assert_allclose(made["solar_kw_per_kw"], 0.5 * clear_sky(PANEL, day), atol=1e-3)


def test_an_hour_that_is_not_over_is_refused():
    rows = sunny(PANEL, DAY, 0.6)
    late = market_hours(DAY).head(1).with_columns(value=pl.lit(1.0)).select(COLUMNS)
    with pytest.raises(InputError, match="not over when the bids"):
        solar_output(PANEL, DAY, pl.concat([rows, late]))


def test_a_sky_that_nobody_has_seen_is_no_dark_one():
    nights = sunny(PANEL, DAY, 0.6).filter(pl.col("hour_ending") < 5)
    with pytest.raises(NoDataError, match="no sunny hour"):
        solar_output(PANEL, DAY, nights)
    with pytest.raises(NoDataError, match="no sunny hour"):
        solar_output(PANEL, DAY, sunny(PANEL, DAY - timedelta(days=30), 0.6))


def test_another_source_of_weather_goes_through_the_same_door():
    class Overcast:
        def clearness(self, panel: Panel, market_date: date, past: pl.DataFrame) -> np.ndarray:
            return np.full(market_hours(market_date).height, 0.1)

    made = solar_output(PANEL, DAY, sunny(PANEL, DAY, 0.6), Overcast())
    np.testing.assert_allclose(made["solar_kw_per_kw"], 0.1 * clear_sky(PANEL, DAY), atol=1e-5)
