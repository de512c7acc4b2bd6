"""Storage resources: what each offers from charge to discharge, its planned award, and its state of charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.display import usd
from vpp_pipeline.reporting.charts import energy_chart, range_chart
from vpp_pipeline.reporting.html import Figure, Legend, Table, number
from vpp_pipeline.reporting.queries import Facts, Rows
from vpp_pipeline.reporting.svg import Series

RESERVES = tuple(reserve.name for reserve in CAISO.reserves)
SHOWN = 3  # resources whose charts are shown at once, by profit; the others one step away
PLAN: Legend = (
    ("range discharge", "offered: discharge beside sun"),
    ("range charge", "offered: charging"),
    ("range cover", "cover of reserve, at the cap"),
    ("energy", "planned energy"),
    ("charge", "planned charging"),
    *((name, f"planned {name}") for name in RESERVES),
)
Prices = Mapping[tuple[str, object, str], dict[str, Any]]  # bid by resource, start, and product


def certified(row: Mapping[str, Any], column: str, facts: Facts) -> str:
    """What a resource of `bids.by_resource` is certified for, and whether that is only assumed."""
    if row["participation"] is None:
        return ""  # of a day that was published before there were resources
    stated = {one["resource_id"]: one[column] for one in facts["certificates"]}
    if row[column] is None:
        return "assumed"
    return number(row[column], 3 if row["pool_id"] else 2) + (
        ", assumed" if row["pool_id"] and stated.get(row["pool_id"]) is None else ""
    )


def storage(facts: Facts) -> dict[str, Any]:
    """A table of the day's storage resources and two charts of each; nothing where no resource takes part so."""
    stores = facts.stores
    if not stores:
        return {}
    bids = {(bid["resource_id"], bid["start_utc"], bid["product"]): bid for bid in facts.trading}
    rows = {row["resource_id"]: row for row in facts["resources"] if row["resource_id"] in stores}
    ranked = sorted(rows.values(), key=lambda row: (-row["expected_profit_usd"], row["resource_id"]))
    shown = [
        {
            "name": row["resource_id"],
            "profit_usd": row["expected_profit_usd"],
            "charts": [_curve(row, stores[row["resource_id"]]), _stored(row, stores[row["resource_id"]])],
            "table": _hours(row["resource_id"], stores[row["resource_id"]], bids),
        }
        for row in ranked
    ]
    return {
        "table": _resources(list(rows.values()), stores, facts),
        "shown": shown[:SHOWN],
        "others": shown[SHOWN:],
        "is_settled": any(hour["awarded_net_mw"] is not None for hour in facts["storage"]),
    }


def _resources(rows: Rows, stores: Mapping[str, Rows], facts: Facts) -> Table:
    columns = {
        "Resource": "text",
        "Members": "count",
        "Bound by deals": "count",
        "Profit without reserve": "usd",
        "Profit of reserve": "usd",
        "Profit": "usd",
        "Payments": "usd",
        "Most charge, MW": "thousandths",
        "Most sale, MW": "thousandths",
        **{f"Certified {name}, MW": "text" for name in RESERVES},
        "Planned charge, MWh": "number",
        "Planned discharge, MWh": "number",
        "Planned sun, MWh": "number",
        "Planned reserve, MW·h": "number",
    }
    return Table(
        "Storage resources: members, most that each offers in an hour, plan, and expected profit",
        columns,
        [
            [
                *(row[name] for name in ("resource_id", "prosumers", "bound_members")),
                *(row[f"{name}_usd"] for name in ("energy_profit", "reserve_profit", "expected_profit", "payments")),
                *(row[name] for name in ("max_charge_mw", "maximum_mw")),
                *(certified(row, reserve.certified_column, facts) for reserve in CAISO.reserves),
                *(
                    sum(hour[name] for hour in stores[row["resource_id"]])
                    for name in ("planned_charge_mw", "planned_discharge_mw", "self_schedule_mw")
                ),
                sum(hour[f"planned_{name}_mw"] for hour in stores[row["resource_id"]] for name in RESERVES),
            ]
            for row in rows
        ],
    )


def _curve(row: Mapping[str, Any], hours: Rows) -> Figure:
    """The range of the curve in each hour, and the planned award within it."""
    name, labels = row["resource_id"], [hour["pacific"] for hour in hours]
    sun = [hour["self_schedule_mw"] for hour in hours]
    low = [hour["self_schedule_mw"] - hour["max_charge_mw"] for hour in hours]
    high = [hour["self_schedule_mw"] + hour["max_discharge_mw"] for hour in hours]
    top = [
        hour["self_schedule_mw"] + max(hour["max_discharge_mw"], *(hour[f"offered_{one}_mw"] for one in RESERVES))
        for hour in hours
    ]
    charged, sold = (sum(hour[f"planned_{way}_mw"] for hour in hours) for way in ("charge", "discharge"))
    held = sum(hour[f"planned_{one}_mw"] for hour in hours for one in RESERVES)
    caption = (
        f"At the forecast it charges {number(charged)} MWh, discharges {number(sold)} MWh, sells {number(sum(sun))} "
        f"MWh of sun, and holds {number(held)} MW·h of reserve: {usd(row['expected_profit_usd'])} of expected profit."
    )
    return Figure(
        f"{name}: curve and plan",
        range_chart(
            f"Curve and plan of {name} by hour",
            caption,
            labels,
            [("charge", low, sun), ("discharge", sun, high), ("cover", high, top)],
            [hour["planned_net_mw"] for hour in hours],
            [Series(f"of {one}", one, [hour[f"planned_{one}_mw"] for hour in hours]) for one in RESERVES],
            [hour["awarded_net_mw"] for hour in hours],
        ),
        caption,
        [*_occurring(hours), *_cleared(hours, "awarded energy")],
    )


def _occurring(hours: Rows) -> list[tuple[str, str]]:
    """The entries of PLAN that the chart shows."""

    def is_any(*columns: str) -> bool:
        return any(hour[column] >= 0.0005 for hour in hours for column in columns)

    reserve = max(hour[f"offered_{one}_mw"] - hour["max_discharge_mw"] for hour in hours for one in RESERVES)
    shown = {
        "range discharge": is_any("max_discharge_mw"),
        "range charge": is_any("max_charge_mw"),
        "range cover": reserve >= 0.0005,
        "energy": any(hour["planned_net_mw"] >= 0.0005 for hour in hours),
        "charge": any(hour["planned_net_mw"] <= -0.0005 for hour in hours),
        **{one: is_any(f"planned_{one}_mw") for one in RESERVES},
    }
    return [(kind, words) for kind, words in PLAN if shown[kind]]


def _stored(row: Mapping[str, Any], hours: Rows) -> Figure:
    """State of charge of the plan and, once settled, of the awards, between the limits of each hour."""
    name, labels = row["resource_id"], [hour["pacific"] for hour in hours]
    low, stored, high = (
        [hour[column] for hour in hours] for column in ("lowest_stored_mwh", "planned_stored_mwh", "highest_stored_mwh")
    )
    full = max(hours, key=lambda hour: hour["planned_stored_mwh"])
    caption = (
        f"Highest at the end of the hour from {full['pacific']} PT: {number(full['planned_stored_mwh'], 3)} of "
        f"{number(full['highest_stored_mwh'], 3)} MWh, counted from the lowest of any hour."
    )
    cleared = [hour["awarded_stored_mwh"] for hour in hours]
    chart = energy_chart(
        f"State of charge of {name} by hour",
        caption,
        labels,
        stored,
        low,
        high,
        None if None in cleared else cleared,
    )
    legend = [("stored", "planned"), ("band", "between its limits"), *_cleared(hours, "after the awards")]
    return Figure(f"{name}: state of charge", chart, caption, legend)


def _cleared(hours: Rows, words: str) -> Sequence[tuple[str, str]]:
    return [("cleared", words)] if any(hour["awarded_net_mw"] is not None for hour in hours) else []


def _hours(name: str, hours: Rows, bids: Prices) -> Table:
    """All bids of a storage resource, one row per hour: offered MW and prices, plan, and profit of the hour."""
    is_settled = bool(_cleared(hours, ""))
    columns = {
        "Hour, PT": "text",
        "Charge, MW": "thousandths",
        "at": "usd",
        "Sun, MW": "thousandths",
        "Discharge, MW": "thousandths",
        "from": "usd",
        **{
            head: kind
            for one in RESERVES
            for head, kind in ((f"{one.capitalize()}, MW", "thousandths"), (f"{one} from", "usd"))
        },
        "Planned energy": "thousandths",
        **{f"planned {one}": "thousandths" for one in RESERVES},
        "MWh stored": "thousandths",
        "a stored MWh": "usd",
        "Profit": "usd",
        **({"Awarded energy": "thousandths", "MWh after awards": "thousandths"} if is_settled else {}),
    }
    rows = []
    for hour in hours:
        of_hour = {one: bids.get((name, hour["start_utc"], one), {}) for one in CAISO.names}
        priced = {one: bid.get("bid_price_usd_per_mwh") for one, bid in of_hour.items()}
        rows.append(
            [
                hour["pacific"],
                hour["max_charge_mw"],
                hour["charge_price_usd_per_mwh"] if hour["max_charge_mw"] else None,
                hour["self_schedule_mw"],
                hour["max_discharge_mw"],
                priced["energy"],
                *(value for one in RESERVES for value in (hour[f"offered_{one}_mw"], priced[one])),
                hour["planned_net_mw"],
                *(hour[f"planned_{one}_mw"] for one in RESERVES),
                hour["planned_stored_mwh"],
                hour["stored_value_usd_per_mwh"],
                sum(bid.get("expected_profit_usd", 0.0) for bid in of_hour.values()),
                *([hour["awarded_net_mw"], hour["awarded_stored_mwh"]] if is_settled else []),
            ]
        )
    return Table(f"Bids of {name} by hour, in MW; prices per MWh, for reserve per MW and hour", columns, rows)
