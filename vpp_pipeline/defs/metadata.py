"""Dagster metadata of a table from its declared page: row count, one sentence, figures, a sparkline, and five rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import dataframely as dy
import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, PRICE_COLUMN
from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.lake import Lake, read_days
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.reporting.asset_pages import PAGES, Line, Page
from vpp_pipeline.reporting.asset_pages.bids import PAGE as PUBLICATION
from vpp_pipeline.reporting.asset_pages.layout import SHARE, amount
from vpp_pipeline.reporting.pictures import sparkline
from vpp_pipeline.schemas import TABLES, Messages, sentence
from vpp_pipeline.schemas.columns import unit_of

LOG = logging.getLogger(__name__)
#: assets that are no tables of their own -> the table that their rows lie in
ROWS_OF = {"negotiation.rounds": "negotiation.messages", "market.price_history": "market.prices"}
#: columns of the main tables -> the columns that they are computed from
LINEAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "market.opportunities": {
        "forecast_price": tuple(f"market.price_forecast.{column}" for column in PRICE_COLUMN.values()),
        "market_price": tuple(f"market.price_forecast.{column}" for column in PRICE_COLUMN.values()),
        "offerable_capacity_mw": ("fleet.availability.max_discharge_kw", "fleet.availability.export_limit_kw"),
    },
    "dispatch.payments": {
        "dispatched_kw": (
            "dispatch.schedule.discharge_kw",
            "dispatch.schedule.solar_sold_kw",
            *(f"dispatch.schedule.{reserve.held_column}" for reserve in CAISO.reserves),
        ),
        "agreed_price_usd_per_mwh": ("negotiation.agreements.agreed_price_usd_per_mwh",),
        "payment_usd": (
            "negotiation.agreements.agreed_price_usd_per_mwh",
            "dispatch.schedule.discharge_kw",
            "dispatch.schedule.solar_sold_kw",
        ),
        "charging_cost_usd": ("dispatch.charging.to_recover_usd", "market.opportunities.forecast_price"),
    },
    "bids.final_bids": {
        "opportunity_id": ("market.opportunities.opportunity_id",),
        "required_capacity_mw": ("market.opportunities.required_capacity_mw",),
        "total_capacity_mw": ("dispatch.positions.quantity_mw",),
        "expected_mw": ("dispatch.positions.expected_mw",),
        "forecast_price": ("market.opportunities.forecast_price",),
        "expected_revenue_usd": ("market.opportunities.forecast_price", "dispatch.positions.expected_mw"),
        "payments_usd": ("dispatch.payments.payment_usd",),
        "charging_cost_usd": ("dispatch.payments.charging_cost_usd",),
        "expected_profit_usd": (
            "market.opportunities.forecast_price",
            "dispatch.positions.expected_mw",
            "dispatch.payments.payment_usd",
            "dispatch.payments.charging_cost_usd",
        ),
        "reliability_score": ("fleet.prosumers.availability_fraction", "dispatch.payments.dispatched_kw"),
        "satisfaction_score": (
            "dispatch.payments.satisfaction_score",
            "negotiation.agreements.committed_capacity_kw",
        ),
    },
    "evaluation.settlement": {
        "bid_id": ("bids.final_bids.bid_id",),
        "bid_mw": ("bids.final_bids.total_capacity_mw",),
        "awarded_mw": ("bids.bid_segments.to_mw", "bids.bid_segments.price_usd_per_mwh"),
        "clearing_price": tuple(f"market.prices.{column}" for column in PRICE_COLUMN.values()),
    },
}
HISTORY_DAYS = 30
LONGEST = 40  # letters of a text in the five rows
INLINE = 1000  # characters: longer Markdown is shown behind a button
ROW_COUNT, SENTENCE, SPARKLINE, ROWS = "dagster/row_count", "in_a_sentence", "sparkline", "five_rows"
LINEAGE_OF_COLUMNS = "dagster/column_lineage"


def figures_of(table: str, frame: pl.DataFrame, history: pl.DataFrame | None = None) -> dict[str, Any]:
    """The metadata of one materialization of ``table``; ``history`` has its rows of this and earlier days."""
    page = PAGES[table]
    shown = _metadata(page, frame, declared(table), line_of(page.line, frame if history is None else history))
    return shown | ({LINEAGE_OF_COLUMNS: lineage_of(table)} if table in LINEAGE else {})


def lineage_of(table: str) -> dg.TableColumnLineage:
    """The *Column lineage* of an asset."""
    placed = {name: [one.rpartition(".") for one in sources] for name, sources in LINEAGE[table].items()}
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(key_of(source), column) for source, _, column in sources]
            for name, sources in placed.items()
        }
    )


def _metadata(page: Page, frame: pl.DataFrame, schema: type[dy.Schema] | None, line: str) -> dict[str, Any]:
    """The parts of a page in the order in which they are read."""
    values = page.values(frame)
    return {
        SENTENCE: page.sentence(frame, values),
        **{name: _plain(value) for name, value in values.items()},
        SPARKLINE: dg.MetadataValue.md(line),
        ROWS: five_rows(page, frame, schema),
        ROW_COUNT: frame.height,
    }


def history_of(lake: Lake, table: str, partition: str, frame: pl.DataFrame) -> pl.DataFrame | None:
    """The published days before ``partition`` of a table that has one row a day, and its ``frame``; None for others."""
    if not PAGES[table].is_daily:
        return None
    days = [day for day in lake.days_of(table) if day < partition][1 - HISTORY_DAYS :]
    try:
        return pl.concat([read_days(lake, table, days), frame], how="diagonal") if days else frame
    except InputError as error:  # of another day: its curve is shorter, and this day goes on
        LOG.warning("%s", error)
        return frame


def line_of(line: Line, frame: pl.DataFrame) -> str:
    """The curve as a Markdown image with its range; Dagster shows an SVG so, and removes one written into the text."""
    points = line.points(frame)
    caption = line.caption(points)
    if not points:
        return caption
    return f"![{caption}](data:image/svg+xml,{quote(sparkline(points, caption), safe='/:=,;.')})\n\n{caption}"


def five_rows(page: Page, frame: pl.DataFrame, schema: type[dy.Schema] | None) -> dg.TableMetadataValue:
    """The rows under short headings; *Show schema* gives the column and description of each."""
    rows = page.rows(frame)

    def unit(name: str) -> str:
        return unit_of(name, schema.columns()[name]) if schema else ""

    columns = [
        dg.TableColumn(head, type=str(rows[name].dtype).split("(")[0], description=_description(name, schema))
        for head, name in page.columns.items()
    ]
    records = [
        dg.TableRecord({head: _cell(row[name], unit(name)) for head, name in page.columns.items()})
        for row in rows.iter_rows(named=True)
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _description(name: str, schema: type[dy.Schema] | None) -> str:
    return f"{name}: {schema.columns()[name].description}" if schema else name


def figures_of_file(file: Path, rows: Mapping[str, int], day: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """The metadata of a publication: rows by table, the key figures of the day, and its duration."""
    descriptions = {table: sentence(TABLES[table]).split("\n")[0] for table in rows}
    frame = pl.DataFrame(
        {"table": list(rows), "rows": list(rows.values()), "description": list(descriptions.values())},
        schema={"table": pl.String, "rows": pl.Int64, "description": pl.String},
    )
    values = {**day, "file_mb": file.stat().st_size / 1e6, "publication_seconds": seconds}
    figures = {**PUBLICATION.figures, **{name: pl.lit(value) for name, value in values.items()}}
    page = replace(PUBLICATION, figures=figures)
    return _metadata(page, frame, None, line_of(page.line, frame)) | {ROW_COUNT: sum(rows.values())}


def tables_of_file() -> dg.TableSchema:
    """The *Columns* panel of the published file: its tables with their descriptions."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(table, type=f"table of {len(schema.columns())} columns", description=sentence(schema))
            for table, schema in TABLES.items()
        ]
    )


def declared(table: str) -> type[dy.Schema]:
    """The declaration of an asset's table, or of the rows that it adds to another."""
    return TABLES.get(ROWS_OF.get(table, table), Messages)


def columns_of(schema: type[dy.Schema]) -> dg.TableSchema:
    """The *Columns* panel of an asset."""
    keys = set(schema.primary_key())
    columns = []
    for name, column in schema.columns().items():
        marks = [unit_of(name, column), "part of the key" if name in keys else ""]
        limits = dg.TableColumnConstraints(nullable=column.nullable, other=[mark for mark in marks if mark])
        columns.append(
            dg.TableColumn(
                name=name, type=str(column.dtype).split("(")[0], description=column.description, constraints=limits
            )
        )
    return dg.TableSchema(columns=columns)


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as Dagster's tables and plots take it."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 6)
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _cell(value: Any, unit: str) -> str | int | float | bool | None:
    """The same, short enough for a narrow cell: four figures, the beginning of a text, the Pacific hour; money reads
    $12.34 whatever it is paid for, and shares 62.7%."""
    if isinstance(value, float) and (unit.startswith("$") or unit == SHARE):
        return amount(value, SHARE if unit == SHARE else "$")
    if isinstance(value, datetime):
        return f"{value.astimezone(PACIFIC):%H:%M}"
    if isinstance(value, float):
        return float(f"{value:.4g}")
    plain = _plain(value)
    if not isinstance(plain, str):
        return plain
    shown = printable(plain)
    return f"{shown[: LONGEST - 1]}…" if len(shown) > LONGEST else shown
