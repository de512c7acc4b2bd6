"""The settlement of the day: its account, expected and settled, and what the difference comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vpp_pipeline.reporting.charts import Bar, bars_chart
from vpp_pipeline.reporting.html import PRODUCTS, Figure, Table, signed
from vpp_pipeline.reporting.queries import Facts, Rows

#: lines of `evaluation.settled_days` -> in words, and whether they add to the net
ACCOUNT = {
    "energy": ("energy awarded, less charging awarded", 1.0),
    "reserve": ("reserve held", 1.0),
    "charging": ("charging beside the awards", -1.0),
    "imbalance": ("deviations from the awards", -1.0),
    "leftover": ("stored energy beyond what owners are owed", 1.0),
    "payments": ("payments to prosumers", -1.0),
}
WHOLE = ("charging", "imbalance", "leftover", "payments")  # lines of which no cause is known
SHOWN, MOST_ROWS = 12, 60  # bids whose difference is shown at once, and one step away; the others are in SQL
CENT = 0.005


def account_lines(account: Mapping[str, Any]) -> list[tuple[str, float | None, float, float | None]]:
    """Words, expected and settled amount, and their difference, of each line and of the net that they add up to.

    No expected amounts of days that older code settled.
    """
    signs = {**ACCOUNT, "net": ("net", 1.0)}
    lines = []
    for line, (words, sign) in signs.items():
        expected, settled = account.get(f"expected_{line}_usd", 0.0), sign * account[f"{line}_usd"]  # no imbalance is
        if expected is not None:
            expected *= sign
        lines.append((words, expected, settled, None if expected is None else settled - expected))
    return lines


def causes(account: Mapping[str, Any], bids: Rows) -> dict[str, float]:
    """What the difference of settled and expected net comes from, $; the amounts add up to it.

    Revenue differs by prices (at expected MW), by awards other than expected (at clearing prices), and by reserve that
    was not held; the other lines of the account differ as a whole.
    """
    if account["expected_net_usd"] is None:
        return {}
    difference = {words: change or 0.0 for words, _, _, change in account_lines(account)}
    of_bids = {
        "clearing prices other than forecast": sum(bid["price_effect_usd"] for bid in bids),
        "awards other than expected": sum(bid["award_effect_usd"] for bid in bids),
        "reserve that was not held": -sum(bid["no_pay_usd"] for bid in bids),
    }
    others = {words: difference[words] for words in (ACCOUNT[line][0] for line in WHOLE)}
    rest = difference["net"] - sum(of_bids.values()) - sum(others.values())
    found = {**of_bids, **others, "rounding": rest}
    return {name: amount for name, amount in found.items() if abs(amount) >= CENT}


def settlement(facts: Facts) -> dict[str, Any]:
    """The settled account beside the expected one, and the bids that moved it; nothing before the settlement."""
    account, bids = facts.one("account"), facts["settled"]
    if not account:
        return {}
    found = causes(account, bids)
    ranked = sorted(bids, key=lambda bid: (-abs(bid["difference_usd"]), bid["opportunity_id"]))
    return {
        "net_usd": account["net_usd"],
        "expected_usd": account["expected_net_usd"],
        "difference_usd": sum(found.values()) if found else None,
        "why": in_words(found),
        "present": account["present"],
        "absent": account["absent"],
        "limits_broken": account["limits_broken"],
        "account": account_table(account),
        "causes": causes_chart(found) if found else None,
        "products": _by_product(bids),
        "bids": _bids("Bids by what they add or take away", ranked[:SHOWN], facts),
        "others": _bids("Bids that add or take away less", ranked[SHOWN:MOST_ROWS], facts),
        "unlisted": len(ranked[MOST_ROWS:]),
    }


def in_words(found: Mapping[str, float]) -> str:
    """The causes in a sentence, those of the most money first."""
    ranked = sorted(found.items(), key=lambda cause: -abs(cause[1]))
    return "; ".join(f"{name} {signed(amount)}" for name, amount in ranked if name != "rounding")


def account_table(account: Mapping[str, Any]) -> Table:
    """The lines of the account, and the net that they add up to."""
    columns = {"Account": "text", "Expected": "usd", "Settled": "usd", "Difference": "signed"}
    return Table("Account, at forecast prices as planned, and as settled", columns, account_lines(account))


def causes_chart(found: Mapping[str, float]) -> Figure:
    """Each cause as a bar, the largest amount first."""
    ranked = sorted(found.items(), key=lambda cause: -abs(cause[1]))
    bars = [
        Bar(name, [(abs(amount), "paid" if amount > 0.0 else "ask", signed(amount))], signed(amount))
        for name, amount in ranked
    ]
    caption = f"Together {signed(sum(found.values()))} against the expected net."
    legend = [("gain", "adds"), ("loss", "takes away")]
    return Figure(
        "What the difference comes from", bars_chart("Causes of the difference", caption, bars), caption, legend
    )


def _by_product(bids: Rows) -> Table:
    """Sums over the bids of each product; energy in MWh, reserve in MW·h."""
    rows = []
    for product in PRODUCTS:
        mine = [bid for bid in bids if bid["product"] == product]
        amounts = ("expected_revenue_usd", "paid_usd", "expected_payments_usd", "payments_usd")
        hours = (
            sum(bid[name] * bid["duration_hours"] for bid in mine)
            for name in ("expected_mw", "awarded_mw", "delivered_mw")
        )
        rows.append([product, len(mine), *hours, *(sum(bid[name] for bid in mine) for name in amounts)])
    columns = {
        "Product": "text",
        "Bids": "count",
        "Expected": "number",
        "Awarded": "number",
        "Delivered": "number",
        "Expected revenue": "usd",
        "Market pays": "usd",
        "Expected payments": "usd",
        "Owners are paid": "usd",
    }
    return Table("By product; energy in MWh net of charging, reserve in MW·h", columns, rows)


def _bids(caption: str, bids: Rows, facts: Facts) -> Table:
    columns = {
        "Hour, PT": "text",
        "Product": "product",
        "Difference": "signed",
        "Expected profit": "usd",
        "Profit": "usd",
        "Bid price": "usd",
        "Expected price": "usd",
        "Clearing price": "usd",
        "Expected MW": "number",
        "Awarded MW": "number",
        "Awards and delivery": "text",
    }
    cells: tuple[str, ...] = (
        *("pacific", "product", "difference_usd", "expected_profit_usd", "profit_usd", "bid_price_usd_per_mwh"),
        *("forecast_price", "clearing_price", "expected_mw", "awarded_mw", "what"),
    )
    if len(facts["resources"]) > 1:
        columns, cells = {"Hour, PT": "text", "Resource": "text"} | columns, (cells[0], "resource_id", *cells[1:])
    return Table(caption, columns, [[bid[name] for name in cells] for bid in bids])
