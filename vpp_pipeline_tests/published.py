"""A solved day as runs leave it: its tables in a lake, with the settings that made them, and published."""

from __future__ import annotations

from pathlib import Path

from vpp_pipeline.domain.verification import checks_table
from vpp_pipeline.warehouse.day import BY_SLOT
from vpp_pipeline.warehouse.lake import Lake
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline_tests.conftest import SolvedDay


def published(day: SolvedDay, data: Path) -> Path:
    """Write and publish the day below ``data``, which is returned."""
    market_date = day.tables["market.opportunities"]["market_date"][0]
    lake, key = Lake(data / "lake"), market_date.isoformat()
    for table, frame in day.tables.items():
        if table not in (*BY_SLOT, "market.prices"):
            lake.write(table, key, frame)
    lake.write("bids.final_bids", key, day.tables["bids.final_bids"], {"settings": day.settings.model_dump_json()})
    lake.write("bids.checks", key, checks_table(day.tables, day.settings))
    slots = dict(day.tables["market.opportunities"].select("opportunity_id", "slot").iter_rows())
    for table, source in BY_SLOT.items():
        for (name,), rows in day.tables[table].group_by("opportunity_id"):
            lake.write(source, f"{key}|{slots[name]}", rows)
    publish(lake, data / "vpp.duckdb", market_date)
    return data
