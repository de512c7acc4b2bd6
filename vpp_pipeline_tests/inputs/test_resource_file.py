"""The resources of a day: the desk's single one, the example's, and each entry of a file that cannot be used."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.inputs.resource_file import COLUMNS, check_settings, resources_of_day
from vpp_pipeline.schemas import Resources
from vpp_pipeline.settings import ResourceSettings, Settings, read_settings
from vpp_pipeline_tests.examples import DAY

NODE = "TH_SP15_GEN-APND"
EXAMPLE = project_folder() / "data" / "example_resources.csv"
HEADER = ",".join(COLUMNS)
GOOD = "north,SC1,hourly,SLAP_1,,-4,4,1.5,1.5"


def read(tmp_path: Path, *lines: str) -> pl.DataFrame:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return resources_of_day(ResourceSettings(path=path), DAY, NODE)


def test_without_a_file_one_resource_holds_the_fleet_and_its_certification_is_assumed():
    (row,) = resources_of_day(ResourceSettings(), DAY, NODE).iter_rows(named=True)
    assert (row["resource_id"], row["node"], row["source"]) == ("vpp", NODE, "settings")
    assert row["participation"] == "storage"
    assert (row["certified_spin_mw"], row["certified_nonspin_mw"], row["maximum_mw"]) == (None, None, None)
    stated = ResourceSettings(certified_spin_mw=0.0, certified_nonspin_mw=2.5)
    (row,) = resources_of_day(stated, DAY, NODE).iter_rows(named=True)
    assert (row["certified_spin_mw"], row["certified_nonspin_mw"]) == (0.0, 2.5)


def test_the_example_shows_every_column():
    rows = resources_of_day(ResourceSettings(path=EXAMPLE), DAY, NODE)
    assert rows.columns == Resources.column_names()
    assert rows["resource_id"].to_list() == ["demand", "north", "south"]
    assert rows["participation"].to_list() == ["proxy_demand", "hourly", "hourly"]
    assert rows["node"].unique().to_list() == [NODE]
    assert rows["source"].unique().to_list() == ["example_resources.csv"]


def test_what_a_file_leaves_out_is_not_certified(tmp_path: Path):
    (row,) = read(tmp_path, "maximum_mw,resource_id,participation", "4,north,hourly").iter_rows(named=True)
    assert (row["certified_spin_mw"], row["certified_nonspin_mw"], row["minimum_mw"]) == (0.0, 0.0, 0.0)
    assert (row["sub_lap"], row["scheduling_coordinator_id"]) == (None, None)


def test_comments_blank_lines_and_a_byte_order_mark_do_not_count(tmp_path: Path):
    rows = read(tmp_path, "\ufeff# mine", HEADER, "", '"# a, b"', GOOD)
    assert rows["resource_id"].to_list() == ["north"]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("nor th,SC1,hourly,,,-4,4,0,0", "resource_id", "letters"),
        (",SC1,hourly,,,-4,4,0,0", "resource_id", "letters"),
        ("north,S C,hourly,,,-4,4,0,0", "scheduling_coordinator_id", "letters"),
        ("north,SC1,hourly,a b,,-4,4,0,0", "sub_lap", "letters"),
        ("north,SC1,daily,,,-4,4,0,0", "participation", "Write storage, hourly, proxy_demand or none"),
        ("north,SC1,,,,-4,4,0,0", "participation", "Write storage, hourly"),
        ("north,SC1,hourly,,OTHER,-4,4,0,0", "node", NODE),
        ("north,SC1,hourly,,,-4,,0,0", "maximum_mw", "above 0"),
        ("north,SC1,hourly,,,-4,4 MW,0,0", "maximum_mw", "number alone"),
        ("north,SC1,hourly,,,-4,inf,0,0", "maximum_mw", "number alone"),
        ("north,SC1,hourly,,,nan,4,0,0", "minimum_mw", "number alone"),
        ("north,SC1,hourly,,,1,4,0,0", "minimum_mw", "below it"),
        ("north,SC1,hourly,,,-4,4,-1,0", "certified_spin_mw", "from 0 to maximum_mw"),
        ("north,SC1,hourly,,,-4,4,0,5", "certified_nonspin_mw", "from 0 to maximum_mw, 4"),
        ("north,SC1,proxy_demand,,,0,4,1,1", "certified_spin_mw", "non-spinning"),
        ("north,SC1,proxy_demand,,,-1,4,0,1", "minimum_mw", "does not charge"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(tmp_path: Path, row: str, column: str, words: str):
    with pytest.raises(InputError) as error:
        read(tmp_path, HEADER, "ok,SC1,hourly,,,-4,4,0,0", row)
    assert all(word in str(error.value) for word in ("mine.csv", "row 3", f"column {column}", "value", words))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "an empty file of resources"),
        ((HEADER,), "holds no resource"),
        ((HEADER, GOOD, GOOD), "the resource is in row 2 already"),
        ((HEADER, "north,SC1"), "2 columns where the header has 9"),
        ((HEADER + ",colour", GOOD + ",red"), "column colour"),
        ((HEADER + ",node", GOOD + ","), "columns come twice"),
        (("resource_id,maximum_mw", "north,4"), "column participation"),
        ((HEADER, GOOD + "x" * 200_000), "number alone"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_as_a_whole(tmp_path: Path, lines: tuple[str, ...], words: str):
    with pytest.raises(InputError, match=words):
        read(tmp_path, *lines)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            resources_of_day(ResourceSettings(path=path), DAY, NODE)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="CSV UTF-8"):
        resources_of_day(ResourceSettings(path=binary), DAY, NODE)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"participation": "weekly"}, "resources.participation"),
        ({"certified_spin_mw": -1}, "resources.certified_spin_mw"),
        ({"path": "mine.csv", "certified_spin_mw": 0}, "states certified_spin_mw itself"),
        ({"path": "mine.csv", "participation": "none"}, "states participation itself"),
    ],
)
def test_settings_that_contradict_are_refused(chosen: dict[str, object], words: str):
    with pytest.raises(InputError, match=words):
        read_settings({"resources": chosen})
    stored = read_settings({"resources": {"path": "mine.csv"}}).model_dump_json()
    assert read_settings({"resources": {"path": "mine.csv"}}).model_validate_json(stored)  # with every default in it


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [("risk", "scenarios", 4), ("payments", "rule", "owen"), ("model_use", "formulation", True)],
)
def test_what_is_solved_for_hourly_bids_alone_names_the_setting_that_works(group: str, name: str, value: object):
    asked = {group: {name: value}}
    rows = resources_of_day(ResourceSettings(), DAY, NODE)
    with pytest.raises(
        InputError, match=rf"storage .* {group}.{name}.*--set resources.participation=hourly\)"
    ) as found:
        check_settings(rows, read_settings(asked))
    assert "without --resources" not in str(found.value)
    hourly = read_settings({**asked, "resources": {"participation": "hourly"}})
    check_settings(resources_of_day(hourly.resources, DAY, NODE), hourly)
    check_settings(rows, Settings())
    of_file = read_settings({**asked, "resources": {"path": str(EXAMPLE)}})
    with pytest.raises(InputError, match=r"3 resources .*--set resources.participation=hourly, without --resources"):
        check_settings(resources_of_day(of_file.resources, DAY, NODE), of_file)


def test_a_day_that_was_published_when_hourly_was_the_default_is_read_beside_its_file():
    now = read_settings({"resources": {"path": "mine.csv"}})
    then = now.model_dump_json().replace('"participation":"storage"', '"participation":"hourly"')
    assert then != now.model_dump_json()
    assert Settings.as_published(then) == now
    with pytest.raises(ValueError, match="states participation itself"):
        Settings.model_validate_json(then)
    hourly = read_settings({"resources": {"participation": "hourly"}})
    assert Settings.as_published(hourly.model_dump_json()) == hourly != Settings()


def test_the_same_settings_hour_by_hour_leave_a_file_and_other_participation_alone():
    for resources in ({"path": "mine.csv"}, {"participation": "none"}, {"participation": "hourly"}):
        settings = read_settings({"resources": resources})
        assert settings.hour_by_hour() == settings
    assert Settings().hour_by_hour() == read_settings({"resources": {"participation": "hourly"}})
