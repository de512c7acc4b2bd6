"""How past days went by each way to run them."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    amount,
    column,
    count,
    fraction,
    market_day,
    number,
    text,
)
from vpp_pipeline.schemas.dispatch import FleetHours

BREACHES = "in prosumer-hours"


class Dispatched(FleetHours):
    """What every prosumer does in every hour once awards and those who are there (drawn) are known."""


class SettledDays(dy.Schema):
    """A day's whole account at the prices that cleared: net = energy + reserve + leftover - charging - imbalance -
    payments."""

    market_date = market_day(primary_key=True)
    bids = count("Bids.")
    awarded_bids = count("Of them, those with an award.")
    present = count("Prosumers that were there (drawn).")
    absent = count("Prosumers that were not.")
    awarded_mwh = amount("Energy awarded.")
    exported_mwh = amount("Energy that prosumers exported; what the fleet's own charging took of it is no award.")
    reserve_awarded_mw_h = amount("Reserve awarded, MW times hours.")
    reserve_held_mw_h = amount("Reserve held, MW times hours.")
    limits_broken = count("Prosumer-hours past an owner's limit after re-dispatch.")
    expected_profit_usd = number("Profit that the bids expected, at forecast prices and with everyone there.")
    energy_usd = number("Awarded energy at the price that cleared (the offered price of a request).")
    reserve_usd = number("Reserve held, likewise; what was not held is not paid.")
    charging_usd = number("Scheduled charging at the price that cleared.")
    imbalance_usd = number("What deviations from the position cost; negative where a surplus earned.")
    leftover_usd = number("Worth of stored energy beyond what owners are owed at the day's end.")
    payments_usd = number("Paid to prosumers for what they delivered.")
    net_usd = number("What is left; charging that owners need anyway is in it.")


class Benchmark(dy.Schema):
    """A past day by each arm of a back-test, all on the same fleet, prices, absences and settlement."""

    market_date = market_day(primary_key=True)
    arm = text("The way the day was run; docs/backtest.md tells what each is.", primary_key=True)
    source = text("Where prices come from.")
    node = text("Pricing node.")
    prosumers = count("Prosumers in the fleet.")
    present = count("Of them, those that were there (drawn).")
    fleet_kw = amount("Discharge power of all stores.")
    net_usd = number("What the aggregator nets above selling nothing: market - payments - no-sale value.")
    value_usd = number("Net plus the owners' surplus: what the arm is worth to both.")
    energy_usd = number("Awarded energy at the clearing price.")
    reserve_usd = number("Reserve held, at the clearing price; what was not held is not paid.")
    charging_usd = number("Scheduled charging at the clearing price.")
    imbalance_usd = number("What deviations from the position cost; negative where a surplus earned.")
    leftover_usd = number("Worth of stored energy beyond what owners are owed at the day's end.")
    payments_usd = number("Paid to prosumers.")
    no_sale_usd = number("Value of selling nothing: minus the cost of charging that owners need anyway.")
    surplus_usd = number("Paid to prosumers above their reservation prices.")
    wear_usd = amount("Wear of the stores; the owners' cost, inside their payments.")
    satisfaction = number(
        "Mean satisfaction of deliveries, 0-10, weighted by commitment; 0 where a wish was broken.",
        min=0.0,
        max=10.0,
        nullable=True,
    )
    satisfaction_of_unbroken = number(
        "The same of those deliveries whose owner's wishes held.", min=0.0, max=10.0, nullable=True
    )
    gini = fraction("Gini coefficient of the day's payments over all prosumers; empty without any.", nullable=True)
    dispatched = count("Prosumers that delivered.")
    violations_discharge = count(f"Discharge in quiet hours, on days off or beyond power, {BREACHES}.")
    violations_export = count(f"Export beyond the limit or in hours without export, {BREACHES}.")
    violations_charge = count(f"Charging in hours without, or beyond power, {BREACHES}.")
    violations_stored = count(f"Stored energy below backup reserve or ready-by charge, {BREACHES}.")
    violations_owed = count("Stores that end the day below what is owed.")
    violations_cycles = count("Stores that cycled more than their owner allows.")
    violations_undeliverable = count(f"Orders beyond what the store held, {BREACHES}.")
    violations_underpaid = count("Deliveries paid below the owner's reservation price.")
    violations = count("All of these.")
    let_down = count("Prosumers with a broken limit.")
    bids = count("Opportunities bid.")
    awarded_mwh = amount("Energy awarded.")
    delivered_mwh = amount("Energy that prosumers exported.")
    reserve_mw_h = amount("Reserve awarded, MW times hours.")
    feasible_80 = count("Opportunities where 80 % of R could be had from owners that could be paid.")
    met_80 = count("Of them, those with as much under option.")
    feasible_100 = count("Opportunities where all of R could be had.")
    met_100 = count("Of them, those with as much under option.")
    fill_fraction = fraction("Capacity under option, up to R, over R, summed over opportunities.")
    gap_fraction = number("Proven gap of the plan at forecast prices; empty where none is searched.", nullable=True)
    seconds = column(dy.Float64, "Time to make the plan.", min=0.0)
