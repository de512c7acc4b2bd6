"""A column has one unit, whoever tells it."""

from __future__ import annotations

import duckdb

from vpp_pipeline.schemas import TABLES
from vpp_pipeline.schemas.columns import unit_of
from vpp_pipeline.warehouse.tables import create_tables, create_views


def test_dagster_and_the_warehouse_tell_the_same_units():
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        create_views(connection)
        rows = connection.execute("select table_name, column_name, unit from explain.catalogue").fetchall()
    told = {(table, name): unit for table, name, unit in rows if table in TABLES}
    assert told == {
        (table, name): unit_of(name, column)
        for table, schema in TABLES.items()
        for name, column in schema.columns().items()
    }
    assert len(set(told.values())) > 10
