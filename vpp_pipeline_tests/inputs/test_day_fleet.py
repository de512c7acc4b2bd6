"""The fleet of a day from file to limits that everyone can keep: who is set aside, and why."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.inputs.day_fleet import DayFleet, fleet_of_day
from vpp_pipeline.settings import FleetSettings, Settings
from vpp_pipeline.verification.inputs import every_note_is_understood
from vpp_pipeline_tests.fleet.fleet_rows import DAY, PLACE, ROWS, Row, spoilt, text_of


def made(folder: Path, rows: list[Row], before: pl.DataFrame | None = None, *, carry_over: bool = False) -> DayFleet:
    path = folder / "fleet.csv"
    path.write_text(text_of(rows), encoding="utf-8")
    return fleet_of_day(FleetSettings(path=path, quarantine_limit_fraction=0.9, carry_over=carry_over), DAY, before)


def aside(fleet: DayFleet) -> dict[str, str]:
    return dict(fleet.quarantine.select("prosumer_id", "problem").iter_rows())


def test_the_example_fleet_takes_part_as_a_whole(tmp_path: Path) -> None:
    fleet = made(tmp_path, ROWS)
    assert (fleet.quarantine.height, fleet.prosumers.height) == (0, 14)


def test_who_cannot_end_the_day_as_owed_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    fleet = made(tmp_path, spoilt("elm_1_ev", max_charge_kw="0.5"))
    assert list(aside(fleet)) == ["elm_1_ev"]
    assert "it must hold 40.0 kWh at the end of the hour from" in aside(fleet)["elm_1_ev"]
    assert fleet.prosumers.height == 13


def test_who_cannot_be_ready_takes_part_and_is_told(tmp_path: Path) -> None:
    fleet = made(tmp_path, spoilt("elm_1_ev", max_charge_kw="3", ev_ready_fraction="1"))
    assert (fleet.quarantine.height, fleet.prosumers.height) == (0, 14)


def test_the_note_of_a_wrong_row_is_not_lost_on_its_site(tmp_path: Path) -> None:
    """`never discharge my car` stands on the battery's row: without that row the car must not be sold either."""
    noted = spoilt("elm_1_battery", capacity_kwh="abc", note="never discharge my car")
    found = aside(made(tmp_path, noted))
    assert set(found) == {"elm_1_battery", "elm_1_ev"}
    assert found["elm_1_ev"] == "the note in row 2 of its site could not be applied"
    assert set(aside(made(tmp_path, spoilt("elm_1_battery", capacity_kwh="abc")))) == {"elm_1_battery"}


def test_hours_of_a_load_that_is_not_there_are_not_pretended(tmp_path: Path) -> None:
    fleet = made(tmp_path, spoilt("elm_1_ev", note="keep 4 hours for outages"))
    (note,) = fleet.notes.filter(prosumer_id="elm_1_ev").rows(named=True)
    assert (note["preference"], note["status"], note["after"]) == ("backup_reserve_hours", "no such device", None)
    alone = {"fleet.notes": fleet.notes.filter(prosumer_id="elm_1_ev")}
    assert "keep 4 hours for outages" in every_note_is_understood(alone, Settings()).description


def test_a_note_that_puts_a_limit_out_of_reach_is_named(tmp_path: Path) -> None:
    fleet = made(tmp_path, spoilt("elm_1_ev", max_charge_kw="2", note="please don't charge the car before 11pm"))
    assert aside(fleet)["elm_1_ev"].startswith("it must hold 40.0 kWh at the end of the hour from")
    assert aside(fleet)["elm_1_ev"].endswith("its owner's note says \"please don't charge the car before 11pm\"")


SIZES = {
    "power in W": ({"max_charge_kw": "5000", "max_discharge_kw": "5000"}, "probably W", "max_charge_kw"),
    "capacity in Wh": ({"capacity_kwh": "13500"}, "probably Wh", "capacity_kwh"),
    "solar in W": ({"solar_size_kw": "6200"}, "probably W", "solar_size_kw"),
    "load in W": ({"mean_load_kw": "900"}, "probably W", "mean_load_kw"),
    "capacity in MWh": ({"capacity_kwh": "0.0135", "initial_stored_kwh": "0", "terminal_stored_kwh": "0"}, "MWh", ""),
    "power in MW": ({"max_charge_kw": "0.005", "max_discharge_kw": "0.005"}, "another unit", "capacity_kwh"),
}


@pytest.mark.parametrize("size", SIZES)
def test_a_size_that_points_to_another_unit_is_set_aside_with_its_likely_unit(tmp_path: Path, size: str) -> None:
    cells, unit, column = SIZES[size]
    fleet = made(tmp_path, spoilt("elm_1_battery", **cells))
    assert set(fleet.quarantine["prosumer_id"]) == {"elm_1_battery"}
    assert fleet.quarantine["problem"].str.contains(unit).any()
    assert fleet.quarantine["column_name"].str.contains(column, literal=True).any()
    assert fleet.quarantine["remedy"].str.contains("fleet.", literal=True).all()


def test_homes_in_watts_are_refused_and_each_bound_is_a_setting(tmp_path: Path) -> None:
    """The case from outside: 13500, 5000 and 7000 instead of 13.5, 5 and 7 were bid as 298.69 MW of reserve."""
    path = tmp_path / "fleet.csv"
    watts = {"capacity_kwh": "13500", "max_charge_kw": "5000", "max_discharge_kw": "5000", "export_limit_kw": "7000"}
    stored = {"initial_stored_kwh": "6750", "terminal_stored_kwh": "6750"}
    path.write_text(text_of([ROWS[0] | watts | stored]), encoding="utf-8")
    with pytest.raises(InputError, match=r"none of the 1 rows .* more than 500 kWh, which no home has: probably Wh"):
        fleet_of_day(FleetSettings(path=path), DAY)
    raised = FleetSettings(path=path, home_limit_kw=1e4, home_limit_kwh=1e5)
    assert fleet_of_day(raised, DAY).prosumers.height == 1


def ends(fleet: DayFleet, **kwh: float) -> pl.DataFrame:
    """A schedule of the day before that leaves what the fleet states, or what is given."""
    stated = dict(fleet.prosumers.select("prosumer_id", "initial_stored_kwh").iter_rows())
    rows = pl.DataFrame([*(stated | kwh).items()], schema=["prosumer_id", "stored_kwh"], orient="row")
    return rows.with_columns(market_date=pl.lit(DAY - timedelta(days=1)), start_utc=pl.lit(0))


def test_who_carries_less_than_the_file_states_is_set_aside_for_the_day(tmp_path: Path) -> None:
    before = ends(made(tmp_path, ROWS), elm_1_battery=3.0)
    low = [row | {"terminal_stored_kwh": row["initial_stored_kwh"]} for row in ROWS]
    found = aside(made(tmp_path, low, before, carry_over=True))
    assert set(found) == {"elm_1_battery"}
    assert "begins with 3.0 kWh, less than the 6.75 kWh that the fleet states" in found["elm_1_battery"]


def test_everyone_set_aside_is_an_error_that_says_why(tmp_path: Path) -> None:
    owes_nothing = [row | {"terminal_stored_kwh": "0"} for row in ROWS if row["store"] == "battery"]
    with pytest.raises(InputError, match=r"none of the 8 rows of the fleet can take part.*carry_over"):
        made(tmp_path, owes_nothing, carry_over=True)


def in_resources(folder: Path, rows: list[Row], *names: str) -> DayFleet:
    path = folder / "fleet.csv"
    path.write_text(text_of(rows), encoding="utf-8")
    return fleet_of_day(FleetSettings(path=path, quarantine_limit_fraction=0.9), DAY, resources=names)


def test_everyone_belongs_to_the_single_resource_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    assert set(made(tmp_path, ROWS).prosumers["resource_id"]) == {"vpp"}
    assert set(in_resources(tmp_path, ROWS, "north").prosumers["resource_id"]) == {"north"}
    without = [{name: cell for name, cell in row.items() if name != "resource_id"} for row in ROWS]
    assert set(in_resources(tmp_path, without, "north").prosumers["resource_id"]) == {"north"}
    with pytest.raises(InputError, match=r"does not say which resource.*one of north, south"):
        in_resources(tmp_path, without, "north", "south")


def test_who_is_in_no_resource_of_the_day_is_set_aside(tmp_path: Path) -> None:
    rows = [row | {"resource_id": "north"} for row in ROWS]
    rows[PLACE["oak_2_battery"]] |= {"resource_id": "West"}
    rows[PLACE["elm_9_solar"]] |= {"resource_id": ""}
    fleet = in_resources(tmp_path, rows, "north", "south")
    assert aside(fleet) == {
        "oak_2_battery": "no resource of that name takes part on this day",
        "elm_9_solar": "empty",
    }
    (told,) = fleet.quarantine.filter(prosumer_id="oak_2_battery").rows(named=True)
    assert (told["column_name"], told["value"]) == ("resource_id", "West")
    assert "Write one of north, south" in told["remedy"]
    assert set(fleet.prosumers["resource_id"]) == {"north"}


def test_a_site_belongs_to_one_resource(tmp_path: Path) -> None:
    rows = [row | {"resource_id": "north"} for row in ROWS]
    rows[PLACE["elm_1_ev"]] |= {"resource_id": "south"}
    found = aside(in_resources(tmp_path, rows, "north", "south"))
    assert found == dict.fromkeys(("elm_1_battery", "elm_1_ev"), "a site in several resources")
    rows[PLACE["elm_1_ev"]] |= {"resource_id": "West"}  # the other row of the site is right
    assert list(aside(in_resources(tmp_path, rows, "north", "south"))) == ["elm_1_ev"]


def test_the_generator_deals_whole_sites_out_to_all_resources() -> None:
    settings = FleetSettings()
    alone, dealt = fleet_of_day(settings, DAY), fleet_of_day(settings, DAY, resources=("a", "b", "c"))
    assert dealt.prosumers.drop("resource_id").equals(alone.prosumers.drop("resource_id"))
    by_site = dealt.prosumers.group_by("site_id").agg(pl.col("resource_id").n_unique())
    assert set(by_site["resource_id"]) == {1}
    kinds = dealt.prosumers.group_by("resource_id").agg((pl.col("site_type") == "business").sum())
    assert sorted(kinds["site_type"]) == [4, 5, 5]
