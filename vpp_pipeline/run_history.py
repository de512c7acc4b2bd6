"""The runs of a day as a person compares them in the terminal."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
from rich.console import Console

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.sql_table import show_rows
from vpp_pipeline.warehouse.publish import open_warehouse

RUNS = """
    select run_number as run, published_pacific, started_by, engine, bids, round(energy_mwh, 2) as energy_mwh,
           round(spin_mw_h + nonspin_mw_h, 2) as reserve_mw_h, round(expected_profit_usd, 2) as profit_usd,
           round(seconds, 1) as seconds, translate(settings, '{}"', '') as settings
    from bids.runs_of_day where market_date = $day order by run_number
"""
COMPARED = """
    select bids_changed, moved_mw, change_profit_usd, why from bids.runs_compared
    where market_date = $day and number_before = $before and run_number = $after
"""
CHANGES = """
    select opportunity_id, mw_before, mw_now, price_before, price_now, round(change_profit_usd, 2) as profit_more_usd,
           what
    from bids.changes_between_runs
    where market_date = $day and number_before = $before and run_number = $after order by product, start_utc
"""


def show_runs(warehouse: Path, market_date: date, pair: tuple[int, int] | None, console: Console) -> None:
    """Print the day's runs that published, and what the last (or the second of ``pair``) bids otherwise."""
    with open_warehouse(warehouse) as connection:
        (count,) = connection.execute(
            "select count(*) from bids.runs where market_date = $1", [market_date]
        ).fetchall()[0]
        if count == 0:
            raise NoDataError(
                f"no run of {market_date} is kept",
                file=warehouse,
                remedy=f"Make the day's bids: vpp-pipeline bids --date {market_date}",
            )
        show_rows(connection.execute(RUNS, {"day": market_date}), 0, console)
        before, after = pair or (count - 1, count)
        if pair is not None and not 1 <= before < after <= count:
            raise InputError(
                "no two runs to compare",
                value=f"{before} {after}",
                remedy=f"Two of 1 to {count}, the earlier one first",
            )
        if before == 0:
            console.print("one run: nothing to compare")
            return
        _show_changes(connection, {"day": market_date, "before": before, "after": after}, console)


def _show_changes(connection: duckdb.DuckDBPyConnection, pair: dict[str, object], console: Console) -> None:
    changed, moved_mw, profit_usd, why = connection.execute(COMPARED, pair).fetchall()[0]
    if changed:
        show_rows(connection.execute(CHANGES, pair), 0, console)
    words = f"run {pair['after']} against run {pair['before']}: {changed} bids changed, {moved_mw:.2f} MW moved, "
    console.print(f"{words}expected profit {profit_usd:+.2f} $", soft_wrap=True)
    console.print(f"what was not the same: {why}", soft_wrap=True, markup=False)
