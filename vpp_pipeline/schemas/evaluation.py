"""Tables of settled days and back-tests."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PROSUMER,
    amount,
    column,
    count,
    fraction,
    market_day,
    number,
    price,
    text,
)
from vpp_pipeline.schemas.dispatch import FleetHours, StoragePlan

UNIT = "in prosumer-hours"
EXPECTED = "at forecast prices and as planned; null for old days."


class Dispatched(FleetHours):
    """Dispatch of every prosumer in every hour after awards, by the prosumers that are available (drawn)."""


class Deliveries(dy.Schema):
    """What each prosumer delivered to each award, the price that it was paid for it, and why that price."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    delivered_kwh = amount("Energy delivered, or reserve held times hours.")
    clearing_price_usd_per_mwh = price("Clearing price, mean over the block; the offered price for a request.")
    recharging_usd_per_mwh = number("Cost of recharging in the four cheapest hours that cleared; 0 without a store.")
    index_price_usd_per_mwh = number("Clearing price less recharging.")
    floor_price_usd_per_mwh = price("Lowest price of its deal.")
    cap_price_usd_per_mwh = price("Highest price of its deal.")
    paid_price_usd_per_mwh = price("Price that it was paid.")
    is_forced = column(dy.Bool, "Whether it was called below the price of its deal, and so is paid the cap.")
    payment_usd = number("Paid price times energy (or capacity held).")
    reservation_price_usd_per_mwh = number("Reservation price of the owner.")
    satisfaction_score = number("Satisfaction with the outcome, 0-10.", min=0.0, max=10.0)
    reason = text("Why it is paid that price, in one sentence.")


class StorageAwards(StoragePlan):
    """Award of each storage resource in each hour at the clearing prices, with its state of charge."""


class SettledDays(dy.Schema):
    """Account of a settled day at clearing prices: net = energy + reserve + leftover - charging - imbalance -
    payments."""

    market_date = market_day(primary_key=True)
    bids = count("Number of opportunities that were bid.")
    awarded_bids = count("Number of bids with an award.")
    present = count("Number of available prosumers (drawn).")
    absent = count("Number of unavailable prosumers (drawn).")
    awarded_mwh = amount("Energy awarded, MW times hours, in hours in which more is sold than bought.")
    exported_mwh = amount("Energy that prosumers exported, before the fleet's own charging, which the award is net of.")
    reserve_awarded_mw_h = amount("Reserve awarded, MW times hours.")
    reserve_held_mw_h = amount("Reserve held, MW times hours.")
    limits_broken = count("Prosumer-hours in which a limit of the owner is violated in the dispatch after awards.")
    expected_profit_usd = number("Expected profit of the bids, at forecast prices and with all prosumers available.")
    energy_usd = number("Awarded energy at the clearing price (the offered price of a request).")
    reserve_usd = number("Reserve held at the clearing price; reserve that was not held is not paid.")
    charging_usd = number("Scheduled charging at the clearing price.")
    imbalance_usd = number("Cost of deviations from the position; negative where a surplus earned.")
    leftover_usd = number("Value of stored energy beyond the terminal state of charge that is owed.")
    payments_usd = number("Payments to prosumers for their deliveries.")
    net_usd = number("Net of all lines; it includes charging that owners need without any sales.")
    expected_energy_usd = number(f"Energy that was expected to clear, {EXPECTED}", nullable=True)
    expected_reserve_usd = number(f"Reserve that was expected to clear, {EXPECTED}", nullable=True)
    expected_charging_usd = number(f"Scheduled charging, {EXPECTED}", nullable=True)
    expected_leftover_usd = number(f"Value of stored energy that was to be left, {EXPECTED}", nullable=True)
    expected_payments_usd = number(f"Payments to prosumers, {EXPECTED}", nullable=True)
    expected_net_usd = number(f"Net of these lines, {EXPECTED}", nullable=True)


class Benchmark(dy.Schema):
    """A past day by each arm of a back-test, on the same fleet, prices, absences, and settlement."""

    market_date = market_day(primary_key=True)
    arm = text("Way to run the day, as described in docs/backtest.md.", primary_key=True)
    source = text("Source of the prices, such as `synthetic`.")
    node = text("Pricing node of the energy prices.")
    prosumers = count("Number of prosumers in the fleet.")
    present = count("Number of available prosumers (drawn).")
    fleet_kw = amount("Discharging power of all stores.")
    net_usd = number("Net of the aggregator above selling nothing: market revenue - payments - no-sale value.")
    value_usd = number("Net plus the owners' surplus: the arm's value to both sides.")
    energy_usd = number("Awarded energy at the clearing price.")
    reserve_usd = number("Reserve held at the clearing price; reserve that was not held is not paid.")
    charging_usd = number("Scheduled charging at the clearing price.")
    imbalance_usd = number("Cost of deviations from the position; negative where a surplus earned.")
    leftover_usd = number("Value of stored energy beyond the terminal state of charge that is owed.")
    payments_usd = number("Payments to prosumers for their deliveries.")
    home_payments_usd = number("Part of the payments that goes to homes; the rest goes to businesses.")
    homes = count("Number of homes in the fleet.")
    no_sale_usd = number("Value of selling nothing: minus the cost of charging that owners need without any sales.")
    surplus_usd = number("Payments to prosumers above their reservation prices.")
    wear_usd = amount("Wear of the stores; a cost of the owners, covered by their payments.")
    satisfaction = number(
        "Mean satisfaction of deliveries, 0-10, weighted by commitment; 0 for a violated preference; null without any.",
        min=0.0,
        max=10.0,
        nullable=True,
    )
    satisfaction_of_unbroken = number(
        "Mean satisfaction of the deliveries without a violated preference; null without any.",
        min=0.0,
        max=10.0,
        nullable=True,
    )
    gini = fraction("Gini coefficient of the day's payments over all prosumers; null without payments.", nullable=True)
    dispatched = count("Number of prosumers that delivered.")
    violations_discharge = count(f"Discharge in quiet hours, on opt-out days, or beyond the power limit, {UNIT}.")
    violations_export = count(f"Export beyond the limit or in hours without export, {UNIT}.")
    violations_charge = count(f"Charging in hours without charging, or beyond the power limit, {UNIT}.")
    violations_stored = count(f"State of charge below the backup reserve or the ready-by charge, {UNIT}.")
    violations_owed = count("Stores that end the day below the required terminal state of charge.")
    violations_cycles = count("Stores with more cycles than their owner allows.")
    violations_undeliverable = count(f"Calls beyond the stored energy, {UNIT}.")
    violations_underpaid = count("Deliveries paid below the owner's reservation price.")
    violations = count("Sum of all violations.")
    let_down = count("Number of prosumers with a violated limit.")
    bids = count("Number of opportunities that were bid.")
    awarded_mwh = amount("Energy awarded, MW times hours, in hours in which more is sold than bought.")
    delivered_mwh = amount("Energy that prosumers exported.")
    reserve_mw_h = amount("Reserve awarded, MW times hours.")
    feasible_80 = count("Opportunities where payable owners could deliver 80% of R.")
    met_80 = count("Opportunities of `feasible_80` with at least that capacity under option.")
    feasible_100 = count("Opportunities where payable owners could deliver all of R.")
    met_100 = count("Opportunities of `feasible_100` with at least that capacity under option.")
    fill_fraction = fraction("Capacity under option, up to R, over R, summed over opportunities.")
    gap_fraction = number("MIP gap of the plan at forecast prices; null for arms without a search.", nullable=True)
    gap_usd = number("Objective that the plan's search leaves open, at forecast prices; null likewise.", nullable=True)
    seconds = column(dy.Float64, "Time to compute the plan.", min=0.0)
