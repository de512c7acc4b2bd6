"""The file `data/prices.toml`: every wrong word is refused with its place and a remedy, and the docs list every key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.data_settings import ADDRESSES, TABLES, OasisSettings, PriceFile, default_of, read_price_file
from vpp_pipeline.defs.resources import Prices
from vpp_pipeline.market.open_source import PriceFiles, choose_source


@pytest.fixture(autouse=True)
def _no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ADDRESSES.values():
        monkeypatch.delenv(variable, raising=False)


def written(folder: Path, text: str) -> Path:
    file = folder / "prices.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_prices_are_generated_and_copies_lie_beside_it(tmp_path: Path):
    read = read_price_file(tmp_path / "prices.toml")
    assert (read.kind, read.path, read.node, read.meters.path) == (None, None, None, None)
    assert read.oasis.archive == read.weather.archive == tmp_path / "archive"
    assert choose_source(tmp_path / "prices.toml") == (None, None)


def test_paths_are_relative_to_the_file_and_a_runs_archive_goes_before(tmp_path: Path):
    file = written(tmp_path, 'path = "a.csv"\n[meters]\npath = "/m"\n[oasis]\narchive = "o"\n[weather]\narchive = "w"')
    read = read_price_file(file)
    assert (read.path, read.meters.path) == (tmp_path / "a.csv", Path("/m"))
    assert (read.oasis.archive, read.weather.archive) == (tmp_path / "o", tmp_path / "w")
    read = read_price_file(file, archive="/kept")
    assert read.oasis.archive == read.weather.archive == Path("/kept")


def test_addresses_of_the_environment_go_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = written(tmp_path, 'kind = "oasis"\n[oasis]\ninterval_s = 0.5\nurl = "http://localhost:1"')
    monkeypatch.setenv("VPP_OASIS_URL", "http://localhost:2")
    monkeypatch.setenv("VPP_WEATHER_URL", "http://localhost:3")
    read = read_price_file(file)
    assert (read.oasis.url, read.oasis.interval_s, read.weather.url) == (
        "http://localhost:2",
        0.5,
        "http://localhost:3",
    )
    monkeypatch.setenv("VPP_OASIS_URL", "localhost")
    with pytest.raises(InputError, match=r"file environment variable VPP_OASIS_URL, key oasis\.url, value localhost"):
        read_price_file(file)


@pytest.mark.parametrize(
    ("text", "problem", "place", "remedy"),
    [
        ("kind = ", "not TOML: Invalid value", "", 'Write kind = "oasis", or path'),
        ("", "no source of prices", "value nothing", 'Write kind = "oasis", or path'),
        ('node = "N"', "no source of prices", "value node", 'Write kind = "oasis", or path'),
        ("[oasis]\nattempts = 3", "no source of prices", "value oasis", 'Write kind = "oasis", or path'),
        ('kind = "oasys"', "kind cannot be used: it must be 'oasis'", "key kind, value oasys", "Source of prices"),
        ('path = "a"\nnodes = 3', "unknown key or table nodes", "key nodes, value 3", "Did you mean node?"),
        ('path = "a"\n[oasys]\nurl = "x"', "unknown key or table oasys", "key oasys", "Did you mean oasis?"),
        ('path = "a"\noasis = 3', "oasis is a table, written as [oasis]", "key oasis, value 3", "[oasis] may hold url"),
        ('path = "a"\nattempts = 3', "table attempts", "key attempts", "It belongs under [oasis] or [weather]"),
        ('kind = "oasis"\n[oasis]\nnode = "N"', "node under [oasis]", "key oasis.node", "at the head of the file"),
        ('kind = "oasis"\n[oasis]\npatience = 3', "patience under [oasis]", "key oasis.patience", "mean patience_s?"),
        ('kind = "oasis"\n[oasis]\nattempts = 0', "must be 1 or more", "key oasis.attempts, value 0", "6"),
        (
            'kind = "oasis"\n[oasis]\nattempts = "x"',
            "must be a whole number",
            "key oasis.attempts, value x",
            "Default: 6",
        ),
        ('kind = "oasis"\n[oasis]\ninterval_s = 1', "acceptable use policy", "key oasis", "[oasis] may hold"),
        (
            'path = "a"\nsynthetic = true',
            "another source of prices is named",
            "key synthetic, value True",
            "then no other",
        ),
        ('kind = "oasis"\nsynthetic = true', "another source of prices is named", "key synthetic", "then no other"),
        ('synthetic = "perhaps"', "synthetic cannot be used", "key synthetic, value perhaps", "Schedules may bid"),
        ('path = "a"\n[weather]\ntimeout_s = 0', "must be above 0", "key weather.timeout_s, value 0", "Default: 20"),
        ('path = "a"\n[weather]\ngate = "x"', "gate under [weather]", "key weather.gate", "belongs under [oasis]"),
        ('path = "a"\n[meters]\nfile = "x"', "file under [meters]", "key meters.file", "[meters] may hold path"),
        ('path = "a"\n[meters]\npath = 3', "path under [meters]", "key meters.path, value 3", "relative to prices"),
    ],
)
def test_a_wrong_word_is_refused_with_place_and_remedy(
    tmp_path: Path, text: str, problem: str, place: str, remedy: str
):
    file = written(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        read_price_file(file)
    said = str(refusal.value)
    assert [words for words in (problem, f"file {file}", place, remedy) if words not in said] == []


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "prices.toml").write_bytes(b"kind = \xff")
    with pytest.raises(InputError, match=r"not a readable text file: .*utf-8"):
        read_price_file(tmp_path / "prices.toml")
    with pytest.raises(InputError, match=r"not a readable text file: .*directory"):
        read_price_file(tmp_path)


def test_prices_that_are_not_there_are_refused_with_the_file_that_names_them(tmp_path: Path):
    file = written(tmp_path, 'path = "nowhere.csv"')
    with pytest.raises(InputError, match=rf"file {file}, key path, value {tmp_path}/nowhere\.csv\)\. Correct the path"):
        choose_source(file)
    assert choose_source(file, path="/named.csv") == (PriceFiles(Path("/named.csv")), None)
    assert choose_source(file, kind="synthetic") == (None, None)
    assert choose_source(written(tmp_path, "synthetic = true")) == (None, None)
    assert isinstance(choose_source(file, kind="oasis")[0], OasisSettings)


def rows_of(model: type[BaseModel], table: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name in TABLES and not table:
            yield from rows_of(TABLES[name], f"{name}.")
        else:
            default = default_of(field)
            yield f"| `{table}{name}` | {f'`{default}`' if default else ''} | {field.description} |"


def test_the_zone_of_local_time_comes_from_the_run_or_the_file(tmp_path: Path):
    named = written(tmp_path, 'path = "prices.csv"\ntimezone = "America/Denver"\n[meters]\ntimezone = "Etc/GMT+8"')
    (tmp_path / "prices.csv").write_text("", encoding="utf-8")
    resource = Prices(defaults=str(named))
    assert (resource.chosen()[0], resource.meters_time_zone()) == (
        PriceFiles(tmp_path / "prices.csv", "America/Denver"),
        "Etc/GMT+8",
    )
    run = Prices(defaults=str(named), timezone="America/Los_Angeles")
    assert (run.chosen()[0].time_zone, run.meters_time_zone()) == ("America/Los_Angeles", "America/Los_Angeles")
    with pytest.raises(InputError, match="did you mean America/Los_Angeles"):
        Prices(defaults=str(named), timezone="America/LosAngeles").chosen()
    with pytest.raises(InputError, match="no time zone"):
        Prices(defaults=str(named), timezone="Pacific").meters_time_zone()


def test_the_docs_list_every_key_as_the_model_has_it():
    table = "\n".join(["| key | default | meaning |", "|---|---|---|", *rows_of(PriceFile)])
    page = (project_folder() / "docs" / "operations.md").read_text(encoding="utf-8")
    assert table in page, f"docs/operations.md lacks this table:\n{table}"
