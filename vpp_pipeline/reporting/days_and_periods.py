"""Pages of the desk over days: the calendar, the months, and one period settled against expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import duckdb

from vpp_pipeline.core.calendar import note_on_source
from vpp_pipeline.core.display import percent
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.reporting.charts import days_chart
from vpp_pipeline.reporting.html import PRODUCTS, Figure, Link, Place, Table, document, long_date, many, number
from vpp_pipeline.reporting.owners import owners_table
from vpp_pipeline.reporting.queries import Rows, ask
from vpp_pipeline.reporting.settlement import account_table, causes, causes_chart, in_words

MONEY = {"Settled net": "usd", "Expected net": "usd", "Difference": "signed"}
SHOWN_MONTHS = 2  # of the calendar at once; each month before has a page
MOST_PAID = 20  # owners of a period
AS_SETTLED = "as bid and settled"
DAYS = "select * from bids.days where market_date between $first and $last order by market_date desc"
SPAN = "select min(market_date) as first, max(market_date) as last from bids.days"
#: settled days whose expected account is known, as of all but those that older code settled: what can be compared
COMPARED = """
    market_date between $first and $last
    and market_date in (select market_date from evaluation.settled_days where expected_net_usd is not null)"""
#: sums over the settled bids of a period, for each product or resource
SETTLED = f"""
    select {{key}} as name, count(distinct market_date) as days, count(*) as bids,
           sum(expected_mw * duration_hours) as expected_mwh, sum(awarded_mw * duration_hours) as awarded_mwh,
           sum(delivered_mw * duration_hours) as delivered_mwh, sum(expected_revenue_usd) as expected_revenue_usd,
           sum(paid_usd) as paid_usd, sum(expected_payments_usd) as expected_payments_usd,
           sum(payments_usd) as payments_usd, sum(expected_profit_usd) as expected_profit_usd,
           sum(profit_usd) as profit_usd, sum(difference_usd) as difference_usd,
           sum(price_effect_usd) as price_effect_usd, sum(award_effect_usd) as award_effect_usd,
           sum(no_pay_usd) as no_pay_usd
    from evaluation.settled_bids where {COMPARED} group by {{key}} order by {{order}}"""
ACCOUNT = rf"""
    select count(*) as days, sum(present) as present, sum(absent) as absent, sum(limits_broken) as limits_broken,
           sum(columns('(.*_usd)')) as "\1"
    from evaluation.settled_days where {COMPARED}"""
SATISFACTION = """
    select count(*) as deliveries, count(distinct prosumer_id) as owners, sum(payment_usd) as payments_usd,
           sum(satisfaction_score * delivered_kwh) / nullif(sum(delivered_kwh), 0) as satisfaction_score
    from evaluation.deliveries where market_date between $first and $last"""
#: each arm of a back-test on the days that foresight was replayed for, and what was settled on those of the same fleet
ARMS = """
    with best as (
        select * from evaluation.benchmark
        where arm = 'perfect_foresight' and market_date between $first and $last
    ),
    arms as (
        select b.market_date, b.arm, b.net_usd from evaluation.benchmark b
        union all
        select s.market_date, $as_settled, s.net_usd - b.no_sale_usd
        from evaluation.settled_days s join best b using (market_date)
        where b.prosumers = (select count(*) from fleet.prosumers p where p.market_date = s.market_date)
    )
    select a.arm, count(*) as days, sum(a.net_usd) as net_usd, sum(b.net_usd) as best_usd
    from arms a join best b using (market_date)
    group by a.arm order by a.arm != $as_settled, net_usd desc"""


def month_of(day: date) -> tuple[date, date]:
    """First and last day of the month."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def calendar(connection: duckdb.DuckDBPyConnection, place: Place) -> str:
    """The first page: the latest months day by day, and the way to all others."""
    (span,) = ask(connection, SPAN)
    days = ask(connection, DAYS, first=span["first"], last=span["last"]) if span["first"] else []
    months = [(month, list(rows)) for month, rows in groupby(days, key=lambda day: day["market_date"].replace(day=1))]
    return document(
        "calendar.html.j2",
        place,
        title="Days",
        banners=banners_of(days[: len(months[0][1])] if months else []),
        latest=days[0] if days else None,
        last_settled=next((day for day in days if day["status"] == "settled"), None),
        months=[
            {
                "name": f"{month:%B %Y}",
                "file": f"{month:%Y-%m}.html",
                "chart": _by_day(rows, f"{month:%B %Y}"),
                "table": days_table(rows, "days/", f"Days of {month:%B %Y}", span),
            }
            for month, rows in months[:SHOWN_MONTHS]
        ],
        earlier=[(f"{month:%B %Y}", f"{month:%Y-%m}.html") for month, _ in months[SHOWN_MONTHS:]],
    )


def periods(connection: duckdb.DuckDBPyConnection, place: Place) -> str:
    """Every month with its sums, and a form for any other period."""
    (span,) = ask(connection, SPAN)
    days = ask(connection, DAYS, first=span["first"], last=span["last"]) if span["first"] else []
    rows: list[list[Any]] = []
    for month, of_month in groupby(days, key=lambda day: day["market_date"].replace(day=1)):
        mine = list(of_month)
        settled = [day for day in mine if day["status"] == "settled"]
        sums = (_sum(settled, name) for name in ("net_usd", "expected_net_usd", "difference_usd", "payments_usd"))
        rows.append([Link(f"{month:%B %Y}", f"{month:%Y-%m}.html"), len(mine), len(settled), *sums])
    columns = {"Month": "text", "Days bid": "count", "Settled": "count", **MONEY, "Payments to owners": "usd"}
    table = Table("Months; expected, settled, and payments are of settled days", columns, rows)
    return document("periods.html.j2", place, title="Periods", banners=banners_of(days[:1]), months=table, **span)


def period(connection: duckdb.DuckDBPyConnection, first: date, last: date, place: Place) -> str:
    """Settled against expected by day, product, and resource; foresight, satisfaction, and what owners were paid."""
    asked = {"first": first, "last": last, "products": list(PRODUCTS)}
    days, (account,), (content,) = (ask(connection, query, **asked) for query in (DAYS, ACCOUNT, SATISFACTION))
    products = ask(connection, SETTLED.format(key="product", order="list_position($products, product)"), **asked)
    resources = ask(connection, SETTLED.format(key="resource_id", order="profit_usd desc, name"), **asked)
    (span,), is_month = ask(connection, SPAN), (first, last) == month_of(first)
    if span["first"] is None:
        raise NoDataError("no bids are published yet", remedy="Make a day's: vpp-pipeline bids")
    name = f"{first:%B %Y}" if is_month else f"{long_date(first)} to {long_date(last)}"
    found = causes(account, products) if account["days"] else {}
    return document(
        "period.html.j2",
        place,
        title=name,
        banners=banners_of(days),
        first=first,
        last=last,
        before=_link_of_month(first - timedelta(days=1)) if is_month and span["first"] < first else None,
        after=_link_of_month(last + timedelta(days=1)) if is_month and span["last"] > last else None,
        counts={status: sum(day["status"] == status for day in days) for status in ("settled", "bid", "no bid")},
        account=account if account["days"] else None,
        difference_usd=sum(found.values()),
        why=in_words(found),
        lines=account_table(account) if account["days"] else None,
        causes=causes_chart(found) if found else None,
        chart=_by_day(days, name),
        days=days_table(days, "../days/", f"Days of {name}"),
        products=_sums_table("By product; energy in MWh net of charging, reserve in MW·h", "Product", products),
        resources=_sums_table("By resource", "Resource", resources, has_quantities=False),
        arms=_arms(ask(connection, ARMS, as_settled=AS_SETTLED, **asked)),
        content=content,
        owners=owners_table(connection, first, last, MOST_PAID, place),
        month=f"{last:%Y-%m}",
    )


def banners_of(days: Rows) -> dict[str, str]:
    """What a reader must know of these days before any figure."""
    invented = [day for day in days if day["is_synthetic"]]
    stood_in = [day for day in days if day["stand_ins"]]
    found = {}
    if invented:
        which = "" if len(invented) == len(days) else f"on {many(len(invented), 'day')} of {len(days)}, "
        found["Not for a market"] = which + note_on_source(invented[0]["price_source"])
    if stood_in:
        which = ", ".join(str(day["market_date"]) for day in stood_in[:5])
        found["A forecast stood in"] = f"on {many(len(stood_in), 'day')}, {which}: {stood_in[0]['stand_ins']}"
    return {heading: words.rstrip(".") for heading, words in found.items()}


def days_table(days: Rows, folder: str, caption: str, span: Mapping[str, date] | None = None) -> Table:
    """A row for each day, newest first; with a ``span``, days in it without bids are told in one row."""
    columns = {
        "Day": "text",
        "Status": "text",
        **MONEY,
        "Expected profit of bids": "usd",
        "MIP gap": "percent",
        "Bids": "count",
        "Warnings": "count",
        "Failed checks": "count",
    }
    cells = (
        *("net_usd", "expected_net_usd", "difference_usd", "expected_profit_usd", "gap_fraction", "bids", "warnings"),
        "failed_checks",
    )
    if span is None:
        every = [day["market_date"] for day in days]
    else:
        first, last = month_of(days[0]["market_date"])
        first, last = max(first, span["first"]), min(last, span["last"])
        every = [last - timedelta(days=k) for k in range((last - first).days + 1)]
    known = {day["market_date"]: day for day in days}
    rows: list[list[Any]] = []
    for is_known, group in groupby(every, key=known.__contains__):
        of_group = list(group)
        if not is_known:
            name = f"{of_group[-1]}" if len(of_group) == 1 else f"{of_group[-1]} to {of_group[0]:%m-%d}"
            rows.append([name, "no bids published", *[None] * len(cells)])
            continue
        for date_ in of_group:
            link = Link(f"{date_:%a %Y-%m-%d}", f"{folder}{date_}.html")
            rows.append([link, known[date_]["status"], *(known[date_][cell] for cell in cells)])
    return Table(caption, columns, rows)


def _by_day(days: Rows, name: str) -> Figure | None:
    """Settled net of each day, with the level that was expected; nothing where no day is settled."""
    settled = [day for day in reversed(days) if day["net_usd"] is not None]
    if not settled:
        return None
    best, worst = (choose(settled, key=lambda day: day["net_usd"]) for choose in (max, min))
    caption = (
        f"{many(len(settled), 'settled day')}: best {best['market_date']}, ${number(best['net_usd'])}; "
        f"worst {worst['market_date']}, ${number(worst['net_usd'])}."
    ).replace("$-", "-$")
    labels = [f"{day['market_date']:%-d}" for day in settled]
    series = ([day[column] for day in settled] for column in ("net_usd", "expected_net_usd"))
    return Figure(
        f"Settled and expected net by day, {name}",
        days_chart(f"Settled and expected net by day, {name}", caption, labels, *series),
        caption,
        [("paid", "settled"), ("awarded", "expected")],
    )


def _sums_table(caption: str, head: str, rows: Rows, *, has_quantities: bool = True) -> Table:
    """Sums over bids; quantities of one product alone, for MWh of energy and MW·h of reserve do not add up."""
    quantities = {"Expected": "number", "Awarded": "number", "Delivered": "number"} if has_quantities else {}
    columns = {
        head: "text",
        "Days": "count",
        "Bids": "count",
        **quantities,
        "Market pays": "usd",
        "Owners are paid": "usd",
        "Expected profit": "usd",
        "Profit": "usd",
        "Difference": "signed",
    }
    cells = (
        *("name", "days", "bids"),
        *(("expected_mwh", "awarded_mwh", "delivered_mwh") if has_quantities else ()),
        *("paid_usd", "payments_usd", "expected_profit_usd", "profit_usd", "difference_usd"),
    )
    return Table(caption, columns, [[row[cell] for cell in cells] for row in rows])


def _arms(rows: Rows) -> Table | None:
    """Capture of foresight by what was settled and by each arm of a back-test; nothing where none was replayed."""
    if not rows:
        return None
    columns = {"Way to run the days": "text", "Days": "count", "Net above no sales": "usd", "Capture": "text"}
    cells: list[list[Any]] = [
        [
            row["arm"].replace("_", " "),
            row["days"],
            row["net_usd"],
            percent(row["net_usd"] / row["best_usd"]) if row["best_usd"] > 0.0 else None,
        ]
        for row in rows
    ]
    return (
        Table("Capture of perfect foresight, on the days that a back-test has replayed", columns, cells)
        if rows
        else None
    )


def _link_of_month(day: date) -> Link:
    return Link(f"{day:%B %Y}", f"{day:%Y-%m}.html")


def _sum(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """The sum of what is known; nothing of no rows."""
    known = [row[name] for row in rows if row[name] is not None]
    return float(sum(known)) if known else None
