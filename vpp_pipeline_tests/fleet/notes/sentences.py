"""Sentences that owners write: those that are understood, those that are refused, and what the page on notes lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from vpp_pipeline.fleet.notes.parser import read_note

RESERVE, HOURS, MONEY = "backup_reserve_fraction", "backup_reserve_hours", "minimum_compensation_usd_per_kwh"
QUIET, NO_CHARGE, OUT, CYCLES = "quiet_hours", "no_charge_hours", "opt_out_days", "maximum_cycles_per_day"
READY, BY = "ev_ready_fraction", "ev_ready_hour"
PAGE = (Path(__file__).parents[3] / "docs" / "notes.md").read_text(encoding="utf-8")
TABLES = [
    [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    for table in re.findall(r"(?:^\|.*\n?)+", PAGE, flags=re.MULTILINE)
]

ISSUE = "keep 40 % for outages, no EV discharge before 7am, not below 12 cents"
UNDERSTOOD: list[tuple[str, list[tuple[str, float | str, str | None]]]] = [
    (ISSUE, [(RESERVE, 0.4, None), (QUIET, "0-7", "ev"), (MONEY, 0.12, None)]),
    ("ALWAYS KEEP AT LEAST 40%!", [(RESERVE, 0.4, None)]),
    ("Please keep 30 % for us, thanks", [(RESERVE, 0.3, None)]),
    ("keep half for outages", [(RESERVE, 0.5, None)]),
    ("Keep forty percent in reserve", [(RESERVE, 0.4, None)]),
    ("always leave 30 % in the battery", [(RESERVE, 0.3, "battery")]),
    ("keep 25 % in the car", [(RESERVE, 0.25, "ev")]),
    ("never discharge the Tesla below 20 %", [(RESERVE, 0.2, "ev")]),
    ("never discharge my Tesla Powerwall below 20 %", [(RESERVE, 0.2, "battery")]),
    ("backup reserve of 35 %", [(RESERVE, 0.35, None)]),
    ("12.5 % reserve, please", [(RESERVE, 0.125, None)]),
    ("no lower than 30 per cent", [(RESERVE, 0.3, None)]),
    ("save 20 % for emergencies", [(RESERVE, 0.2, None)]),
    ("keep enough for 6 hours", [(HOURS, 6.0, None)]),
    ("keep at least 2.5 h of backup", [(HOURS, 2.5, None)]),
    ("reserve four hours for blackouts", [(HOURS, 4.0, None)]),
    ("I want at least 15 cents", [(MONEY, 0.15, None)]),
    ("don't sell below 10 cents per kWh", [(MONEY, 0.10, None)]),
    ("minimum price 8 cents a kWh", [(MONEY, 0.08, None)]),
    ("nothing below $0.05", [(MONEY, 0.05, None)]),
    ("at least 250 USD per MWh", [(MONEY, 0.25, None)]),
    ("not for less than twelve cents", [(MONEY, 0.12, None)]),
    ("no discharge before 7 a.m. Not below 12 cents.", [(QUIET, "0-7", None), (MONEY, 0.12, None)]),
    ("no discharge after 21:30", [(QUIET, "21-24", None)]),
    ("no discharge from 10 to 2 pm", [(QUIET, "10-14", None)]),
    ("no discharge between 9pm and 11pm every day", [(QUIET, "21-23", None)]),
    ("Quiet hours: 21-6", [(QUIET, "21-6", None)]),
    ("quiet 22:30–22:10", [(QUIET, "0-24", None)]),
    ("quiet from 9pm to midnight", [(QUIET, "21-24", None)]),
    ("my battery must never discharge before noon", [(QUIET, "0-12", "battery")]),
    ("no V2G", [(QUIET, "0-24", "ev")]),
    ("don’t charge my EV’s battery from 4 to 9 pm", [(NO_CHARGE, "16-21", "ev")]),
    ("no charging before 9am & no discharge after 10pm", [(NO_CHARGE, "0-9", None), (QUIET, "22-24", None)]),
    ("not on weekends; not below 3 cents", [(OUT, "sat, sun", None), (MONEY, 0.03, None)]),
    ("not on Sat, Sun and Mon", [(OUT, "sat, sun, mon", None)]),
    ("Leave the car out on 1st of January 2024", [(OUT, "2024-01-01", "ev")]),
    ("I'm not available on weekdays", [(OUT, "mon, tue, wed, thu, fri", None)]),
    ("don't sell on Sundays", [(OUT, "sun", None)]),
    ("I need the car fully charged by 7:30", [(READY, 1.0, "ev"), (BY, 7, "ev")]),
    ("Charge my truck to 80% by 6 in the morning", [(READY, 0.8, "ev"), (BY, 6, "ev")]),
    ("car full when I leave", [(READY, 1.0, "ev")]),
    ("max. 2 cycles per day", [(CYCLES, 2.0, None)]),
    ("one full cycle a day at most", [(CYCLES, 1.0, None)]),
    ("never cycle the battery more than twice a day", [(CYCLES, 2.0, "battery")]),
    ("Battery: keep 40 %, max 1 cycle.", [(RESERVE, 0.4, "battery"), (CYCLES, 1.0, "battery")]),
    ("- keep 40 %\n- no weekends", [(RESERVE, 0.4, None), (OUT, "sat, sun", None)]),
]
REFUSED = [
    "perhaps keep 40 %",
    "keep about 40 %",
    "keep 40 % if it is hot",
    "keep 40 % only when I am away",
    "If it is hot, keep 40 %, not below 12 cents",
    "keep 40 %\nif it is hot",
    "keep 40 %, 30 % in summer",
    "keep 40 %, but I may change my mind",
    "no discharge before 7am on Sundays",
    "no discharge before 7am but not on Sundays",
    "In summer:\n- keep 40 %\n- no weekends",
    "My neighbour said: keep 40 %",
    "I don't want to keep 40 %",
    "no need to keep 40 %",
    "keep 0 %",
    "keep 40 % for yourselves",
    "30 % for me",
    "at most 40 % reserve",
    "save 20 %",
    "keep 48 hours for outages",
    "keep 4 hours",
    "not below 12",
    "not below 12 cents per MWh",
    "at least 15 cents daily",
    "at least 15 cents if you must",
    "up to 15 cents",
    "no discharge before 25:00",
    "no discharge after midnight",
    "quiet from 7am to 7am",
    "no discharge in the morning",
    "no EV discharge or battery charging before 7am",
    "don't charge from the grid before 7am",
    "don't discharge more than 60 %",
    "I'm out on Sundays",
    "not next Sunday",
    "not on 24-26 Dec 2023",
    "leave me out at Christmas",
    "battery full by 8am",
    "car full by midnight",
    "car full by 8am on Mondays",
    "car ready by 8am",
    "charge the car up to 80 % by 7am",
    "0 cycles",
    "max 1 cycle per week",
    "call me before you use it",
    "keep " + "40 % " * 500,
]


def limits(text: str) -> list[tuple[str | None, Any, str | None]]:
    return [(reading.preference, reading.value, reading.device) for reading in read_note(text)]


CLAUSES = [text for text, _ in UNDERSTOOD] + REFUSED[:-1] + [row[0] for table in TABLES for row in table]
TEXTS = st.lists(st.sampled_from(CLAUSES), min_size=1, max_size=4).flatmap(
    lambda clauses: st.sampled_from([", ", "; ", ". ", "\n", " and ", " but ", " ", " - "]).map(
        lambda join: join.join(clauses)
    )
) | st.text(max_size=80)
