"""The pages of the project hold together: links, decision records, glossary, release."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from vpp_pipeline.core.provenance import __version__
from vpp_pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
RECORDS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^()\s]+)\)")
ENTRY = re.compile(r"^\*\*(.+?)\*\*: ", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_resolves(page: Path):
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        is_external = re.match(r"[a-z]+:", target)
        if not is_external and (not file.exists() or (anchor and anchor not in anchors(file))):
            broken.append(target)
    assert broken == []


def test_the_readme_is_short_and_its_headings_are_too():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert [heading for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE) if len(heading.split()) > 6] == []


def test_the_index_lists_every_decision_record_as_it_is():
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \| (.+?) \| (.+?) \|$", (RECORDS[0].parent / "README.md").read_text(), re.M
    )
    records = []
    for number, file in enumerate(RECORDS, 1):
        text = file.read_text(encoding="utf-8")
        head = re.match(r"# (\d{4})\. (.+)\n\n- Date: (\d{4}-\d\d-\d\d)\n- Status: ((?:Accepted|Superseded).*)\n", text)
        assert head, f"{file.name} lacks its title, date or status"
        assert head[1] == file.name[:4] == f"{number:04d}"
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        records.append((head[1], file.name, head[2], head[3], head[4]))
    assert rows == records
    assert [date for *_, date, _ in records] == sorted(date for *_, date, _ in records)


def test_glossary_terms_are_sorted_and_unique():
    sections = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("\n## ")[1:]
    terms = [[term.casefold() for term in ENTRY.findall(section)] for section in sections]
    assert all(earlier < later for section in terms for earlier, later in pairwise(section))
    every = [term for section in terms for term in section]
    assert len(every) == len(set(every)) > 50


def test_the_glossary_names_tables_columns_and_settings_that_exist():
    dictionary = (ROOT / "docs" / "data_dictionary.md").read_text(encoding="utf-8")
    groups = {name: set(group.annotation.model_fields) for name, group in Settings.model_fields.items()}
    unknown = []
    for name in re.findall(r"`([a-z_]+\.[a-z_.]+)`", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")):
        first, second, *column = name.split(".")
        is_setting = not column and second in groups.get(first, ())
        table = dictionary.partition(f"### `{first}.{second}`")[2].partition("\n### ")[0]
        if not (is_setting or (table and all(f"`{part}`" in table for part in column))):
            unknown.append(name)
    assert unknown == []


def test_the_release_is_the_same_everywhere():
    released = re.findall(
        r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert released[0][0] == __version__
    assert re.findall(r"^(?:version|date-released): (.+)$", citation, re.MULTILINE) == list(released[0])


def test_the_wheel_is_typed_and_licensed(tmp_path: Path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as files:
        names = files.namelist()
        metadata = files.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "vpp_pipeline/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert f"\nVersion: {__version__}\n" in metadata
    assert f"\nLicense-Expression: {project['license']}\n" in metadata
