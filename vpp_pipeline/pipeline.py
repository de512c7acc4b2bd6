"""The chain of a market day: pure stage functions from named tables to named tables, and all of them in one call.

    market → forecasting → fleet        `inputs.day_inputs` reads prices, meters, weather, the fleet, and requests
    serve_requests                      owners who serve requests where the others are storage
    limit_fleet → aggregate             what each prosumer can do, and owners cut into storage resources
    find_opportunities                  what can be sold
    negotiate                           the deals of each opportunity
    state_problem → solve → tabulate    the day's schedule
    pay → form → verify                 what prosumers earn, the bids, and every rule checked by other code

A stage takes the day's tables by their warehouse names, with its settings, and gives the tables it adds. Dagster's
assets, the command line, the back-test, `run_cycle`, benchmarks, and tests call these functions and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from vpp_pipeline.bidding.bids import Stamp, form_bids, reconcile
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PRICE_COLUMN, market_hours
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.tables import AGGREGATED, BOUND, SCHEDULE_BEFORE, Day, Tables, optional_table, with_missing
from vpp_pipeline.dispatch.payments import owen_shares_table, payments_of
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution, day_problem
from vpp_pipeline.dispatch.scenarios import with_scenarios
from vpp_pipeline.fleet.archetypes import typical_floors
from vpp_pipeline.fleet.arrays import Fleet, begin_with, fleet_arrays, in_storage, starts_of
from vpp_pipeline.fleet.envelope import hourly_envelope
from vpp_pipeline.negotiation.agreements import summarise
from vpp_pipeline.negotiation.negotiate import Adviser, Engine
from vpp_pipeline.negotiation.opportunities import Resource, members_of, resources_of
from vpp_pipeline.negotiation.requests import Offerable, Requests, offerable_mw, place_requests, who_serves
from vpp_pipeline.negotiation.store import AGREEMENTS, MESSAGES, SEGMENTS, InMemory, Store, negotiate_missing
from vpp_pipeline.negotiation.terms import Terms, terms_by_resource
from vpp_pipeline.schemas import DESK, TABLES, LLMCalls
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.check_result import CheckResult
from vpp_pipeline.verification.registry import checks_table

CLASSES, MEMBERS, BASELINE = AGGREGATED
CERTIFIED = [reserve.certified_column for reserve in CAISO.reserves]
SERVING = f"{DESK}-requests"
SITE_FORECASTS = ("market.solar_forecast", "market.load_forecast", "market.charging_forecast")


def is_storage_asked(resources: pl.DataFrame, settings: Settings, requests: Requests) -> bool:
    """Whether ``requests`` need owners who leave storage for the day: the single resource of the settings takes part as
    storage, whose awards follow from the whole day, so that it cannot commit MW to one hour.

    A file of resources says itself which may serve requests.
    """
    is_pool = settings.resources.path is None and (resources["participation"] == "storage").any()
    return is_pool and not requests.rows.is_empty()


def serve_requests(day: Day, settings: Settings, requests: Requests) -> Tables:
    """`market.resources` and `fleet.prosumers` of a day of which :func:`is_storage_asked`: whole sites, enough to serve
    ``requests``, move to a resource of their own that is bid hour by hour.

    A stated certification is shared out by the most that the two can discharge.
    """
    resources, prosumers = day["market.resources"], day["fleet.prosumers"]
    fleet = fleet_arrays(prosumers, limit_fleet(day)["fleet.availability"])
    floor = typical_floors(fleet, settings.fleet, settings.negotiation)
    chosen = fleet.prosumer_id[who_serves(requests, day["market.price_forecast"], fleet, floor, settings.rules)]
    if not len(chosen):
        return {"market.resources": resources, "fleet.prosumers": prosumers}
    sites = prosumers.filter(pl.col("prosumer_id").is_in(chosen.tolist()))["site_id"].unique()
    moves = pl.col("site_id").is_in(sites.implode())
    placed = prosumers.with_columns(resource_id=pl.when(moves).then(pl.lit(SERVING)).otherwise("resource_id"))
    power_kw = dict(placed.group_by("resource_id").agg(pl.col("max_discharge_kw").sum()).iter_rows())
    shares = {name: power_kw.get(name, 0.0) / max(sum(power_kw.values()), 1e-9) for name in (DESK, SERVING)}
    of_each = {
        DESK: resources,
        SERVING: resources.with_columns(resource_id=pl.lit(SERVING), participation=pl.lit("hourly")),
    }
    rows = [of_each[name].with_columns(pl.col(column) * shares[name] for column in CERTIFIED) for name in of_each]
    return {"market.resources": pl.concat(rows), "fleet.prosumers": placed}


def limit_fleet(day: Day) -> Tables:
    """`fleet.availability`: what each prosumer can do in each hour, within physics and its owner's preferences.

    Members of a proxy demand resource export nothing: what they sell lowers their own load.
    """
    forecasts = (day[table] for table in SITE_FORECASTS)
    hours = market_hours(day["market.price_forecast"]["market_date"][0])
    kept_in = [one.resource_id for one in _resources(day) if one.participation == "proxy_demand"]
    prosumers = with_missing(day["fleet.prosumers"], resource_id=DESK).with_columns(
        export_limit_kw=pl.when(~pl.col("resource_id").is_in(kept_in)).then("export_limit_kw").otherwise(0.0)
    )
    return {"fleet.availability": hourly_envelope(prosumers, hours, *forecasts)}


def _resources(day: Day) -> list[Resource]:
    return resources_of(optional_table(day, "market.resources"))


def _pools(day: Day) -> list[Resource]:
    return [one for one in _resources(day) if one.participation == "storage"]


def aggregate(day: Day, settings: Settings) -> Tables:
    """`fleet.storage_classes`, `.storage_members`, and `.baseline`: owners of each resource that takes part as storage,
    cut into storage resources, and what they do whatever the market awards. No rows where none does.

    Classes of the day before are kept, where ``day`` has them under CLASSES_BEFORE and MEMBERS_BEFORE, while hardly any
    owner has come or gone. Raises InputError where a file's resource has the name of one of them.
    """
    tables: Tables = {name: TABLES[name].create_empty() for name in AGGREGATED}
    if not (pools := _pools(day)):
        return tables
    from vpp_pipeline.aggregation.pool import pool_tables  # with HiGHS

    fleet = begin_with(fleet_arrays(day["fleet.prosumers"], day["fleet.availability"]), _starts(day, settings))
    forecast = day["market.price_forecast"]
    prices = np.stack([forecast[column].to_numpy() for column in PRICE_COLUMN.values()])
    made = []
    for pool in pools:
        members = fleet.part(np.flatnonzero(fleet.resource_id == pool.resource_id))
        if not len(members):
            continue
        floor = typical_floors(members, settings.fleet, settings.negotiation)
        place = (pool.resource_id, forecast["market_date"][0], members, prices, floor, forecast["start_utc"])
        adder = settings.optimiser.charging_adder_usd_per_mwh
        made.append(pool_tables(*place, settings.rules, settings.resources, day, adder))
    tables |= {name: pl.concat([tables[name], *(one[name] for one in made)]) for name in AGGREGATED}
    refuse_taken_names(tables[CLASSES], day["market.resources"])
    return tables


def refuse_taken_names(classes: pl.DataFrame, resources: pl.DataFrame) -> None:
    """Raise InputError where one of ``resources`` has the name of a class of another."""
    of_others = pl.col("resource_id") != pl.col("pool_id")  # a pool of one class is that class
    taken = classes.filter(of_others, pl.col("resource_id").is_in(resources["resource_id"].implode()))
    if not taken.is_empty():
        name = taken["resource_id"].sort()[0]
        raise InputError(
            f"resource {name} has the name of a class of another, which takes part as storage",
            column="resource_id",
            value=name,
            remedy="Give the resource another name",
        )


def _starts(day: Day, settings: Settings) -> pl.DataFrame:
    """`dispatch.starts`: with `fleet.carry_over` by the schedule of the day before, under SCHEDULE_BEFORE."""
    return starts_of(day["fleet.prosumers"], day.get(SCHEDULE_BEFORE) if settings.fleet.carry_over else None)


def _bid_as(day: Day, settings: Settings) -> list[Resource]:
    """The resources that bids are made for: those of `market.resources`, storage cut into its classes."""
    if not (pools := _pools(day)):
        return _resources(day)
    from vpp_pipeline.aggregation.resource_offers import storage_resources

    fleet = begin_with(fleet_of(day), _starts(day, settings))
    others = [one for one in _resources(day) if one.participation != "storage"]
    return others + storage_resources(pools, day, fleet, settings.rules)


def find_opportunities(day: Day, settings: Settings, requests: Requests, deals: pl.DataFrame | None = None) -> Tables:
    """`market.opportunities`: each product in each hour, sized to the fleet, and the requests that replace some.

    Requests that cannot be offered go to `market.request_quarantine`; the policy's opportunities keep their hours.
    ``deals``: what was agreed on the days before, by segment and product, where sizes are planned by it.
    """
    placed = place_requests(requests, day["market.price_forecast"], offerable(day, settings, requests), settings.rules)
    return open_opportunities(day, settings, placed, deals) | {"market.request_quarantine": placed.quarantine}


def offerable(day: Day, settings: Settings, requests: Requests) -> Offerable:
    """What the members of each resource that bids are made for can offer of what ``requests`` ask for."""
    return offerable_mw(requests, members_of(fleet_of(day), _bid_as(day, settings)), settings.rules)


def open_opportunities(day: Day, settings: Settings, placed: Requests, deals: pl.DataFrame | None = None) -> Tables:
    """`market.opportunities`, of which ``placed``, requests with the resource that serves each, replace some."""
    from vpp_pipeline.dispatch.sizing import opportunities_of_day

    forecast, fleet, resources = day["market.price_forecast"], fleet_of(day), _bid_as(day, settings)
    rows = opportunities_of_day(forecast["market_date"][0], forecast, fleet, settings, placed.rows, deals, resources)
    return {"market.opportunities": rows}


def fleet_of(day: Day) -> Fleet:
    """The day's prosumers, each in the resource that it is bid with, and their limits as arrays."""
    fleet = fleet_arrays(day["fleet.prosumers"], day["fleet.availability"])
    return in_storage(fleet, optional_table(day, MEMBERS))


def terms_of(day: Day, settings: Settings) -> list[Terms]:
    """Both sides' terms of every opportunity, by resource, before anything is negotiated."""
    forecast, opportunities = day["market.price_forecast"], day["market.opportunities"]
    return terms_by_resource(opportunities, forecast, fleet_of(day), settings.negotiation, settings.rules)


def negotiate(
    day: Day,
    settings: Settings,
    store: Store,
    adviser: Adviser | None = None,
    engine: Engine | None = None,
) -> tuple[Tables, pl.DataFrame]:
    """`negotiation.summary`, with the deals in ``store``; and how each opportunity came by them (`negotiate_missing`).

    Opportunities that ``store`` holds on the same terms are reused. ``engine``: another than the settings name.
    """
    terms = terms_of(day, settings)
    opportunities, rules = day["market.opportunities"], settings.rules
    provenance = negotiate_missing(store, opportunities, terms, settings.negotiation, rules, adviser, engine)
    names = opportunities["opportunity_id"].to_list()
    held = store.read(AGREEMENTS, names, ["opportunity_id", "holds_option", "committed_capacity_kw", "rank"])
    segments = store.read(SEGMENTS, names)
    asked = {name: count for one in terms for name, count in zip(one.opportunity_id, one.asked, strict=True)}
    summary = summarise(segments, held, opportunities, np.array([asked[name] for name in names]), rules, provenance)
    return {"negotiation.summary": summary}, provenance


def negotiate_again(day: Day, settings: Settings, store: Store, adviser: Adviser | None = None) -> pl.DataFrame:
    """Negotiate the day's opportunities into ``store``, also those it holds: rows of `negotiate_missing`."""
    terms, opportunities = terms_of(day, settings), day["market.opportunities"]
    policy, rules = settings.negotiation, settings.rules
    return negotiate_missing(store, opportunities, terms, policy, rules, adviser, reuse=False, keep_others=True)


def negotiate_in_memory(
    day: Day, settings: Settings, adviser: Adviser | None = None, engine: Engine | None = None
) -> Tables:
    """Every table of `negotiation`, stored nowhere else."""
    store, names = InMemory(), day["market.opportunities"]["opportunity_id"].to_list()
    summary, _ = negotiate(day, settings, store, adviser, engine)
    tables = {table: store.read(table, names) for table in (MESSAGES, SEGMENTS, AGREEMENTS)}
    return tables | summary | {"negotiation.llm_calls": LLMCalls.create_empty()}  # the audit is the gateway's


def state_problem(day: Day, settings: Settings) -> tuple[DayProblem, Tables]:
    """The day's problem, and `dispatch.starts`: the initial state of charge of each store.

    With `fleet.carry_over` the schedule of the day before is read too, where ``day`` has it under SCHEDULE_BEFORE.
    """
    starts = _starts(day, settings)
    problem = day_problem(
        begin_with(fleet_of(day), starts),
        day["market.price_forecast"],
        day["market.opportunities"],
        day["negotiation.summary"],
        day["negotiation.agreements"],
        settings.rules,
        settings.optimiser,
    )
    problem = with_scenarios(problem, day["market.opportunities"], day.get("market.price_scenarios"), settings.risk)
    return replace(problem, solved_by=_storage_solvers(day, settings)), {"dispatch.starts": starts}


def _storage_solvers(day: Day, settings: Settings) -> dict[str, Callable[[DayProblem], DaySolution]]:
    """How the day of each storage resource is solved, by its name."""
    if not _pools(day):
        return {}
    from vpp_pipeline.bidding.storage_bids import solve_storage

    tables = {name: day[name] for name in AGGREGATED}
    return {
        one.resource_id: partial(solve_storage, resource=one, tables=tables, rules=settings.rules)
        for one in _bid_as(day, settings)
        if one.participation == "storage"
    }


def solve(problem: DayProblem, settings: Settings) -> DaySolution:
    """The best schedule whose bids are valid, with its proven gap."""
    from vpp_pipeline.bidding.valid_bids import solve_valid_day  # with CVXPY, which takes two seconds to import

    return solve_valid_day(problem, settings.rules, settings.optimiser)


def tabulate(problem: DayProblem, solution: DaySolution, settings: Settings) -> Tables:
    """The solution as tables of `dispatch`, the schedule first."""
    from vpp_pipeline.dispatch import tables  # with CVXPY

    return {
        "dispatch.schedule": tables.schedule_table(problem, solution),
        "dispatch.positions": tables.positions_table(problem, solution),
        "dispatch.charging": tables.charging_table(problem, solution),
        "dispatch.internal_prices": tables.internal_prices_table(problem, solution),
        "dispatch.owen_shares": owen_shares_table(problem, solution, settings),
        "dispatch.scenario_quantities": tables.scenario_quantities_table(problem, solution),
        **{name: solution.storage.get(name, TABLES[name].create_empty()) for name in BOUND},
        "dispatch.proof": tables.proof_table(problem, solution),
    }


def pay(day: Day) -> Tables:
    """`dispatch.payments`: what each prosumer delivers and earns in each bid."""
    payments = payments_of(
        day["market.opportunities"],
        day["negotiation.agreements"],
        day["dispatch.schedule"],
        day["dispatch.positions"],
        day["dispatch.charging"],
        day["fleet.availability"],
    )
    return {"dispatch.payments": payments}


def form(day: Day, settings: Settings, stamp: Stamp) -> Tables:
    """The day's bids, their price curves, and the money that adds them up."""
    payments, agreements = day["dispatch.payments"], day["negotiation.agreements"]
    bids, segments = form_bids(
        day["market.opportunities"],
        day["negotiation.summary"],
        agreements,
        day["dispatch.positions"],
        payments,
        day["fleet.prosumers"],
        settings.rules,
        stamp,
        day["dispatch.scenario_quantities"],
        {name: day[name] for name in (*AGGREGATED, *BOUND)} if _pools(day) else {},
    )
    weight = settings.optimiser.satisfaction_weight_usd_per_mwh
    charging, proof, shares = (day[f"dispatch.{name}"] for name in ("charging", "proof", "owen_shares"))
    books = reconcile(bids, payments, agreements, charging, proof, shares, weight)
    return {"bids.final_bids": bids, "bids.bid_segments": segments, "dispatch.reconciliation": books}


def verify(
    day: Day, settings: Settings, *, is_scheduled: bool = False, known: Mapping[str, CheckResult] | None = None
) -> Tables:
    """`bids.checks`: every rule held against the day's tables by code that shares nothing with the stages above.

    ``is_scheduled``: the bids must be ready before the market closes. ``known``: results of checks of the very same
    tables. Raises ViolationError where a rule is broken.
    """
    return {"bids.checks": checks_table(day, settings, is_scheduled=is_scheduled, known=known)}


def bid_solution(day: Day, problem: DayProblem, solution: DaySolution, settings: Settings, stamp: Stamp) -> Tables:
    """Every table of the day, bids included, from a solution of its problem."""
    tables = {**day, **tabulate(problem, solution, settings)}
    tables |= pay(tables)
    return tables | form(tables, settings, stamp)


def prepare_problem(
    day: Day, settings: Settings, adviser: Adviser | None = None, engine: Engine | None = None
) -> tuple[Tables, DayProblem]:
    """The day negotiated in memory: its tables so far, and its problem."""
    tables = {**day, **negotiate_in_memory(day, settings, adviser, engine)}
    problem, starts = state_problem(tables, settings)
    return tables | starts, problem


def bid(day: Day, settings: Settings, stamp: Stamp, adviser: Adviser | None = None) -> Tables:
    """Negotiate, solve, and form the bids of a day whose opportunities are known: every table by name."""
    tables, problem = prepare_problem(day, settings, adviser)
    return bid_solution(tables, problem, solve(problem, settings), settings, stamp)
