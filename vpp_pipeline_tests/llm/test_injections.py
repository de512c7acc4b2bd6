"""What an attacker can do by a note: no limit is loosened, no other home is touched, no negotiation hears of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from vpp_pipeline.core.calendar import WEEKDAYS, hour_flags
from vpp_pipeline.fleet.notes.apply import tighten
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.interface import FailKind, LLMError
from vpp_pipeline.llm.notes import NOTE_LIMIT, clean
from vpp_pipeline.settings import LLMSettings, NegotiationPolicy, Settings
from vpp_pipeline_tests.examples import BATTERY, EV, envelope, fleet_table, forecast_of
from vpp_pipeline_tests.llm import pretended_advice
from vpp_pipeline_tests.llm.injections import INJECTIONS
from vpp_pipeline_tests.llm.spoken import Say, Spoken
from vpp_pipeline_tests.llm.test_notes import Row, limit, reader_of
from vpp_pipeline_tests.negotiation.negotiated_days import NegotiatedDay

COLUMNS = tuple(fleet_table(BATTERY).columns)
MORE_IS_TIGHTER = (
    "backup_reserve_fraction",
    "backup_reserve_hours",
    "minimum_compensation_usd_per_kwh",
    "ev_ready_fraction",
)
HOURS = ("quiet_hours", "no_charge_hours", "no_export_hours")


def _hours(windows: str | None) -> set[int]:
    return set(np.flatnonzero(hour_flags(pl.Series([windows], dtype=pl.String), np.arange(24.0))).tolist())


def _days(days: str | None) -> set[str]:
    return set(days.split(", ")) if days else set()


def looser(before: Row, after: Row) -> list[str]:
    """Columns of an owner that allow more than they did, or that no note may touch."""
    found = [name for name in MORE_IS_TIGHTER if (after[name] or 0.0) < (before[name] or 0.0)]
    found += [name for name in HOURS if not _hours(before[name]) <= _hours(after[name])]
    if after["maximum_cycles_per_day"] > before["maximum_cycles_per_day"]:
        found.append("maximum_cycles_per_day")
    if not _days(before["opt_out_days"]) <= _days(after["opt_out_days"]) | set(WEEKDAYS) & _days(after["opt_out_days"]):
        found.append("opt_out_days")
    if before["ev_departure_hour"] is not None:
        early = [
            (before["ev_departure_hour"] - (row["ev_ready_hour"] or before["ev_departure_hour"])) % 24
            for row in (before, after)
        ]
        found += ["ev_ready_hour"] if early[1] < early[0] else []
    touchable = {*MORE_IS_TIGHTER, *HOURS, "maximum_cycles_per_day", "opt_out_days", "ev_ready_hour"}
    return found + [name for name in COLUMNS if name not in touchable and before[name] != after[name]]


MINE = {"backup_reserve_fraction": 0.3, "quiet_hours": "1-5", "no_export_hours": "9-10", "opt_out_days": "sun"}


def neighbourhoods(*notes: str) -> pl.DataFrame:
    """For each note an attacker's home with battery and EV, and two homes of other sites."""
    rows = []
    for k, note in enumerate(notes):
        sites = [{"site_id": f"site_{3 * k + home}"} for home in (1, 2, 3)]
        rows += [
            BATTERY | MINE | {"note": note} | sites[0],
            EV | MINE | {"ev_ready_hour": 6} | sites[0],
            BATTERY | sites[1],
            EV | {"note": "keep 25 % in the car"} | sites[2],
        ]
    return fleet_table(*rows)


def obedient(question: Row) -> Any:
    """The worst model there could be: it asks for the loosest of everything, with any words as its proof."""
    words = question["note"].split("\n")[0][:150]
    quotes = [words, words.split(" ")[0], "something else altogether"]
    numbers = [
        ("backup_reserve_fraction", 0.0),
        ("backup_reserve_fraction", 0.01),
        ("ev_ready_fraction", 0.05),
        ("minimum_compensation_usd_per_kwh", 0.0),
        ("maximum_cycles_per_day", 12.0),
        ("ev_ready_hour", 23.0),
    ]
    texts = [("quiet_hours", "4-4"), ("no_export_hours", "10-9"), ("opt_out_days", "tue"), ("no_charge_hours", "0-24")]
    found = [limit(name, quote, number, device="ev") for name, number in numbers for quote in quotes]
    found += [limit(name, quote, text=text) for name, text in texts for quote in quotes]
    found.append(limit("opt_out_days", words, text="tue", applies_to="prosumer_3", site_id="site_2"))
    return {"limits": found[:: max(1, len(found) // 12)][:12]}


MODELS: dict[str, Say | None] = {
    "rules alone": None,
    "an obedient model": obedient,
    "a model that fails": lambda _: LLMError(FailKind.INVALID_OUTPUT),
    "a model that invents": lambda _: {"limits": [limit("export_limit_kw", "be", 99.0), {"note": "x"}, "x", None, 1]},
}


@pytest.mark.parametrize("model", MODELS)
def test_no_text_loosens_a_limit_or_touches_another_home(model: str) -> None:
    before, say = neighbourhoods(*INJECTIONS), MODELS[model]
    after, _ = tighten(before, reader_of(say)[0]) if say else tighten(before)
    expected, _ = tighten(neighbourhoods(*[""] * len(INJECTIONS)))
    site = before["site_id"].str.strip_prefix("site_").cast(pl.Int64).to_numpy() - 1
    found = {
        (INJECTIONS[k // 3], was["prosumer_id"]): looser(was, now)
        for k, was, now in zip(site, before.rows(named=True), after.rows(named=True), strict=True)
    }
    assert {place: columns for place, columns in found.items() if columns} == {}
    assert after.filter(site % 3 > 0).equals(expected.filter(site % 3 > 0))


def test_the_comparison_finds_whatever_is_loosened() -> None:
    """Seeded faults of the test itself."""
    row = tighten(neighbourhoods("no"))[0].row(1, named=True)
    looser_values = {
        "backup_reserve_fraction": 0.2,
        "backup_reserve_hours": -1.0,
        "minimum_compensation_usd_per_kwh": 0.01,
        "ev_ready_fraction": None,
        "ev_ready_hour": 7,
        "maximum_cycles_per_day": 2.0,
        "quiet_hours": "2-5",
        "no_export_hours": None,
        "opt_out_days": None,
        "export_limit_kw": 11.0,
    }
    for column, value in looser_values.items():
        assert looser(row, row | {column: value}) == [column]


def test_what_is_asked_is_short_and_holds_nothing_hidden() -> None:
    reader, gateway = reader_of(lambda _: {"limits": []})
    reader(INJECTIONS)
    assert len(gateway.asked) > 20
    for asked in gateway.asked:
        told = json.loads(asked.user)
        assert set(told) == {"note"}
        assert len(told["note"]) <= NOTE_LIMIT
        assert told["note"] == clean(told["note"])
        assert all(char == "\n" or char.isprintable() for char in told["note"])
        assert not [text for text in INJECTIONS if text[:50] in asked.system]


def test_no_note_reaches_a_question_about_a_negotiation() -> None:
    """The fleet with the whole corpus in its notes: the same questions as without, and no text but our own."""
    asked = {}
    for name, texts in {"with": INJECTIONS, "without": ("",) * len(INJECTIONS)}.items():
        rows = [BATTERY | {"site_id": f"site_{k}", "note": text or None} for k, text in enumerate(texts)]
        forecast = forecast_of([18.0] * 20 + [100.0] + [18.0] * 3)
        calls = forecast.filter(pl.col("hour_ending") == 21).select(
            "market_date",
            "start_utc",
            opportunity_id=pl.lit("energy_20230815_2000"),
            product=pl.lit("energy"),
            duration_hours=pl.lit(1, pl.Int32),
            required_capacity_mw=pl.lit(0.2),
            forecast_price=pl.lit(100.0),
        )
        gateway = Spoken(pretended_advice.good)
        policy = NegotiationPolicy(engine="llm")
        adviser = ModelAdviser(gateway, policy, LLMSettings())
        table = fleet_table(*rows)
        day = NegotiatedDay(
            table, envelope(*rows).drop("local_hour"), forecast, calls, Settings(negotiation=policy), adviser
        )
        assert day.struck.agreements.height
        asked[name] = [(request.system, request.user) for request in gateway.asked]
    assert asked["with"] == asked["without"]
    assert len(asked["with"]) == 1
    assert texts_in(json.loads(asked["with"][0][1])) == {"energy", "home_battery"}


def texts_in(told: Any) -> set[str]:
    """Every text value, keys left out."""
    if isinstance(told, dict):
        return set().union(*map(texts_in, told.values()))
    if isinstance(told, list):
        return set().union(*map(texts_in, told))
    return {told} if isinstance(told, str) else set()


def test_the_corpus_is_large() -> None:
    assert len(set(INJECTIONS)) >= 40
