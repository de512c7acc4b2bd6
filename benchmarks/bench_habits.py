"""How good forecasts of sun, load and charging are that rest on past metered days. Writes docs/forecasts.md.

    python benchmarks/bench_habits.py

Reads 17 homes of Fontana, California (August 2016 to July 2017) and charging sessions at Caltech (May to August 2019)
from ``../shared/data`` beside the checkout. Every forecast uses the hours that were over at 10:00 Pacific of the day
before, so D-2 is the last whole day. The embedded profiles are shown beside them: of the same homes they know the mean
shape of the very year that is forecast, by season, but not its days; their sky is drawn, not forecast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from calibrate_synthetic_prices import BROKEN_PV, DATA, Floats, homes

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.forecasting import profiles
from vpp_pipeline.forecasting.similar_days import as_metered, known_at_deadline, like_hours
from vpp_pipeline.forecasting.solar import AsOfLate, Panel, clear_sky, solar_output

OUTPUT = Path(__file__).resolve().parents[1] / "docs/forecasts.md"
FONTANA = Panel(latitude_deg=34.09, longitude_deg=-117.43)
HISTORY_DAYS = 30
Rule = Callable[[date, pl.DataFrame], Floats]


def errors(metered: pl.DataFrame, rule: Rule) -> tuple[float, float]:
    """Mean absolute error and bias by hour of all days with a history, each as a share of the mean."""
    days = metered["market_date"].unique().sort().to_list()
    missed, level = [], []
    for day in days[HISTORY_DAYS:-1]:
        rows = metered.filter(pl.col("market_date") == day)
        if rows.height != market_hours(day).height:
            continue
        past = known_at_deadline(metered.filter(pl.col("market_date") >= day - timedelta(days=HISTORY_DAYS)), day)
        actual = rows["value"].to_numpy()
        missed.append(rule(day, past) - actual)
        level.append(actual)
    all_missed, mean = np.concatenate(missed), np.concatenate(level).mean()
    return float(np.abs(all_missed).mean() / mean), float(all_missed.mean() / mean)


def again(days_before: int) -> Rule:
    """The hours of an earlier day again, by their place; the last known value where clocks have changed."""

    def rule(day: date, past: pl.DataFrame) -> Floats:
        rows = past.filter(pl.col("market_date") == day - timedelta(days=days_before))["value"].to_numpy()
        hours = market_hours(day).height
        return np.resize(np.append(rows, rows[-1:]), hours) if len(rows) < hours else rows[:hours]

    return rule


def solar_rules() -> dict[str, Rule]:
    def sky(days: int) -> Rule:
        made = AsOfLate(days)
        return lambda day, past: solar_output(FONTANA, day, past, made)["solar_kw_per_kw"].to_numpy()

    def month(day: date, past: pl.DataFrame) -> Floats:
        return profiles.clear_sky(day) * profiles.CLEARNESS[day.month - 1]

    return {
        "embedded profile (its sky is drawn)": lambda day, past: profiles.solar_forecast(day)[
            "solar_kw_per_kw"
        ].to_numpy(),
        "embedded clear sky × the month's clearness": month,
        "pvlib clear sky alone": lambda day, past: clear_sky(FONTANA, day),
        "pvlib clear sky, each hour as clear as in the last 28 days": sky(28),
        "pvlib clear sky, each hour as clear as in the last 7 days": sky(7),
        "pvlib clear sky, each hour as clear as in the last 14 days": sky(14),
        "D-2 again": again(2),
        "mean of the last 7 days by hour": lambda day, past: like_hours_of_all(day, past),
    }


def like_hours_of_all(day: date, past: pl.DataFrame) -> Floats:
    """Mean by hour of the last week, whatever the weekday."""
    recent = past.filter(pl.col("market_date") >= day - timedelta(days=8))
    means = dict(recent.group_by("hour_ending").agg(pl.col("value").mean()).iter_rows())
    return np.array([means.get(hour, means[2]) for hour in market_hours(day)["hour_ending"]])


def habit_rules() -> dict[str, Rule]:
    return {
        "D-2 again": again(2),
        "the same weekday a week before": again(7),
        "mean of the last 7 days by hour": like_hours_of_all,
        "like hours of like days, 14 days": lambda day, past: like_hours(past, day),
        "like hours of like days, 28 days": lambda day, past: like_hours(past, day, 28),
    }


def load_profile(day: date, past: pl.DataFrame) -> Floats:
    return profiles.load_forecast(day).filter(site_type="home").sort("start_utc")["load_per_mean"].to_numpy()


def charging() -> pl.DataFrame:
    """kW drawn at Caltech by hour: each session's energy spread evenly from its arrival, at 6.6 kW at most."""
    files = [DATA / f"ev_acn/caltech_2019-{span}.csv.gz" for span in ("05-01_2019-08-31",)]
    frame = pl.concat([pl.read_csv(file, infer_schema_length=0) for file in files])
    arrival = frame["arrival"].str.to_datetime("%+", time_zone="UTC", strict=False)
    energy = frame["delivered_energy (kWh)"].cast(pl.Float64)
    begin = arrival.dt.timestamp("ms").to_numpy() / 3.6e6  # hours
    first = int(begin.min())
    drawn = np.zeros(int(begin.max()) - first + 72)
    for start, kwh in zip(begin - first, energy.to_numpy(), strict=True):
        left = kwh
        while left > 1e-9:
            hour = int(start)
            part = min(left, 6.6 * (hour + 1 - start))
            drawn[hour] += part
            left, start = left - part, hour + 1.0
    from datetime import UTC, datetime

    moments = [datetime.fromtimestamp((first + k) * 3600, tz=UTC) for k in range(len(drawn))]
    return as_metered(pl.Series(moments, dtype=pl.Datetime("us", "UTC")), pl.Series(drawn))


def table(title: str, metered: pl.DataFrame, rules: dict[str, Rule]) -> list[str]:
    lines = [f"### {title}", "", "| forecast | MAE / mean | bias / mean |", "|---|---|---|"]
    for name, rule in rules.items():
        error, bias = errors(metered, rule)
        lines.append(f"| {name} | {100 * error:.1f} % | {100 * bias:+.1f} % |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    if not DATA.exists():
        sys.exit(f"skipped: no data in {DATA.resolve()}")
    frame = homes()
    sun = (
        frame.filter(~pl.col("home").is_in(BROKEN_PV))
        .group_by("start_utc")
        .agg(pl.col("solar").mean())
        .sort("start_utc")
    )
    load = frame.group_by("start_utc").agg(pl.col("load").mean()).sort("start_utc")
    one = frame.filter(pl.col("home") == 1).sort("start_utc")
    text = "\n".join(
        [
            *table("Sun: 15 homes together, kW per kW", as_metered(sun["start_utc"], sun["solar"]), solar_rules()),
            *table(
                "Load: 17 homes together, over their mean",
                as_metered(load["start_utc"], load["load"]),
                {"embedded profile": load_profile} | habit_rules(),
            ),
            *table(
                "Load: one home, over its mean",
                as_metered(one["start_utc"], one["load"]),
                {"embedded profile": load_profile} | habit_rules(),
            ),
            *table("Charging: some 50 stations at Caltech together", charging(), habit_rules()),
        ]
    )
    head, _, rest = OUTPUT.read_text(encoding="utf-8").partition("<!-- habits -->\n")
    _, _, tail = rest.partition("<!-- end of habits -->")
    OUTPUT.write_text(f"{head}<!-- habits -->\n{text}<!-- end of habits -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
