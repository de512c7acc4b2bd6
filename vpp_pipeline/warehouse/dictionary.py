"""The data dictionary: every table and view with columns, units and words, as a page of the documentation."""

from __future__ import annotations

from itertools import groupby

import duckdb

from vpp_pipeline.warehouse.tables import create_tables, create_views

OPENING = """# Data dictionary

Every table and view of the warehouse, `data/vpp.duckdb`. Made by `python -m vpp_pipeline dictionary` from
`vpp_pipeline/schemas` and `vpp_pipeline/sql`; do not edit it. In SQL the same is the view `explain.catalogue`.

The unit ends a column's name. Positive power is export to the grid; moments are UTC. In the negotiation and bid tables,
columns named `…_usd_per_mwh` hold $/MW per hour for spin and nonspin.
"""
HEADS = "| column | type | unit | meaning |\n|---|---|---|---|\n"
QUESTION = """
    select split_part(table_name, '.', 1), table_name, kind, table_comment, column_name, data_type, unit, description
    from explain.catalogue order by split_part(table_name, '.', 1), kind, table_name, position
"""


def data_dictionary() -> str:
    """The page, from a warehouse without rows."""
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        create_views(connection)
        rows = connection.execute(QUESTION).fetchall()
    parts = [OPENING]
    for schema, tables in groupby(rows, key=lambda row: row[0]):
        parts.append(f"\n## {schema}\n")
        for (table, kind, words), columns in groupby(tables, key=lambda row: row[1:4]):
            parts.append(f"\n### `{table}`{' (view)' if kind == 'view' else ''}\n\n{words}\n\n{HEADS}")
            parts += [
                f"| `{name}` | {_type(data_type)} | {unit} | {_cell(description)} |\n"
                for *_, name, data_type, unit, description in columns
            ]
    return "".join(parts)


def _type(data_type: str) -> str:
    return {"TIMESTAMP WITH TIME ZONE": "timestamptz"}.get(data_type, data_type.lower())


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
