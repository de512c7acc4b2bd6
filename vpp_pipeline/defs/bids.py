"""Final bids, verified before they are published, and the warehouse that serves them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

import dagster as dg
import polars as pl

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.bidding.run_history import REQUESTS, Launch, requests_among, run_tables
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import desk_address
from vpp_pipeline.core.provenance import code_version, fingerprint_of, hashes_of
from vpp_pipeline.day_parts import InParts, in_hand, made, results_of_parts
from vpp_pipeline.defs.asset_factory import DAYS, market_date_of, table_asset, table_outs
from vpp_pipeline.defs.dispatch import INFEASIBLE, SOLVE_INPUTS, SOLVED
from vpp_pipeline.defs.evaluation import SETTLED, settles
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import figures_of, figures_of_file, tables_of_file
from vpp_pipeline.defs.resources import HASHES, SETTINGS, Desk, Storage
from vpp_pipeline.defs.run_inputs import BIDS_JOB, results_so_far
from vpp_pipeline.defs.sensors import LOCK_TAG
from vpp_pipeline.pipeline import form, verify
from vpp_pipeline.reporting.asset_pages.bids import day_at_a_glance
from vpp_pipeline.reporting.page import page_of_day, write_report
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.registry import GUARDS
from vpp_pipeline.warehouse.day import LakeDay, parts_in, published_day
from vpp_pipeline.warehouse.publish import publish, publish_settlement

BIDS = {
    "final_bids": "bids.final_bids",
    "bid_segments": "bids.bid_segments",
    "reconciliation": "dispatch.reconciliation",
    "checks": "bids.checks",
}
DISPATCH = [table for table in SOLVED.values() if table != INFEASIBLE] + ["dispatch.payments"]
SET_ASIDE = ["market.request_quarantine", "fleet.quarantine"]
INPUTS = [
    *SOLVE_INPUTS,
    "market.resources",
    "fleet.notes",
    *SET_ASIDE,
    "negotiation.llm_calls",
    *DISPATCH,
]


def is_scheduled(run: dg.DagsterRun) -> bool:
    """Whether the schedule asked for these bids, so that they must be ready before the market closes."""
    return run.job_name == BIDS_JOB and "dagster/schedule_name" in run.tags


def launch_of(instance: dg.DagsterInstance, run_id: str) -> Launch:
    """How the run that made the bids was started, as far as this run history tells."""
    record, now = instance.get_run_record_by_id(run_id), datetime.now(UTC)
    if record is None:
        return Launch(now)
    tags = record.dagster_run.tags
    started_by = "schedule" if "dagster/schedule_name" in tags else "command line" if LOCK_TAG in tags else "Dagster"
    begun = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None
    return Launch(now, begun, started_by)


def _hashes_of_inputs(day: LakeDay) -> dict[str, str]:
    """Hashes of what bids are made from, by table."""
    inputs = [table for table in [*SOLVE_INPUTS, "dispatch.starts"] if table != "negotiation.summary"]
    formulation = hashes_of({"formulation": day["dispatch.proof"].select("formulation")})
    return {table: day.hash(table) for table in inputs} | formulation


@dg.multi_asset(
    outs=table_outs(BIDS, {"polars"}), deps=[key_of(table) for table in INPUTS], partitions_def=DAYS, name="formed_bids"
)
def formed_bids(
    context: dg.AssetExecutionContext, desk: Desk, storage: Storage
) -> Iterator[dg.Output[pl.DataFrame | InParts]]:
    """The day's bids with their price curves and money. Verifies everything itself: a broken rule means no bids.

    What a check of this run has found in the very same files is taken as it is.
    """
    settings, day = desk.settings(), storage.figures(market_date_of(context))
    hashes = _hashes_of_inputs(day)
    stamp = Stamp(
        # without how a model is reached; what it said is in the tables
        fingerprint=fingerprint_of(hashes, settings.deciding("llm")),
        code_version=code_version(),
        seed=None if settings.fleet.path else settings.fleet.seed,
        run_id=context.run.run_id,
        created_utc=datetime.now(UTC),
    )
    tables = made(day, settings, partial(form, settings=settings, stamp=stamp))
    formed, known = in_hand(day, tables), results_so_far(day, settings, tables)
    if parts_in(day.kept):
        known |= results_of_parts(formed, settings, [check for check in GUARDS if check.__name__ not in known])
    tables |= verify(formed, settings, is_scheduled=is_scheduled(context.run), known=known)
    formed = in_hand(day, tables)
    final, glance = formed["bids.final_bids"], day_at_a_glance(formed)
    metadata = figures_of("bids.final_bids", final) | {name: glance[name] for name in ("gap_fraction", "violations")}
    metadata[SETTINGS] = dg.MetadataValue.json(settings.model_dump(mode="json"))
    requests = requests_among(day["market.opportunities"])
    metadata[HASHES] = dg.MetadataValue.json(hashes | hashes_of({REQUESTS: requests}))
    yield dg.Output(tables["bids.final_bids"], "final_bids", metadata=metadata)
    for output in ("bid_segments", "reconciliation", "checks"):
        yield dg.Output(tables[BIDS[output]], output)


@table_asset(
    "warehouse.published",
    {"duckdb"},
    metadata={"dagster/column_schema": tables_of_file()},
    deps=[key_of(table) for table in [*INPUTS, *BIDS.values(), INFEASIBLE, *SETTLED.values()]],
)
def published(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> dg.MaterializeResult[None]:
    """The DuckDB file that people query: the day is committed to the lake, and a draft that has it is swapped in whole.

    Bids that an earlier run made are verified once more on the way, by their own settings, in case a table was changed
    by hand since. A run that settles adds its settlement to the published bids, which stay as they are.
    """
    market_date = market_date_of(context)
    run = None if settles(context) else _verified_run(context, desk, storage.day(market_date))
    begun, new = perf_counter(), storage.made(market_date)
    if run is None:
        rows = publish_settlement(storage.lake, storage.warehouse, market_date, new)
    else:
        rows = publish(storage.lake, storage.warehouse, market_date, new, run)
    storage.forget(market_date)
    data = storage.warehouse.parent
    report, desk_url = write_report(data, market_date), desk_address(data)
    glance = day_at_a_glance(published_day(storage.lake, market_date))
    return dg.MaterializeResult(
        metadata={
            **figures_of_file(storage.warehouse, rows, glance, perf_counter() - begun),
            "warehouse": dg.MetadataValue.path(storage.warehouse),
            # a browser follows no link from Dagster's page to a file
            "report": dg.MetadataValue.url(f"{desk_url}/{page_of_day(market_date)}")
            if desk_url
            else dg.MetadataValue.path(report.resolve()),
        }
    )


def _verified_run(context: dg.AssetExecutionContext, desk: Desk, day: LakeDay) -> dict[str, pl.DataFrame]:
    """The history of the run that made the bids. Raises where a rule is broken, or they rest on other inputs than there
    are now, as where something else was made by hand since."""
    bids = day["bids.final_bids"]
    market_date = market_date_of(context)
    metadata = day.kept.metadata("bids.final_bids")
    settings = Settings.as_published(metadata[SETTINGS]) if SETTINGS in metadata else desk.settings()
    hashes, made_by = json.loads(metadata.get(HASHES, "{}")), bids["run_id"][0]
    if made_by != context.run.run_id:
        known = results_of_parts(day, settings, GUARDS) if parts_in(day.kept) else {}
        verify(day, settings, is_scheduled=is_scheduled(context.run), known=known)
        found = _hashes_of_inputs(day)
        others = sorted(table for table in found if hashes.get(table, found[table]) != found[table])
        if others:
            raise InputError(
                f"the bids of {market_date}, of run {made_by}, rest on other tables than there are now: "
                f"{', '.join(others)}",
                remedy=f"Make them again: vpp-pipeline bids --date {market_date}",
            )
    return run_tables(day, settings, hashes, launch_of(context.instance, made_by))
