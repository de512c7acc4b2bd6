"""The day at a glance, its bids, and what the fleet does for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vpp_pipeline.reporting.charts import PricedBid, Series, prices_chart, stacked_hours, stored_chart
from vpp_pipeline.reporting.html import (
    PRODUCTS,
    Html,
    cards,
    figure,
    grid,
    many,
    number,
    percent,
    section,
    table,
    tag,
    text,
)
from vpp_pipeline.reporting.queries import Facts

SHOWN = 9  # bids that are explained at once, dearest first; the others one step away
UNIT = {"energy": "$/MWh", "spin": "$/MW·h", "nonspin": "$/MW·h"}


def glance(facts: Facts) -> Html:
    """The figures that a trader looks at first."""
    bids, books, proof, content = facts.trading, facts.one("books"), facts.one("proof"), facts.one("content")
    delivering = facts.one("deliveries").get("prosumers", 0)
    profit, paid = _total(bids, "expected_profit_usd"), _total(bids, "payments_usd")
    energy = [bid for bid in bids if bid["product"] == "energy"]
    reserve = [bid for bid in bids if bid["product"] != "energy"]
    checks = facts["checks"]
    broken = [check for check in checks if not check["passed"] and not check["is_warning"]]
    warned = sum(1 for check in checks if not check["passed"] and check["is_warning"])
    least, satisfaction = (
        min((bid["reliability_score"] for bid in bids), default=None),
        content.get("satisfaction_score"),
    )
    return section(
        "glance",
        "At a glance",
        None,
        cards(
            (
                "Expected profit",
                f"{number(profit)} $",
                f"{number(books.get('unallocated_usd'))} $ more that no bid carries",
            ),
            ("Paid to owners", f"{number(paid)} $", f"{many(delivering, 'prosumer')} deliver"),
            ("Energy", f"{number(_total(energy, 'total_mwh'))} MWh", f"in {many(len(energy), 'bid')}"),
            ("Reserve", f"{number(_total(reserve, 'total_mwh'))} MW·h", f"in {many(len(reserve), 'bid')}"),
            (
                "Satisfaction",
                f"{number(satisfaction)} of 10" if satisfaction is not None else "–",
                facts.sampled or "of who delivers, weighted by commitment",
            ),
            (
                "Rules broken",
                number(len(broken), 0),
                f"of {len(checks)} checked" + (f", {many(warned, 'warning')}" if warned else ""),
            ),
            ("Proven gap", percent(proof.get("gap_fraction"), 2), "no schedule can earn more than this on top"),
            ("Least reliable bid", percent(least), "chance that it delivers 80 %")
            if least is not None
            else ("Bids", "0", "of the day"),
        ),
    )


def bids(facts: Facts) -> Html:
    """Every bid against the forecast, in pictures and as a table, and why."""
    trading, labels = facts.trading, [hour["pacific"] for hour in facts["forecast"]]
    counts = Counter(bid["product"] for bid in trading)
    charts = [_prices(facts, product, labels) for product in PRODUCTS]
    idle = [bid for bid in facts["bids"] if bid["status"] != "bid"]
    lead = (
        f"A bar is a bid: from its top upwards it sells. The line is the expected market price. "
        f"{', '.join(f'{counts[product]} of {product}' for product in PRODUCTS)}; "
        f"{many(len(idle), 'opportunity', 'opportunities')} without a bid."
    )
    rows = [
        (
            bid["pacific"],
            text(tag("span", class_=f"key {bid['product']}", aria_hidden="true"), bid["product"]),
            number(bid["total_capacity_mw"]),
            number(bid["bid_price_usd_per_mwh"]),
            number(bid["forecast_price"]),
            number(bid["expected_profit_usd"]),
            number(bid["payments_usd"]),
            number(bid["coalition_size"], 0),
            percent(bid["reliability_score"]),
            number(bid["satisfaction_score"]),
        )
        for bid in trading
    ]
    heads = (
        "Hour",
        ".Product",
        "MW",
        "Bid $",
        "Expected $",
        "Profit $",
        "Payments $",
        "Members",
        "Reliability",
        "Satisfaction",
    )
    whole = table("Every bid of the day; prices per MWh, of reserve per MW and hour", heads, rows)
    empty = tag("p", "The desk bids nothing on this day; the reasons are below.", class_="note")
    return section(
        "bids", "Bids against the forecast", lead, grid("three", *charts), whole if rows else empty, _why(facts)
    )


def _prices(facts: Facts, product: str, labels: Sequence[str]) -> Html:
    hours = facts["forecast"]
    place = {hour["start_utc"]: number_ for number_, hour in enumerate(hours)}
    mine = [bid for bid in facts.trading if bid["product"] == product]
    priced = [
        PricedBid(
            place[bid["start_utc"]],
            bid["duration_hours"],
            bid["total_capacity_mw"],
            bid["bid_price_usd_per_mwh"],
            bid["forecast_price"],
        )
        for bid in mine
    ]
    forecast = [hour[product] for hour in hours]
    best = max(mine, key=lambda bid: bid["expected_profit_usd"], default=None)
    words = f"{many(len(mine), 'bid')}, {number(_total(mine, 'expected_profit_usd'))} $ of expected profit"
    if best is not None:
        words += f"; the best, {number(best['expected_profit_usd'])} $, at {best['pacific']}"
    title = f"Price of {product}, bids and forecast"
    told = f"{words}. Expected prices run from {number(min(forecast))} to {number(max(forecast))} {UNIT[product]}."
    requested = any(bid.hours == 1 and abs(bid.expected - forecast[bid.place]) > 0.005 for bid in priced)
    legend = [(product, "our bid"), ("forecast", "forecast")] + (
        [("offered", "offered by a request")] if requested else []
    )
    bid_at = {(bid.place + k): bid for bid in priced for k in range(bid.hours)}
    rows = [
        (
            hour,
            number(price),
            number(bid_at[k].price) if k in bid_at else "",
            number(bid_at[k].mw) if k in bid_at else "",
        )
        for k, (hour, price) in enumerate(zip(labels, forecast, strict=True))
    ]
    behind = table(
        f"{product.capitalize()} by hour", ("Hour", f"Forecast {UNIT[product]}", f"Bid {UNIT[product]}", "MW"), rows
    )
    return figure(
        product.capitalize(),
        prices_chart(title, told, UNIT[product], labels, forecast, product, priced),
        f"{words}.",
        legend,
        behind,
    )


def _why(facts: Facts) -> Html:
    """The reason of each bid, and of each opportunity without one."""
    why: dict[str, str] = {row["opportunity_id"]: row["why"] for row in facts["why"]}
    asked = [
        tag(
            "details",
            tag(
                "summary",
                tag("b", f"{bid['product']} {bid['pacific']}"),
                f" {number(bid['total_capacity_mw'])} MW, {number(bid['expected_profit_usd'])} $",
            ),
            tag("p", why.get(bid["opportunity_id"], bid["reason"])),
            tag("p", f"The curve: {bid['curve']}.", class_="quiet"),
        )
        for bid in sorted(facts.trading, key=lambda bid: -bid["expected_profit_usd"])
    ]
    idle = [
        (
            bid["pacific"],
            bid["product"],
            number(bid["forecast_price"]),
            why.get(bid["opportunity_id"], str(bid["reason"])),
        )
        for bid in facts["bids"]
        if bid["status"] != "bid"
    ]
    refused = table("Opportunities without a bid", ("Hour", ".Product", "Expected $", ".Why"), idle)
    rest = tag(
        "details", tag("summary", many(len(asked) - SHOWN, "more bid")), tag("div", *asked[SHOWN:], class_="answers")
    )
    return text(
        tag("h3", "Why this bid?") if asked else "",
        tag("div", *asked[:SHOWN], class_="answers") if asked else "",
        rest if len(asked) > SHOWN else "",
        tag("details", tag("summary", f"Why no bid? {many(len(idle), 'opportunity', 'opportunities')}"), refused)
        if idle
        else "",
    )


def fleet(facts: Facts) -> Html:
    """Dispatch by hour, stacked by product, and the stored energy behind it."""
    hours, size = facts["hours"], facts.one("fleet")
    labels = [hour["pacific"] for hour in hours]
    lead = (
        f"{many(size['prosumers'], 'prosumer')} at {many(size['sites'], 'site')}: "
        f"{number(size['capacity_mwh'], 1)} MWh of storage, {number(size['discharge_mw'], 1)} MW of inverters. "
        "What they do if every bid is awarded."
    )
    if not hours:
        return section("fleet", "The fleet, hour by hour", lead, tag("p", "The day has no schedule.", class_="note"))
    up = [
        Series("of energy from stores", "energy", [hour["discharge_mw"] for hour in hours]),
        Series("of solar sold", "solar", [hour["solar_sold_mw"] for hour in hours]),
        Series("held as spin", "spin", [hour["spin_mw"] for hour in hours]),
        Series("held as nonspin", "nonspin", [hour["nonspin_mw"] for hour in hours]),
    ]
    charged = [hour["grid_charge_mw"] + hour["solar_charge_mw"] for hour in hours]
    busy = max(hours, key=lambda hour: hour["discharge_mw"] + hour["solar_sold_mw"])
    full = max(hours, key=lambda hour: hour["stored_mwh"])
    most_sold = busy["discharge_mw"] + busy["solar_sold_mw"]
    does = f"Most energy is sold at {busy['pacific']}, {number(most_sold)} MW" if most_sold else "No energy is sold"
    does += f"; {number(sum(charged))} MWh are charged over the day."
    holds = (
        f"Fullest at the end of the hour from {full['pacific']}: "
        f"{number(full['stored_mwh'])} of {number(full['max_stored_mwh'])} MWh."
    )
    chart = stacked_hours("Dispatch by hour", does, "MW", labels, up, [Series("charged", "charge", charged)])
    names = ("discharge_mw", "solar_sold_mw", "spin_mw", "nonspin_mw", "grid_charge_mw", "solar_charge_mw")
    dispatch = table(
        "Dispatch by hour, MW",
        ("Hour", "Discharge", "Solar sold", "Spin", "Nonspin", "Charged, grid", "Charged, solar"),
        [(hour["pacific"], *(number(hour[name], 3) for name in names)) for hour in hours],
    )
    kept, stored, most = ([hour[name] for hour in hours] for name in ("min_stored_mwh", "stored_mwh", "max_stored_mwh"))
    line = stored_chart("Stored energy by hour", holds, labels, stored, kept, most)
    energy = table(
        "Stored energy at the end of each hour, MWh",
        ("Hour", "Kept for owners", "Stored", "Room"),
        [(hour, *(number(value) for value in row)) for hour, *row in zip(labels, kept, stored, most, strict=True)],
    )
    legend = [
        ("energy", "energy from stores"),
        ("solar", "solar sold"),
        ("spin", "spin"),
        ("nonspin", "nonspin"),
        ("charge", "charging"),
    ]
    return section(
        "fleet",
        "The fleet, hour by hour",
        lead,
        grid(
            "two",
            figure("What it sells, holds and charges", chart, does, legend, dispatch),
            figure(
                "What it stores",
                line,
                holds,
                [("stored", "stored"), ("band", "between what owners keep and what fits")],
                energy,
            ),
        ),
    )


def _total(rows: Sequence[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows)
