"""The data dictionary is that of the code."""

from pathlib import Path

from vpp_pipeline.schemas import TABLES
from vpp_pipeline.warehouse.tables import data_dictionary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data_dictionary.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == data_dictionary(), "python -m vpp_pipeline dictionary writes it again"


def test_every_table_and_column_is_there():
    page = data_dictionary()
    for table, schema in TABLES.items():
        assert f"### `{table}`\n" in page
        assert all(f"| `{name}` |" in page for name in schema.column_names())
