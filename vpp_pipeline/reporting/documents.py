"""A day's results as files: JSON documents in the form of the original project, statements of owners, and tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.display import FORMULA, markdown, usd
from vpp_pipeline.core.errors import InputError, did_you_mean
from vpp_pipeline.core.tables import optional_table
from vpp_pipeline.negotiation.agreements import options, weighted_satisfaction
from vpp_pipeline.schemas.documents import (
    AggregatorOffer,
    CoalitionMember,
    CurvePoint,
    CycleResult,
    FinalBid,
    NegotiationResult,
    OptimizationResult,
    ProsumerBid,
    ProsumerResponse,
    StorageBid,
)
from vpp_pipeline.warehouse.day import no_bids
from vpp_pipeline.warehouse.tables import open_warehouse, quoted

#: kind of an exported file -> how DuckDB writes it
FORMATS = {"csv": "format csv, header", "json": "format json, array", "parquet": "format parquet, compression zstd"}
OASIS = "bids.oasis"
KINDS = ("ask", "offer", "accept", "reject", "withdraw")


def documents_of(day: Mapping[str, pl.DataFrame]) -> Iterator[CycleResult]:
    """One document per opportunity, in the order of their ids."""
    held = options(day["negotiation.agreements"])
    agreements = _by("opportunity_id", held)
    payments = _by("opportunity_id", day["dispatch.payments"])
    limits, segments = optional_table(day, "dispatch.storage_limits"), day["bids.bid_segments"]
    self_scheduled = {} if limits is None else _self_scheduled(limits)
    curves = _by("bid_id", segments) if self_scheduled else {}
    summary = day["negotiation.summary"].select(
        "opportunity_id", "rounds", negotiated="status", negotiation_reason="reason"
    )
    for bid in day["bids.final_bids"].join(summary, on="opportunity_id").sort("opportunity_id").iter_rows(named=True):
        name = bid["opportunity_id"]
        members = agreements.get((name,), held.clear()).sort("rank")
        delivered = payments.get((name,), day["dispatch.payments"].clear())
        sun_mw = self_scheduled.get((bid["resource_id"], bid["start_utc"]))
        final: FinalBid | StorageBid | None = None
        if bid["status"] == "bid":
            curve = curves.get((bid["bid_id"],), segments.clear())
            final = FinalBid(**_bid_fields(bid)) if sun_mw is None else _storage_bid(bid, sun_mw, curve)
        yield CycleResult(
            opportunity_id=name,
            created=bid["created_utc"],
            negotiation=_negotiation(bid, members),
            optimization=_optimization(bid, delivered),
            final_bid=final,
            reason=bid["reason"],
        )


def transcript_of(messages: pl.DataFrame) -> Iterator[ProsumerBid | AggregatorOffer | ProsumerResponse]:
    """Rows of `negotiation.messages` as messages, in the order in which they were sent."""
    order = pl.col("kind").replace_strict({kind: place for place, kind in enumerate(KINDS)}, return_dtype=pl.Int32)
    for row in messages.sort("opportunity_id", "prosumer_id", "round", order).iter_rows(named=True):
        key = {name: row[name] for name in ("opportunity_id", "prosumer_id", "round")}
        if row["kind"] == "ask":
            yield ProsumerBid(
                **key, available_capacity_kw=row["capacity_kw"], minimum_price_per_mwh=row["price_usd_per_mwh"]
            )
        elif row["kind"] == "offer":
            yield AggregatorOffer(
                **key, requested_capacity_kw=row["capacity_kw"], offered_price_per_mwh=row["price_usd_per_mwh"]
            )
        else:
            yield ProsumerResponse(
                **key, answer=row["kind"], price_per_mwh=row["price_usd_per_mwh"], reason=row["reason"]
            )


def _by(column: str, frame: pl.DataFrame) -> dict[tuple[object, ...], pl.DataFrame]:
    return frame.partition_by(column, as_dict=True)


def _self_scheduled(limits: pl.DataFrame) -> dict[tuple[object, ...], float]:
    """MW by storage resource and start of the hour."""
    rows = limits.select("resource_id", "start_utc", "self_schedule_mw").iter_rows()
    return {(name, start): mw for name, start, mw in rows}


def _negotiation(bid: dict[str, Any], members: pl.DataFrame) -> NegotiationResult:
    """Satisfaction is weighted by commitment; the price is the bid's, where there is one."""
    return NegotiationResult(
        success=bid["negotiated"] != "no_bid",
        coalition_members=[
            CoalitionMember(
                prosumer_id=row["prosumer_id"],
                committed_capacity_kw=row["committed_capacity_kw"],
                agreed_price_per_mwh=row["agreed_price_usd_per_mwh"],
                floor_price_per_mwh=row.get("floor_price_usd_per_mwh"),
                cap_price_per_mwh=row.get("cap_price_usd_per_mwh"),
                satisfaction_score=row["expected_satisfaction_score"],
            )
            for row in members.iter_rows(named=True)
        ],
        total_capacity_mw=float(members["committed_capacity_kw"].sum()) / 1000.0,
        negotiation_rounds=bid["rounds"],
        final_bid_price=bid["bid_price_usd_per_mwh"],
        prosumer_satisfaction_avg=weighted_satisfaction(
            members["expected_satisfaction_score"].to_numpy(), members["committed_capacity_kw"].to_numpy()
        ),
        reason=str(bid["negotiation_reason"]),
    )


def _optimization(bid: dict[str, Any], delivered: pl.DataFrame) -> OptimizationResult:
    return OptimizationResult(
        success=bid["status"] == "bid",
        total_bid_capacity_mw=bid["total_capacity_mw"],
        optimal_bid_price_mwh=bid["bid_price_usd_per_mwh"],
        expected_profit=bid["expected_profit_usd"],
        dispatch_schedule=dict(zip(delivered["prosumer_id"], delivered["dispatched_kw"], strict=True)),
        prosumer_payments=dict(zip(delivered["prosumer_id"], delivered["payment_usd"], strict=True)),
    )


def _bid_fields(bid: dict[str, Any]) -> dict[str, Any]:
    return {
        "bid_id": bid["bid_id"],
        "opportunity_id": bid["opportunity_id"],
        "total_capacity_mw": bid["total_capacity_mw"],
        "bid_price_mwh": bid["bid_price_usd_per_mwh"],
        "expected_profit": bid["expected_profit_usd"],
        "profit_margin": bid["profit_margin_fraction"],
        "reliability_score": bid["reliability_score"],
        "coalition_size": bid["coalition_size"],
    }


def _storage_bid(bid: dict[str, Any], self_scheduled_mw: float, segments: pl.DataFrame) -> StorageBid:
    rows = segments.sort("segment").iter_rows(named=True)
    return StorageBid(
        **_bid_fields(bid),
        expected_mw=bid["expected_mw"],
        self_scheduled_mw=round(self_scheduled_mw, 9) if bid["product"] == "energy" else 0.0,
        curve=[
            CurvePoint(from_mw=row["from_mw"], to_mw=row["to_mw"], price_mwh=row["price_usd_per_mwh"]) for row in rows
        ],
    )


def statement_of(rows: pl.DataFrame, prosumer_id: str) -> str:
    """One owner's statement as Markdown, from ``rows`` of the view `explain.statement`: what it was paid, and why."""
    mine = rows.filter(pl.col("prosumer_id") == prosumer_id).sort("market_date", "start_utc", "product")
    days = mine["market_date"].unique().sort()
    span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    total_usd, above_usd = float(mine["payment_usd"].sum()), float(mine["above_least_usd"].sum())
    lines = [
        f"# Statement of {markdown(prosumer_id)}, {span}",
        "",
        f"Paid {usd(total_usd)} for {mine.height} deliveries, {usd(above_usd)} above your reservation prices.",
        "",
        "| hour (Pacific) | product | kWh | paid per MWh | payment | why |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in mine.iter_rows(named=True):
        hour = row["start_utc"].astimezone(PACIFIC)
        cells = f"{row['delivered_kwh']:.2f} | {usd(row['paid_price_usd_per_mwh'])} | {usd(row['payment_usd'], 4)}"
        lines.append(f"| {hour:%Y-%m-%d %H:%M} | {row['product']} | {cells} | {markdown(row['why'])} |")
    return "\n".join(lines) + "\n"


def write_documents(day: Mapping[str, pl.DataFrame], folder: Path) -> int:
    """Write one ``<opportunity_id>.json`` per opportunity into ``folder``, each replaced whole; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for document in documents_of(day):
        target = folder / f"{document.opportunity_id}.json"
        draft = target.with_suffix(".json.draft")
        draft.write_text(document.model_dump_json(indent=2) + "\n", encoding="utf-8")
        os.replace(draft, target)
        count += 1
    return count


def export_table(warehouse: Path, market_date: date, table: str, kind: str, file: Path, *, is_raw: bool = False) -> int:
    """Write the day's rows of ``table``, or all rows where it has no market day; returns how many.

    ``kind``: a key of FORMATS. The old file stays until the new one is whole. ``is_raw``: in CSV, text that a
    spreadsheet would calculate stays as it is.
    """
    with open_warehouse(warehouse) as connection:
        known = connection.execute(
            """
            select schema_name || '.' || table_name, count(*) filter (column_name = 'market_date') > 0
            from duckdb_columns() where database_name = 'vpp' and not internal group by all
            """
        ).fetchall()
        has_day = dict(known)
        if table not in has_day:
            close = did_you_mean(table, has_day)
            raise InputError(
                f"no such table or view in the warehouse{close}",
                value=None if close else table,
                remedy=f"It has {', '.join(sorted(has_day))}",
            )
        if not connection.execute(
            "select 1 from bids.final_bids where market_date = $1 limit 1", [market_date]
        ).fetchall():
            raise no_bids(warehouse, market_date)
        rows = f"from {quoted(table)}" + (f" where market_date = date '{market_date}'" if has_day[table] else "")
        draft = file.with_name(f".{file.name}.draft")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            path = str(draft).replace("'", "''")
            columns = "* exclude (market_date)" if table == OASIS else "*"  # OASIS has no such column
            if kind == "csv" and not is_raw:
                columns += _as_text(connection, table)
            (count,) = connection.execute(f"copy (select {columns} {rows}) to '{path}' ({FORMATS[kind]})").fetchall()[0]
            os.replace(draft, file)
        except (OSError, duckdb.IOException) as error:
            with suppress(OSError):
                draft.unlink()
            raise InputError(
                f"the file cannot be written: {error}", file=file, remedy="Name another with --out"
            ) from None
    return int(count)


def _as_text(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """The part of a select that puts a ' before text that a spreadsheet would calculate."""
    described = connection.execute(f"describe {quoted(table)}").fetchall()
    texts = [f'"{name}"' for name, data_type, *_ in described if data_type == "VARCHAR"]
    cells = [f"regexp_replace({name}, '{FORMULA}', '''\\0') as {name}" for name in texts]
    return f" replace ({', '.join(cells)})" if cells else ""
