"""Real homes and real charging sessions as files of meters: rebuilt for tests and benchmarks, never kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from vpp_pipeline.settings import ForecastSettings

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
HOMES, SESSIONS = DATA / "homes_fontana_ca", DATA / "ev_acn"
BROKEN_PV = ("home_14", "home_15")  # noted in the data's provenance
CHARGER_KW = 6.6
#: The files are read in standard time all year, as their provenance says, but their sun follows daylight time: from
#: November to March it rises an hour before the sun does, which the plausibility of clocks finds.
SETTINGS = ForecastSettings(latitude_deg=34.09, longitude_deg=-117.43, accepted_suspicions="clock")


def homes(folder: Path) -> Path:
    """17 homes of Fontana, California, August 2016 to July 2017.

    The files' clock is PST all year, hours told by their end: the first row is hour 24 of 2016-07-31, which begins at
    07:00 UTC. Solar is W per kW installed; sizes are those of schema.json. A home's yearly mean is that of its year.
    """
    first = datetime(2016, 8, 1, 7, tzinfo=UTC)
    buildings = json.loads((HOMES / "schema.json").read_text())["buildings"]
    frames = []
    for number in range(1, 18):
        rows = pl.read_csv(HOMES / f"Building_{number}.csv.gz", infer_schema_length=10_000)
        size = float(buildings[f"Building_{number}"]["pv"]["attributes"]["nominal_power"])
        starts = [f"{first + timedelta(hours=k):%Y-%m-%dT%H:%M:%SZ}" for k in range(rows.height)]
        load = rows["non_shiftable_load"]
        frames.append(
            rows.select(
                start_utc=pl.Series(starts),
                meter_id=pl.lit(f"home_{number}"),
                site_type=pl.lit("home"),
                solar_size_kw=pl.lit(size),
                mean_load_kw=pl.lit(load.mean()),
                solar_kwh=pl.col("solar_generation") / 1000.0 * size,
                load_kwh=pl.col("non_shiftable_load"),
            )
        )
    file = folder / "homes.parquet"
    table = pl.concat(frames).with_columns(pl.col("start_utc").str.to_datetime("%+", time_zone="UTC"))
    table.write_parquet(file)
    return file


def charging(folder: Path, files: str = "caltech_2019-05*.csv.gz") -> Path:
    """Stations at a workplace as one meter: each session's energy drawn from its arrival on, at 6.6 kW at most."""
    rows = pl.concat(pl.read_csv(file, infer_schema_length=0) for file in sorted(SESSIONS.glob(files)))
    arrival = rows["arrival"].str.to_datetime("%+", time_zone="UTC", strict=False)
    begin = arrival.dt.timestamp("ms").to_numpy() / 3.6e6  # hours
    first = int(begin.min())
    drawn = np.zeros(int(begin.max()) - first + 72)
    for start, energy in zip(begin - first, rows["delivered_energy (kWh)"].cast(pl.Float64).to_numpy(), strict=True):
        left = energy
        while left > 1e-9:
            hour = int(start)
            part = min(left, CHARGER_KW * (hour + 1 - start))
            drawn[hour] += part
            left, start = left - part, hour + 1.0
    table = pl.DataFrame(
        {
            "start_utc": [datetime.fromtimestamp((first + k) * 3600, tz=UTC) for k in range(len(drawn))],
            "charging_kwh": drawn,
        },
        schema_overrides={"start_utc": pl.Datetime("us", "UTC")},
    )
    file = folder / "charging.parquet"
    table.with_columns(meter_id=pl.lit("caltech"), site_type=pl.lit("business")).write_parquet(file)
    return file
