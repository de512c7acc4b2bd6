"""The same day by every engine, and the same notes by rules and model, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from rich.box import SIMPLE
from rich.table import Table

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.display import percent, terminal, usd
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.core.provenance import code_version
from vpp_pipeline.core.tables import Tables
from vpp_pipeline.fleet.notes.parser import read_note
from vpp_pipeline.inputs.day_fleet import fleet_of_day
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.inputs.resource_file import resource_names
from vpp_pipeline.llm.notes import Limit, ModelReader, occurs, value_in_quote
from vpp_pipeline.llm.providers import open_gateway
from vpp_pipeline.llm.session import open_adviser
from vpp_pipeline.negotiation.agreements import options, weighted_satisfaction
from vpp_pipeline.negotiation.negotiate import ENGINES
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import bid_solution, prepare_problem, solve, terms_of
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.registry import verify

DEAL = ["opportunity_id", "prosumer_id"]
AGREEMENTS = ("same", "other value", "rule only", "model only", "refused")
SCHEMA = dict.fromkeys(("quote", "preference", "by_rule", "by_model", "agreement"), pl.String) | {"note": pl.Int64}


def compare_engines(day: DayInputs) -> pl.DataFrame:
    """One row per engine, all else equal: the same prices, fleet, opportunities, settings and rules.

    The engine `llm` is among them where `llm.mode` is not `off`; `advised_fraction` is the share of its decisions that
    came from the model.

    `fill_fraction`: capacity under option, up to R, over R, summed over opportunities. `success_fraction`: of the
    opportunities that could be met (see :func:`_is_feasible`), the share that is. `margin_fraction`: the bids' expected
    profit over revenue. `surplus_usd`: what prosumers are paid above their reservation prices. `satisfaction`: of those
    dispatched, 0-10, weighted by commitment. `violations`: breaches found by all checks together.
    """
    inputs, rows = day.tables(), []
    data = day.lake.root.parent if day.lake else project_folder() / "data"
    for engine in ENGINES:
        if engine == "llm" and day.settings.llm.mode == "off":
            continue
        policy = day.settings.negotiation.model_copy(update={"engine": engine})
        settings = day.settings.model_copy(update={"negotiation": policy})
        with open_adviser(settings, data, run_id="compare", market_date=day.market_date) as adviser:
            begun = time.perf_counter()
            negotiated, problem = prepare_problem(inputs, settings, adviser)
            seconds = time.perf_counter() - begun
        stamp = Stamp("compare", code_version(), None, "compare", datetime.now(UTC))
        tables = bid_solution(negotiated, problem, solve(problem, settings), settings, stamp)
        advised = 1.0 - adviser.tally.fallback_fraction if adviser else 0.0
        measures = measures_of(tables, settings)
        rows.append(measures | {"engine": engine, "negotiation_seconds": seconds, "advised_fraction": advised})
    return pl.DataFrame(rows)


def measures_of(tables: Tables, settings: Settings) -> dict[str, float | int]:
    """What an engine fills, earns, leaves to prosumers and breaks."""
    summary, bids = tables["negotiation.summary"], tables["bids.final_bids"].filter(pl.col("status") == "bid")
    under_option = summary.select(pl.min_horizontal("committed_capacity_mw", "required_capacity_mw").sum()).item()
    met = (summary.sort("opportunity_id")["status"] != "no_bid").to_numpy()
    of_resources = terms_of(tables, settings)
    names = np.concatenate([terms.opportunity_id for terms in of_resources])
    kinds = tables["market.opportunities"].select("opportunity_id", pl.col("participation") == "storage")
    is_storage = dict(kinds.iter_rows())
    could = [
        _is_feasible(terms, settings, [is_storage[name] for name in terms.opportunity_id]) for terms in of_resources
    ]
    feasible = np.concatenate(could)[np.argsort(names)]
    held = options(tables["negotiation.agreements"]).select(
        *DEAL, "committed_capacity_kw", least="reservation_price_usd_per_mwh"
    )
    paid = tables["dispatch.payments"].join(held, on=DEAL)
    surplus = pl.col("payment_usd") - pl.col("least") * pl.col("dispatched_kwh") / 1000.0
    profit, revenue = float(bids["expected_profit_usd"].sum()), float(bids["expected_revenue_usd"].sum())
    content = weighted_satisfaction(paid["satisfaction_score"].to_numpy(), paid["committed_capacity_kw"].to_numpy())
    results = verify(tables, settings).values()
    return {
        "fill_fraction": under_option / float(summary["required_capacity_mw"].sum()),
        "feasible": int(feasible.sum()),
        "success_fraction": float(met[feasible].mean()) if feasible.any() else float("nan"),
        "bids": bids.height,
        "profit_usd": profit,
        "margin_fraction": profit / revenue if revenue else float("nan"),
        "payments_usd": float(paid["payment_usd"].sum()),
        "surplus_usd": float(paid.select(surplus.sum()).item()),
        "satisfaction": float("nan") if content is None else content,
        "gap_fraction": float(tables["dispatch.proof"]["gap_fraction"][0]),
        "violations": sum(result.violations for result in results if not result.is_warning),
    }


def _is_feasible(terms: Terms, settings: Settings, is_storage: Sequence[bool]) -> np.ndarray:
    """Whether each opportunity (O,) could be met by any engine: 80% of R, and enough members, among the prosumers
    whose reservation price the aggregator could pay. Of a storage resource one member is enough."""
    rules = settings.rules
    payable = (terms.capacity_kw > 0.0) & (terms.ceiling > 0.0) & (terms.ceiling >= terms.reservation)
    reach_kw = np.where(payable, terms.capacity_kw, 0.0).sum(axis=1)
    enough = payable.sum(axis=1) >= np.where(is_storage, 1, rules.minimum_members)
    found: np.ndarray = enough & (reach_kw >= rules.required_fraction * terms.required_kw - 1e-6)
    return found


#: measure -> how it is written, and what it says
MEASURES: dict[str, tuple[Callable[[Any], str], str]] = {
    "fill_fraction": (percent, "capacity under option, up to R, over R"),
    "feasible": ("{}".format, "opportunities that could be met: enough capacity, members and money"),
    "success_fraction": (percent, "of those, the share that is met"),
    "bids": ("{}".format, "bids of the day"),
    "profit_usd": (usd, "their expected profit"),
    "margin_fraction": (percent, "profit over revenue"),
    "payments_usd": (usd, "paid to prosumers"),
    "surplus_usd": (usd, "of that, above their reservation prices"),
    "satisfaction": ("{:.2f}".format, "of those dispatched, 0-10, weighted by commitment"),
    "gap_fraction": (lambda value: percent(value, 4), "MIP gap: share of what bidding could add that is unproven"),
    "violations": ("{}".format, "breaches found by all checks together"),
    "negotiation_seconds": ("{:.2f}".format, "terms, negotiation, messages"),
    "advised_fraction": (percent, "of the shares conceded by round 2 and last, those a language model gave"),
}


def show_comparison(day: date, rows: pl.DataFrame) -> None:
    """The comparison as a table in the terminal: a line per measure, a column per engine."""
    table = Table(title=f"{day:%A %d %B %Y} by every engine", title_justify="left", box=SIMPLE)
    table.add_column("measure", no_wrap=True)
    for engine in rows["engine"]:
        table.add_column(engine, justify="right", no_wrap=True)
    table.add_column("description", overflow="fold")
    for measure, (form, words) in MEASURES.items():
        if measure == "advised_fraction" and "llm" not in rows["engine"]:
            continue
        table.add_row(measure, *("" if math.isnan(value) else form(value) for value in rows[measure]), words)
    terminal().print(table)


def compare_readings(notes: Sequence[str], reader: ModelReader) -> pl.DataFrame:
    """One row per limit that either reads: note (its place, from 1), quote, preference, both values, `agreement`.

    The model is asked about whole notes, also where the rules understand them. `refused`: a limit that the words do
    not bear out, which would not be taken over.
    """
    rows = []
    for place, (note, limits) in enumerate(zip(notes, reader.limits_of(notes), strict=True), start=1):
        by_rule = {said.preference: (said.quote, said.value) for said in read_note(note) if said.preference is not None}
        held = {limit.preference: limit for limit in limits if occurs(limit.quote, note) and value_in_quote(limit)}
        for name in dict.fromkeys([*by_rule, *held]):
            quote, ours = by_rule.get(name, (held[name].quote if name in held else "", None))
            theirs = _value(held[name]) if name in held else None
            rows.append((quote, name, _text(ours), _text(theirs), _agreement(ours, theirs), place))
        rows += [
            (limit.quote, limit.preference, None, _text(_value(limit)), "refused", place)
            for limit in limits
            if limit is not held.get(limit.preference)
        ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").select("note", pl.exclude("note"))


def agreement_table(readings: pl.DataFrame) -> pl.DataFrame:
    """How many limits of each kind agree: one row per preference, one column per kind of agreement."""
    counts = readings.group_by("preference").agg(**{kind: (pl.col("agreement") == kind).sum() for kind in AGREEMENTS})
    return counts.sort("preference")


def _value(limit: Limit) -> float | str | None:
    return limit.number if limit.number is not None else limit.text


def _text(value: float | str | None) -> str | None:
    return None if value is None else str(value) if isinstance(value, str) else f"{value:g}"


def _agreement(ours: float | str | None, theirs: float | str | None) -> str:
    if ours is None:
        return "model only"
    if theirs is None:
        return "rule only"
    return "same" if _text(ours) == _text(theirs) else "other value"


class NotesComparison(NamedTuple):
    """What rules and model read in a fleet's notes; ``failed``: kind of failure -> questions without an answer."""

    notes: int
    asked: int
    failed: dict[str, int]
    agreement: pl.DataFrame


def compare_notes(settings: Settings, data_folder: Path, market_date: date) -> NotesComparison:
    """The agreement on the notes of the day's fleet. Raises InputError without `paid_tier_confirmed`."""
    if not settings.model_use.paid_tier_confirmed:
        raise InputError(
            "owners' notes would be sent to the provider",
            value="model_use.paid_tier_confirmed is false",
            remedy="Confirm that the provider does not retain them: --set model_use.paid_tier_confirmed=true",
        )
    fleet = fleet_of_day(settings.fleet, market_date, resources=resource_names(settings.resources))
    notes = fleet.prosumers["note"].drop_nulls().unique(maintain_order=True)
    with open_gateway(settings.llm, data_folder, run_id="compare-notes", market_date=market_date) as gateway:
        reader = ModelReader(gateway, settings.llm)
        readings = compare_readings(notes.to_list(), reader)
    return NotesComparison(len(notes), reader.tally.asked, dict(reader.tally.failures), agreement_table(readings))


def show_notes(comparison: NotesComparison) -> None:
    """The comparison of notes as a table in the terminal: a line per preference, a column per kind of agreement."""
    failed = ", ".join(f"{kind} {count}" for kind, count in sorted(comparison.failed.items())) or "none"
    title = f"{comparison.notes} notes, {comparison.asked} asked about; without an answer: {failed}"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("preference", no_wrap=True)
    for kind in AGREEMENTS:
        table.add_column(kind, justify="right", no_wrap=True)
    for preference, *counts in comparison.agreement.iter_rows():
        table.add_row(preference, *map(str, counts))
    terminal().print(table)
