"""Pages of the desk for owners: who was paid what in a month, and the statement of one owner."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import unquote

import duckdb

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.paths import safe_file_name
from vpp_pipeline.reporting.html import Link, Place, Table, document, statement_address
from vpp_pipeline.reporting.queries import Rows, ask

MOST_OWNERS = 500  # of a month's list, by payment; the others are found by their id
MONTHS = """
    select strftime(market_date, '%Y-%m') as month, count(distinct market_date) as days
    from bids.final_bids group by month order by month desc"""
#: what owners were paid in a period and, of days that are not settled yet, what is expected
OWNERS = """
    with owner as (
        select prosumer_id, arg_max(coalesce(archetype, site_type), market_date) as archetype,
               arg_max(site_id, market_date) as site_id, count(*) as days
        from fleet.prosumers
        where market_date between $first and $last and contains(lower(prosumer_id), lower($find))
        group by prosumer_id
    ),
    paid as (
        select prosumer_id, count(*) as deliveries, count(distinct market_date) as paid_days,
               sum(delivered_kwh) filter (product = 'energy') as energy_kwh,
               sum(delivered_kwh) filter (product != 'energy') as reserve_kw_h,
               sum(payment_usd) as payment_usd, sum(above_least_usd) as above_least_usd,
               sum(satisfaction_score * delivered_kwh) / nullif(sum(delivered_kwh), 0) as satisfaction_score
        from explain.statement where market_date between $first and $last group by prosumer_id
    ),
    expected as (
        select prosumer_id, sum(payment_usd) as expected_usd from dispatch.payments
        where market_date between $first and $last
          and market_date not in (select market_date from evaluation.settled_days)
        group by prosumer_id
    )
    select *, count(*) over () as owners
    from owner left join paid using (prosumer_id) left join expected using (prosumer_id)
    order by payment_usd desc nulls last, prosumer_id limit $most"""
DELIVERIES = """
    select s.*, strftime(s.start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, o.duration_hours
    from explain.statement s join market.opportunities o using (market_date, opportunity_id)
    where s.prosumer_id = $owner and s.market_date between $first and $last
    order by s.market_date, s.start_utc, s.product"""
#: each day of the owner's fleet: what was expected, why, and whether the day is settled
EARNINGS = """
    select e.*, s.market_date is not null as is_settled
    from explain.earnings e left join evaluation.settled_days s using (market_date)
    where e.prosumer_id = $owner and e.market_date between $first and $last order by e.market_date"""
OWNER = """
    select * from fleet.prosumers where prosumer_id = $owner and market_date <= $last
    order by market_date desc limit 1"""
NOTES = """
    select distinct on (part, applies_to) part, quote, preference, wanted, after, status from fleet.notes
    where prosumer_id = $owner and market_date between $first and $last
    order by part, applies_to, market_date desc"""
ACTIVE = """
    select strftime(market_date, '%Y-%m') as month from fleet.prosumers
    where prosumer_id = $owner group by month order by month desc"""


def owners_page(connection: duckdb.DuckDBPyConnection, first: date, last: date, find: str, place: Place) -> str:
    """The owners of a month by what they were paid; of those whose id holds ``find``."""
    month, months = f"{first:%Y-%m}", ask(connection, MONTHS)
    table = owners_table(connection, first, last, MOST_OWNERS, place, find)
    return document(
        "owners.html.j2",
        place,
        title=f"Owners in {first:%B %Y}",
        banners={},
        month=month,
        months=[(row["month"], f"{row['month']}.html") for row in months],
        find=find,
        most=MOST_OWNERS,
        owners=table,
    )


def owners_table(
    connection: duckdb.DuckDBPyConnection, first: date, last: date, most: int, place: Place, find: str = ""
) -> Table:
    """A row for each owner, the highest payment first, with the way to the statement of the last month."""
    rows = ask(connection, OWNERS, first=first, last=last, most=most, find=find)
    columns = {
        "Owner": "text",
        "Paid": "usd",
        "Above reservation prices": "usd",
        "Days paid": "count",
        "Deliveries": "count",
        "Energy, kWh": "tenths",
        "Reserve, kW·h": "tenths",
        "Satisfaction": "number",
        "Expected, not settled": "usd",
        "Site": "text",
        "Archetype": "text",
    }
    cells = (
        *("payment_usd", "above_least_usd", "paid_days", "deliveries", "energy_kwh", "reserve_kw_h"),
        *("satisfaction_score", "expected_usd", "site_id", "archetype"),
    )
    count = rows[0]["owners"] if rows else 0
    month = f"{last:%Y-%m}"
    return Table(
        f"Owners by payment, {len(rows)} of {count}",
        columns,
        [
            [
                Link(row["prosumer_id"], place.root + statement_address(row["prosumer_id"], month)),
                *(row[cell] for cell in cells),
            ]
            for row in rows
        ],
    )


def owner_of(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The id that :func:`statement_address` wrote as ``name``. Raises NoDataError where no fleet has it."""
    owner = unquote(name, errors="surrogateescape")
    known = ask(connection, "select 1 from fleet.prosumers where prosumer_id = $owner limit 1", owner=owner)
    if known and safe_file_name(owner) == name:
        return owner
    for row in ask(connection, "select distinct prosumer_id from fleet.prosumers where length(prosumer_id) > 40"):
        if safe_file_name(row["prosumer_id"]) == name:  # a long one is written shortened, with a hash
            return str(row["prosumer_id"])
    raise NoDataError("no such owner", value=owner, remedy="Owners are listed by month under Owners")


def owner_page(connection: duckdb.DuckDBPyConnection, owner: str, first: date, last: date, place: Place) -> str:
    """The statement of a month: hours, energy, payments, and the reason of each; and why there are none."""
    asked = {"owner": owner, "first": first, "last": last}
    deliveries, days = ask(connection, DELIVERIES, **asked), ask(connection, EARNINGS, **asked)
    (size,) = ask(connection, OWNER, owner=owner, last=last) or [{}]
    by_day: dict[date, Rows] = {}
    for row in deliveries:
        by_day.setdefault(row["market_date"], []).append(row)
    return document(
        "owner.html.j2",
        place,
        title=f"{owner}, {first:%B %Y}",
        banners={},
        owner=owner,
        month=f"{first:%Y-%m}",
        size=size,
        months=[(row["month"], f"{row['month']}.html") for row in ask(connection, ACTIVE, owner=owner)],
        paid=_sums(deliveries),
        expected_usd=sum(day["earned_usd"] for day in days if not day["is_settled"]),
        waiting=sum(not day["is_settled"] for day in days),
        days=_days(days, by_day),
        deliveries=_deliveries(deliveries),
        notes=Table(
            "Notes in the owner's words, and what was read in them",
            {"Note": "text", "Preference": "text", "Asked for": "text", "In force": "text", "Reading": "text"},
            [
                [row[cell] for cell in ("quote", "preference", "wanted", "after", "status")]
                for row in ask(connection, NOTES, **asked)
            ],
        ),
    )


def _sums(deliveries: Rows) -> dict[str, Any]:
    """Hours with a delivery, energy, reserve, and money."""
    kwh = sum(row["delivered_kwh"] for row in deliveries)
    return {
        "deliveries": len(deliveries),
        "hours": len({(row["start_utc"], hour) for row in deliveries for hour in range(row["duration_hours"])}),
        "energy_kwh": sum(row["delivered_kwh"] for row in deliveries if row["product"] == "energy"),
        "reserve_kw_h": sum(row["delivered_kwh"] for row in deliveries if row["product"] != "energy"),
        "payment_usd": sum(row["payment_usd"] for row in deliveries),
        "above_least_usd": sum(row["above_least_usd"] for row in deliveries),
        "satisfaction_score": sum(row["satisfaction_score"] * row["delivered_kwh"] for row in deliveries) / kwh
        if kwh
        else None,
    }


def _days(days: Rows, by_day: dict[date, Rows]) -> Table:
    """What each day brought, settled or as planned, and why."""
    rows = []
    for day in days:
        paid = _sums(by_day.get(day["market_date"], []))
        settled = (paid["deliveries"], paid["hours"], paid["energy_kwh"], paid["reserve_kw_h"], paid["payment_usd"])
        planned = (day["deliveries"], None, day["energy_kwh"], day["reserve_kw_h"], None)
        rows.append(
            [
                Link(str(day["market_date"]), f"../../days/{day['market_date']}.html"),
                "settled" if day["is_settled"] else "planned",
                *(settled if day["is_settled"] else planned),
                day["earned_usd"],
                day["why"],
            ]
        )
    columns = {
        "Day": "text",
        "Status": "text",
        "Deliveries": "count",
        "Hours": "count",
        "Energy, kWh": "tenths",
        "Reserve, kW·h": "tenths",
        "Paid": "usd",
        "Expected": "usd",
        "What was planned, and why": "text",
    }
    return Table("What each day brought", columns, rows)


def _deliveries(deliveries: Rows) -> Table:
    columns = {
        "Day": "text",
        "Hour, PT": "text",
        "Product": "product",
        "kWh, or kW·h held": "number",
        "Clearing price": "usd",
        "Paid per MWh": "usd",
        "Payment": "usd",
        "Above reservation price": "usd",
        "Why that price": "text",
    }
    cells = (
        *("pacific", "product", "delivered_kwh", "clearing_price_usd_per_mwh", "paid_price_usd_per_mwh", "payment_usd"),
        *("above_least_usd", "why"),
    )
    return Table(
        "Deliveries, each with its price and the reason; reserve per MW and hour",
        columns,
        [[str(row["start_utc"].astimezone(PACIFIC).date()), *(row[cell] for cell in cells)] for row in deliveries],
    )
