"""Random market days for `fuzz_days`: a fleet, prices, requests, and settings, at and near every bound.

A day is a folder: `fleet.csv`, `prices.csv`, perhaps `requests.csv`, and `case.json` with its date and options, so that
it can be run again from there, by `fuzz_days` or by the command in `command.txt`. The same seed and number give the
same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import polars as pl
from pydantic.fields import FieldInfo

from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS, market_hours
from vpp_pipeline.settings import Settings

NODE = "TH_SP15_GEN-APND"
#: ordinary days, the spring day of 23 hours, the autumn day of 25, and the days after them; ends of months and years
DATES = (
    *(date(2023, 8, day) for day in (15, 16, 19)),
    *(date(2024, 3, 10), date(2024, 3, 11), date(2024, 11, 3), date(2024, 11, 4)),
    *(date(2024, 2, 29), date(2024, 12, 31), date(2025, 1, 1)),
)
#: smallest and largest number of prosumers of a kind of fleet, and how often it is drawn. A day of more than 500 goes
#: to column generation by itself; of the others some do by their settings
SIZES = (((1, 5), 0.28), ((6, 40), 0.47), ((41, 150), 0.17), ((151, 400), 0.06), ((501, 600), 0.02))
MOODS = ("plain", "negative", "zero", "constant", "spikes", "swinging", "deep", "tiny", "beyond the caps")
RESERVES = ("share of energy", "zero", "at the cap", "constant", "above the cap", "tiny")
#: a day of which more than half is left open fails, unless a desk allows it; here it is allowed, and counted as warned
ALLOWED = {"optimiser.gap_failure_fraction": "1"}
#: settings of groups that say nothing of a day whose fleet and prices are files, or that are drawn by themselves
LEFT_OUT = (
    *("llm.", "model_use.", "settlement.", "fleet.prosumers", "fleet.seed", "fleet.business_sites"),
    "resources.participation",
    *ALLOWED,
)
SLOW = (
    *("forecast.price", "forecast.solar", "forecast.load", "forecast.charging"),
    *("risk.scenarios", "risk.history_days"),
)
HOURLY = 0.5  # share of the days that are bid hour by hour, of those that may be bid as storage
MOST_AT_RISK = 40  # prosumers of a day with scenarios, whose problem grows with both
UNBOUNDED = 100.0  # times its default: the largest value of a setting without a largest


@dataclass(frozen=True)
class Case:
    """A day and the options of its command, beside the files of its folder."""

    market_date: date
    settings: dict[str, str]  # by group.name
    begins_before: bool = False  # the day before is made first, so that there is a schedule to carry over

    def options(self, folder: Path) -> list[str]:
        """Options of `bids` that say where the inputs lie, and what is set; paths within the folder."""
        requests = ["--requests", "requests.csv"] if (folder / "requests.csv").is_file() else []
        chosen = [word for name, value in self.settings.items() for word in ("--set", f"{name}={value}")]
        return ["--prices", "prices.csv", "--node", NODE, "--fleet", "fleet.csv", *requests, *chosen]

    def write(self, folder: Path) -> None:
        """Write `case.json`, and `command.txt` for people."""
        folder.mkdir(parents=True, exist_ok=True)
        command = ["vpp-pipeline bids --data data --date", str(self.market_date), *self.options(folder)]
        (folder / "command.txt").write_text(" ".join(command) + "\n", encoding="utf-8")
        (folder / "case.json").write_text(json.dumps(asdict(self), indent=2, default=str) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Case:
        """The case of a folder."""
        told = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        return cls(date.fromisoformat(told.pop("market_date")), **told)


def draw_case(seed: int, number: int, folder: Path) -> Case:
    """Draw day ``number`` of ``seed`` and write it into ``folder``."""
    rng = np.random.default_rng([seed, number])
    market_date = DATES[int(rng.integers(len(DATES)))]
    settings = dict(draw_settings(rng)) | ALLOWED
    needs_hourly = "risk.scenarios" in settings or settings.get("payments.rule") == "owen"
    if needs_hourly or rng.random() < HOURLY:
        settings["resources.participation"] = "hourly"
    begins_before = settings.get("fleet.carry_over") == "true" and bool(rng.random() < 0.7)
    case = Case(market_date, settings, begins_before)
    folder.mkdir(parents=True, exist_ok=True)
    history_days = int(settings.get("risk.history_days", 8)) + 1
    draw_fleet(rng, MOST_AT_RISK if "risk.scenarios" in settings else 600).write_csv(folder / "fleet.csv")
    draw_prices(rng, market_date, history_days).write_csv(folder / "prices.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    if rng.random() < 0.35:
        (folder / "requests.csv").write_text("\n".join(draw_requests(rng, market_date)) + "\n", encoding="utf-8")
    case.write(folder)
    return case


def draw_fleet(rng: np.random.Generator, most_prosumers: int) -> pl.DataFrame:
    """Rows of a fleet file: batteries, EVs, and homes without a store, of one size or of all sizes.

    A fleet has some 0.1 to 100 MW in all, so that few prosumers can bid too; now and then as much as homes have.
    """
    spans, chances = zip(*SIZES, strict=True)
    least, most = spans[int(rng.choice(len(spans), p=chances))]
    count = min(int(rng.integers(least, most + 1)), most_prosumers)
    size = (
        10.0 ** float(rng.uniform(2.0, 5.0)) / (7.0 * count) if rng.random() < 0.85 else float(rng.choice([0.001, 1]))
    )
    is_mixed, has_corners = rng.random() < 0.15, rng.random() < 0.7
    rows = []
    for number in range(count):
        scale = size * float(10.0 ** rng.uniform(-3, 3)) if is_mixed else size
        rows.append(_prosumer(rng, number, scale, has_corners))
    if rng.random() < 0.1:  # a few rows that nothing can be done about
        for place in rng.integers(len(rows), size=1 + len(rows) // 20):
            column = str(rng.choice(["capacity_kwh", "charge_efficiency", "initial_stored_kwh", "quiet_hours"]))
            rows[place][column] = rng.choice(["", "-1", "nan", "1e400", "a lot", "1.5"])
    texts = [{name: None if value is None else str(value) for name, value in row.items()} for row in rows]
    return pl.DataFrame(texts, infer_schema_length=None)  # a column may be empty far down


def _prosumer(rng: np.random.Generator, number: int, scale: float, has_corners: bool) -> dict[str, Any]:
    """One row; with corners some of its cells lie at their bounds."""

    def drawn(low: float, high: float, *corners: float) -> float:
        if has_corners and corners and rng.random() < 0.25:
            return float(rng.choice(corners))
        return float(rng.uniform(low, high))

    store = str(rng.choice(["battery", "ev", "none"], p=[0.7, 0.2, 0.1]))
    has_store, is_ev = store != "none", store == "ev"
    capacity = drawn(5.0, 60.0, 13.5) * scale if has_store else 0.0
    charge = drawn(2.0, 12.0, 0.0, 5.0) * scale if has_store else 0.0
    has_v2g = is_ev and bool(rng.random() < 0.6)
    discharge = drawn(2.0, 12.0, 0.0, 5.0) * scale if has_store and (has_v2g or not is_ev) else 0.0
    backup = drawn(0.0, 0.3, 0.0, 1.0) if has_store else 0.0
    initial = drawn(max(backup, 0.3), 1.0, backup, 0.5, 1.0) * capacity
    load = drawn(0.2, 2.0, 0.0) * scale
    solar = drawn(2.0, 9.0, 0.0) * scale if rng.random() < 0.5 or not has_store else 0.0
    leaves = int(rng.choice([6, 7, 8, 22, 0]))
    return {
        "prosumer_id": f"p{number:04d}",
        "site_id": f"s{number:04d}",
        "site_type": str(rng.choice(["home", "business"], p=[0.9, 0.1])),
        "store": store,
        "has_v2g": str(has_v2g).lower(),
        "capacity_kwh": capacity,
        "max_charge_kw": charge,
        "max_discharge_kw": discharge,
        "charge_efficiency": drawn(0.85, 1.0, 1.0, 0.5, 0.05),
        "discharge_efficiency": drawn(0.85, 1.0, 1.0, 0.5, 0.05),
        "initial_stored_kwh": initial,
        "terminal_stored_kwh": drawn(0.3, 1.0, 1.0, 0.0) * initial,
        "solar_size_kw": solar,
        "mean_load_kw": load,
        "export_limit_kw": drawn(5.0, 20.0, 0.0, 1e5) * scale,
        "ev_arrival_hour": int(rng.choice([17, 18, 20, 2])) if is_ev else None,
        "ev_departure_hour": leaves if is_ev else None,
        "ev_ready_fraction": drawn(0.3, 0.9, 0.0, 1.0) if is_ev else None,
        "ev_drive_kwh": drawn(0.0, 0.3, 0.0) * capacity if is_ev else 0.0,
        "backup_reserve_fraction": backup,
        "backup_reserve_hours": drawn(0.0, 4.0, 0.0) if has_store and load > 0.0 and rng.random() < 0.2 else 0.0,
        "quiet_hours": str(rng.choice(["21-23", "0-7, 21-23", "0-24"])) if rng.random() < 0.1 else None,
        "no_charge_hours": str(rng.choice(["16-21", "0-24"])) if rng.random() < 0.1 else None,
        "no_export_hours": str(rng.choice(["16-21", "0-24"])) if rng.random() < 0.1 else None,
        "opt_out_days": str(rng.choice(["sat, sun", "2023-08-15"])) if rng.random() < 0.05 else None,
        "participation_willingness_fraction": drawn(0.2, 1.0, 0.0, 1.0),
        "minimum_compensation_usd_per_kwh": drawn(0.0, 0.08, 0.0, 2.0),
        "wear_usd_per_mwh": drawn(5.0, 40.0, 0.0, 2000.0),
        "maximum_cycles_per_day": drawn(0.5, 2.0, 1.0, 1e-3, 100.0),
        "patience": drawn(0.3, 3.0, 1.0, 1e-3, 100.0),
        "availability_fraction": drawn(0.7, 1.0, 0.0, 1.0),
    }


def draw_prices(rng: np.random.Generator, market_date: date, history_days: int) -> pl.DataFrame:
    """Rows of a price file: the days before, and the market day itself, which settles the bids."""
    mood, reserve = str(rng.choice(MOODS)), str(rng.choice(RESERVES))
    level, days = float(rng.uniform(15.0, 80.0)), []
    for back in range(history_days, -1, -1):
        hours = market_hours(market_date - timedelta(days=back))
        energy = _energy(rng, mood, level, hours["local_hour"].to_numpy())
        spin = _reserve(rng, reserve, energy)
        prices = dict(zip(PRICE_COLUMN.values(), (energy, spin, spin * rng.choice([0.0, 0.5, 1.0])), strict=True))
        days.append(hours.select("start_utc", node=pl.lit(NODE)).with_columns(**prices))
    return pl.concat(days)


def _energy(rng: np.random.Generator, mood: str, level: float, clock: Array) -> Array:
    """Energy prices of one day in $/MWh."""
    shape = 1.0 + 0.6 * np.sin((clock - 14.0) / 24.0 * 2.0 * np.pi) + 0.8 * np.exp(-(((clock - 19.0) / 2.0) ** 2))
    plain = level * shape + rng.normal(0.0, 0.1 * level, len(clock))
    at_noon = (clock >= 9) & (clock < 16)
    return np.round(
        {
            "plain": plain,
            "negative": np.where(at_noon, -rng.uniform(1.0, 60.0), plain),
            "zero": np.zeros(len(clock)),
            "constant": np.full(len(clock), round(level)),
            "spikes": np.where(rng.random(len(clock)) < 0.1, rng.choice([400.0, 1000.0]), plain),
            "swinging": np.where(clock % 2 == 0, -150.0, 1000.0) + rng.choice([0.0, 1.0]),
            "deep": np.full(len(clock), -150.0),
            "tiny": plain * 1e-6,
            "beyond the caps": np.where(at_noon, -400.0, np.where(clock == 19, 2000.0, plain)),
        }[mood],
        8,
    )


def _reserve(rng: np.random.Generator, kind: str, energy: Array) -> Array:
    """Prices of spin of one day in $ per MW and hour."""
    share = np.maximum(0.1 * energy, 0.1) * rng.uniform(0.5, 1.5, len(energy))
    kinds = {
        "share of energy": share,
        "zero": 0.0 * share,
        "at the cap": np.where(rng.random(len(energy)) < 0.2, 250.0, share),
        "constant": np.full(len(energy), 5.0),
        "above the cap": np.where(rng.random(len(energy)) < 0.2, 500.0, share),
        "tiny": 1e-6 * share,
    }
    return np.round(kinds[kind], 8)


def draw_requests(rng: np.random.Generator, market_date: date) -> Iterator[str]:
    """Lines of a file of requests: blocks, offers beyond the limits, hours asked for twice, and broken rows."""
    yield "product,start,duration_hours,required_capacity_mw,offered_price_usd_per_mwh"
    hour = 4
    for _ in range(int(rng.integers(1, 5))):
        product, duration = str(rng.choice(PRODUCTS)), int(rng.choice([1, 1, 2, 4]))
        wanted = float(rng.choice([0.1, 0.5, 0.52, 2.0, 1e5])) if rng.random() < 0.4 else float(rng.uniform(0.5, 3.0))
        offered = (
            float(rng.choice([-151.0, -150.0, 0.0, 1e-6, 250.0, 1000.0, 5000.0]))
            if rng.random() < 0.5
            else float(rng.uniform(5, 200))
        )
        yield f"{product},{market_date}T{hour:02d}:00,{duration},{wanted},{offered}"
        if rng.random() < 0.2:
            yield str(rng.choice([f"{product},{market_date}T{hour:02d}:30,1,1,5", "steam,noon,x,,", f"{product},1"]))
        hour += 0 if rng.random() < 0.1 else duration
        if hour > 19:
            return


def draw_settings(rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Settings by name: engine, contract, and method by chance, and up to four others at or near a bound."""
    for name, chance in (
        ("negotiation.engine=uniform_clearing", 0.4),
        ("negotiation.contract=fixed", 0.4),
        ("negotiation.posted=half_share", 0.1),
        ("optimiser.method=column_generation", 0.3),
        ("payments.rule=owen", 0.15),
        ("fleet.carry_over=true", 0.08),
        ("opportunities.sizing=fraction", 0.3),
        ("opportunities.sizing=fixed_mw", 0.1),
        ("opportunities.deal_days=7", 0.1),
        ("fleet.quarantine_limit_fraction=1", 0.9),
    ):
        if rng.random() < chance:
            yield tuple(name.split("="))  # type: ignore[misc]
    yield "forecast.price", str(rng.choice(["seven_day_mean", "yesterday"]))
    if rng.random() < 0.2:
        yield "risk.scenarios", str(rng.choice([2, 5, 20]))
        yield "risk.history_days", str(rng.choice([8, 12]))
        yield "risk.aversion", str(rng.choice([0.0, 1e-9, 0.5, 1.0]))
        yield "risk.tail_fraction", str(rng.choice([1e-9, 0.1, 1.0]))
    names = list(bounded_settings())
    for place in rng.permutation(len(names))[: int(rng.choice([0, 1, 2, 4]))]:
        name, values = names[place]
        yield name, str(values[int(rng.integers(len(values)))])


def bounded_settings() -> Iterator[tuple[str, list[Any]]]:
    """Every setting that a run may set and that has bounds or choices, with values at and near them."""
    for group, of_group in Settings.model_fields.items():
        for name, field in type(of_group.default).model_fields.items():
            full = f"{group}.{name}"
            values = _edges(field)
            if values and not full.startswith(LEFT_OUT) and not full.endswith("_share") and full not in SLOW:
                yield full, values


def _edges(field: FieldInfo) -> list[Any]:
    """Values of a setting at and near its bounds, or its choices; none for texts and paths."""
    kinds = [field.annotation, *get_args(field.annotation)]
    if field.annotation is bool:
        return ["true", "false"]
    if get_origin(field.annotation) is Literal:
        return [choice for choice in get_args(field.annotation) if choice != "llm"]
    if float not in kinds and int not in kinds:
        return []
    bounds = ("ge", "gt", "le", "lt")
    rules = {name: getattr(rule, name) for rule in field.metadata for name in bounds if hasattr(rule, name)}
    usual = field.default if field.default is not None else 10
    step = 1e-9 if float in kinds else 1
    low = [rules["ge"], rules["ge"] + step] if "ge" in rules else [rules["gt"] + step] if "gt" in rules else []
    high = [rules["le"]] if "le" in rules else [rules["lt"] - 1e-9] if "lt" in rules else []
    if not high:
        high = [type(usual)(usual * UNBOUNDED)]
    return [*low, *high]
