"""The weather service: asked over real HTTP, believed only when whole, kept, and never asked in hindsight."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from vpp_pipeline.core.calendar import bid_deadline_utc, market_hours
from vpp_pipeline.core.errors import InputError, NoDataError, WeatherDownError, WeatherError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.data_settings import WeatherSettings
from vpp_pipeline.defs.resources import Prices
from vpp_pipeline.forecasting.solar import AsForecast, Panel, clear_sky, solar_output, weather_output
from vpp_pipeline.forecasting.weather import KEPT, Weather
from vpp_pipeline.inputs.site_forecasts import _NO_PAST, SOLAR, Expected
from vpp_pipeline.settings import ForecastSettings
from vpp_pipeline_tests.forecasting.weather_server import LASTING, PASSING, LocalWeather, serving

DAY = date(2024, 7, 17)
IN_TIME = bid_deadline_utc(DAY) - timedelta(hours=2)


@pytest.fixture
def service() -> Iterator[LocalWeather]:
    with serving(LocalWeather(slow_s=2.0)) as weather:
        yield weather


def weather(service: LocalWeather, folder: Path, now: datetime = IN_TIME, **named: object) -> Weather:
    quick = {"backoff_s": 0.001, "timeout_s": 1.5, "attempts": 3}
    settings = WeatherSettings(**{"url": service.url, "archive": folder / "archive", **quick, **named})
    return Weather(settings, 34.0522, -118.2437, lambda: now)


def test_the_question_is_open_meteos(service: LocalWeather, tmp_path: Path):
    weather(service, tmp_path).irradiance(DAY)
    assert service.asked == [
        {
            "latitude": "34.0522",
            "longitude": "-118.2437",
            "hourly": "shortwave_radiation,direct_normal_irradiance,diffuse_radiation",
            "start_date": "2024-07-17",
            "end_date": "2024-07-18",
            "timezone": "GMT",
            "timeformat": "iso8601",
        }
    ]


@pytest.mark.parametrize("day", [DAY, date(2024, 3, 10), date(2024, 11, 3)])
def test_a_value_is_the_mean_of_the_hour_before_its_time(service: LocalWeather, tmp_path: Path, day: date):
    found, when = weather(service, tmp_path, bid_deadline_utc(day)).irradiance(day)
    assert found["start_utc"].to_list() == market_hours(day)["start_utc"].to_list()
    is_up = [start.hour >= 14 or start.hour < 2 for start in found["start_utc"]]
    assert [value > 0 for value in found["ghi_w_per_m2"]] == is_up
    assert when == f"{bid_deadline_utc(day):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_asked_again_and_stays_a_failure_where_it_does_not_pass(
    service: LocalWeather, tmp_path: Path, fault: str
):
    service.faults[:] = [fault]
    assert weather(service, tmp_path).irradiance(DAY)[0].height == 24
    assert len(service.asked) == 2
    service.faults[:] = [fault] * 2
    with pytest.raises(WeatherDownError, match="no whole answer in 2 attempts"):
        weather(service, tmp_path / "other", attempts=2).irradiance(DAY)
    assert not list((tmp_path / "other" / "archive").rglob("*.parquet"))


@pytest.mark.parametrize(("fault", "words"), LASTING.items())
def test_what_no_repetition_heals_is_said_at_once(service: LocalWeather, tmp_path: Path, fault: str, words: str):
    service.faults[:] = [fault] * 3
    with pytest.raises(WeatherError, match=words):
        weather(service, tmp_path).irradiance(DAY)
    assert len(service.asked) == 1


def test_an_answer_is_kept_and_not_asked_for_again(service: LocalWeather, tmp_path: Path):
    first = weather(service, tmp_path).irradiance(DAY)
    service.ghi = 100.0
    later = weather(service, tmp_path, IN_TIME + timedelta(days=300)).irradiance(DAY)
    assert len(service.asked) == 1
    assert (later[0].equals(first[0]), later[1]) == (True, first[1])
    file = ParquetFolder(tmp_path / "archive").path(KEPT, "340522_-1182437|2024-07-17")
    assert ParquetFolder(tmp_path / "archive").metadata(KEPT, "340522_-1182437|2024-07-17")["url"] == service.url
    file.write_bytes(b"torn")
    with pytest.raises(InputError, match="our copy of the weather cannot be read"):
        weather(service, tmp_path).irradiance(DAY)


def test_password_and_key_of_the_address_are_sent_and_not_kept(service: LocalWeather, tmp_path: Path):
    secret = service.url.replace("//", "//desk:C4N4RY@") + "?apikey=C4N4RY"
    weather(service, tmp_path, url=secret).irradiance(DAY)
    assert service.asked[-1]["apikey"] == "C4N4RY"
    footer = ParquetFolder(tmp_path / "archive").metadata(KEPT, "340522_-1182437|2024-07-17")
    assert footer["url"] == service.url.replace("//", "//***@") + "?apikey=***"
    for fault in ("503", "404"):
        service.faults[:] = [fault] * 3
        with pytest.raises(NoDataError if fault == "503" else WeatherError) as failed:
            weather(service, tmp_path / "other", url=secret).irradiance(DAY)
        assert "***" in str(failed.value)
        assert "C4N4RY" not in str(failed.value)


def test_a_day_whose_bids_have_closed_is_not_asked_for(service: LocalWeather, tmp_path: Path):
    with pytest.raises(NoDataError, match="it would be hindsight"):
        weather(service, tmp_path, bid_deadline_utc(DAY) + timedelta(seconds=1)).irradiance(DAY)
    assert service.asked == []


def test_irradiance_becomes_output(service: LocalWeather, tmp_path: Path):
    """At noon the sun stands 13 degrees from the zenith: by hand 0.8 · (0.9 · cos 7 + 0.2 · (1 + cos 20)/2) · 0.8."""
    pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
    found, _ = weather(service, tmp_path).irradiance(DAY)
    panel = Panel()
    output = weather_output(panel, DAY, found)
    assert output[12] == pytest.approx(0.8 * 0.8 * (0.9 * np.cos(np.radians(7)) + 0.2 * 0.97), rel=0.02)
    assert output[[0, 1, 2, 22, 23]].max() == 0.0
    made = solar_output(panel, DAY, _NO_PAST, AsForecast(found), "weather")
    bright = clear_sky(panel, DAY) > 0.01
    np.testing.assert_allclose(made["solar_kw_per_kw"].to_numpy()[bright], output[bright], atol=1e-4)


def test_the_forecast_says_when_the_weather_was_asked_and_the_last_good_one_stands_in(
    service: LocalWeather, tmp_path: Path
):
    pytest.importorskip("pvlib", reason="pvlib is in the extra `solar`")
    tomorrow = datetime.now().date() + timedelta(days=2)  # its bids are open for a day at least
    settings = WeatherSettings(url=service.url, archive=tmp_path / "archive", backoff_s=0.0, attempts=2)

    def made(day: date) -> Expected:
        asked = ForecastSettings(solar="weather")
        return Expected(day, asked, weather=settings, lake=Lake(tmp_path / "lake"))

    good = made(tomorrow).solar
    assert good["method"][0].startswith("weather, asked 20")
    Lake(tmp_path / "lake").write(SOLAR, str(tomorrow), good)
    service.faults[:] = ["503"] * 2
    stand_in = made(tomorrow + timedelta(days=1)).solar
    assert "HTTP 503" in stand_in["method"][0]
    assert stand_in["method"][0].startswith(f"last good, in place of weather: the forecast of {tomorrow} stands in")
    assert set(stand_in["made_for_date"]) == {tomorrow}


def test_one_place_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "prices.toml"
    file.write_text('[meters]\npath = "meters"\n[weather]\nurl = "http://127.0.0.1:9/v1/forecast"\nattempts = 2\n')
    source = Prices(defaults=str(file))
    assert source.chosen() == (None, None)
    assert source.meters_path() == tmp_path / "meters"
    assert Prices(defaults=str(file), meters="/elsewhere.csv").meters_path() == Path("/elsewhere.csv")
    found = source.weather()
    assert (found.url, found.attempts, found.archive) == ("http://127.0.0.1:9/v1/forecast", 2, tmp_path / "archive")
    monkeypatch.setenv("VPP_WEATHER_URL", "http://127.0.0.1:10/v1/forecast")
    assert source.weather().url.endswith(":10/v1/forecast")
    monkeypatch.setenv("VPP_WEATHER_URL", "nowhere")
    with pytest.raises(InputError, match="VPP_WEATHER_URL"):
        source.weather()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[weather]\nattempts = 0", r"weather\.attempts"),
        ("[weather]\nkey = 1", r"weather\.key"),
        ("[meters]\nfile = 'x'", r"meters\.file"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, text: str, key: str):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=f"key {key}"):
        _ = Prices(defaults=str(file)).meters_path(), Prices(defaults=str(file)).weather()
