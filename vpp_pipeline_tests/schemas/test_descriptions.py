"""Every table and column is described by a sentence that stands by itself."""

from __future__ import annotations

import duckdb
import pytest

from vpp_pipeline.schemas import TABLES, sentence
from vpp_pipeline.warehouse.tables import create_tables, create_views

FEWEST_WORDS = 4


@pytest.fixture(scope="module")
def descriptions() -> dict[str, str]:
    """Table, view, or column -> description, as DuckDB shows it."""
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        create_views(connection)
        rows = connection.execute(
            "select table_name, table_comment from explain.catalogue union "
            "select table_name || '.' || column_name, description from explain.catalogue"
        ).fetchall()
    return dict(rows)


def test_every_description_is_a_sentence(descriptions: dict[str, str]):
    bad = {
        name: words
        for name, words in descriptions.items()
        if len(words.split()) < FEWEST_WORDS or not words[0].isupper() or not words.endswith(".")
    }
    assert bad == {}
    assert len(descriptions) > 500


def test_every_column_that_may_be_null_says_when():
    silent = [
        f"{table}.{name}"
        for table, schema in TABLES.items()
        for name, column in schema.columns().items()
        if column.nullable and "null" not in (column.description or "")
    ]
    assert silent == []


def test_no_description_of_a_table_is_its_name():
    assert all(len(sentence(schema).split()) >= FEWEST_WORDS for schema in TABLES.values())
