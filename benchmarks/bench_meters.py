"""How good the forecasts are that the pipeline makes of meters, through the very door that a user's file takes.

    python benchmarks/bench_meters.py          some four minutes; writes docs/forecasts.md

17 homes of Fontana, California (August 2016 to July 2017), and charging sessions at Caltech (May to August 2019),
rebuilt as files of meters (`vpp_pipeline_tests/forecasting/real_meters.py`). Every day with four weeks before it is
forecast from what had been metered at 10:00 Pacific of the day before, and held against what was metered on it: sun and
load hour by hour, charging as the day's sum, which is what scales the driving of EVs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.forecasting.metered import series_of
from vpp_pipeline.forecasting.meters import meters_of_day
from vpp_pipeline.inputs.site_forecasts import Expected
from vpp_pipeline.settings import ForecastSettings
from vpp_pipeline_tests.forecasting.real_meters import DATA, charging, homes
from vpp_pipeline_tests.forecasting.real_meters import SETTINGS as READING

PROJECT = Path(__file__).resolve().parents[1]
OUTPUT = PROJECT / "docs/forecasts.md"
FONTANA = {"latitude_deg": 34.09, "longitude_deg": -117.43}
SETTINGS = {
    "metered": ForecastSettings(**FONTANA),
    "clear_sky (times the month's mean clearness)": ForecastSettings(**FONTANA, solar="clear_sky", load="profile"),
    "clear_sky, clearness=1": ForecastSettings(**FONTANA, solar="clear_sky", clearness=1.0, load="profile"),
    "profile": ForecastSettings(solar="profile", load="profile"),
}
Values = np.ndarray


def days_of(first: date, last: date) -> list[date]:
    return [first + timedelta(days=k) for k in range((last - first).days + 1)]


def measured(file: Path, days: list[date], quantity: str, site: str) -> dict[date, Values]:
    """What was metered on each whole day, from the file as it is known some days later."""
    found = {}
    for day in days[::20]:
        rows = series_of(meters_of_day(file, day + timedelta(days=22), settings=READING).hours, quantity, site)
        for key, part in rows.group_by("market_date"):
            if part.height == market_hours(key[0]).height:
                found.setdefault(key[0], part.sort("start_utc")["value"].to_numpy())
    return {day: found[day] for day in days if day in found}


def table(title: str, rules: dict[str, Callable[[date], Values]], actual: dict[date, Values]) -> list[str]:
    level = np.concatenate(list(actual.values())).mean()
    lines = [f"### {title}, {len(actual)} days", "", "| `forecast.…` | MAE / mean | bias / mean |", "|---|---|---|"]
    for name, rule in rules.items():
        missed = np.concatenate([rule(day) - seen for day, seen in actual.items()])
        lines.append(f"| {name} | {100 * np.abs(missed).mean() / level:.1f} % | {100 * missed.mean() / level:+.1f} % |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    if not DATA.exists():
        sys.exit(f"skipped: no data in {DATA.resolve()}")
    with tempfile.TemporaryDirectory() as name:
        text = "\n".join([*of_homes(homes(Path(name))), *of_charging(charging(Path(name)))])
    head, _, rest = OUTPUT.read_text(encoding="utf-8").partition("<!-- meters -->\n")
    _, _, tail = rest.partition("<!-- end of meters -->")
    OUTPUT.write_text(f"{head}<!-- meters -->\n{text}<!-- end of meters -->{tail}", encoding="utf-8")


def of_homes(file: Path) -> list[str]:
    days = days_of(date(2016, 8, 31), date(2017, 7, 28))
    made = {
        day: {
            way: Expected(day, settings, meters_of_day(file, day, settings=READING), True)
            for way, settings in SETTINGS.items()
        }
        for day in days
    }
    print(f"{len(days)} days read", flush=True)

    def sun(way: str) -> Callable[[date], Values]:
        return lambda day: made[day][way].solar["solar_kw_per_kw"].to_numpy()

    def load(way: str) -> Callable[[date], Values]:
        return lambda day: made[day][way].load.filter(site_type="home").sort("start_utc")["load_per_mean"].to_numpy()

    return [
        *table("Sun: 15 homes, kW per kW", {w: sun(w) for w in SETTINGS}, measured(file, days, "solar", "all")),
        *table("Load: 17 homes", {w: load(w) for w in ("metered", "profile")}, measured(file, days, "load", "home")),
    ]


def of_charging(file: Path) -> list[str]:
    """The day's sum over its mean: told against the same four weeks' mean as the forecast of the day is."""
    days = days_of(date(2019, 5, 31), date(2019, 8, 28))
    rows = pl.read_parquet(file)
    expected, actual = {}, {}
    for day in days:
        past = meters_of_day(file, day, settings=READING)
        expected[day] = Expected(day, ForecastSettings(), past, True).charging["charging_per_mean"].to_numpy().mean()
        hours = market_hours(day).join(rows, on="start_utc")["charging_kwh"].to_numpy()
        before = [market_hours(day - timedelta(days=k)) for k in range(2, 30)]
        mean = pl.concat(before).join(rows, on="start_utc")["charging_kwh"].to_numpy().mean()
        actual[day] = np.array([hours.mean() / mean])
    rules = {"metered": lambda day: np.array([expected[day]]), "none (as the fleet states)": lambda day: np.ones(1)}
    return table("Charging: the day's sum over its mean day, stations at Caltech", rules, actual)


if __name__ == "__main__":
    main()
