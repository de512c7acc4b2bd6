"""Every question of docs/queries.sql and of the README, asked of a published day."""

import re
from pathlib import Path

import duckdb
import pytest

from vpp_pipeline.settings import ResourceSettings, Settings
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.published import STORAGE, published

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    (ROOT / "docs" / "queries.sql").read_text(),
    *re.findall(r"```sql\n(.+?)```", (ROOT / "README.md").read_text(), re.S),
]
QUESTIONS = [question.strip() for page in PAGES for question in page.split(";") if "select" in question]


@pytest.fixture(scope="module")
def warehouse(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day that the README makes, written to a lake and published."""
    as_by_default = Settings(resources=ResourceSettings(participation="storage"))
    return published(solved_day(settings=as_by_default), tmp_path_factory.mktemp("published"), runs=2) / "vpp.duckdb"


@pytest.fixture(scope="module")
def of_storage(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day whose one resource takes part as storage."""
    day = solved_day(settings=STORAGE, requests=())
    return published(day, tmp_path_factory.mktemp("storage"), is_settled=False) / "vpp.duckdb"


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.splitlines()[0][:60] for question in QUESTIONS])
def test_the_question_has_an_answer(request: pytest.FixtureRequest, question: str):
    warehouse = request.getfixturevalue("of_storage" if "storage resource" in question else "warehouse")
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert len(connection.execute(question).fetchall()) > 0


def test_one_prosumers_negotiation_reads_from_first_ask_to_last_word(warehouse: Path):
    question = next(question for question in QUESTIONS if "word by word" in question)
    with open_warehouse(warehouse) as connection:
        spoken = connection.execute(question).fetchall()
    assert spoken[0][:3] == (1, "prosumer", "ask")
    assert spoken[-1][2] in ("accept", "reject", "withdraw")
