"""Every question of docs/queries.sql, asked of a published day."""

from pathlib import Path

import duckdb
import pytest

from vpp_pipeline.domain.verification import checks_table
from vpp_pipeline.warehouse.day import BY_SLOT
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.publish import open_warehouse, publish
from vpp_pipeline_tests.conftest import DAY, SolvedDay

PAGE = Path(__file__).resolve().parents[1] / "docs" / "queries.sql"
QUESTIONS = [question.strip() for question in PAGE.read_text().split(";") if "select" in question]


@pytest.fixture(scope="module")
def warehouse(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default day, written to a lake and published."""
    day: SolvedDay = solved_day()
    folder = tmp_path_factory.mktemp("published")
    lake, key = Lake(folder / "lake"), DAY.isoformat()
    for table, frame in day.tables.items():
        if table not in (*BY_SLOT, "market.prices"):
            lake.write(table, key, frame)
    lake.write("bids.checks", key, checks_table(day.tables, day.settings))
    slots = dict(day.tables["market.opportunities"].select("opportunity_id", "slot").iter_rows())
    for table, source in BY_SLOT.items():
        for (name,), rows in day.tables[table].group_by("opportunity_id"):
            lake.write(source, f"{key}|{slots[name]}", rows)
    publish(lake, folder / "vpp.duckdb", DAY)
    return folder / "vpp.duckdb"


@pytest.mark.parametrize("question", QUESTIONS, ids=[question.splitlines()[0][:60] for question in QUESTIONS])
def test_the_question_has_an_answer(warehouse: Path, question: str):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert len(connection.execute(question).fetchall()) > 0


def test_one_prosumers_negotiation_reads_from_first_ask_to_last_word(warehouse: Path):
    question = next(question for question in QUESTIONS if "word by word" in question)
    with open_warehouse(warehouse) as connection:
        spoken = connection.execute(question).fetchall()
    assert spoken[0][:3] == (1, "prosumer", "ask")
    assert spoken[-1][2] in ("accept", "reject", "withdraw")
