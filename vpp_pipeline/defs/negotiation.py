"""Negotiation: one partition per product and hour, and the daily tables that collect them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from vpp_pipeline.core.manifest import File
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.day_parts import Made, over_parts, together, written
from vpp_pipeline.defs.asset_factory import ROUNDS, SAME_DAY, market_date_of, table_asset, version_of
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.metadata import ROW_COUNT, figures_of
from vpp_pipeline.defs.resources import Desk, Storage
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.session import audit_of, open_adviser
from vpp_pipeline.llm.store import calls_in_numbers
from vpp_pipeline.negotiation.negotiate import Adviser
from vpp_pipeline.negotiation.store import AGREEMENTS, MESSAGES
from vpp_pipeline.pipeline import negotiate, negotiate_again
from vpp_pipeline.settings import Settings
from vpp_pipeline.warehouse.day import NEGOTIATED, WORDS, LakeDay, LakeNegotiations, PartDay, parts_in

INPUTS = [
    "market.opportunities",
    "market.price_forecast",
    "fleet.prosumers",
    "fleet.availability",
    "fleet.storage_members",
]
ROUNDS_TABLE = "negotiation.rounds"
ROUNDS_KEY = key_of(ROUNDS_TABLE)
#: tags by which Dagster tells whether a materialisation is up to date: own versions, and those of each input
DATA_VERSION_TAG, CODE_VERSION_TAG = "dagster/data_version", "dagster/code_version"
DATA_VERSION_OF, EVENT_OF = "dagster/input_data_version", "dagster/input_event_pointer"


@table_asset(
    ROUNDS_TABLE,
    {"polars"},
    partitions_def=ROUNDS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(key_of(table), partition_mapping=SAME_DAY) for table in INPUTS],
)
def rounds(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> None:
    """Every message about the opportunities of one slot, one of each resource: asks, offers, acceptances and
    withdrawals, round by round.

    `bid_day` fills these partitions by itself; materialise one (or a range) here to negotiate it again, by the engine
    that the run's configuration names (`negotiation.engine`, and `llm.mode` where that is `llm`). A slot without an
    opportunity has nothing to negotiate.
    """
    slots_by_day: dict[date, list[str]] = {}
    for key in context.partition_keys:
        name, slot = key.split("|")
        slots_by_day.setdefault(date.fromisoformat(name), []).append(slot)
    settings = desk.settings()
    for market_date, slots in slots_by_day.items():
        day = storage.day(market_date)
        if count := parts_in(day.kept):
            again = partial(_again, settings=settings.of_part(count), slots=slots)
            _, provenance = _in_parts(day, storage, settings, again)
        else:
            with _adviser(context, storage, settings, market_date) as adviser:
                _, provenance = _again(day, settings, slots, adviser)
        for slot, metadata in _figures_by_slot(storage.negotiations(market_date), provenance):
            context.add_asset_metadata(metadata, partition_key=f"{market_date}|{slot}")
        idle = sorted(set(slots) - set(provenance["slot"]))
        context.log.info(
            f"{market_date}: {provenance.height} negotiated; slots without an opportunity: {', '.join(idle) or 'none'}"
        )


def _again(
    day: LakeDay, settings: Settings, slots: list[str], adviser: Adviser | None = None
) -> tuple[Tables, pl.DataFrame]:
    """Negotiate the opportunities of ``slots`` once more: no table beside the deals, and what was negotiated."""
    wanted = day["market.opportunities"].filter(pl.col("slot").is_in(slots))
    store = LakeNegotiations(day.kept)
    return {}, negotiate_again(day.holding({"market.opportunities": wanted}), settings, store, adviser)


def _in_parts(
    day: LakeDay, storage: Storage, settings: Settings, negotiated: Callable[[PartDay], tuple[Tables, pl.DataFrame]]
) -> tuple[Made, pl.DataFrame]:
    """The tables that ``negotiated`` makes of each part, and how each opportunity came by its deals; messages,
    segments, and deals are kept as those of the run."""

    def work(part: PartDay) -> tuple[dict[str, File], pl.DataFrame]:
        tables, provenance = negotiated(part)
        files = written(part, tables)
        return files | {table: part.kept.present(table) for table in NEGOTIATED.values()}, provenance

    found = over_parts(day, settings, work)
    lake, kept = storage.lake, storage.lake.day(day.market_date, storage.owner)
    for table in NEGOTIATED.values():
        kept.point(table, lake.put_together([files.pop(table) for files, _ in found]))
    return together(lake, [files for files, _ in found]), pl.concat(provenance for _, provenance in found)


@table_asset("negotiation.summary", {"polars"}, deps=[key_of(table) for table in INPUTS])
def summary(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> dg.Output[Any]:
    """How each opportunity's negotiation went: who was asked, who closed, and whether that is enough to bid.

    Negotiates every opportunity whose partition of `negotiation/rounds` is missing or rests on other inputs, another
    policy or other code, and records it there; the others are reused.
    """
    market_date, settings = market_date_of(context), desk.settings()
    day, advice = storage.day(market_date), dict[str, Any]()
    tables: Made
    if count := parts_in(day.kept):
        own = settings.of_part(count)
        tables, provenance = _in_parts(
            day, storage, settings, lambda part: negotiate(part, own, LakeNegotiations(part.kept))
        )
    else:
        with _adviser(context, storage, settings, market_date) as adviser:
            found, provenance = negotiate(day, settings, storage.negotiations(market_date), adviser)
        tables, advice = dict(found), adviser.tally.in_numbers() if adviser else {}
    _record(context, storage.negotiations(market_date), provenance)
    counts = {"negotiated": int(provenance["is_new"].sum()), "reused": int((~provenance["is_new"]).sum())}
    return dg.Output(tables["negotiation.summary"], metadata=counts | advice)


def _adviser(
    context: dg.AssetExecutionContext, storage: Storage, settings: Settings, market_date: date
) -> AbstractContextManager[ModelAdviser | None]:
    folder = Path(storage.data_folder)
    return open_adviser(settings, folder, run_id=context.run.run_id, market_date=market_date)


def _record(context: dg.AssetExecutionContext, store: LakeNegotiations, negotiations: pl.DataFrame) -> None:
    """Log each new negotiation as a materialisation of its partition, with the versions of what it rests on.

    Where an input has another version than in the run before, the reused ones are logged too: they rest on it as well,
    and would look stale otherwise.
    """
    day, instance = context.partition_key, context.instance
    versions, pointers = {}, {}
    for key in map(key_of, INPUTS):
        record = instance.get_latest_data_version_record(key, partition_key=day)
        if record is not None:
            versions[f"{DATA_VERSION_OF}/{key.to_user_string()}"] = (record.event_log_entry.tags or {}).get(
                DATA_VERSION_TAG, ""
            )
            pointers[f"{EVENT_OF}/{key.to_user_string()}"] = str(record.storage_id)
    before = instance.get_latest_data_version_record(key_of("negotiation.summary"), partition_key=day)
    known = (before.event_log_entry.tags or {}) if before else {}
    if all(known.get(tag) == version for tag, version in versions.items()):
        negotiations = negotiations.filter("is_new")
    by_slot = negotiations.group_by("slot").agg(pl.col("fingerprint").sort().str.join(" "))
    fingerprints = dict(by_slot.iter_rows())
    for slot, metadata in _figures_by_slot(store, negotiations):
        partition = dg.MultiPartitionKey({"date": day, "slot": slot})
        own = {DATA_VERSION_TAG: fingerprints[slot], CODE_VERSION_TAG: version_of(ROUNDS_TABLE)}
        context.log_event(
            dg.AssetMaterialization(ROUNDS_KEY, partition=partition, tags=own | versions | pointers, metadata=metadata)
        )


def _figures_by_slot(store: LakeNegotiations, negotiations: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each slot's metadata, from one reading of all their messages."""
    if negotiations.is_empty():
        return
    messages = store.read(MESSAGES, negotiations["opportunity_id"].to_list())
    placed = messages.join(negotiations.select("opportunity_id", "slot"), on="opportunity_id", maintain_order="left")
    by_slot = placed.partition_by("slot", as_dict=True, include_key=False)
    spent = negotiations.group_by("slot", maintain_order=True).agg(pl.col("seconds").sum(), pl.col("is_new").any())
    for slot, seconds, is_new in spent.iter_rows():
        figures = figures_of(ROUNDS_TABLE, by_slot.get((slot,), messages.clear()))
        yield slot, figures | {"seconds": round(seconds, 4), "reused": not is_new}


@table_asset(
    "negotiation.agreements",
    {"polars"},
    deps=[dg.AssetDep(ROUNDS_KEY, partition_mapping=SAME_DAY), key_of("negotiation.summary")],
)
def agreements(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
    """Who may be asked to deliver, how much, at what price, how content it is, and why; and why the others are out.

    Fleets larger than `negotiation.transcript_prosumers` keep every deal, but of those who are out only the sample
    whose messages are kept.
    """
    kept = storage.negotiations(market_date_of(context)).take_up()
    if len(kept.present(AGREEMENTS).with_rows) > 1:
        return dg.MaterializeResult(metadata={ROW_COUNT: sum(kept.heights(AGREEMENTS))})
    figures = [name for name in kept.schema(AGREEMENTS) if name != WORDS[AGREEMENTS]]
    table = kept.read(AGREEMENTS, figures)
    told = figures_of(AGREEMENTS, table.with_columns(pl.lit("").alias(WORDS[AGREEMENTS])))
    return dg.MaterializeResult(metadata=told)


@table_asset(
    "negotiation.llm_calls",
    {"sqlite"},
    deps=[key_of(table) for table in ("fleet.notes", "negotiation.summary", "dispatch.proof")],
)
def llm_calls(context: dg.AssetExecutionContext, desk: Desk, storage: Storage) -> dg.Output[pl.DataFrame]:
    """Every question to a language model about the day: who answered, how it ended, what it cost. Empty where none was
    asked.

    A copy of the audit in the store of answers, of all runs of the day; no word of question or answer is in it.
    """
    table = audit_of(desk.settings().llm, Path(storage.data_folder), market_date_of(context))
    return dg.Output(table, metadata=figures_of("negotiation.llm_calls", table) | calls_in_numbers(table))
