"""What one run opens to be advised: the engine's adviser, the reader of notes, and its audit as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from vpp_pipeline.core.paths import example_file
from vpp_pipeline.core.tables import Day
from vpp_pipeline.fleet.notes.apply import Reader, by_rules
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.notes import ModelReader
from vpp_pipeline.llm.providers import open_gateway, open_provider
from vpp_pipeline.llm.store import CallStore, calls_table
from vpp_pipeline.negotiation.agreements import options
from vpp_pipeline.schemas import LLMCalls
from vpp_pipeline.settings import LLMSettings, Settings

if TYPE_CHECKING:
    from vpp_pipeline.dispatch.problem import DayProblem
    from vpp_pipeline.llm.formulation import Formulated

EXAMPLE_ANSWERS = "example_answers.jsonl"  # of the package: made by our local server, no model's words


def store_of(llm: LLMSettings, data_folder: Path) -> Path:
    """Where a run keeps answers, budget and audit."""
    return llm.store or data_folder / "llm.sqlite"


def example_answers(data_folder: Path) -> Path | None:
    """The package's example answers, for a desk that has none of its own to replay."""
    example, own = example_file(EXAMPLE_ANSWERS), data_folder / "llm.sqlite"
    if own.is_file():
        store = CallStore(own)
        try:
            return None if store.replies() else example
        finally:
            store.close()
    return example


def require_model(settings: Settings) -> None:
    """Raises InputError where a run is to ask a model and key or SDK are missing, before it has written anything."""
    use = settings.model_use
    is_used = settings.negotiation.engine == "llm" or use.formulation or use.reads_notes
    if is_used and settings.llm.mode in ("live", "refresh"):
        open_provider(settings.llm)


@contextmanager
def open_adviser(
    settings: Settings, data_folder: Path, *, run_id: str, market_date: date
) -> Iterator[ModelAdviser | None]:
    """The adviser of the engine `llm`; None for other engines. Raises InputError where key or SDK are missing."""
    if settings.negotiation.engine != "llm":
        yield None
        return
    with open_gateway(settings.llm, data_folder, run_id=run_id, market_date=market_date) as gateway:
        yield ModelAdviser(gateway, settings.negotiation, settings.llm)


@contextmanager
def open_reader(settings: Settings, data_folder: Path, *, run_id: str, market_date: date) -> Iterator[Reader]:
    """Who reads owners' notes: the rules, and beside them a model where ``settings`` allow it twice."""
    use = settings.model_use
    if not (use.reads_notes and use.paid_tier_confirmed) or settings.llm.mode == "off":
        yield by_rules
        return
    with open_gateway(settings.llm, data_folder, run_id=run_id, market_date=market_date) as gateway:
        yield ModelReader(gateway, settings.llm)


def solve_formulated(day: DayProblem, tables: Day, settings: Settings, data_folder: Path, *, run_id: str) -> Formulated:
    """The day solved with valid bids, and as a language model would weigh it where `model_use.formulation` says so.

    Only that reads ``tables``: nothing but the problem itself should be in memory while a large fleet is solved.
    """
    from vpp_pipeline.bidding.valid_bids import solve_valid_day
    from vpp_pipeline.llm.formulation import Formulated, formulate

    if not settings.model_use.formulation:
        return Formulated(solve_valid_day(day, settings.rules, settings.optimiser), False, "")
    least_price = options(tables["negotiation.agreements"])["reservation_price_usd_per_mwh"].to_numpy()
    with open_gateway(settings.llm, data_folder, run_id=run_id, market_date=day.market_date) as gateway:
        return formulate(day, least_price, settings, gateway)


def audit_of(llm: LLMSettings, data_folder: Path, market_date: date) -> pl.DataFrame:
    """Rows of `negotiation.llm_calls` of a market day: none where nothing was ever asked."""
    path = store_of(llm, data_folder)
    if not path.is_file():
        return LLMCalls.create_empty()
    store = CallStore(path)
    try:
        return calls_table(store, market_date)
    finally:
        store.close()
