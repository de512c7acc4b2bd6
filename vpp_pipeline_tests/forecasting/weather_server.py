"""A local Open-Meteo over real HTTP: its JSON layout as documented, and faults on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vpp_pipeline_tests.market.local_http import LocalHandler, serving_with

JSON = {"Content-Type": "application/json; charset=utf-8"}
LIMIT = "Minutely API request limit exceeded. Please try again in one minute."
#: faults that a repetition heals
PASSING = ("429", "500", "503", "slow", "trickle", "drop", "torn", "malformed", "missing hours", "null values")
#: what no repetition heals, and a word of the message
LASTING = {
    "400": "Cannot initialize",
    "404": "HTTP 404",
    "other units": "another unit",
    "other clock": "another clock",
    "other place": "another place",
    "no hourly": "no hourly values",
    "unlike lengths": "unlike length",
    "impossible": "cannot be",
    "a list": "no object",
    "refused with 200": "refuses",
}


@dataclass
class LocalWeather:
    """Irradiance of a plain day, the same every day; ``faults`` are used up in order, one per request."""

    faults: list[str] = field(default_factory=list)
    ghi: float = 800.0
    slow_s: float = 1.0
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, parameters: dict[str, str], fault: str | None) -> bytes:
        first, last = (
            datetime.strptime(parameters[name], "%Y-%m-%d").replace(tzinfo=UTC) for name in ("start_date", "end_date")
        )
        ends = [first + timedelta(hours=k) for k in range(((last - first).days + 1) * 24)]
        # a value is the mean of the hour before its time; the sun is up from 14Z to 02Z: 6:00 to 18:00 at UTC-8
        is_day = [(end - timedelta(hours=1)).hour >= 14 or (end - timedelta(hours=1)).hour < 2 for end in ends]
        hourly: dict[str, Any] = {"time": [f"{end:%Y-%m-%dT%H:%M}" for end in ends]}
        share = {"shortwave_radiation": 1.0, "direct_normal_irradiance": 0.9, "diffuse_radiation": 0.2}
        for name in parameters["hourly"].split(","):
            hourly[name] = [round(self.ghi * share[name], 1) if up else 0.0 for up in is_day]
        told: dict[str, Any] = {
            "latitude": round(float(parameters["latitude"]), 2) + 0.01,
            "longitude": round(float(parameters["longitude"]), 2) - 0.01,
            "generationtime_ms": 0.07,
            "utc_offset_seconds": 0,
            "timezone": "GMT",
            "timezone_abbreviation": "GMT",
            "elevation": 89.0,
            "hourly_units": {"time": "iso8601", **dict.fromkeys(share, "W/m²")},
            "hourly": hourly,
        }
        return json.dumps(_changed(told, fault)).encode()


def _changed(told: dict[str, Any], fault: str | None) -> Any:
    hourly = told["hourly"]
    if fault == "missing hours":
        told["hourly"] = {name: values[:12] for name, values in hourly.items()}
    elif fault == "null values":
        hourly["direct_normal_irradiance"][20] = None
    elif fault == "other units":
        told["hourly_units"]["shortwave_radiation"] = "MJ/m²"
    elif fault == "other clock":
        told["utc_offset_seconds"] = -25200
    elif fault == "other place":
        told["latitude"] = -told["latitude"]
    elif fault == "no hourly":
        del told["hourly"]
    elif fault == "unlike lengths":
        hourly["diffuse_radiation"] = hourly["diffuse_radiation"][1:]
    elif fault == "impossible":
        hourly["shortwave_radiation"][20] = -3.0
    elif fault == "a list":
        return [told]
    elif fault == "refused with 200":
        return {"error": True, "reason": "Parameter 'start_date' is out of allowed range"}
    return told


class _Handler(LocalHandler):
    weather: LocalWeather

    def do_GET(self) -> None:
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        fault = self.weather.faults.pop(0) if self.weather.faults else None
        self.weather.asked.append(parameters)
        if fault == "drop":
            self.connection.close()
        elif fault in {"400", "404", "429", "500", "503"}:
            reason = {"400": "Cannot initialize ForecastVariable from invalid String value", "429": LIMIT}
            body = json.dumps({"error": True, "reason": reason.get(fault, "sorry")})
            self.send(int(fault), body.encode(), JSON)
        else:
            if fault == "slow":
                time.sleep(self.weather.slow_s)
            body = b"<html>busy</html>" if fault == "malformed" else self.weather.answer(parameters, fault)
            drip_s = self.weather.slow_s / 10 if fault == "trickle" else 0.0
            self.send(200, body, JSON, len(body) // 2 if fault == "torn" else None, drip_s)


@contextmanager
def serving(weather: LocalWeather) -> Iterator[LocalWeather]:
    """The server at work, at ``weather.url``."""
    with serving_with(_Handler, weather=weather) as address:
        weather.url = f"{address}/v1/forecast"
        yield weather
