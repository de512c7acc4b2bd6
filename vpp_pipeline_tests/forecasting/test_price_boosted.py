"""The learning forecast: it learns what there is to learn, the same each time, and from nothing that is not known."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.forecasting.price_baseline import forecast_prices
from vpp_pipeline.forecasting.price_boosted import LAG_DAYS, LEARNS_DAYS, METHOD, BoostedPrices, learn_prices
from vpp_pipeline.schemas import PriceForecast
from vpp_pipeline_tests.forecasting.price_history import before, day_of_prices, patterned

SUNDAY = date(2024, 7, 14)
DAYS = patterned(SUNDAY - timedelta(days=150), SUNDAY + timedelta(days=1))


@pytest.fixture(scope="module")
def model() -> BoostedPrices:
    return learn_prices(SUNDAY, before(DAYS, SUNDAY, LEARNS_DAYS))


def energy(forecast: pl.DataFrame) -> np.ndarray:
    return forecast["energy_usd_per_mwh"].to_numpy()


def test_it_learns_that_sundays_are_cheaper_which_the_mean_of_a_week_cannot(model: BoostedPrices):
    actual = energy(DAYS[SUNDAY])
    mine = model.forecast(SUNDAY, before(DAYS, SUNDAY, LAG_DAYS))
    weekly = forecast_prices(SUNDAY, before(DAYS, SUNDAY, 7))
    assert np.abs(energy(mine) - actual).mean() < 3.0 < 15.0 < np.abs(energy(weekly) - actual).mean()
    assert PriceForecast.is_valid(mine)
    assert mine["method"].unique().to_list() == [METHOD]
    assert mine["latest_input_utc"][0] <= bid_deadline_utc(SUNDAY)
    assert mine["history_days"][0] == model.days == 136  # 150 without the first two weeks


def test_reserves_are_decayed_means(model: BoostedPrices):
    days = dict(DAYS)
    last = SUNDAY - timedelta(days=1)
    days[last] = day_of_prices(last, 50.0, spin=12.0)
    found = model.forecast(SUNDAY, before(days, SUNDAY, LAG_DAYS))
    heaviest = 1.0 / sum(0.6**k for k in range(14))
    np.testing.assert_allclose(found["spin_usd_per_mw_h"], 2.0 + 10.0 * heaviest, atol=1e-4)
    np.testing.assert_allclose(found["nonspin_usd_per_mw_h"], 1.0 + 5.0 * heaviest, atol=1e-4)


def test_the_same_history_gives_the_same_forecast_whatever_the_order_of_its_rows(model: BoostedPrices):
    history = before(DAYS, SUNDAY, LEARNS_DAYS)
    again = learn_prices(SUNDAY, history.sample(fraction=1.0, shuffle=True, seed=3))
    lags = before(DAYS, SUNDAY, LAG_DAYS)
    assert again.forecast(SUNDAY, lags).equals(model.forecast(SUNDAY, lags))


def test_prices_that_are_not_known_are_refused(model: BoostedPrices):
    history, lags = before(DAYS, SUNDAY, LEARNS_DAYS), before(DAYS, SUNDAY, LAG_DAYS)
    for ahead in (0, 1):
        late = DAYS[SUNDAY + timedelta(days=ahead)]
        with pytest.raises(InputError, match="may not know"):
            learn_prices(SUNDAY, pl.concat([history, late]))
        with pytest.raises(InputError, match="may not know"):
            model.forecast(SUNDAY, pl.concat([lags, late.head(1)]))


def test_a_model_forecasts_no_day_that_it_has_learnt_from(model: BoostedPrices):
    earlier = SUNDAY - timedelta(days=1)
    with pytest.raises(InputError, match="learnt from prices up to the day before"):
        model.forecast(earlier, before(DAYS, earlier, LAG_DAYS))


def test_a_short_history_is_not_learnt_from():
    with pytest.raises(InputError, match="86 days of prices to learn from before 2024-07-14, and 90 are needed"):
        learn_prices(SUNDAY, before(DAYS, SUNDAY, 100))


@pytest.mark.parametrize(("day", "labels"), [(date(2024, 11, 3), [1, 2, 25, 3]), (date(2025, 3, 9), [1, 2, 4, 5])])
def test_days_of_25_and_23_hours_have_theirs(model: BoostedPrices, day: date, labels: list[int]):
    days = patterned(day - timedelta(days=30), day - timedelta(days=1))
    found = model.forecast(day, before(days, day, LAG_DAYS))
    assert found["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    assert found["hour_ending"].to_list()[:4] == labels
    if 25 in labels:
        assert energy(found)[1] == energy(found)[2]  # the hour that is repeated
    after = day + timedelta(days=1)
    days = patterned(after - timedelta(days=30), day)  # the day of the clock change is now the youngest
    assert np.isfinite(energy(model.forecast(after, before(days, after, LAG_DAYS)))).all()


def test_a_gap_in_the_history_is_no_zero(model: BoostedPrices):
    gone = {SUNDAY - timedelta(days=back) for back in (1, 5)}
    days = {day: rows for day, rows in DAYS.items() if day not in gone}
    found = energy(model.forecast(SUNDAY, before(days, SUNDAY, LAG_DAYS)))
    assert np.abs(found - energy(DAYS[SUNDAY])).max() < 25.0


def test_quantiles_lie_about_the_median(model: BoostedPrices):
    history, lags = before(DAYS, SUNDAY, LEARNS_DAYS), before(DAYS, SUNDAY, LAG_DAYS)
    low, high = (energy(learn_prices(SUNDAY, history, q).forecast(SUNDAY, lags)) for q in (0.1, 0.9))
    middle = energy(model.forecast(SUNDAY, lags))
    assert low.mean() < middle.mean() < high.mean()
