"""The gate of `make fuzz-days`: what fails it, that its days reach every bound, and a few days through all of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from vpp_pipeline.settings import Settings, read_settings
from vpp_pipeline_tests.robustness.drawn_days import Case, bounded_settings, draw_case
from vpp_pipeline_tests.robustness.fuzz_days import LIMITS, Arm, Outcome, figures_of, fuzz, run_days

REFUSAL = "error: the fleet file is empty (file fleet.csv). Write a header and one row per prosumer"
GOOD = Outcome(0, status=0, settled=0, bids="a1", count=3, method="exact")
SEED, WITH_BIDS = 1, 3


@pytest.mark.slow  # a whole day in two processes
def test_a_drawn_day_is_made_settled_and_made_again_with_the_same_bids(tmp_path: Path) -> None:
    """By two processes, as `make fuzz-days` does for hundreds of them."""
    figures = fuzz(SEED, [WITH_BIDS], tmp_path)
    assert list(figures.lines())[:2] == ["1 days tried", "1 usable: 1 with bids, 0 with exit status 3"]
    assert figures.failures == {}
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes.jsonl"]


def test_a_day_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    one, other = (draw_case(4, 7, tmp_path / name) for name in ("one", "other"))
    assert one == other == Case.read(tmp_path / "one")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
    assert draw_case(4, 8, tmp_path / "next") != one


@pytest.mark.parametrize(
    ("first", "second", "failures"),
    [
        (GOOD, GOOD, {}),
        (GOOD, replace(GOOD, settled=None, method="column generation"), {}),
        (replace(GOOD, status=3), GOOD, {}),
        (Outcome(0, 2, problem=REFUSAL), Outcome(0, 2, problem=REFUSAL), {}),
        (GOOD, replace(GOOD, bids="b2"), {0: "3 bids by exact and 3 bids by exact"}),
        (Outcome(0, 2, problem=REFUSAL), GOOD, {0: f"0 bids by {REFUSAL} and 3 bids by exact"}),
        (replace(GOOD, broken=["more power than the device has (1)"]), GOOD, {0: "more power than the device has (1)"}),
        (replace(GOOD, settled=1, problem="error: x"), GOOD, {0: "error: x"}),
        (replace(GOOD, status=1), GOOD, {0: "status 1"}),
        (GOOD, Outcome(0, problem="KeyError: 'p'"), {0: "KeyError: 'p'"}),
        (Outcome(0, 2, problem="Traceback\nInputError: x"), GOOD, {0: "Traceback\nInputError: x"}),
    ],
)
def test_the_gate_fails_for_a_day_that_is_lost_broken_or_different(
    first: Outcome, second: Outcome, failures: dict[int, str]
) -> None:
    assert figures_of([{0: first}, {0: second}]).failures == failures


def test_a_process_that_ends_loses_its_day_and_no_other(tmp_path: Path) -> None:
    """The first folder is not there, the second has no prices."""
    case = replace(draw_case(1, 0, tmp_path / "day"), begins_before=False)
    case.write(tmp_path / "day")
    (tmp_path / "day" / "prices.csv").unlink()
    outcomes = list(run_days(Arm("chain", 0, 1), {0: tmp_path / "nothing", 1: tmp_path / "day"}))
    assert [(one.status, one.is_lost) for one in outcomes] == [(-1, True), (2, False)]
    assert outcomes[0].problem == "its process ended with status 1"
    assert outcomes[1].problem.startswith("error: no such file or directory of prices (file prices.csv)")


def test_every_numeric_setting_of_a_run_is_drawn_at_values_that_it_takes() -> None:
    """Alone; two of them may exclude each other, which is refused with both names."""
    drawn = dict(bounded_settings())
    for group, of_group in Settings.model_fields.items():
        for name, field in type(of_group.default).model_fields.items():
            is_number = field.annotation in (int, float)
            is_about_files = group in ("llm", "model_use", "settlement") or name.endswith(
                ("_share", "seed", "prosumers")
            )
            if (
                is_number
                and not is_about_files
                and f"{group}.{name}" not in ("fleet.business_sites", "optimiser.gap_failure_fraction")
            ):
                assert f"{group}.{name}" in drawn or group == "risk", f"{group}.{name}"
    excluded = {"rules.minimum_members", "rules.maximum_commitment_fraction", "rules.required_fraction"}
    excluded |= {"rules.energy_price_cap_usd_per_mwh", "rules.reserve_price_cap_usd_per_mw_h"}
    for full, values in drawn.items():
        group, _, name = full.partition(".")
        for value in values:
            if full not in excluded and not full.endswith(("floor_usd_per_mwh", "floor_usd_per_mw_h")):
                read_settings({group: {name: str(value)}})


@pytest.mark.parametrize(
    ("limit", "table", "changed"),
    [
        (0, "dispatch.schedule", {"stored_kwh": 101.0}),
        (1, "dispatch.schedule", {"spin_kw": 6.0}),
        (2, "dispatch.schedule", {"charge_kw": float("nan")}),
        (3, "dispatch.schedule", {"spin_kw": 4.0}),
        (4, "bids.final_bids", {"bid_price_usd_per_mwh": 251.0}),
        (4, "bids.final_bids", {"coalition_size": 2}),
        (4, "bids.final_bids", {"total_capacity_mw": 0.4}),
    ],
)
def test_each_limit_is_seen_to_be_broken(limit: int, table: str, changed: dict[str, object]) -> None:
    """One prosumer that holds 5 kW of spin ready in one hour, bid as 0.005 MW of three members."""
    key = {"market_date": "2023-08-15", "start_utc": "2023-08-15T12:00"}
    powers = dict.fromkeys(["charge_kw", "discharge_kw", "solar_sold_kw", "nonspin_kw"], 0.0)
    tables = {
        "fleet.availability": key
        | {"prosumer_id": "p", "min_stored_kwh": 0.0, "max_stored_kwh": 100.0}
        | {"max_charge_kw": 5.0, "max_discharge_kw": 5.0},
        "dispatch.schedule": key | {"prosumer_id": "p", "stored_kwh": 50.0, "spin_kw": 5.0} | powers,
        "bids.final_bids": key
        | {"product": "spin", "status": "bid", "duration_hours": 1, "total_capacity_mw": 0.005}
        | {"bid_price_usd_per_mwh": 3.0, "expected_profit_usd": 1.0, "coalition_size": 3},
    }
    given = {"day": "2023-08-15", "tolerance": 2e-4, "members": 3, "energy_mw": 0.1, "reserve_mw": 0.005}
    given |= {"energy_floor": -150.0, "energy_cap": 1000.0, "reserve_floor": 0.0, "reserve_cap": 250.0}
    if changed.get("total_capacity_mw"):
        given["reserve_mw"] = 0.5
    query = list(LIMITS.values())[limit]
    named = {name: value for name, value in given.items() if f"${name}" in query}

    def count(rows: dict[str, dict[str, object]]) -> int:
        with duckdb.connect() as connection:
            for name, row in rows.items():
                connection.sql(f"create schema if not exists {name.split('.')[0]}")
                frame = pl.DataFrame([row]).with_columns(
                    pl.col("market_date").str.to_date(), pl.col("start_utc").str.to_datetime(time_zone="UTC")
                )
                connection.register("frame", frame.to_arrow())
                connection.sql(f"create table {name} as from frame")
            found = connection.execute(f"select count(*) {query}", named).fetchone()
            assert found is not None
            return int(found[0])

    given_up = tables | {table: tables[table] | changed}
    if "total_capacity_mw" not in changed:
        assert count(tables) == 0
    assert count(given_up) == 1


def test_the_command_ends_with_status_1_where_the_gate_fails(tmp_path: Path) -> None:
    """A folder without a day in it loses its day; one whose day is refused passes."""
    (tmp_path / "nothing").mkdir()
    Case(date(2023, 8, 15), {"rules.minimum_members": "0"}).write(tmp_path / "refused")
    command = [sys.executable, "-m", "vpp_pipeline_tests.robustness.fuzz_days", "--by", "chain", "--again"]
    for folder, status, told in (("nothing", 1, "1 lost"), ("refused", 0, "1 refused")):
        done = subprocess.run([*command, str(tmp_path / folder)], capture_output=True, text=True)
        assert told in done.stdout.splitlines()
        assert done.returncode == status
