"""The warehouse queries of the report; the page is computed from their rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, PRICE_COLUMN
from vpp_pipeline.reporting.html import Place
from vpp_pipeline.warehouse.day import no_bids
from vpp_pipeline.warehouse.tables import open_warehouse

Rows = list[dict[str, Any]]

#: of larger fleets, figures that need every deal are from a sample of about this size, and bids have a short reason
COUNTED_PROSUMERS = 5_000

#: MW that was bid for the same hour by an earlier run of the day, or for the day before; blocks count in each hour
EARLIER_MW = """
    select '{kind}' as kind, b.product, f.hour_ending, any_value(b.market_date) as market_date,
           sum(b.total_capacity_mw) as mw
    from ({rows}) b join (select distinct market_date, start_utc, hour_ending from market.price_forecast) f
        on f.market_date = b.market_date and f.start_utc >= b.start_utc
        and f.start_utc < b.start_utc + to_hours(b.duration_hours)
    group by b.product, f.hour_ending"""
RUN_BEFORE = """
    select b.* from bids.run_bids b join bids.runs_of_day r using (market_date, run_id)
    join bids.runs_of_day l on l.market_date = r.market_date and l.is_last and l.run_number = r.run_number + 1
    where market_date = $day and status = 'bid'"""
DAY_BEFORE = """
    select * from bids.final_bids where status = 'bid' and market_date = (
        select max(market_date) from bids.final_bids where market_date between $day - 7 and $day - 1)"""
PRICES = ", ".join(f"{column} as {product}" for product, column in PRICE_COLUMN.items())

QUERIES = {
    "forecast": f"""
        select start_utc, hour_ending, strftime(start_utc at time zone '{PACIFIC}', '%H:%M') as pacific,
               {PRICES},
               node, source, method, latest_input_utc
        from market.price_forecast where market_date = $day order by start_utc""",
    "bids": "select * from bids.bids_of_day where market_date = $day order by start_utc, product",
    "segments": """
        select b.product, b.start_utc, b.duration_hours, s.from_mw, s.to_mw, s.price_usd_per_mwh as price
        from bids.bid_segments s join bids.final_bids b using (market_date, bid_id)
        where market_date = $day order by b.product, b.start_utc, price, b.resource_id, s.segment""",
    "earlier": " union all ".join(
        EARLIER_MW.format(kind=kind, rows=rows) for kind, rows in (("run", RUN_BEFORE), ("day", DAY_BEFORE))
    ),
    "cleared": f"select start_utc, node, {PRICES} from market.prices where market_date = $day order by start_utc",
    "settled": "select * from evaluation.settled_bids where market_date = $day order by start_utc, product",
    "account": "select * from evaluation.settled_days where market_date = $day",
    "day": "select * from bids.days where market_date = $day",
    "beside": """
        select max(market_date) filter (market_date < $day) as before,
               min(market_date) filter (market_date > $day) as after
        from bids.final_bids""",
    "meters_aside": """
        select * from market.meter_quarantine where market_date = $day order by meter_id, column_name limit 500""",
    "fleet_aside": """
        select * from fleet.quarantine where market_date = $day order by file_row, column_name limit 500""",
    "requests_aside": "select * from market.request_quarantine where market_date = $day order by file_row, column_name",
    "resources": "select * from bids.by_resource where market_date = $day order by resource_id",
    "certificates": f"""
        select resource_id, {", ".join(reserve.certified_column for reserve in CAISO.reserves)}
        from market.resources where market_date = $day""",
    "storage": "select * from dispatch.storage_by_hour where market_date = $day order by resource_id, start_utc",
    "hours": "select * from dispatch.fleet_hours where market_date = $day order by start_utc",
    "funnel": """
        select product, sum(asked)::bigint as asked, sum(bids)::bigint as bids, sum(countered)::bigint as countered,
               sum(agreed)::bigint as agreed, sum(delivering)::bigint as delivering
        from negotiation.funnel where market_date = $day group by product""",
    "engines": "select distinct engine from negotiation.summary where market_date = $day order by engine",
    "concessions": "select * from negotiation.concessions where market_date = $day order by product, round",
    "satisfaction": """
        select product, count(*) as deliveries,
               if(satisfaction_score < 5, 0, least(floor(satisfaction_score * 2) / 2, 9.5)) as from_score
        from dispatch.payments join market.opportunities using (market_date, opportunity_id)
        where market_date = $day group by all order by all""",
    "deliveries": """
        select count(*) as deliveries, count(distinct prosumer_id) as prosumers
        from dispatch.payments where market_date = $day having count(*) > 0""",
    "content": """
        select sum(satisfaction_score * committed_capacity_kw) / sum(committed_capacity_kw) as satisfaction_score
        from dispatch.payments join negotiation.agreements using (market_date, opportunity_id, prosumer_id)
        where market_date = $day and hash(prosumer_id) % $every = 0 having count(*) > 0""",
    "limits": """
        select limit_name, count(*) as times, count(distinct prosumer_id) as prosumers
        from dispatch.limits_reached where market_date = $day and hash(prosumer_id) % $every = 0 group by limit_name
        union all
        select 'committed capacity', count(*), count(distinct prosumer_id)
        from dispatch.payments join negotiation.agreements using (market_date, opportunity_id, prosumer_id)
        where market_date = $day and hash(prosumer_id) % $every = 0 and dispatched_kw >= committed_capacity_kw - 1e-3
        having count(*) > 0
        order by times desc, limit_name""",
    "archetypes": "select * from fleet.by_archetype where market_date = $day order by payment_usd desc, archetype",
    "earners": """
        select * from explain.earnings where market_date = $day and deliveries > 0 and $every = 1
        order by earned_usd desc, prosumer_id limit 10""",
    "why": "select opportunity_id, why from explain.bid where market_date = $day and $every = 1",
    "checks": "select * from bids.checks where market_date = $day order by passed, is_warning, check_name",
    "proof": "select * from dispatch.proof where market_date = $day",
    "books": "select * from dispatch.reconciliation where market_date = $day",
    "fleet": """
        select count(*) as prosumers, count(distinct site_id) as sites, sum(capacity_kwh) / 1000 as capacity_mwh,
               sum(max_discharge_kw) / 1000 as discharge_mw
        from fleet.prosumers where market_date = $day""",
    "metered": """
        select quantity, any_value(source) as source, max(meters) as meters, min(metered_date) as first_date,
               max(metered_date) as last_date
        from market.metered_hours where market_date = $day group by quantity order by quantity""",
    "methods": """
        select 'prices' as what, method, latest_input_utc::date as made_for from market.price_forecast
        where market_date = $day
        union select 'solar', method, made_for_date from market.solar_forecast where market_date = $day
        union select 'load of ' || site_type, method, made_for_date from market.load_forecast where market_date = $day
        union select 'charging', method, made_for_date from market.charging_forecast where market_date = $day
        order by what""",
    "quarantine": "select count(*) as cells from fleet.quarantine where market_date = $day",
    "stamp": """
        select distinct seed, fingerprint, code_version, run_id, created_utc
        from bids.final_bids where market_date = $day""",
    "run": """
        select settings from bids.runs
        where market_date = $day and run_id in (select run_id from bids.final_bids where market_date = $day)""",
}
#: query -> its table or view, which a warehouse whose last day an earlier version published does not have
ADDED = {
    "requests_aside": "market.request_quarantine",
    "storage": "dispatch.storage_by_hour",
    "settled": "evaluation.settled_bids",
    "day": "bids.days",
}
#: query -> columns that a view of such a warehouse does not have -> the column that says the same there
ADDED_COLUMNS: dict[str, dict[str, str | None]] = {
    "bids": {"expected_mw": "total_capacity_mw", "expected_mwh": "total_mwh"},
    "resources": dict.fromkeys(("pool_id", "bound_members")),
}


@dataclass(frozen=True)
class Facts:
    """The results of one day: rows by the name of their query."""

    market_date: date
    results: Mapping[str, Rows]
    every: int = 1  # the sample is one in this many prosumers
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the bids; empty where unknown
    place: Place | None = None  # of the page in the desk; None where it stands alone

    def __getitem__(self, query: str) -> Rows:
        return self.results[query]

    def one(self, query: str) -> dict[str, Any]:
        """The only row; empty where there is none."""
        rows = self.results[query]
        return rows[0] if rows else {}

    @property
    def sample(self) -> str:
        """Description of the sample; empty where every prosumer is counted."""
        return f"a sample of one prosumer in {self.every}" if self.every > 1 else ""

    @property
    def trading(self) -> Rows:
        """Opportunities with a bid."""
        return [bid for bid in self.results["bids"] if bid["status"] == "bid"]

    @property
    def stores(self) -> dict[str, Rows]:
        """Hours of each storage resource, by its name."""
        return {name: list(rows) for name, rows in groupby(self.results["storage"], key=itemgetter("resource_id"))}


def ask(connection: duckdb.DuckDBPyConnection, query: str, **values: Any) -> Rows:
    """The rows of an answer, each by the names of its columns; ``values`` that the query does not name are left out."""
    found = connection.execute(query, {key: value for key, value in values.items() if f"${key}" in query})
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def read_facts(warehouse: Path, market_date: date, settings: Mapping[str, Any] | None = None) -> Facts:
    """The results of a day. Raises NoDataError where the warehouse has neither bids nor no-bids of it."""
    with open_warehouse(warehouse) as connection:
        (size,) = connection.execute(
            "select count(*) from fleet.prosumers where market_date = $day", {"day": market_date}
        ).fetchall()[0]
        every = max(1, round(size / COUNTED_PROSUMERS))
        tables = """
            select schema_name || '.' || table_name from duckdb_tables() where database_name = current_database()
            union all
            select schema_name || '.' || view_name from duckdb_views() where database_name = current_database()"""
        held = {table for (table,) in connection.execute(tables).fetchall()}
        results: dict[str, Rows] = {name: [] for name, table in ADDED.items() if table not in held}
        for name, query in QUERIES.items():
            if name in results:
                continue
            results[name] = ask(connection, query, day=market_date, every=every)
            for row in results[name]:
                for column, same in ADDED_COLUMNS.get(name, {}).items():
                    row.setdefault(column, same and row[same])
    if not results["bids"]:
        raise no_bids(warehouse, market_date)
    return Facts(market_date, results, every, settings or {})
